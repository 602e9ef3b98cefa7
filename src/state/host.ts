import type { Family } from '../model/address'
import { ADDRESS_FAMILIES } from '../model/address'
import { batchLine } from '../system/batch'
import type { System } from '../system/types'
import { kernelHasIpv6 } from './guest'
import {
  type IpAddress,
  type IpLink,
  type IpNeighbour,
  type IpNexthopObject,
  type IpRoute,
  type IpRule,
  ipQuery,
  parseIpOutput,
  readIp,
} from './ip-json'
import type { LinkConfigItem } from './link-config'
import {
  findUnknownKey,
  isRouteOfLink,
  toAddressItem,
  toNeighbourItem,
  toRouteItems,
  toRuleItem,
} from './link-config-items'

/** A neighbour that the kernel found by itself. */
export interface CachedNeighbour {
  readonly ip: string
  readonly lladdr: string
}

/** A link as it is, with all that hangs on its name. */
export interface HostLinkState {
  readonly name: string
  /** What `ip -d link` calls its kind; absent for a real NIC. */
  readonly kind?: string
  readonly ifindex: number
  readonly up: boolean
  readonly mtu: number
  readonly mac: string
  readonly master?: string
  readonly alias?: string
  /** How it makes its link-local IPv6 address: eui64, none, … */
  readonly genmode?: string
  /** Whom it has talked to of late, and under which MAC address. */
  readonly neighbourCache: readonly CachedNeighbour[]
  /** In the order in which they are given to a link. */
  readonly configItems: readonly LinkConfigItem[]
}

/** All links of the host at one moment. */
export interface HostState {
  /** Seconds since boot. */
  readonly takenAt: number
  readonly links: ReadonlyMap<string, HostLinkState>
  /** What hangs on a NIC and takes its frames: its macvlans and ipvlans, by the NIC's name. */
  readonly children: ReadonlyMap<string, readonly string[]>
  /** What could not be moved, by the link's name. */
  readonly unsupported: ReadonlyMap<string, readonly string[]>
}

/** Seconds since boot: a clock that nobody sets, and the same for all processes. */
export function readUptime(system: System): number {
  return Number(system.read('/proc/uptime')?.split(' ')[0] ?? 0)
}

interface OfFamily<T> {
  readonly family: Family
  readonly all: readonly T[]
}

interface HostAnswers {
  readonly links: readonly IpLink[]
  readonly routes: readonly OfFamily<IpRoute>[]
  readonly neighbours: readonly IpNeighbour[]
  readonly proxyNeighbours: readonly IpNeighbour[]
  readonly nexthops: readonly IpNexthopObject[]
  readonly neighbourCache: readonly IpNeighbour[]
  readonly rules: readonly OfFamily<IpRule>[]
}

async function readRules(family: Family, system: System): Promise<OfFamily<IpRule>> {
  const line = batchLine`rule show`
  // A line of a batch cannot choose the family.
  const result = await system.run(['ip', `-${family}`, '-j', '-d', ...line])
  const [all] = parseIpOutput(result, [ipQuery.rules(line)], undefined)
  return { family, all }
}

async function readHostAnswers(system: System): Promise<HostAnswers> {
  const families = ADDRESS_FAMILIES.filter((family) => family === 4 || kernelHasIpv6(system))
  // Of all tables, what is below a prefix: a line of a batch has no other way to say which family is meant.
  const tables = families.map((family) => batchLine`route show table all root ${family === 4 ? '0.0.0.0/0' : '::/0'}`)
  const queries = [
    ipQuery.links(batchLine`address show`),
    ipQuery.neighbours(batchLine`neigh show nud permanent`),
    ipQuery.neighbours(batchLine`neigh show proxy`),
    ipQuery.nexthops(batchLine`nexthop show`),
    ipQuery.neighbours(batchLine`neigh show`),
    ...tables.map((line) => ipQuery.routes(line)),
  ] as const
  const [[links, neighbours, proxyNeighbours, nexthops, neighbourCache, ...routes], ...rules] = await Promise.all([
    readIp(queries, { system }),
    ...families.map((family) => readRules(family, system)),
  ])
  return {
    ...{ links, neighbours, proxyNeighbours, nexthops, neighbourCache, rules },
    routes: families.map((family, index) => ({ family, all: routes[index] ?? [] })),
  }
}

/** IPv6 lists what came last first. */
function toAddressItems({ ifname, addr_info }: IpLink): readonly LinkConfigItem[] {
  const of = (family: IpAddress['family']) =>
    addr_info.filter((info) => info.family === family).map((info) => toAddressItem(info, ifname))
  return [...of('inet'), ...of('inet6').reverse()]
}

/** Routes to a router stand behind those that lead to it. */
function listRouteItems({ routes }: HostAnswers, link: IpLink): readonly LinkConfigItem[] {
  const all = routes.flatMap(({ family, all }) =>
    all.filter((route) => isRouteOfLink(route, link)).flatMap((route) => toRouteItems(route, family, link.ifname)),
  )
  return [...all.filter(({ gateway }) => gateway === undefined), ...all.filter(({ gateway }) => gateway !== undefined)]
}

function toCachedNeighbours({ dst: ip, lladdr, state = [] }: IpNeighbour): readonly CachedNeighbour[] {
  const isKnown = state.some((it) => ['REACHABLE', 'STALE', 'DELAY', 'PROBE'].includes(it))
  return isKnown && lladdr !== undefined ? [{ ip, lladdr }] : []
}

const isRuleOfLink = (dev: string) => (rule: IpRule) => rule.iif === dev || rule.oif === dev

/** The kernel's numbers for the ways to make a link-local address, in their order. */
const ADDR_GEN_MODES = ['eui64', 'none', 'stable_secret', 'random']

function readAddrGenMode(name: string, system: System): string | undefined {
  return ADDR_GEN_MODES[Number(system.read(`/proc/sys/net/ipv6/conf/${name}/addr_gen_mode`) ?? -1)]
}

function toHostLinkState(link: IpLink, answers: HostAnswers, system: System): HostLinkState {
  const { ifname: name, ifindex, mtu, master, ifalias: alias, address: mac = '' } = link
  const on = ({ dev }: IpNeighbour) => dev === name
  return {
    ...{ name, ifindex, mtu, mac, master, alias },
    kind: link.linkinfo?.info_kind,
    up: link.flags.includes('UP'),
    genmode: readAddrGenMode(name, system),
    neighbourCache: answers.neighbourCache.filter(on).flatMap(toCachedNeighbours),
    configItems: [
      ...toAddressItems(link),
      ...listRouteItems(answers, link),
      ...answers.neighbours.filter(on).map(toNeighbourItem),
      ...answers.proxyNeighbours.filter(on).map(({ dst }) => toNeighbourItem({ dst })),
      ...answers.rules.flatMap(({ family, all }) =>
        all.filter(isRuleOfLink(name)).map((rule) => toRuleItem(rule, family, name)),
      ),
    ],
  }
}

function findUnsupported(link: IpLink, answers: HostAnswers): readonly string[] {
  const name = link.ifname
  const foreign = (kind: 'route' | 'rule', item: IpRoute | IpRule, label: string | number) => {
    const key = findUnknownKey(kind, item)
    return key === undefined ? [] : [`the ${kind} ${label} has '${key}'`]
  }
  const infos = link.addr_info
  return [
    ...infos
      .filter(({ dadfailed }) => dadfailed === true)
      .map(({ local }) => `the address ${local} is in use by another host (dadfailed)`),
    ...infos
      .filter(({ dadfailed, tentative }) => dadfailed !== true && tentative === true)
      .map(({ local }) => `the address ${local} is still tentative: try again in two seconds`),
    ...answers.routes.flatMap(({ all }) =>
      all.filter((route) => isRouteOfLink(route, link)).flatMap((route) => foreign('route', route, route.dst)),
    ),
    ...answers.rules.flatMap(({ all }) =>
      all.filter(isRuleOfLink(name)).flatMap((rule) => foreign('rule', rule, rule.priority)),
    ),
    ...answers.nexthops.filter(({ dev }) => dev === name).map(({ id }) => `the nexthop object ${id} leads over it`),
  ]
}

/** Kinds of links that take all frames of the NIC they hang on. */
const MACVLAN_KINDS = ['macvlan', 'macvtap', 'ipvlan', 'ipvtap']

function findChildren(links: readonly IpLink[]): ReadonlyMap<string, readonly string[]> {
  const children = new Map<string, string[]>()
  for (const { link, ifname, linkinfo } of links) {
    const { info_kind: kind = '' } = linkinfo ?? {}
    if (link !== undefined && MACVLAN_KINDS.includes(kind))
      children.set(link, [...(children.get(link) ?? []), `${kind} ${ifname}`])
  }
  return children
}

/**
 * The host's links, each with its addresses, routes, neighbours and rules.
 * @throws PipeworkError when `ip` fails.
 */
export async function readHostState(system: System): Promise<HostState> {
  const takenAt = readUptime(system)
  const answers = await readHostAnswers(system)
  const byName = <T>(make: (link: IpLink) => T) => new Map(answers.links.map((link) => [link.ifname, make(link)]))
  return {
    takenAt,
    links: byName((link) => toHostLinkState(link, answers, system)),
    children: findChildren(answers.links),
    unsupported: byName((link) => findUnsupported(link, answers)),
  }
}
