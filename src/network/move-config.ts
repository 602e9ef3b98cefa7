import { type Command, ip, type Plan, planSteps, type Step } from '../plan/step'
import type { CachedNeighbour, HostLinkState } from '../state/host'
import {
  configKeyOf,
  isLinkLocalItem,
  type LinkConfigItem,
  toAddArgs,
  toDelArgs,
  toLeftoverArgs,
} from '../state/link-config'

/** What a link has at the moment, as far as it matters here. */
type LiveLink = Pick<HostLinkState, 'configItems' | 'addrGenMode'>

/** Configuration that is moved from one link of the host to another, or given to one. */
export interface ConfigMove {
  /** Absent where the link that had it is gone. */
  readonly from?: string
  readonly to: string
  readonly items: readonly LinkConfigItem[]
  /** The step that makes the NIC a port of the bridge, or ends that. */
  readonly masterStep: Step | false
  /**
   * For a NIC that leaves its bridge: the neighbour cache of the bridge. Until the NIC is out, it can send and receives
   * no answer, so that it could not look up neighbours itself.
   */
  readonly neighbourCache?: readonly CachedNeighbour[]
  /** What the two links have now. Absent: all items are on the one and none on the other. */
  readonly live?: { readonly from: LiveLink | undefined; readonly to: LiveLink | undefined }
  /** Keys of items that the first link keeps, because it had them before. */
  readonly keptKeys?: readonly string[]
  /** Seconds since the items were read. */
  readonly age: number
}

/**
 * The order matters to whoever is connected through the NIC. Both links have the addresses before the first one is
 * removed; each route is added before the old one is removed; and addresses are removed last, because routes would go
 * with them. A port of a bridge can still send, and a bridge without a port cannot: so the NIC enters before the routes
 * are moved, and leaves after.
 */
export function planMoveConfig(move: ConfigMove): Plan {
  const { masterStep, from, to, neighbourCache } = move
  const ofKind = (kind: LinkConfigItem['kind']) => move.items.filter((item) => item.kind === kind)
  const addresses = ofKind('address')
  const linkLocal = addresses.filter(isLinkLocalItem).flatMap((address) => addLinkLocal(move, address))
  const partial = findPartiallyMoved(move)
  return planSteps(
    ofKind('rule').flatMap((rule) => addTo(move, rule)),
    // The link-local address is moved as well: a new one would not be usable for two seconds (RFC 4862, 5.4).
    move.live?.to?.addrGenMode !== 'none' && stopAddressGeneration(to, addresses),
    addresses.filter((address) => !isLinkLocalItem(address)).flatMap((address) => addTo(move, address)),
    neighbourCache === undefined && planSteps(masterStep, linkLocal),
    neighbourCache?.map((neighbour) => seedNeighbour(neighbour, to)),
    partial.flatMap((route) => removeFrom({ ...move, from: to, live: undefined, keptKeys: [] }, route)),
    ofKind('route').flatMap((route) => [
      ...addTo(partial.includes(route) ? { ...move, live: undefined } : move, route),
      ...removeFrom(move, route),
    ]),
    ofKind('neighbour').flatMap((item) => [...addTo(move, item), ...removeFrom(move, item)]),
    from !== undefined && stopAddressGeneration(from, addresses),
    // Last first: the kernel removes the other addresses of a subnet with its first one.
    [...addresses].reverse().flatMap((address) => removeFrom(move, address)),
    flushLeftovers(move, addresses),
    neighbourCache !== undefined && planSteps(masterStep, linkLocal),
    ofKind('rule').flatMap((rule) => removeFrom(move, rule)),
  )
}

/**
 * The commands that give a link what it had before it was taken down, as the inverse of that. Addresses of IPv4 outlive
 * it, so all of them are replaced.
 */
export function toRestoreCommands(items: readonly LinkConfigItem[], dev: string): readonly Command[] {
  const restorable = items.filter(({ kind, announced }) => kind !== 'rule' && announced === undefined)
  return restorable.flatMap((item) =>
    toAddArgs(item, dev, 0).map(([first = '', verb = '', ...words]) =>
      toCommand(item, [first, first === 'addr' && verb === 'add' ? 'replace' : verb, ...words]),
    ),
  )
}

function stopAddressGeneration(name: string, addresses: readonly LinkConfigItem[]): Step | false {
  return (
    addresses.some(({ family }) => family === 6) && {
      description: `stop ${name} from generating a link-local address`,
      command: ip`link set dev ${name} addrgenmode none`,
    }
  )
}

const hasItem = (link: LiveLink | undefined, item: LinkConfigItem) =>
  link?.configItems.some((it) => configKeyOf(it) === configKeyOf(item)) ?? false

function seedNeighbour({ ip: address, lladdr }: CachedNeighbour, dev: string): Step {
  return {
    description: `add the neighbour ${address} to the cache of ${dev}`,
    command: ip`neigh replace ${address} lladdr ${lladdr} nud reachable dev ${dev}`,
  }
}

/** Routes with one key of which some are there and some are not: added ones come last, so all of them are added again. */
function findPartiallyMoved({ items, live }: ConfigMove): readonly LinkConfigItem[] {
  if (live === undefined) return []
  return items.filter(({ routeKey }) => {
    const same = routeKey === undefined ? [] : items.filter((it) => it.routeKey === routeKey)
    return same.length > 1 && same.some((it) => !hasItem(live.to, it)) && same.some((it) => hasItem(live.to, it))
  })
}

/** A line of a batch cannot say which family a rule is of. */
function toCommand({ kind, family }: LinkConfigItem, words: readonly string[]): Command {
  return kind === 'rule' ? { kind: 'run', in: 'host', argv: ['ip', `-${family}`, ...words] } : ip`${words}`
}

function addTo({ to, live, age }: ConfigMove, item: LinkConfigItem): Plan {
  if (live !== undefined && hasItem(live.to, item)) return []
  return toAddArgs(item, to, age).map((words, index) => ({
    description:
      index === 0
        ? `give ${to} ${item.description}`
        : `allow duplicate address detection for ${item.description} on ${to}`,
    command: toCommand(item, words),
  }))
}

/** When its link-local address is new, the kernel solicits routers: needed where a router has announced a route. */
function addLinkLocal(move: ConfigMove, address: LinkConfigItem): Plan {
  const { to, live, items } = move
  const isHeard = (route: LinkConfigItem) =>
    live?.to?.configItems.some((it) => it.announced === 'heard' && configKeyOf(it) === configKeyOf(route)) ?? false
  const isRenewed = hasItem(live?.to, address) && items.some((it) => it.announced !== undefined && !isHeard(it))
  if (!isRenewed) return addTo(move, address)
  const alone = { ...move, live: undefined, keptKeys: [] }
  return [...removeFrom({ ...alone, from: to }, address), ...addTo(alone, address)]
}

function removeFrom({ from, live, keptKeys = [] }: ConfigMove, item: LinkConfigItem): Plan {
  if (from === undefined || keptKeys.includes(configKeyOf(item))) return []
  const present =
    live === undefined ? [item] : (live.from?.configItems.filter((it) => configKeyOf(it) === configKeyOf(item)) ?? [])
  return present.map((it) => ({
    description: `take ${it.description} from ${from}`,
    command: toCommand(it, toDelArgs(it, from)),
  }))
}

/** The route to a subnet can outlive the addresses of that subnet, and would lead to the wrong link. */
function flushLeftovers({ from, keptKeys = [] }: ConfigMove, addresses: readonly LinkConfigItem[]): Plan {
  if (from === undefined) return []
  return addresses
    .filter((address) => address.leftover !== undefined && !keptKeys.includes(configKeyOf(address)))
    .map((address) => ({
      description: `take the route to the subnet of ${address.description} from ${from}`,
      command: ip`${toLeftoverArgs(address, from)}`,
    }))
}
