import { type Command, ip, type Plan, planSteps, type Step } from '../../plan/step'
import type { CachedNeighbour, HostLinkState, HostState } from '../../state/host'
import {
  configKeyOf,
  isLinkLocalItem,
  type LinkConfigItem,
  toAddArgs,
  toDelArgs,
  toLeftoverArgs,
} from '../../state/link-config'
import type { UplinkState } from './state-file'

/** Holdings on their way from one link to another, as far as they are not there yet. */
export interface ConfigMove {
  readonly from: string
  readonly to: string
  readonly items: readonly LinkConfigItem[]
  /** The step that puts the NIC into the bridge or takes it out. */
  readonly masterStep: Step | false
  /**
   * Where the NIC leaves a bridge: whom the bridge knows. Until it is out, a port can send and hears no answer, so that
   * it could not ask for them.
   */
  readonly neighbourCache?: readonly CachedNeighbour[]
  /** What the one has, and what the other has; as written down when absent. */
  readonly live?: { readonly from: HostLinkState | undefined; readonly to: HostLinkState | undefined } | undefined
  /** What the one keeps because it had it before, by ids. */
  readonly keptKeys?: readonly string[]
  /** Seconds since the holdings were written down. */
  readonly age: number
}

/**
 * The order matters to whoever is connected through the NIC. Both links have the addresses before anything goes; each
 * route gets its twin before it goes; and the addresses go last, because the routes would go with them. A port of a
 * bridge can still send by itself, and a bridge without it cannot: so the NIC goes in before the routes, and out after
 * all.
 */
export function planMoveConfig(shift: ConfigMove): Plan {
  const { masterStep, from, to, neighbourCache } = shift
  const of = (kind: LinkConfigItem['kind']) => shift.items.filter((holding) => holding.kind === kind)
  const addresses = of('address')
  const last = addresses.filter(isLinkLocalItem).flatMap((address) => addLinkLocal(shift, address))
  const torn = findPartiallyMoved(shift)
  return planSteps(
    of('rule').flatMap((rule) => addTo(shift, rule)),
    // The link-local address is given as it is: to make it anew would take two seconds, in which it is not in use.
    genmode(to, 'none'),
    addresses.filter((address) => !isLinkLocalItem(address)).flatMap((address) => addTo(shift, address)),
    neighbourCache === undefined && planSteps(masterStep, last),
    neighbourCache?.map((neighbour) => seedNeighbour(neighbour, to)),
    torn.flatMap((route) => removeFrom({ ...shift, from: to, live: undefined, keptKeys: [] }, route)),
    of('route').flatMap((route) => [
      ...addTo(torn.includes(route) ? { ...shift, live: undefined } : shift, route),
      ...removeFrom(shift, route),
    ]),
    of('neighbour').flatMap((holding) => [...addTo(shift, holding), ...removeFrom(shift, holding)]),
    genmode(from, 'none'),
    // Backwards: with the first address of a subnet the kernel takes the others of it away.
    [...addresses].reverse().flatMap((address) => removeFrom(shift, address)),
    flushLeftovers(shift, addresses),
    neighbourCache !== undefined && planSteps(masterStep, last),
    of('rule').flatMap((rule) => removeFrom(shift, rule)),
  )

  function genmode(name: string, mode: string): Step | false {
    return (
      addresses.some(({ family }) => family === 6) && {
        description: `let ${name} make no link-local address of its own`,
        command: ip`link set dev ${name} addrgenmode ${mode}`,
      }
    )
  }
}

const hasItem = (link: HostLinkState | undefined, holding: LinkConfigItem) =>
  link?.configItems.some((it) => configKeyOf(it) === configKeyOf(holding)) ?? false

function seedNeighbour({ ip: address, lladdr }: CachedNeighbour, dev: string): Step {
  return {
    description: `tell ${dev} of its neighbour ${address}`,
    command: ip`neigh replace ${address} lladdr ${lladdr} nud reachable dev ${dev}`,
  }
}

/** Routes of which some are there and some are not: what is added comes behind, so all of them are made anew. */
function findPartiallyMoved({ items, live }: ConfigMove): readonly LinkConfigItem[] {
  if (live === undefined) return []
  return items.filter(({ rank }) => {
    const same = rank === undefined ? [] : items.filter((it) => it.rank === rank)
    return same.length > 1 && same.some((it) => !hasItem(live.to, it)) && same.some((it) => hasItem(live.to, it))
  })
}

/** A line of a batch cannot say which family a rule is of. */
function toCommand({ kind, family }: LinkConfigItem, words: readonly string[]): Command {
  return kind === 'rule' ? { kind: 'run', in: 'host', argv: ['ip', `-${family}`, ...words] } : ip`${words}`
}

function addTo({ to, live, age }: ConfigMove, holding: LinkConfigItem): Plan {
  if (live !== undefined && hasItem(live.to, holding)) return []
  return toAddArgs(holding, to, age).map((words, index) => ({
    description: `give ${to} ${holding.what}${index === 0 ? '' : ', to be asked for as before'}`,
    command: toCommand(holding, words),
  }))
}

/** The link-local address: when it is new, the kernel asks for routers, which must be heard where they announced a route. */
function addLinkLocal(shift: ConfigMove, address: LinkConfigItem): Plan {
  const { to, live, items } = shift
  const isHeard = (route: LinkConfigItem) =>
    live?.to?.configItems.some((it) => it.announced === 'heard' && configKeyOf(it) === configKeyOf(route)) ?? false
  const isToBeNew = hasItem(live?.to, address) && items.some((it) => it.announced !== undefined && !isHeard(it))
  if (!isToBeNew) return addTo(shift, address)
  const alone = { ...shift, live: undefined, keptKeys: [] }
  return [...removeFrom({ ...alone, from: to }, address), ...addTo(alone, address)]
}

function removeFrom({ from, live, keptKeys = [] }: ConfigMove, holding: LinkConfigItem): Plan {
  if (keptKeys.includes(configKeyOf(holding))) return []
  const there =
    live === undefined
      ? [holding]
      : (live.from?.configItems.filter((it) => configKeyOf(it) === configKeyOf(holding)) ?? [])
  return there.map((it) => ({
    description: `take ${it.what} from ${from}`,
    command: toCommand(it, toDelArgs(it, from)),
  }))
}

/** What its addresses leave on a link: when none of a subnet is there any more, who lives on it is looked for elsewhere. */
function flushLeftovers({ from, keptKeys = [] }: ConfigMove, addresses: readonly LinkConfigItem[]): Plan {
  return addresses
    .filter((address) => address.remnant !== undefined && !keptKeys.includes(configKeyOf(address)))
    .map((address) => ({
      description: `take the route to the subnet of ${address.what} from ${from}`,
      command: ip`${toLeftoverArgs(address, from)}`,
    }))
}

/** The step that puts the NIC into its bridge. */
export function setMaster(nic: string, bridge: string): Step {
  return {
    description: `put ${nic} into ${bridge}`,
    command: ip`link set dev ${nic} master ${bridge}`,
    explainFailure: ({ stderr }) =>
      /busy/i.test(stderr)
        ? {
            message: `the frames of '${nic}' are taken by something else, so it cannot be put into '${bridge}'`,
            hint: 'A macvlan or ipvlan in some guest, for instance. All is as it was.',
          }
        : undefined,
  }
}

/** The step that takes the NIC out. */
export function clearMaster(nic: string): Step {
  return { description: `take ${nic} out of its bridge`, command: ip`link set dev ${nic} nomaster` }
}

/** What the neighbour cache of a link says of the LAN is not to outlive the move. */
export function flushNeighbours(name: string): Step {
  return { description: `forget the neighbours of ${name}`, command: ip`neigh flush dev ${name}` }
}

/**
 * The steps from wherever things are now back to how the journal says they were. Nothing that is right is touched, so
 * that it may be asked twice; and what others have given to either link meanwhile stays.
 */
export function planMoveRestore(journal: UplinkState, now: HostState): Plan {
  const { bridge, nic, way, holdings, nicWas, bridgeHad } = journal
  const [liveNic, liveBridge] = [now.links.get(nic), now.links.get(bridge)]
  if (liveNic === undefined) return restoreBridge(journal, now)
  const age = now.takenAt - journal.takenAt
  const isIn = liveNic.master === bridge
  if (way === 'in')
    return planSteps(
      liveNic.mtu !== nicWas.mtu && setLink(nic, ['mtu', `${nicWas.mtu}`]),
      planMoveConfig({
        ...{ from: bridge, to: nic, items: holdings, age, keptKeys: bridgeHad },
        live: { from: liveBridge, to: liveNic },
        masterStep: isIn && clearMaster(nic),
        neighbourCache: isIn ? (liveBridge?.neighbourCache ?? []) : undefined,
      }).filter(({ command }) => liveBridge !== undefined || !mentions(command, bridge)),
      nicWas.genmode !== undefined && setLink(nic, ['addrgenmode', nicWas.genmode]),
      !nicWas.up && liveNic.up && setLink(nic, ['down']),
      journal.lro.map(enableLro),
      restoreBridge(journal, now),
      removeVlanDevice(journal, now),
    )
  if (liveBridge === undefined) return []
  return planSteps(
    planMoveConfig({
      ...{ from: nic, to: bridge, items: holdings, age },
      live: { from: liveNic, to: liveBridge },
      masterStep: !isIn && setMaster(nic, bridge),
    }),
    setLink(bridge, ['addrgenmode', 'eui64']),
  )
}

const mentions = (command: Command, name: string) =>
  (command.kind === 'ip' && command.words.includes(name)) || (command.kind === 'run' && command.argv.includes(name))

/** A change of a link itself. */
export function setLink(name: string, words: readonly string[]): Step {
  const [what, ...value] = words
  const why = value.length === 0 ? `bring ${name} ${what}` : `set ${what} of ${name} to ${value.join(' ')}`
  return { description: why, command: ip`link set dev ${name} ${words}` }
}

/** What the kernel turns off on ports of a bridge, and never on again. */
export function enableLro(name: string): Step {
  return {
    description: `let ${name} merge what it receives again (LRO)`,
    command: { kind: 'run', in: 'host', argv: ['ethtool', '-K', name, 'large-receive-offload', 'on'] },
  }
}

/** The bridge as it was; one that pipework made goes, unless others use it by now. */
function restoreBridge({ bridge, nic, bridgeWas, bridgeHad, holdings }: UplinkState, now: HostState): Plan {
  const live = now.links.get(bridge)
  if (live === undefined) return []
  if (bridgeWas === undefined)
    return hasOtherPorts(bridge, nic, now) || hasForeignConfig(live, [...bridgeHad, ...holdings.map(configKeyOf)])
      ? [setLink(bridge, ['addrgenmode', 'eui64'])]
      : [{ description: `remove ${bridge}`, command: ip`link del dev ${bridge}` }]
  return planSteps(
    bridgeWas.mac !== live.mac && setLink(bridge, ['address', bridgeWas.mac]),
    bridgeWas.mtu !== live.mtu && setLink(bridge, ['mtu', `${bridgeWas.mtu}`]),
    bridgeWas.genmode !== undefined &&
      bridgeWas.genmode !== live.genmode &&
      setLink(bridge, ['addrgenmode', bridgeWas.genmode]),
    !bridgeWas.up && live.up && setLink(bridge, ['down']),
  )
}

function removeVlanDevice({ nic, vlan }: UplinkState, now: HostState): Plan {
  if (vlan === undefined || !now.links.has(nic)) return []
  return [{ description: `remove ${nic}`, command: ip`link del dev ${nic}` }]
}

/** What is left to do when the NIC is out of the bridge for good. */
export function planMoveCleanup(journal: UplinkState, now: HostState): Plan {
  return [...restoreBridge(journal, now), ...removeVlanDevice(journal, now)]
}

/** Whether a bridge has ports beside this one. */
export function hasOtherPorts(bridge: string, nic: string, { links }: HostState): boolean {
  return [...links.values()].some(({ name, master }) => master === bridge && name !== nic)
}

/** Whether somebody gave the link something beside what is known; the kernel's own addresses are nobody's. */
function hasForeignConfig({ configItems }: HostLinkState, known: readonly string[]): boolean {
  return configItems.some((holding) => !known.includes(configKeyOf(holding)) && !/ fe80:/.test(configKeyOf(holding)))
}
