import { PipeworkError } from '../model/errors'
import { fnv1aHash } from '../model/hash'
import { formatLinkRecord } from '../network/link-record'
import { planMoveConfig, toRestoreCommands } from '../network/move-config'
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
  type Step,
  sysctlInGuest,
} from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import { findLinkRecord } from '../state/attach-facts'
import { type GuestLink, type GuestRoute, toAddrAddArgs } from '../state/guest'
import type { HostState } from '../state/host'
import type { HostLink } from '../state/host-links'
import { isSameNic } from '../state/nic-device'
import { formatSavedNic, type SavedNic, savedNicFile } from '../state/saved-link'
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
  readonly savedNic: SavedNic
}

function requireNic(context: AttachContext): HostNic {
  const { hostif: link, savedNic } = context.facts
  if (link === undefined || savedNic === undefined) throw missingNicError(context)
  return { link, savedNic }
}

/** A temporary name for the move: the other namespace may have a link with the NIC's own name. */
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
  const [unsupported] = facts.nicUnsupported ?? []
  if (unsupported !== undefined)
    throw new PipeworkError(`'${name}' has something that could not be restored: ${unsupported}`, {
      hint: 'Remove that first, and add it again when the NIC is back.',
    })
  const hasDefaultRoute = savedNic.items.some((it) => it.isDefault && / table main( |$)/.test(`${it.routeKey} `))
  if (hasDefaultRoute && !request.force)
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
  const transit = transitName(savedNic.name)
  return planSteps(
    {
      description: `save what ${savedNic.name} has`,
      command: saveNic(savedNic),
      undo: facts.nicFile === undefined ? forgetNic(savedNic) : saveNic(facts.nicFile),
    },
    {
      description: `record the attachment on ${link.name}`,
      command: ip`link set dev ${link.name} alias ${formatLinkRecord(context, savedNic.name)}`,
      undo: ip`link set dev ${link.name} alias ${link.alias ?? emptyWord}`,
    },
    link.up && {
      description: `take ${link.name} down`,
      command: ip`link set dev ${link.name} down`,
      // A NIC that returned from another guest has already lost its configuration.
      undo: facts.nicFile === undefined ? restoreNicCommands(savedNic) : ip`link set dev ${link.name} up`,
    },
    link.name !== transit && {
      description: `give ${link.name} a unique name`,
      command: ip`link set dev ${link.name} name ${transit}`,
      // In another namespace the link's sysctls start from that namespace's defaults.
      undo: [ip`link set dev ${transit} name ${link.name}`, ...restoreSysctls(savedNic)],
    },
    {
      description: `move ${savedNic.name} into ${guest.name}`,
      command:
        savedNic.phy === undefined
          ? ip`link set dev ${transit} netns ${guestNetns}`
          : movePhyCommand('host', savedNic.phy),
      undo:
        savedNic.phy === undefined
          ? ipInGuest`link set dev ${transit} netns ${hostNetns}`
          : movePhyCommand('guest', savedNic.phy),
    },
    renameInGuest(context, transit),
  )
}

/**
 * A wireless NIC moves with its radio and all interfaces of that radio; `iw` must run in the namespace that they leave.
 */
function movePhyCommand(from: 'host' | 'guest', phy: string): RunCommand {
  const to: readonly CommandWord[] = from === 'host' ? ['name', guestNetns] : [hostNetns]
  return { kind: 'run', in: from, argv: ['iw', phy, 'set', 'netns', ...to] }
}

/** Renames the NIC in the guest and applies the requested settings. */
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
 * Returns the NIC to the host. The guest can write an alias: so the saved state must name this guest and this device.
 */
function planBringNicBack({ attachment, savedNic, hostState, guestState, sysctls }: LinkRemoval): Plan {
  const { record, hostEnd, inGuest } = attachment
  const guest = `${record.guest.kind}:${record.guest.name}`
  const isElsewhere = savedNic?.netns !== undefined && (guestState?.netns ?? savedNic.netns) !== savedNic.netns
  const isOther = inGuest !== undefined && savedNic !== undefined && (isElsewhere || !isSameNic(savedNic, inGuest))
  if (savedNic === undefined || savedNic.guest !== guest || isOther)
    throw new PipeworkError(
      `'${record.ifname}' of '${record.guest.name}' is not the NIC '${record.nic}' of this host`,
      { hint: 'Its record was changed inside the guest. Nothing was moved.' },
    )
  const routes = guestState?.routes.filter(({ dev, protocol }) => dev === inGuest?.name && protocol !== 'kernel') ?? []
  if (inGuest !== undefined) return planNicReturn(savedNic, { inGuest, routes, sysctls }, hostState)
  return hostEnd === undefined ? [] : planNicReturn(savedNic, { inHost: hostEnd }, hostState)
}

const saveNic = (nic: SavedNic): Command => ({
  ...{ kind: 'file', in: 'host', path: savedNicFile(nic.name) },
  text: formatSavedNic(nic),
})

const forgetNic = (nic: SavedNic): Command => ({ kind: 'file', in: 'host', path: savedNicFile(nic.name) })

const restoreSysctls = ({ sysctls }: SavedNic): readonly Command[] =>
  sysctls.length === 0 ? [] : [{ kind: 'run', in: 'host', argv: ['sysctl', '-qw', ...sysctls] }]

/** Restores the NIC's configuration and brings it up: the inverse of taking it down. */
function restoreNicCommands({ name, addrGenMode, items }: SavedNic): readonly Command[] {
  const mode = (word: string) => (addrGenMode === undefined ? [] : [ip`link set dev ${name} addrgenmode ${word}`])
  return [...mode('none'), ip`link set dev ${name} up`, ...toRestoreCommands(items, name), ...mode(addrGenMode ?? '')]
}

/** A NIC in the guest, with the routes and sysctls that it loses when it leaves. */
interface NicInGuest {
  readonly inGuest: GuestLink
  readonly routes: readonly GuestRoute[]
  readonly sysctls: Readonly<Record<string, string>>
}

/** Where the NIC is: in the guest, or in the host again because the guest has stopped. */
export type NicLocation = NicInGuest | { readonly inHost: HostLink }

/** The steps that bring a NIC back to the host, under its own name and with its configuration. */
function planNicReturn(nic: SavedNic, location: NicLocation, hostState: HostState | undefined): Plan {
  const transit = transitName(nic.name)
  const link = 'inGuest' in location ? location.inGuest : location.inHost
  const arrived = 'inGuest' in location ? transit : link.name
  return planSteps(
    'inGuest' in location ? planMoveOut(location, nic.phy, transit) : planLinkDown(location.inHost),
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
    planAltnames(nic, currentAltnames(location, hostState)),
    {
      description: `clear the record on ${nic.name}`,
      command: ip`link set dev ${nic.name} alias ${nic.alias ?? emptyWord}`,
      undo: ip`link set dev ${nic.name} alias ${link.alias ?? emptyWord}`,
    },
    planNicConfig(nic, location, hostState),
    { description: `forget what ${nic.name} had`, command: forgetNic(nic), undo: saveNic(nic) },
  )
}

function currentAltnames(location: NicLocation, hostState: HostState | undefined): readonly string[] {
  if ('inGuest' in location) return location.inGuest.altnames ?? []
  return hostState?.links.get(location.inHost.name)?.altnames ?? []
}

/** Restores its alternative names; the guest may have changed them. */
function planAltnames({ name, altnames }: SavedNic, current: readonly string[]): Plan {
  const add = (altname: string) => ip`link property add dev ${name} altname ${altname}`
  const del = (altname: string) => ip`link property del dev ${name} altname ${altname}`
  return [
    ...current
      .filter((it) => !altnames.includes(it))
      .map((it) => ({ description: `take the name ${it} from ${name}`, command: del(it), undo: add(it) })),
    ...altnames
      .filter((it) => !current.includes(it))
      .map((it) => ({ description: `give ${name} its name ${it} back`, command: add(it), undo: del(it) })),
  ]
}

/**
 * Restores sysctls, addresses, routes, neighbours and rules. When a rollback moves the link into the guest again, it
 * loses all but the rules.
 */
function planNicConfig(nic: SavedNic, location: NicLocation, hostState: HostState | undefined): Plan {
  const { name, up, addrGenMode } = nic
  const rules = hostState?.ruleItems.get(name) ?? []
  const found = 'inGuest' in location ? undefined : hostState?.links.get(location.inHost.name)
  // Only IPv4 addresses survive when a link is taken down.
  const kept = found?.configItems.filter((it) => it.kind === 'address' && it.family === 4) ?? []
  const move = {
    ...{ to: name, masterStep: false as const, age: Math.max(0, (hostState?.takenAt ?? nic.takenAt) - nic.takenAt) },
    // The kernel learns announced routes from the next router advertisement.
    items: nic.items.filter(({ announced }) => announced === undefined),
    live: { from: undefined, to: { configItems: [...kept, ...rules], addrGenMode: addrGenMode && 'none' } },
  }
  return planSteps(
    restoreSysctls(nic).map((command) => ({ description: `restore the sysctls of ${name}`, command })),
    addrGenMode !== undefined && setAddrGenMode(name, 'none'),
    up && { description: `bring ${name} up`, command: ip`link set dev ${name} up` },
    planMoveConfig(move).map(({ description, command }) => ({
      ...{
        description: description.replace(`give ${name} `, `restore on ${name}: `),
        command: withReplace(command),
        undo: toInverse(command),
      },
    })),
    addrGenMode !== undefined && setAddrGenMode(name, addrGenMode),
  )
}

/** `replace`, not `add`: a router advertisement may have created the same address meanwhile. */
function withReplace(command: Command): Command {
  if (command.kind !== 'ip' || command.words[0] !== 'addr' || command.words[1] !== 'add') return command
  return { ...command, words: ['addr', 'replace', ...command.words.slice(2)] }
}

/** Rules outlive the link they name, so the undo removes them. */
function toInverse(command: Command): Command | undefined {
  return command.kind === 'run'
    ? { ...command, argv: command.argv.map((it) => (it === 'add' ? 'del' : it)) }
    : undefined
}

function setAddrGenMode(name: string, mode: string): Step {
  return {
    description: `set the address generation mode of ${name} to ${mode}`,
    command: ip`link set dev ${name} addrgenmode ${mode}`,
  }
}

function planLinkDown({ name, up }: HostLink): Plan {
  return up
    ? [{ description: `take ${name} down`, command: ip`link set dev ${name} down`, undo: ip`link set dev ${name} up` }]
    : []
}

function planMoveOut({ inGuest, routes, sysctls }: NicInGuest, phy: string | undefined, transit: string): Plan {
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
      description: `give ${name} a unique name`,
      command: ipInGuest`link set dev ${name} name ${transit}`,
      undo: ipInGuest`link set dev ${transit} name ${name}`,
    },
    {
      description: 'move it back into the host',
      command: phy === undefined ? ipInGuest`link set dev ${transit} netns ${hostNetns}` : movePhyCommand('guest', phy),
      undo: phy === undefined ? ip`link set dev ${transit} netns ${guestNetns}` : movePhyCommand('host', phy),
    },
  ]
}
