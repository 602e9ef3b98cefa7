import { fingerprint } from '../model/address'
import { PipeworkError } from '../model/errors'
import {
  type Command,
  guestNetns,
  hostNetns,
  ip,
  ipInGuest,
  nothing,
  type Plan,
  type RunCommand,
  rows,
  sysctlInGuest,
  type Word,
} from '../plan/step'
import { type GuestLink, type Route, toAddrWords } from '../state/guest'
import type { HostLink } from '../state/host-links'
import { type NicState, nicFile } from '../state/saved-link'
import {
  convergeMac,
  convergeMtu,
  convergeRecord,
  recordOf,
  refuseForeign,
  refuseMtu,
  refuseOffload,
  restoreRoutes,
  toRecord,
} from './claim'
import type { Context, LinkKind } from './types'

/**
 * The NIC itself, moved into the guest: for SR-IOV functions, or to have all of it. A move takes a NIC down and its
 * addresses and routes from it, so that they are written down first and come back with it.
 */
export const phys: LinkKind = {
  misfit: ({ request }, { record }) =>
    record?.kind === 'link' && record.nic !== undefined && record.hostif === request.hostif
      ? undefined
      : `is not the NIC '${request.hostif}'`,

  plan: (context) => {
    const { request, facts } = context
    if (request.hostEnd !== undefined)
      throw new PipeworkError(`-l '${request.hostEnd}': a NIC in a guest has no end in the host that could be named`, {
        hint: 'Leave -l out.',
      })
    if (request.vlan !== undefined)
      throw new PipeworkError(`'${request.hostif}' cannot be moved as a whole and be on a VLAN`, {
        hint: 'Leave --direct-phys out: a macvlan on the VLAN needs no NIC of its own.',
      })
    refuseMtu(context)
    refuseOffload(context, 'a NIC in a guest')
    if (facts.inGuest !== undefined) return convergeNic(context, facts.inGuest)
    return facts.parked === undefined ? moveIn(context) : settle(context, facts.parked.name)
  },
}

/** The name under which a NIC changes sides: its own may belong to another link there. */
function travelName(nic: string): string {
  return `pw${fingerprint(nic).slice(0, 10)}`
}

function refuse({ request, facts }: Context, { name, kind, master }: HostLink, nic: NicState): void {
  if (kind === 'bridge' || kind === 'loopback')
    throw new PipeworkError(`'${name}' is a ${kind} and no NIC`, { hint: 'Leave --direct-phys out.' })
  if (master !== undefined)
    throw new PipeworkError(`'${name}' is a port of '${master}'`, {
      hint: `Take it out first: ip link set dev ${name} nomaster`,
    })
  if (facts.lacksIw)
    throw new PipeworkError(`'${name}' is wireless, and 'iw', which moves it with its radio, is not installed`, {
      hint: 'Install it: apt install iw',
    })
  if (nic.routes.some(({ dst }) => dst === 'default') && !request.force)
    throw new PipeworkError(`'${name}' is this host's way to its default gateway`, {
      hint: 'Without it you may lose the host. To move it all the same: --force.',
    })
}

function noNic({ request: { hostif }, facts: { away } }: Context): PipeworkError {
  return away === undefined
    ? new PipeworkError(`there is no NIC '${hostif}' on this host`, { hint: 'See what there is: ip -br link' })
    : new PipeworkError(`the NIC '${hostif}' is in '${away.guest}'`, {
        hint: `Bring it back first: pipework disconnect ${away.guest}`,
      })
}

function moveIn(context: Context): Plan {
  const { guest, facts } = context
  const { hostif: link, nic } = facts
  if (link === undefined || nic === undefined) throw noNic(context)
  refuse(context, link, nic)
  const travel = travelName(nic.name)
  return rows(
    // One that fell back from a guest that ended, or a killed run, is written down already.
    !facts.nicIsKept && {
      why: `write down how ${nic.name} is, to bring it back so`,
      command: { kind: 'file', in: 'host', path: nicFile(nic.name), text: JSON.stringify(nic) },
      undo: { kind: 'file', in: 'host', path: nicFile(nic.name) },
    },
    {
      why: `record the attachment on ${link.name}`,
      command: ip`link set dev ${link.name} alias ${toRecord(context, nic.name)}`,
      undo: ip`link set dev ${link.name} alias ${link.alias ?? nothing}`,
    },
    link.up && {
      why: `take ${link.name} down`,
      command: ip`link set dev ${link.name} down`,
      undo: facts.nicIsKept ? ip`link set dev ${link.name} up` : restoreNic(nic),
    },
    link.name !== travel && {
      why: `give ${link.name} a name that nobody has`,
      command: ip`link set dev ${link.name} name ${travel}`,
      undo: ip`link set dev ${travel} name ${link.name}`,
    },
    {
      why: `move ${nic.name} into ${guest.name}`,
      command: nic.phy === undefined ? ip`link set dev ${travel} netns ${guestNetns}` : movePhy('host', nic.phy),
      undo: nic.phy === undefined ? ipInGuest`link set dev ${travel} netns ${hostNetns}` : movePhy('guest', nic.phy),
    },
    settle(context, travel),
  )
}

/** A wireless NIC changes sides with its radio, and with all that hang on that; `iw` does it, on the side it is on. */
function movePhy(from: 'host' | 'guest', phy: string): RunCommand {
  const to: readonly Word[] = from === 'host' ? ['name', guestNetns] : [hostNetns]
  return { kind: 'run', in: from, argv: ['iw', phy, 'set', 'netns', ...to] }
}

/** The NIC is in the guest: its name there, and what was asked for. */
function settle(context: Context, name: string): Plan {
  const { request, facts } = context
  const { ifname } = request
  const before = facts.nic?.mac ?? facts.parked?.mac
  const mtu = facts.parked?.mtu ?? facts.hostif?.mtu
  return rows(
    {
      why: `call it ${ifname} there`,
      command: ipInGuest`link set dev ${name} name ${ifname}`,
      undo: [ipInGuest`link set dev ${ifname} down`, ipInGuest`link set dev ${ifname} name ${name}`],
    },
    mtu !== undefined && convergeMtu(context, mtu, facts.nic?.mtu),
    request.mac !== undefined &&
      before !== facts.mac && {
        why: `set the MAC address of ${ifname}`,
        command: ipInGuest`link set dev ${ifname} address ${facts.mac}`,
        undo: before === undefined ? undefined : ipInGuest`link set dev ${ifname} address ${before}`,
      },
  )
}

function convergeNic(context: Context, link: GuestLink): Plan {
  const { facts } = context
  const nic = recordOf(facts)?.nic
  if (nic === undefined) refuseForeign(context)
  return [
    ...convergeMtu(context, link.mtu, facts.nic?.mtu),
    ...convergeMac(context, link.mac),
    ...convergeRecord(context, link, nic),
  ]
}

/** The NIC in the host as it was: up, with its addresses and routes, as far as it had them. */
function restoreNic({ name, up, addresses, routes }: NicState): readonly Command[] {
  return [
    ...(up ? [ip`link set dev ${name} up`] : []),
    ...addresses.map((words) => ip`addr replace ${words} dev ${name}`),
    ...routes.map(
      ({ family, dst, words }) => ip`route replace ${dst === 'default' && family === 6 ? '::/0' : dst} ${words}`,
    ),
  ]
}

/** A NIC in the guest, and what goes with it when it leaves: the routes over it, its sysctls. */
interface InGuest {
  readonly inGuest: GuestLink
  readonly routes: readonly Route[]
  readonly sysctls: Readonly<Record<string, string>>
}

/** Where a NIC is that is to come back: in the guest, or already in the host, because the guest ended. */
export type NicPlace = InGuest | { readonly inHost: HostLink }

/** The steps that bring a NIC back: out of the guest when it is there, then under its own name, with what it had. */
export function planNicReturn(nic: NicState, place: NicPlace): Plan {
  const travel = travelName(nic.name)
  const link = 'inGuest' in place ? place.inGuest : place.inHost
  const arrived = 'inGuest' in place ? travel : link.name
  return rows(
    'inGuest' in place ? moveOut(place, nic.phy, travel) : takeDown(place.inHost),
    arrived !== nic.name && {
      why: `call it ${nic.name} again`,
      command: ip`link set dev ${arrived} name ${nic.name}`,
      undo: [ip`link set dev ${nic.name} down`, ip`link set dev ${nic.name} name ${arrived}`],
    },
    (link.mtu !== nic.mtu || link.mac !== nic.mac) && {
      why: `give ${nic.name} its MTU and MAC address back`,
      command: ip`link set dev ${nic.name} mtu ${nic.mtu} address ${nic.mac}`,
      undo: ip`link set dev ${nic.name} mtu ${link.mtu} address ${link.mac}`,
    },
    {
      why: `take the record from ${nic.name}`,
      command: ip`link set dev ${nic.name} alias ${nic.alias ?? nothing}`,
      undo: ip`link set dev ${nic.name} alias ${link.alias ?? nothing}`,
    },
    // On the way back into the guest they would go by themselves.
    restoreNic(nic).map((command) => ({ why: `give ${nic.name} back what it had`, command })),
    {
      why: `forget how ${nic.name} was`,
      command: { kind: 'file', in: 'host', path: nicFile(nic.name) },
      undo: { kind: 'file', in: 'host', path: nicFile(nic.name), text: JSON.stringify(nic) },
    },
  )
}

function takeDown({ name, up }: HostLink): Plan {
  return up
    ? [{ why: `take ${name} down`, command: ip`link set dev ${name} down`, undo: ip`link set dev ${name} up` }]
    : []
}

function moveOut({ inGuest, routes, sysctls }: InGuest, phy: string | undefined, travel: string): Plan {
  const { name, up, addresses } = inGuest
  const back = addresses
    .filter(({ automatic }) => !automatic)
    .map((address) => ipInGuest`addr replace ${toAddrWords(address)} dev ${name}`)
  return [
    {
      why: `take ${name} down in the guest`,
      command: ipInGuest`link set dev ${name} down`,
      undo: [
        ...(Object.keys(sysctls).length === 0 ? [] : [sysctlInGuest(sysctls)]),
        ...(up ? [ipInGuest`link set dev ${name} up`] : []),
        ...back,
        ...restoreRoutes(routes),
      ],
    },
    {
      why: `give ${name} a name that nobody has`,
      command: ipInGuest`link set dev ${name} name ${travel}`,
      undo: ipInGuest`link set dev ${travel} name ${name}`,
    },
    {
      why: 'move it back into the host',
      command: phy === undefined ? ipInGuest`link set dev ${travel} netns ${hostNetns}` : movePhy('guest', phy),
      undo: phy === undefined ? ip`link set dev ${travel} netns ${guestNetns}` : movePhy('host', phy),
    },
  ]
}
