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

/** The current state of a link, as far as a move needs it. */
type LiveLink = Pick<HostLinkState, 'configItems' | 'addrGenMode'>

/** Configuration to move from one host link to another, or to add to one. */
export interface ConfigMove {
  /** Absent when the source link is gone. */
  readonly from?: string
  readonly to: string
  readonly items: readonly LinkConfigItem[]
  /** The step that makes the NIC a port of the bridge, or removes it from the bridge. */
  readonly masterStep: Step | false
  /**
   * For a NIC that leaves its bridge: the bridge's neighbour cache. As a port the NIC can send but gets no replies, so
   * it could not resolve neighbours itself.
   */
  readonly neighbourCache?: readonly CachedNeighbour[]
  /** The current state of both links. Absent: all items are on the first link and none on the second. */
  readonly live?: { readonly from: LiveLink | undefined; readonly to: LiveLink | undefined }
  /** Keys of items that stay on the first link, because it had them before. */
  readonly keptKeys?: readonly string[]
  /** Seconds since the items were read. */
  readonly age: number
}

/**
 * The order keeps connections through the NIC alive. Both links have the addresses before the first one loses them.
 * Each route is added before the old one is removed. Addresses are removed last, because the kernel removes their
 * routes with them. A bridge port can still send, and a bridge without ports cannot: so the NIC joins before the routes
 * move, and leaves after.
 */
export function planMoveConfig(move: ConfigMove): Plan {
  const { masterStep, from, to, neighbourCache } = move
  const ofKind = (kind: LinkConfigItem['kind']) => move.items.filter((item) => item.kind === kind)
  const addresses = ofKind('address')
  const linkLocal = addresses.filter(isLinkLocalItem).flatMap((address) => addLinkLocal(move, address))
  const partial = findPartiallyMoved(move)
  return planSteps(
    ofKind('rule').flatMap((rule) => addTo(move, rule)),
    // The link-local address moves too: a new one would be tentative first (RFC 4862, 5.4).
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
 * The commands that restore a link after it was taken down. IPv4 addresses survive that, so `replace` is used for all.
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

/** Routes with one key of which only some exist: `ip` appends new ones, so all of them are added again. */
function findPartiallyMoved({ items, live }: ConfigMove): readonly LinkConfigItem[] {
  if (live === undefined) return []
  return items.filter(({ routeKey }) => {
    const same = routeKey === undefined ? [] : items.filter((it) => it.routeKey === routeKey)
    return same.length > 1 && same.some((it) => !hasItem(live.to, it)) && same.some((it) => hasItem(live.to, it))
  })
}

/** An `ip -batch` line cannot choose the family of a rule. */
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

/** With a new link-local address the kernel solicits routers, which an announced route needs. */
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

/** A subnet route can outlive its addresses, and would then lead to the wrong link. */
function flushLeftovers({ from, keptKeys = [] }: ConfigMove, addresses: readonly LinkConfigItem[]): Plan {
  if (from === undefined) return []
  return addresses
    .filter((address) => address.leftover !== undefined && !keptKeys.includes(configKeyOf(address)))
    .map((address) => ({
      description: `take the route to the subnet of ${address.description} from ${from}`,
      command: ip`${toLeftoverArgs(address, from)}`,
    }))
}
