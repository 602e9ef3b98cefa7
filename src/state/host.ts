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
import type { SavedLink } from './saved-link'

/** An entry of the neighbour cache that the kernel made. */
export interface CachedNeighbour {
  readonly ip: string
  readonly lladdr: string
}

/** A link with its addresses, routes, neighbours and rules. */
export interface HostLinkState {
  readonly name: string
  /** Its kind in `ip -d link`; absent for a real NIC. */
  readonly kind?: string
  readonly ifindex: number
  readonly up: boolean
  readonly mtu: number
  readonly mac: string
  readonly master?: string
  readonly alias?: string
  readonly altnames: readonly string[]
  /** The MAC address from the driver, when the link has another one now. */
  readonly permanentMac?: string
  /** How the kernel makes its link-local IPv6 address: eui64, none, … */
  readonly addrGenMode?: string
  readonly neighbourCache: readonly CachedNeighbour[]
  /** In the order in which they are added to a link. */
  readonly configItems: readonly LinkConfigItem[]
}

/** All links of the host at one moment. */
export interface HostState {
  /** Seconds since boot. */
  readonly takenAt: number
  readonly links: ReadonlyMap<string, HostLinkState>
  /** The macvlans and ipvlans on a NIC, which receive its frames; by the NIC's name. */
  readonly children: ReadonlyMap<string, readonly string[]>
  /** Configuration that pipework cannot restore, by the link's name. */
  readonly unsupported: ReadonlyMap<string, readonly string[]>
  /** Links with an IPv6 address that is still in duplicate detection. */
  readonly tentative: ReadonlySet<string>
  /** The rules that name a link, by that name: rules outlive the link. */
  readonly ruleItems: ReadonlyMap<string, readonly LinkConfigItem[]>
}

/** Seconds since boot: a clock that all processes share and that is never set. */
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
  // A batch line cannot choose the family.
  const result = await system.run(['ip', `-${family}`, '-j', '-d', ...line])
  const [all] = parseIpOutput(result, [ipQuery.rules(line)], undefined)
  return { family, all }
}

async function readHostAnswers(system: System): Promise<HostAnswers> {
  const families = ADDRESS_FAMILIES.filter((family) => family === 4 || kernelHasIpv6(system))
  // All tables, filtered by a prefix: a batch line has no other way to choose the family.
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

/** The kernel lists the IPv6 addresses with the newest first. */
function toAddressItems({ ifname, addr_info }: IpLink): readonly LinkConfigItem[] {
  const of = (family: IpAddress['family']) =>
    addr_info.filter((info) => info.family === family).map((info) => toAddressItem(info, ifname))
  return [...of('inet'), ...of('inet6').reverse()]
}

/** Routes through a gateway come after those that lead to the gateway. */
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

/** In the order of the kernel's numbers (IN6_ADDR_GEN_MODE_…). */
const ADDR_GEN_MODES = ['eui64', 'none', 'stable_secret', 'random']

function readAddrGenMode(name: string, system: System): string | undefined {
  return ADDR_GEN_MODES[Number(system.read(`/proc/sys/net/ipv6/conf/${name}/addr_gen_mode`) ?? -1)]
}

function listRuleItems({ rules }: HostAnswers, name: string): readonly LinkConfigItem[] {
  return rules.flatMap(({ family, all }) =>
    all.filter(isRuleOfLink(name)).map((rule) => toRuleItem(rule, family, name)),
  )
}

function mapRuleItems(answers: HostAnswers): HostState['ruleItems'] {
  const names = answers.rules.flatMap(({ all }) => all.flatMap(({ iif, oif }) => [iif, oif]))
  return new Map(names.flatMap((name) => (name === undefined ? [] : [[name, listRuleItems(answers, name)] as const])))
}

function toHostLinkState(link: IpLink, answers: HostAnswers, system: System): HostLinkState {
  const { ifname: name, ifindex, mtu, master, ifalias: alias, address: mac = '' } = link
  const on = ({ dev }: IpNeighbour) => dev === name
  return {
    ...{ name, ifindex, mtu, mac, master, alias },
    kind: link.linkinfo?.info_kind,
    up: link.flags.includes('UP'),
    altnames: link.altnames ?? [],
    permanentMac: link.permaddr,
    addrGenMode: readAddrGenMode(name, system),
    neighbourCache: answers.neighbourCache.filter(on).flatMap(toCachedNeighbours),
    configItems: [
      ...toAddressItems(link),
      ...listRouteItems(answers, link),
      ...answers.neighbours.filter(on).map(toNeighbourItem),
      ...answers.proxyNeighbours.filter(on).map(({ dst }) => toNeighbourItem({ dst })),
      ...listRuleItems(answers, name),
    ],
  }
}

function findUnsupported(link: IpLink, answers: HostAnswers): readonly string[] {
  const name = link.ifname
  const listUnknown = (kind: 'route' | 'rule', item: IpRoute | IpRule, label: string | number) => {
    const key = findUnknownKey(kind, item)
    return key === undefined ? [] : [`the ${kind} ${label} has '${key}'`]
  }
  const infos = link.addr_info
  return [
    ...infos
      .filter(({ dadfailed }) => dadfailed === true)
      .map(({ local }) => `the address ${local} is in use by another host (dadfailed)`),
    ...answers.routes.flatMap(({ all }) =>
      all.filter((route) => isRouteOfLink(route, link)).flatMap((route) => listUnknown('route', route, route.dst)),
    ),
    ...answers.rules.flatMap(({ all }) =>
      all.filter(isRuleOfLink(name)).flatMap((rule) => listUnknown('rule', rule, rule.priority)),
    ),
    ...answers.nexthops.filter(({ dev }) => dev === name).map(({ id }) => `the nexthop object ${id} leads over it`),
  ]
}

function isTentative({ addr_info }: IpLink): boolean {
  return addr_info.some(({ dadfailed, tentative }) => dadfailed !== true && tentative === true)
}

/** Kinds of links that receive the frames of their NIC. */
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
    tentative: new Set(answers.links.filter(isTentative).map(({ ifname }) => ifname)),
    ruleItems: mapRuleItems(answers),
  }
}

/** Settings that belong to one link only, or are no numbers. */
const OWN_SYSCTLS = ['mc_forwarding', 'mtu', 'addr_gen_mode', 'stable_secret']

/** Sysctls that differ from those of a new link, as `sysctl -w` arguments for the link named `target`. */
export function readChangedSysctls(name: string, target: string, system: System): readonly string[] {
  return ['ipv4', 'ipv6'].flatMap((family) => {
    const conf = `/proc/sys/net/${family}/conf`
    return (system.list(`${conf}/${name}`) ?? []).flatMap((key) => {
      const value = system.read(`${conf}/${name}/${key}`)
      if (OWN_SYSCTLS.includes(key) || value === undefined || value === system.read(`${conf}/default/${key}`)) return []
      return /^-?\d+$/.test(value) ? [`net/${family}/conf/${target}/${key}=${value}`] : []
    })
  })
}

/** The link's current state in the form that is saved. */
export function toSavedLink(link: HostLinkState, takenAt: number, system: System): SavedLink {
  const { name, up, mtu, mac, altnames, addrGenMode, configItems: items } = link
  return { name, up, mtu, mac, altnames, addrGenMode, sysctls: readChangedSysctls(name, name, system), items, takenAt }
}
