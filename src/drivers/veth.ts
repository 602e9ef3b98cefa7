import { PipeworkError } from '../model/errors'
import { formatLinkRecord, transitionalRecord } from '../network/link-record'
import { type Command, guestNetns, type IpCommand, ip, ipInGuest, type Plan, planSteps } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import { findLinkRecord } from '../state/attach-facts'
import type { GuestLink } from '../state/guest'
import type { HostLink } from '../state/host-links'
import { OVS_SYSTEM } from '../state/ovsdb'
import { formatGuest } from '../state/record'
import { restoreVlanCommands } from './bridge-vlans'
import { planLinkDeletion } from './removal'
import type { LinkRemoval } from './types'
import { mtuOnBridge, planMacChange } from './update-link'
import { validateMtu, validateNoForeignLink, validateRecreate } from './validate'

/** How `ip` and `bridge` attach the host end. */
export interface PortSetup {
  readonly master?: string
  /** The steps that set the VLANs of that port. */
  planPortVlans(name: string): Plan
  /** Restores the VLANs that a port loses when its master changes. */
  restorePortVlans(name: string): readonly Command[]
}

/** `ethtool -K` in the guest, as a line of the host's batch. */
function offloadCommand(ifname: string, state: 'on' | 'off'): IpCommand {
  return ip`netns exec ${guestNetns} ethtool -K ${ifname} tx ${state}`
}

/** Refuses requests that a veth pair on that bridge, or without a bridge, cannot fulfil. */
export function validateVeth(context: AttachContext, master?: string): void {
  validateMtu(context)
  validateOffload(context)
  const { hostEnd } = context.facts
  if (hostEnd !== undefined) validateVethUpdate(context, hostEnd, master)
  else validateNewVeth(context)
}

/** A veth pair between the host and the guest, created or updated. */
export function planVeth(context: AttachContext, setup: PortSetup): Plan {
  const plan = context.facts.hostEnd === undefined ? planNewVeth(context, setup) : planVethUpdate(context, setup)
  return [...plan, ...planOffload(context)]
}

export function planVethRemoval(removal: LinkRemoval): Plan {
  return planLinkDeletion(removal, restoreVethCommands(removal))
}

function restoreVethCommands({ attachment, portVlans }: LinkRemoval): readonly Command[] {
  const { hostEnd, inGuest, alias, record } = attachment
  if (inGuest === undefined || hostEnd === undefined) return []
  const { name, mac, mtu } = inGuest
  const master = hostEnd.master !== undefined && hostEnd.master !== OVS_SYSTEM && ['master', hostEnd.master]
  return [
    ip`link add dev ${hostEnd.name} address ${hostEnd.mac} mtu ${hostEnd.mtu} ${master} type veth peer name ${name} address ${mac} mtu ${mtu} netns ${guestNetns}`,
    ip`link set dev ${hostEnd.name} alias ${alias}`,
    ...restoreVlanCommands(hostEnd.name, portVlans),
    ...(hostEnd.up ? [ip`link set dev ${hostEnd.name} up`] : []),
    ...(record.words.includes('--tx-offload=off') ? [offloadCommand(name, 'off')] : []),
  ]
}

/** The TX checksum offload of a link in the guest: a new veth has it on. */
const currentOffload = ({ offload, inGuest }: AttachContext['facts']) => (inGuest === undefined ? 'on' : offload?.state)

function validateOffload({ request: { txOffload }, facts }: AttachContext): void {
  if (facts.offload === undefined || facts.offload.ethtool) return
  if (txOffload === undefined && currentOffload(facts) === 'on') return
  throw new PipeworkError("'ethtool' is not installed, and --tx-offload needs it", {
    hint: 'Install it: apt install ethtool',
  })
}

/** Some userspace switches do not complete the checksums that TX offload leaves to them. */
function planOffload({ request, facts }: AttachContext): Plan {
  const { offload, inGuest } = facts
  if (offload === undefined) return []
  const { ifname, txOffload = 'on' } = request
  const live = currentOffload(facts)
  if (live === txOffload) return []
  return [
    {
      description: `turn ${txOffload} the TX checksum offload of ${ifname}`,
      command: offloadCommand(ifname, txOffload),
      undo: inGuest === undefined || live === undefined ? undefined : offloadCommand(ifname, live),
    },
  ]
}

/** One command creates both ends with name, MAC address and MTU: one on the bridge, the other in the guest. */
function planNewVeth(context: AttachContext, { master, planPortVlans }: PortSetup): Plan {
  const { request, guest, facts } = context
  const name = request.hostEnd ?? facts.hostEndName
  const mtu = mtuOnBridge(context)
  const orphan = facts.nameConflict
  return planSteps(
    orphan !== undefined && {
      description: `remove ${orphan.name}, left over from before ${guest.name} restarted`,
      command: ip`link del dev ${orphan.name}`,
    },
    {
      description: `connect ${request.ifname} in ${guest.name} to ${request.hostif}`,
      command: ip`link add dev ${name} mtu ${mtu} ${master !== undefined && ['master', master]} type veth peer name ${request.ifname} address ${facts.mac} mtu ${mtu} netns ${guestNetns}`,
      undo: ip`link del dev ${name}`,
    },
    // Before the port is up: no frame of the guest may enter the default VLAN.
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

function validateNewVeth(context: AttachContext): void {
  validateNoForeignLink(context)
  validateHostEndName(context)
}

/** Refuses a name for the host end that another link has. */
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
      { hint: `Rename it back, or remove it first: pipework disconnect ${formatGuest(guest)} ${request.ifname}` },
    )
  if (renamedTo !== undefined)
    throw new PipeworkError(
      `'${request.ifname}' of '${renamedTo}' was attached when that container was called '${guest.name}', and has the host end '${nameConflict.name}'`,
      {
        hint: `Remove it first, by the old name: pipework disconnect ${formatGuest(guest)} ${request.ifname}`,
      },
    )
  if (!same)
    throw new PipeworkError(`the host already has an interface '${nameConflict.name}'`, {
      hint: record
        ? `It is the host end of ${record.ifname} in ${record.guest.name}. Choose another with -l NAME.`
        : 'Choose another name for the host end with -l NAME.',
    })
}

/** Whether pipework made the link: by its record, or, where a killed run left none, by its name. */
function isOwnHostEnd({ request, facts }: AttachContext, hostEnd: HostLink): boolean {
  if (hostEnd.record !== undefined) return true
  return hostEnd.alias === undefined && hostEnd.name === (request.hostEnd ?? facts.hostEndName)
}

function validateVethUpdate(context: AttachContext, current: HostLink, wanted: string | undefined): void {
  const { hostif, hostEnd } = context.request
  const { name, master } = current
  if (!isOwnHostEnd(context, current)) validateNoForeignLink(context)
  if (wanted !== undefined && master !== undefined && master !== wanted)
    validateRecreate(context, `is on '${master}', not on '${hostif}'`)
  if (hostEnd !== undefined && hostEnd !== name)
    validateRecreate(context, `has the host end '${name}', not '${hostEnd}'`)
}

/** Changes differences in place, so that traffic continues. */
function planVethUpdate(context: AttachContext, setup: PortSetup): Plan {
  const { inGuest, hostEnd } = context.facts
  if (inGuest === undefined || hostEnd === undefined) return []
  return [...planHostEndUpdate(context, hostEnd, setup), ...planGuestEndUpdate(context, inGuest)]
}

function planHostEndUpdate(context: AttachContext, { name, up, mtu, master, alias }: HostLink, setup: PortSetup): Plan {
  const { hostEnd: wanted = name } = context.request
  const wantedMtu = mtuOnBridge(context)
  const record = transitionalRecord(context)
  return planSteps(
    wanted !== name && planRename({ name, up }, wanted),
    setup.master !== undefined &&
      master !== setup.master && {
        description: `move ${wanted} to ${setup.master}`,
        command: ip`link set dev ${wanted} master ${setup.master}`,
        undo: [
          ip`link set dev ${wanted} ${master === undefined ? ['nomaster'] : ['master', master]}`,
          ...setup.restorePortVlans(wanted),
        ],
      },
    setup.planPortVlans(wanted),
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
      // A link that a killed run left has no alias to restore.
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
