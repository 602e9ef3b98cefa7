import { PipeworkError } from '../model/errors'
import { type Command, guestNetns, type IpCommand, ip, ipInGuest, type Plan, rows } from '../plan/step'
import type { GuestLink } from '../state/guest'
import type { HostLink } from '../state/host-links'
import { formatGuest } from '../state/record'
import {
  convergeMac,
  mtuOnBridge,
  recordOf,
  refuseForeign,
  refuseMtu,
  refuseRemake,
  toInterimRecord,
  toRecord,
} from './claim'
import type { Context } from './types'

/** What the host end hangs on, as far as `ip` and `bridge` can tell it to. */
export interface Seat {
  readonly master?: string
  /** The steps that give the port of that name its VLANs. */
  planPort(name: string): Plan
  /** What a port loses when it changes its master, given back. */
  restorePort(name: string): readonly Command[]
}

/** `ethtool -K` in the guest, as a line of the host's batch. */
export function setOffload(ifname: string, state: 'on' | 'off'): IpCommand {
  return ip`netns exec ${guestNetns} ethtool -K ${ifname} tx ${state}`
}

/** A veth pair between the host and the guest: made, or changed into what is wanted. */
export function planVeth(context: Context, seat: Seat): Plan {
  refuseMtu(context)
  const plan = context.facts.hostEnd === undefined ? makeVeth(context, seat) : convergeVeth(context, seat)
  return [...plan, ...planOffload(context)]
}

/** Whether checksums are left to whoever sends the packets on: some switches in userspace do not complete them. */
function planOffload({ request, facts: { offload, inGuest } }: Context): Plan {
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
      why: `turn the checksum offload of ${ifname} ${txOffload}`,
      command: setOffload(ifname, txOffload),
      undo: inGuest === undefined || live === undefined ? undefined : setOffload(ifname, live),
    },
  ]
}

/** Both ends are born with name, MAC address and MTU, the one in the bridge, the other in the guest; or not at all. */
function makeVeth(context: Context, { master, planPort }: Seat): Plan {
  const { request, guest, facts } = context
  refuseForeign(context)
  refuseNameTaken(context)
  const name = request.hostEnd ?? facts.hostEndName
  const mtu = mtuOnBridge(context)
  const orphan = facts.nameTaken
  return rows(
    orphan !== undefined && {
      why: `remove ${orphan.name}, left from an earlier life of ${guest.name}`,
      command: ip`link del dev ${orphan.name}`,
    },
    {
      why: `connect ${request.ifname} in ${guest.name} to ${request.hostif}`,
      command: ip`link add dev ${name} mtu ${mtu} ${master !== undefined && ['master', master]} type veth peer name ${request.ifname} address ${facts.mac} mtu ${mtu} netns ${guestNetns}`,
      undo: ip`link del dev ${name}`,
    },
    // Before the port is up, so that no frame of the guest gets into the default VLAN.
    planPort(name).map(({ undo, ...step }) => step),
    {
      why: `record the attachment on ${name}`,
      command: ip`link set dev ${name} alias ${toRecord(context)}`,
    },
    {
      why: `bring ${name} up`,
      command: ip`link set dev ${name} up`,
    },
  )
}

/** Refuses a name for the host end that belongs to something else, or to this very link under another name. */
function refuseNameTaken({ request, guest, facts: { nameTaken, takenPeer, renamed } }: Context): void {
  if (nameTaken === undefined) return
  const record = recordOf({ hostEnd: nameTaken })
  const same = record?.guest.kind === guest.kind && record.guest.name === guest.name && record.ifname === request.ifname
  if (takenPeer !== undefined && same)
    throw new PipeworkError(
      `'${request.ifname}' of '${guest.name}' was renamed inside the guest: it is '${takenPeer}' there`,
      { hint: `Rename it back, or take it away first: pipework disconnect ${formatGuest(guest)} ${request.ifname}` },
    )
  if (renamed !== undefined)
    throw new PipeworkError(
      `'${request.ifname}' of '${renamed}' was made when that was called '${guest.name}', and has the host end '${nameTaken.name}'`,
      {
        hint: `It goes by its old name yet. Take it away first: pipework disconnect ${formatGuest(guest)} ${request.ifname}`,
      },
    )
  if (!same)
    throw new PipeworkError(`the host already has an interface '${nameTaken.name}'`, {
      hint: record
        ? `It is the host end of ${record.ifname} in ${record.guest.name}. Choose another with -l NAME.`
        : 'Choose another name for the host end with -l NAME.',
    })
}

/** True when the link is ours: by its record, or a half-made one of a killed run by the name that we give. */
function isOurs({ request, facts }: Context, hostEnd: HostLink): boolean {
  if (hostEnd.record !== undefined) return true
  return hostEnd.alias === undefined && hostEnd.name === (request.hostEnd ?? facts.hostEndName)
}

function refuseDifferent(context: Context, { name, master }: HostLink, seat: Seat): void {
  const { hostif, hostEnd } = context.request
  if (seat.master !== undefined && master !== undefined && master !== seat.master)
    refuseRemake(context, `is on '${master}', not on '${hostif}'`)
  if (hostEnd !== undefined && hostEnd !== name) refuseRemake(context, `has the host end '${name}', not '${hostEnd}'`)
}

/** What differs on a link that is there already is changed in place, so that its traffic goes on. */
function convergeVeth(context: Context, seat: Seat): Plan {
  const { inGuest, hostEnd } = context.facts
  if (inGuest === undefined || hostEnd === undefined) return []
  if (!isOurs(context, hostEnd)) refuseForeign(context)
  refuseDifferent(context, hostEnd, seat)
  return [...convergeHostEnd(context, hostEnd, seat), ...convergeGuestEnd(context, inGuest)]
}

function convergeHostEnd(context: Context, { name, up, mtu, master, alias }: HostLink, seat: Seat): Plan {
  const { hostEnd: wanted = name } = context.request
  const wantedMtu = mtuOnBridge(context)
  const record = toInterimRecord(context)
  return rows(
    wanted !== name && rename({ name, up }, wanted),
    seat.master !== undefined &&
      master !== seat.master && {
        why: `move ${wanted} to ${seat.master}`,
        command: ip`link set dev ${wanted} master ${seat.master}`,
        undo: [
          ip`link set dev ${wanted} ${master === undefined ? ['nomaster'] : ['master', master]}`,
          ...seat.restorePort(wanted),
        ],
      },
    seat.planPort(wanted),
    mtu !== wantedMtu && {
      why: `set the MTU of ${wanted} to ${wantedMtu}`,
      command: ip`link set dev ${wanted} mtu ${wantedMtu}`,
      undo: ip`link set dev ${wanted} mtu ${mtu}`,
    },
    (!up || wanted !== name) && {
      why: `bring ${wanted} up`,
      command: ip`link set dev ${wanted} up`,
      undo: up ? undefined : ip`link set dev ${wanted} down`,
    },
    alias !== record && {
      why: `record the attachment on ${wanted}`,
      command: ip`link set dev ${wanted} alias ${record}`,
      // An empty alias cannot be a word of ip -batch; a half-made link of a killed run has none to put back.
      undo: alias === undefined ? undefined : ip`link set dev ${wanted} alias ${alias}`,
    },
  )
}

/** A link that is up cannot be renamed. */
function rename({ name, up }: Pick<HostLink, 'name' | 'up'>, wanted: string): Plan {
  return [
    {
      why: `take ${name} down to rename it`,
      command: ip`link set dev ${name} down`,
      undo: up ? ip`link set dev ${name} up` : undefined,
    },
    {
      why: `rename ${name}`,
      command: ip`link set dev ${name} name ${wanted}`,
      undo: [ip`link set dev ${wanted} down`, ip`link set dev ${wanted} name ${name}`],
    },
  ]
}

function convergeGuestEnd(context: Context, { mtu, mac }: GuestLink): Plan {
  const { request } = context
  const { ifname } = request
  const wantedMtu = request.mtu ?? request.dhcp.mtu ?? mtuOnBridge(context)
  return rows(
    mtu !== wantedMtu && {
      why: `set the MTU of ${ifname} to ${wantedMtu}`,
      command: ipInGuest`link set dev ${ifname} mtu ${wantedMtu}`,
      undo: ipInGuest`link set dev ${ifname} mtu ${mtu}`,
    },
    convergeMac(context, mac),
  )
}
