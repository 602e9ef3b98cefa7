import { type Command, ip, type Plan, rows, type Step } from '../../plan/step'
import type { Acquaintance, LinkState, Snapshot } from '../../state/host'
import { delWordsFor, type Holding, idOf, isLinkLocal, remnantWordsFor, wordsFor } from '../../state/link-config'
import type { Journal } from './state-file'

/** Holdings on their way from one link to another, as far as they are not there yet. */
export interface Shift {
  readonly from: string
  readonly to: string
  readonly holdings: readonly Holding[]
  /** The step that puts the NIC into the bridge or takes it out. */
  readonly swap: Step | false
  /**
   * Where the NIC leaves a bridge: whom the bridge knows. Until it is out, a port can send and hears no answer, so that
   * it could not ask for them.
   */
  readonly acquaintances?: readonly Acquaintance[]
  /** What the one has, and what the other has; as written down when absent. */
  readonly live?: { readonly from: LinkState | undefined; readonly to: LinkState | undefined } | undefined
  /** What the one keeps because it had it before, by ids. */
  readonly keeps?: readonly string[]
  /** Seconds since the holdings were written down. */
  readonly age: number
}

/**
 * The order matters to whoever is connected through the NIC. Both links have the addresses before anything goes; each
 * route gets its twin before it goes; and the addresses go last, because the routes would go with them. A port of a
 * bridge can still send by itself, and a bridge without it cannot: so the NIC goes in before the routes, and out after
 * all.
 */
export function planShift(shift: Shift): Plan {
  const { swap, from, to, acquaintances } = shift
  const of = (kind: Holding['kind']) => shift.holdings.filter((holding) => holding.kind === kind)
  const addresses = of('address')
  const last = addresses.filter(isLinkLocal).flatMap((address) => giveOnLan(shift, address))
  const torn = findTorn(shift)
  return rows(
    of('rule').flatMap((rule) => give(shift, rule)),
    // The link-local address is given as it is: to make it anew would take two seconds, in which it is not in use.
    genmode(to, 'none'),
    addresses.filter((address) => !isLinkLocal(address)).flatMap((address) => give(shift, address)),
    acquaintances === undefined && rows(swap, last),
    acquaintances?.map((neighbour) => introduce(neighbour, to)),
    torn.flatMap((route) => take({ ...shift, from: to, live: undefined, keeps: [] }, route)),
    of('route').flatMap((route) => [
      ...give(torn.includes(route) ? { ...shift, live: undefined } : shift, route),
      ...take(shift, route),
    ]),
    of('neighbour').flatMap((holding) => [...give(shift, holding), ...take(shift, holding)]),
    genmode(from, 'none'),
    // Backwards: with the first address of a subnet the kernel takes the others of it away.
    [...addresses].reverse().flatMap((address) => take(shift, address)),
    clear(shift, addresses),
    acquaintances !== undefined && rows(swap, last),
    of('rule').flatMap((rule) => take(shift, rule)),
  )

  function genmode(name: string, mode: string): Step | false {
    return (
      addresses.some(({ family }) => family === 6) && {
        why: `let ${name} make no link-local address of its own`,
        command: ip`link set dev ${name} addrgenmode ${mode}`,
      }
    )
  }
}

const has = (link: LinkState | undefined, holding: Holding) =>
  link?.holdings.some((it) => idOf(it) === idOf(holding)) ?? false

function introduce({ ip: address, lladdr }: Acquaintance, dev: string): Step {
  return {
    why: `tell ${dev} of its neighbour ${address}`,
    command: ip`neigh replace ${address} lladdr ${lladdr} nud reachable dev ${dev}`,
  }
}

/** Routes of which some are there and some are not: what is added comes behind, so all of them are made anew. */
function findTorn({ holdings, live }: Shift): readonly Holding[] {
  if (live === undefined) return []
  return holdings.filter(({ rank }) => {
    const same = rank === undefined ? [] : holdings.filter((it) => it.rank === rank)
    return same.length > 1 && same.some((it) => !has(live.to, it)) && same.some((it) => has(live.to, it))
  })
}

/** A line of a batch cannot say which family a rule is of. */
function toCommand({ kind, family }: Holding, words: readonly string[]): Command {
  return kind === 'rule' ? { kind: 'run', in: 'host', argv: ['ip', `-${family}`, ...words] } : ip`${words}`
}

function give({ to, live, age }: Shift, holding: Holding): Plan {
  if (live !== undefined && has(live.to, holding)) return []
  return wordsFor(holding, to, age).map((words, index) => ({
    why: `give ${to} ${holding.what}${index === 0 ? '' : ', to be asked for as before'}`,
    command: toCommand(holding, words),
  }))
}

/** The link-local address: when it is new, the kernel asks for routers, which must be heard where they announced a route. */
function giveOnLan(shift: Shift, address: Holding): Plan {
  const { to, live, holdings } = shift
  const isHeard = (route: Holding) =>
    live?.to?.holdings.some((it) => it.announced === 'heard' && idOf(it) === idOf(route)) ?? false
  const isToBeNew = has(live?.to, address) && holdings.some((it) => it.announced !== undefined && !isHeard(it))
  if (!isToBeNew) return give(shift, address)
  const alone = { ...shift, live: undefined, keeps: [] }
  return [...take({ ...alone, from: to }, address), ...give(alone, address)]
}

function take({ from, live, keeps = [] }: Shift, holding: Holding): Plan {
  if (keeps.includes(idOf(holding))) return []
  const there = live === undefined ? [holding] : (live.from?.holdings.filter((it) => idOf(it) === idOf(holding)) ?? [])
  return there.map((it) => ({ why: `take ${it.what} from ${from}`, command: toCommand(it, delWordsFor(it, from)) }))
}

/** What its addresses leave on a link: when none of a subnet is there any more, who lives on it is looked for elsewhere. */
function clear({ from, keeps = [] }: Shift, addresses: readonly Holding[]): Plan {
  return addresses
    .filter((address) => address.remnant !== undefined && !keeps.includes(idOf(address)))
    .map((address) => ({
      why: `take the route to the subnet of ${address.what} from ${from}`,
      command: ip`${remnantWordsFor(address, from)}`,
    }))
}

/** The step that puts the NIC into its bridge. */
export function enslave(nic: string, bridge: string): Step {
  return {
    why: `put ${nic} into ${bridge}`,
    command: ip`link set dev ${nic} master ${bridge}`,
    explain: ({ stderr }) =>
      /busy/i.test(stderr)
        ? {
            message: `the frames of '${nic}' are taken by something else, so it cannot be put into '${bridge}'`,
            hint: 'A macvlan or ipvlan in some guest, for instance. All is as it was.',
          }
        : undefined,
  }
}

/** The step that takes the NIC out. */
export function release(nic: string): Step {
  return { why: `take ${nic} out of its bridge`, command: ip`link set dev ${nic} nomaster` }
}

/** What the neighbour cache of a link says of the LAN is not to outlive the move. */
export function flush(name: string): Step {
  return { why: `forget the neighbours of ${name}`, command: ip`neigh flush dev ${name}` }
}

/**
 * The steps from wherever things are now back to how the journal says they were. Nothing that is right is touched, so
 * that it may be asked twice; and what others have given to either link meanwhile stays.
 */
export function planRestore(journal: Journal, now: Snapshot): Plan {
  const { bridge, nic, way, holdings, nicWas, bridgeHad } = journal
  const [liveNic, liveBridge] = [now.links.get(nic), now.links.get(bridge)]
  if (liveNic === undefined) return restoreBridge(journal, now)
  const age = now.takenAt - journal.takenAt
  const isIn = liveNic.master === bridge
  if (way === 'in')
    return rows(
      liveNic.mtu !== nicWas.mtu && shape(nic, ['mtu', `${nicWas.mtu}`]),
      planShift({
        ...{ from: bridge, to: nic, holdings, age, keeps: bridgeHad },
        live: { from: liveBridge, to: liveNic },
        swap: isIn && release(nic),
        acquaintances: isIn ? (liveBridge?.acquaintances ?? []) : undefined,
      }).filter(({ command }) => liveBridge !== undefined || !mentions(command, bridge)),
      nicWas.genmode !== undefined && shape(nic, ['addrgenmode', nicWas.genmode]),
      !nicWas.up && liveNic.up && shape(nic, ['down']),
      journal.lro.map(turnLroOn),
      restoreBridge(journal, now),
      restoreVlan(journal, now),
    )
  if (liveBridge === undefined) return []
  return rows(
    planShift({
      ...{ from: nic, to: bridge, holdings, age },
      live: { from: liveNic, to: liveBridge },
      swap: !isIn && enslave(nic, bridge),
    }),
    shape(bridge, ['addrgenmode', 'eui64']),
  )
}

const mentions = (command: Command, name: string) =>
  (command.kind === 'ip' && command.words.includes(name)) || (command.kind === 'run' && command.argv.includes(name))

/** A change of a link itself. */
export function shape(name: string, words: readonly string[]): Step {
  const [what, ...value] = words
  const why = value.length === 0 ? `bring ${name} ${what}` : `set ${what} of ${name} to ${value.join(' ')}`
  return { why, command: ip`link set dev ${name} ${words}` }
}

/** What the kernel turns off on ports of a bridge, and never on again. */
export function turnLroOn(name: string): Step {
  return {
    why: `let ${name} merge what it receives again (LRO)`,
    command: { kind: 'run', in: 'host', argv: ['ethtool', '-K', name, 'large-receive-offload', 'on'] },
  }
}

/** The bridge as it was; one that pipework made goes, unless others use it by now. */
function restoreBridge({ bridge, nic, bridgeWas, bridgeHad, holdings }: Journal, now: Snapshot): Plan {
  const live = now.links.get(bridge)
  if (live === undefined) return []
  if (bridgeWas === undefined)
    return hasOthers(bridge, nic, now) || hasMore(live, [...bridgeHad, ...holdings.map(idOf)])
      ? [shape(bridge, ['addrgenmode', 'eui64'])]
      : [{ why: `remove ${bridge}`, command: ip`link del dev ${bridge}` }]
  return rows(
    bridgeWas.mac !== live.mac && shape(bridge, ['address', bridgeWas.mac]),
    bridgeWas.mtu !== live.mtu && shape(bridge, ['mtu', `${bridgeWas.mtu}`]),
    bridgeWas.genmode !== undefined &&
      bridgeWas.genmode !== live.genmode &&
      shape(bridge, ['addrgenmode', bridgeWas.genmode]),
    !bridgeWas.up && live.up && shape(bridge, ['down']),
  )
}

function restoreVlan({ nic, vlan }: Journal, now: Snapshot): Plan {
  if (vlan === undefined || !now.links.has(nic)) return []
  return [{ why: `remove ${nic}`, command: ip`link del dev ${nic}` }]
}

/** What is left to do when the NIC is out of the bridge for good. */
export function planLeftovers(journal: Journal, now: Snapshot): Plan {
  return [...restoreBridge(journal, now), ...restoreVlan(journal, now)]
}

/** Whether a bridge has ports beside this one. */
export function hasOthers(bridge: string, nic: string, { links }: Snapshot): boolean {
  return [...links.values()].some(({ name, master }) => master === bridge && name !== nic)
}

/** Whether somebody gave the link something beside what is known; the kernel's own addresses are nobody's. */
function hasMore({ holdings }: LinkState, known: readonly string[]): boolean {
  return holdings.some((holding) => !known.includes(idOf(holding)) && !/ fe80:/.test(idOf(holding)))
}
