import { PipeworkError } from '../model/errors'
import { fnv1aHash } from '../model/hash'
import { formatLinkRecord } from '../network/link-record'
import { restoreRouteCommands } from '../network/routes'
import {
  type Command,
  type CommandWord,
  emptyWord,
  guestNetns,
  hostNetns,
  ip,
  ipInGuest,
  type Plan,
  planSteps,
  type RunCommand,
  sysctlInGuest,
} from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import { findLinkRecord } from '../state/attach-facts'
import { type GuestLink, type GuestRoute, toAddrAddArgs } from '../state/guest'
import type { HostLink } from '../state/host-links'
import { type SavedLink, savedLinkFile } from '../state/saved-link'
import type { Driver, LinkRemoval } from './types'
import { planMacChange, planMtuChange, planRecordChange } from './update-link'
import { validateMtu, validateNoForeignLink, validateTxOffload } from './validate'

/**
 * The NIC itself, moved into the guest, for example an SR-IOV function. The kernel takes it down and drops its addresses
 * and routes, so these are saved first and restored when it comes back.
 */
export const physDriver: Driver = {
  hasFixedMac: true,

  matches: ({ request }) => request.direct,

  validate: (context) => {
    validatePhysOptions(context)
    validateMtu(context)
    validateTxOffload(context, 'a NIC in a guest')
    const { inGuest, nicOtherName } = context.facts
    if (inGuest === undefined && nicOtherName === undefined) validateNic(context, requireNic(context))
    if (inGuest !== undefined && findLinkRecord(context.facts)?.nic === undefined) validateNoForeignLink(context)
  },

  plan: (context) => {
    const { inGuest, nicOtherName } = context.facts
    if (inGuest !== undefined) return planNicUpdate(context, inGuest)
    return nicOtherName === undefined
      ? planMoveIn(context, requireNic(context))
      : renameInGuest(context, nicOtherName.name)
  },

  planRemoval: planBringNicBack,

  incompatibility: ({ request }, { record }) =>
    record?.kind === 'link' && record.nic !== undefined && record.hostif === request.hostif
      ? undefined
      : `is not the NIC '${request.hostif}'`,
}

function validatePhysOptions({ request }: AttachContext): void {
  if (request.hostEnd !== undefined)
    throw new PipeworkError(`-l '${request.hostEnd}': a NIC in a guest has no host end`, { hint: 'Leave -l out.' })
  if (request.vlan !== undefined)
    throw new PipeworkError(`'${request.hostif}' cannot be moved as a whole and be on a VLAN`, {
      hint: 'Leave --direct-phys out: a macvlan on the VLAN needs no NIC of its own.',
    })
}

/** A NIC of the host, and its configuration. */
interface HostNic {
  readonly link: HostLink
  readonly savedNic: SavedLink
}

function requireNic(context: AttachContext): HostNic {
  const { hostif: link, savedNic } = context.facts
  if (link === undefined || savedNic === undefined) throw missingNicError(context)
  return { link, savedNic }
}

/** The name under which a NIC changes sides: its own may belong to another link there. */
function transitName(nic: string): string {
  return `pw${fnv1aHash(nic).slice(0, 10)}`
}

function validateNic({ request, facts }: AttachContext, { link, savedNic }: HostNic): void {
  const { name, kind, master } = link
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
  if (savedNic.routes.some(({ dst }) => dst === 'default') && !request.force)
    throw new PipeworkError(`'${name}' has this host's default route`, {
      hint: 'You may lose the connection to this host. To move it anyway: --force.',
    })
}

function missingNicError({ request: { hostif }, facts: { nicElsewhere } }: AttachContext): PipeworkError {
  return nicElsewhere === undefined
    ? new PipeworkError(`there is no NIC '${hostif}' on this host`, { hint: 'List the interfaces: ip -br link' })
    : new PipeworkError(`the NIC '${hostif}' is in '${nicElsewhere.guest}'`, {
        hint: `Bring it back first: pipework disconnect ${nicElsewhere.guest}`,
      })
}

function planMoveIn(context: AttachContext, { link, savedNic }: HostNic): Plan {
  const { guest, facts } = context
  const travel = transitName(savedNic.name)
  return planSteps(
    // One that fell back from a guest that ended, or a killed run, is written down already.
    !facts.isNicSaved && {
      description: `write down how ${savedNic.name} is, to bring it back so`,
      command: { kind: 'file', in: 'host', path: savedLinkFile(savedNic.name), text: JSON.stringify(savedNic) },
      undo: { kind: 'file', in: 'host', path: savedLinkFile(savedNic.name) },
    },
    {
      description: `record the attachment on ${link.name}`,
      command: ip`link set dev ${link.name} alias ${formatLinkRecord(context, savedNic.name)}`,
      undo: ip`link set dev ${link.name} alias ${link.alias ?? emptyWord}`,
    },
    link.up && {
      description: `take ${link.name} down`,
      command: ip`link set dev ${link.name} down`,
      undo: facts.isNicSaved ? ip`link set dev ${link.name} up` : restoreNicCommands(savedNic),
    },
    link.name !== travel && {
      description: `give ${link.name} a name that nobody has`,
      command: ip`link set dev ${link.name} name ${travel}`,
      undo: ip`link set dev ${travel} name ${link.name}`,
    },
    {
      description: `move ${savedNic.name} into ${guest.name}`,
      command:
        savedNic.phy === undefined
          ? ip`link set dev ${travel} netns ${guestNetns}`
          : movePhyCommand('host', savedNic.phy),
      undo:
        savedNic.phy === undefined
          ? ipInGuest`link set dev ${travel} netns ${hostNetns}`
          : movePhyCommand('guest', savedNic.phy),
    },
    renameInGuest(context, travel),
  )
}

/** A wireless NIC changes sides with its radio, and with all that hang on that; `iw` does it, on the side it is on. */
function movePhyCommand(from: 'host' | 'guest', phy: string): RunCommand {
  const to: readonly CommandWord[] = from === 'host' ? ['name', guestNetns] : [hostNetns]
  return { kind: 'run', in: from, argv: ['iw', phy, 'set', 'netns', ...to] }
}

/** The NIC is in the guest: its name there, and what was asked for. */
function renameInGuest(context: AttachContext, name: string): Plan {
  const { request, facts } = context
  const { ifname } = request
  const before = facts.savedNic?.mac ?? facts.nicOtherName?.mac
  const mtu = facts.nicOtherName?.mtu ?? facts.hostif?.mtu
  return planSteps(
    {
      description: `call it ${ifname} there`,
      command: ipInGuest`link set dev ${name} name ${ifname}`,
      undo: [ipInGuest`link set dev ${ifname} down`, ipInGuest`link set dev ${ifname} name ${name}`],
    },
    mtu !== undefined && planMtuChange(context, mtu, facts.savedNic?.mtu),
    request.mac !== undefined &&
      before !== facts.mac && {
        description: `set the MAC address of ${ifname}`,
        command: ipInGuest`link set dev ${ifname} address ${facts.mac}`,
        undo: before === undefined ? undefined : ipInGuest`link set dev ${ifname} address ${before}`,
      },
  )
}

function planNicUpdate(context: AttachContext, link: GuestLink): Plan {
  const { facts } = context
  const nic = findLinkRecord(facts)?.nic
  return [
    ...planMtuChange(context, link.mtu, facts.savedNic?.mtu),
    ...planMacChange(context, link.mac),
    ...planRecordChange(context, link, nic),
  ]
}

/**
 * The NIC comes back into the host. Its record is in the guest, which can write there. So the guest must be the one that
 * got the NIC, and the link must be of the NIC's kind.
 */
function planBringNicBack({ attachment, savedNic, guestState, sysctls }: LinkRemoval): Plan {
  const { record, hostEnd, inGuest } = attachment
  const guest = `${record.guest.kind}:${record.guest.name}`
  if (savedNic === undefined || savedNic.guest !== guest || (inGuest !== undefined && inGuest.kind !== savedNic.kind))
    throw new PipeworkError(
      `'${record.ifname}' of '${record.guest.name}' is not the NIC '${record.nic}' of this host`,
      { hint: 'Its record was changed inside the guest. Nothing was moved.' },
    )
  const routes = guestState?.routes.filter(({ dev, protocol }) => dev === inGuest?.name && protocol !== 'kernel') ?? []
  if (inGuest !== undefined) return planNicReturn(savedNic, { inGuest, routes, sysctls })
  return hostEnd === undefined ? [] : planNicReturn(savedNic, { inHost: hostEnd })
}

/** The NIC in the host as it was: up, with its addresses and routes, as far as it had them. */
function restoreNicCommands({ name, up, addresses, routes }: SavedLink): readonly Command[] {
  return [
    ...(up ? [ip`link set dev ${name} up`] : []),
    ...addresses.map((words) => ip`addr replace ${words} dev ${name}`),
    ...routes.map(
      ({ family, dst, words }) => ip`route replace ${dst === 'default' && family === 6 ? '::/0' : dst} ${words}`,
    ),
  ]
}

/** A NIC in the guest, and what goes with it when it leaves: the routes over it, its sysctls. */
interface NicInGuest {
  readonly inGuest: GuestLink
  readonly routes: readonly GuestRoute[]
  readonly sysctls: Readonly<Record<string, string>>
}

/** Where a NIC is that is to come back: in the guest, or already in the host, because the guest ended. */
export type NicLocation = NicInGuest | { readonly inHost: HostLink }

/** The steps that bring a NIC back: out of the guest when it is there, then under its own name, with what it had. */
export function planNicReturn(nic: SavedLink, place: NicLocation): Plan {
  const travel = transitName(nic.name)
  const link = 'inGuest' in place ? place.inGuest : place.inHost
  const arrived = 'inGuest' in place ? travel : link.name
  return planSteps(
    'inGuest' in place ? planMoveOut(place, nic.phy, travel) : planLinkDown(place.inHost),
    arrived !== nic.name && {
      description: `call it ${nic.name} again`,
      command: ip`link set dev ${arrived} name ${nic.name}`,
      undo: [ip`link set dev ${nic.name} down`, ip`link set dev ${nic.name} name ${arrived}`],
    },
    (link.mtu !== nic.mtu || link.mac !== nic.mac) && {
      description: `give ${nic.name} its MTU and MAC address back`,
      command: ip`link set dev ${nic.name} mtu ${nic.mtu} address ${nic.mac}`,
      undo: ip`link set dev ${nic.name} mtu ${link.mtu} address ${link.mac}`,
    },
    {
      description: `take the record from ${nic.name}`,
      command: ip`link set dev ${nic.name} alias ${nic.alias ?? emptyWord}`,
      undo: ip`link set dev ${nic.name} alias ${link.alias ?? emptyWord}`,
    },
    // On the way back into the guest they would go by themselves.
    restoreNicCommands(nic).map((command) => ({ description: `give ${nic.name} back what it had`, command })),
    {
      description: `forget how ${nic.name} was`,
      command: { kind: 'file', in: 'host', path: savedLinkFile(nic.name) },
      undo: { kind: 'file', in: 'host', path: savedLinkFile(nic.name), text: JSON.stringify(nic) },
    },
  )
}

function planLinkDown({ name, up }: HostLink): Plan {
  return up
    ? [{ description: `take ${name} down`, command: ip`link set dev ${name} down`, undo: ip`link set dev ${name} up` }]
    : []
}

function planMoveOut({ inGuest, routes, sysctls }: NicInGuest, phy: string | undefined, travel: string): Plan {
  const { name, up, addresses } = inGuest
  const back = addresses
    .filter(({ automatic }) => !automatic)
    .map((address) => ipInGuest`addr replace ${toAddrAddArgs(address)} dev ${name}`)
  return [
    {
      description: `take ${name} down in the guest`,
      command: ipInGuest`link set dev ${name} down`,
      undo: [
        ...(Object.keys(sysctls).length === 0 ? [] : [sysctlInGuest(sysctls)]),
        ...(up ? [ipInGuest`link set dev ${name} up`] : []),
        ...back,
        ...restoreRouteCommands(routes),
      ],
    },
    {
      description: `give ${name} a name that nobody has`,
      command: ipInGuest`link set dev ${name} name ${travel}`,
      undo: ipInGuest`link set dev ${travel} name ${name}`,
    },
    {
      description: 'move it back into the host',
      command: phy === undefined ? ipInGuest`link set dev ${travel} netns ${hostNetns}` : movePhyCommand('guest', phy),
      undo: phy === undefined ? ip`link set dev ${travel} netns ${guestNetns}` : movePhyCommand('host', phy),
    },
  ]
}
