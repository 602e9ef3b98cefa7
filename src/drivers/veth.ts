import { PipeworkError } from '../model/errors'
import { formatLinkRecord, transitionalRecord } from '../network/link-record'
import { type Command, guestNetns, type IpCommand, ip, ipInGuest, type Plan, planSteps } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import { findLinkRecord } from '../state/attach-facts'
import type { GuestLink } from '../state/guest'
import type { HostLink } from '../state/host-links'
import { formatGuest } from '../state/record'
import { mtuOnBridge, planMacChange } from './update-link'
import { validateMtu, validateNoForeignLink, validateRecreate } from './validate'

/** What the host end hangs on, as far as `ip` and `bridge` can tell it to. */
export interface PortSetup {
  readonly master?: string
  /** The steps that give the port of that name its VLANs. */
  planPortVlans(name: string): Plan
  /** What a port loses when it changes its master, given back. */
  restorePortVlans(name: string): readonly Command[]
}

/** `ethtool -K` in the guest, as a line of the host's batch. */
export function offloadCommand(ifname: string, state: 'on' | 'off'): IpCommand {
  return ip`netns exec ${guestNetns} ethtool -K ${ifname} tx ${state}`
}

/** A veth pair between the host and the guest: made, or changed into what is wanted. */
export function planVeth(context: AttachContext, seat: PortSetup): Plan {
  validateMtu(context)
  const plan = context.facts.hostEnd === undefined ? planNewVeth(context, seat) : planVethUpdate(context, seat)
  return [...plan, ...planOffload(context)]
}

/** Whether checksums are left to whoever sends the packets on: some switches in userspace do not complete them. */
function planOffload({ request, facts: { offload, inGuest } }: AttachContext): Plan {
  if (offload === undefined) return []
  const { ifname, txOffload = 'on' } = request
  const live = inGuest === undefined ? 'on' : offload.state
  if (!offload.ethtool && (request.txOffload !== undefined || live !== txOffload))
    throw new PipeworkError("'ethtool' is not installed, and --tx-offload needs it", {
      hint: 'Install it: apt install ethtool',
    })
  if (live === txOffload) return []
  return [
    {
      description: `turn the checksum offload of ${ifname} ${txOffload}`,
      command: offloadCommand(ifname, txOffload),
      undo: inGuest === undefined || live === undefined ? undefined : offloadCommand(ifname, live),
    },
  ]
}

/** Both ends are born with name, MAC address and MTU, the one in the bridge, the other in the guest; or not at all. */
function planNewVeth(context: AttachContext, { master, planPortVlans }: PortSetup): Plan {
  const { request, guest, facts } = context
  validateNoForeignLink(context)
  validateHostEndName(context)
  const name = request.hostEnd ?? facts.hostEndName
  const mtu = mtuOnBridge(context)
  const orphan = facts.nameConflict
  return planSteps(
    orphan !== undefined && {
      description: `remove ${orphan.name}, left from an earlier life of ${guest.name}`,
      command: ip`link del dev ${orphan.name}`,
    },
    {
      description: `connect ${request.ifname} in ${guest.name} to ${request.hostif}`,
      command: ip`link add dev ${name} mtu ${mtu} ${master !== undefined && ['master', master]} type veth peer name ${request.ifname} address ${facts.mac} mtu ${mtu} netns ${guestNetns}`,
      undo: ip`link del dev ${name}`,
    },
    // Before the port is up, so that no frame of the guest gets into the default VLAN.
    planPortVlans(name).map(({ undo, ...step }) => step),
    {
      description: `record the attachment on ${name}`,
      command: ip`link set dev ${name} alias ${formatLinkRecord(context)}`,
    },
    {
      description: `bring ${name} up`,
      command: ip`link set dev ${name} up`,
    },
  )
}

/** Refuses a name for the host end that belongs to something else, or to this very link under another name. */
function validateHostEndName({
  request,
  guest,
  facts: { nameConflict, conflictPeer, renamedTo },
}: AttachContext): void {
  if (nameConflict === undefined) return
  const record = findLinkRecord({ hostEnd: nameConflict })
  const same = record?.guest.kind === guest.kind && record.guest.name === guest.name && record.ifname === request.ifname
  if (conflictPeer !== undefined && same)
    throw new PipeworkError(
      `'${request.ifname}' of '${guest.name}' was renamed inside the guest: it is '${conflictPeer}' there`,
      { hint: `Rename it back, or take it away first: pipework disconnect ${formatGuest(guest)} ${request.ifname}` },
    )
  if (renamedTo !== undefined)
    throw new PipeworkError(
      `'${request.ifname}' of '${renamedTo}' was made when that was called '${guest.name}', and has the host end '${nameConflict.name}'`,
      {
        hint: `It goes by its old name yet. Take it away first: pipework disconnect ${formatGuest(guest)} ${request.ifname}`,
      },
    )
  if (!same)
    throw new PipeworkError(`the host already has an interface '${nameConflict.name}'`, {
      hint: record
        ? `It is the host end of ${record.ifname} in ${record.guest.name}. Choose another with -l NAME.`
        : 'Choose another name for the host end with -l NAME.',
    })
}

/** True when the link is ours: by its record, or a half-made one of a killed run by the name that we give. */
function isOwnHostEnd({ request, facts }: AttachContext, hostEnd: HostLink): boolean {
  if (hostEnd.record !== undefined) return true
  return hostEnd.alias === undefined && hostEnd.name === (request.hostEnd ?? facts.hostEndName)
}

function validateUpdatable(context: AttachContext, { name, master }: HostLink, seat: PortSetup): void {
  const { hostif, hostEnd } = context.request
  if (seat.master !== undefined && master !== undefined && master !== seat.master)
    validateRecreate(context, `is on '${master}', not on '${hostif}'`)
  if (hostEnd !== undefined && hostEnd !== name)
    validateRecreate(context, `has the host end '${name}', not '${hostEnd}'`)
}

/** What differs on a link that is there already is changed in place, so that its traffic goes on. */
function planVethUpdate(context: AttachContext, seat: PortSetup): Plan {
  const { inGuest, hostEnd } = context.facts
  if (inGuest === undefined || hostEnd === undefined) return []
  if (!isOwnHostEnd(context, hostEnd)) validateNoForeignLink(context)
  validateUpdatable(context, hostEnd, seat)
  return [...planHostEndUpdate(context, hostEnd, seat), ...planGuestEndUpdate(context, inGuest)]
}

function planHostEndUpdate(context: AttachContext, { name, up, mtu, master, alias }: HostLink, seat: PortSetup): Plan {
  const { hostEnd: wanted = name } = context.request
  const wantedMtu = mtuOnBridge(context)
  const record = transitionalRecord(context)
  return planSteps(
    wanted !== name && planRename({ name, up }, wanted),
    seat.master !== undefined &&
      master !== seat.master && {
        description: `move ${wanted} to ${seat.master}`,
        command: ip`link set dev ${wanted} master ${seat.master}`,
        undo: [
          ip`link set dev ${wanted} ${master === undefined ? ['nomaster'] : ['master', master]}`,
          ...seat.restorePortVlans(wanted),
        ],
      },
    seat.planPortVlans(wanted),
    mtu !== wantedMtu && {
      description: `set the MTU of ${wanted} to ${wantedMtu}`,
      command: ip`link set dev ${wanted} mtu ${wantedMtu}`,
      undo: ip`link set dev ${wanted} mtu ${mtu}`,
    },
    (!up || wanted !== name) && {
      description: `bring ${wanted} up`,
      command: ip`link set dev ${wanted} up`,
      undo: up ? undefined : ip`link set dev ${wanted} down`,
    },
    alias !== record && {
      description: `record the attachment on ${wanted}`,
      command: ip`link set dev ${wanted} alias ${record}`,
      // An empty alias cannot be a word of ip -batch; a half-made link of a killed run has none to put back.
      undo: alias === undefined ? undefined : ip`link set dev ${wanted} alias ${alias}`,
    },
  )
}

/** A link that is up cannot be renamed. */
function planRename({ name, up }: Pick<HostLink, 'name' | 'up'>, wanted: string): Plan {
  return [
    {
      description: `take ${name} down to rename it`,
      command: ip`link set dev ${name} down`,
      undo: up ? ip`link set dev ${name} up` : undefined,
    },
    {
      description: `rename ${name}`,
      command: ip`link set dev ${name} name ${wanted}`,
      undo: [ip`link set dev ${wanted} down`, ip`link set dev ${wanted} name ${name}`],
    },
  ]
}

function planGuestEndUpdate(context: AttachContext, { mtu, mac }: GuestLink): Plan {
  const { request } = context
  const { ifname } = request
  const wantedMtu = request.mtu ?? request.dhcp.mtu ?? mtuOnBridge(context)
  return planSteps(
    mtu !== wantedMtu && {
      description: `set the MTU of ${ifname} to ${wantedMtu}`,
      command: ipInGuest`link set dev ${ifname} mtu ${wantedMtu}`,
      undo: ipInGuest`link set dev ${ifname} mtu ${mtu}`,
    },
    planMacChange(context, mac),
  )
}
