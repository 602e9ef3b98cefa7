import { PipeworkError } from '../model/errors'
import { ADDRESS_FAMILIES } from '../model/ip'
import { batchLine } from '../plan/step'
import type { System } from '../system/types'
import {
  findUnknownKey,
  type IpJson,
  isRouteOfLink,
  toAddressItem,
  toNeighbourItem,
  toRouteItems,
  toRuleItem,
} from './facets'
import { kernelHasIpv6 } from './guest'
import type { LinkConfigItem } from './link-config'

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

interface IpDocuments {
  readonly links: readonly IpJson[]
  readonly routes: readonly { readonly family: 4 | 6; readonly all: readonly IpJson[] }[]
  readonly neighbours: readonly IpJson[]
  readonly proxyNeighbours: readonly IpJson[]
  readonly nexthops: readonly IpJson[]
  readonly neighbourCache: readonly IpJson[]
  readonly rules: readonly { readonly family: 4 | 6; readonly all: readonly IpJson[] }[]
}

async function readIpDocuments(system: System): Promise<IpDocuments> {
  const families = ADDRESS_FAMILIES.filter((family) => family === 4 || kernelHasIpv6(system))
  // Of all tables, what is below a prefix: a line of a batch has no other way to say which family is meant.
  const tables = families.map((family) => batchLine`route show table all root ${family === 4 ? '0.0.0.0/0' : '::/0'}`)
  const others = [
    batchLine`neigh show nud permanent`,
    batchLine`neigh show proxy`,
    batchLine`nexthop show`,
    batchLine`neigh show`,
  ]
  const [state, ...rules] = await Promise.all([
    system.runIpBatch({ lines: [batchLine`address show`, ...tables, ...others], output: 'json' }),
    ...families.map((family) => system.query(['ip', `-${family}`, '-j', '-d', 'rule', 'show'])),
  ])
  const failed = [state, ...rules].find(({ code }) => code !== 0)
  if (failed !== undefined)
    throw new PipeworkError(`the host's network cannot be read: ${failed.stderr.trim()}`, {
      hint: 'See what `ip address` and `ip rule` say.',
    })
  const documents = state.stdout
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as readonly IpJson[])
  const after = 1 + families.length
  return {
    links: documents[0] ?? [],
    routes: families.map((family, index) => ({ family, all: documents[1 + index] ?? [] })),
    neighbours: documents[after] ?? [],
    proxyNeighbours: documents[after + 1] ?? [],
    nexthops: documents[after + 2] ?? [],
    neighbourCache: documents[after + 3] ?? [],
    rules: families.map((family, index) => ({
      family,
      all: JSON.parse(rules[index]?.stdout.trim() || '[]') as readonly IpJson[],
    })),
  }
}

/** IPv6 lists what came last first. */
function toAddressItems(link: IpJson): readonly LinkConfigItem[] {
  const name = String(link.ifname)
  const infos = ((link.addr_info ?? []) as readonly IpJson[]).filter(({ local }) => local !== undefined)
  const of = (family: string) => infos.filter((info) => info.family === family).map((info) => toAddressItem(info, name))
  return [...of('inet'), ...of('inet6').reverse()]
}

/** Routes to a router stand behind those that lead to it. */
function listRouteItems({ routes }: IpDocuments, link: IpJson): readonly LinkConfigItem[] {
  const all = routes.flatMap(({ family, all }) =>
    all
      .filter((route) => isRouteOfLink(route, link))
      .flatMap((route) => toRouteItems(route, family, String(link.ifname))),
  )
  return [...all.filter(({ gateway }) => gateway === undefined), ...all.filter(({ gateway }) => gateway !== undefined)]
}

function toCachedNeighbours({ dst, lladdr, state }: IpJson): readonly CachedNeighbour[] {
  const isKnown = ((state ?? []) as readonly string[]).some((it) =>
    ['REACHABLE', 'STALE', 'DELAY', 'PROBE'].includes(it),
  )
  return isKnown && lladdr !== undefined ? [{ ip: String(dst), lladdr: String(lladdr) }] : []
}

const isRuleOfLink = (dev: string) => (rule: IpJson) => rule.iif === dev || rule.oif === dev

/** The kernel's numbers for the ways to make a link-local address, in their order. */
const ADDR_GEN_MODES = ['eui64', 'none', 'stable_secret', 'random']

function readAddrGenMode(name: string, system: System): string | undefined {
  return ADDR_GEN_MODES[Number(system.read(`/proc/sys/net/ipv6/conf/${name}/addr_gen_mode`) ?? -1)]
}

function toHostLinkState(link: IpJson, documents: IpDocuments, system: System): HostLinkState {
  const name = String(link.ifname)
  const on = ({ dev }: IpJson) => dev === name
  const flags = (link.flags ?? []) as readonly string[]
  const word = (key: string) => (link[key] === undefined ? undefined : String(link[key]))
  const { info_kind: kind } = (link.linkinfo ?? {}) as { readonly info_kind?: string }
  const [master, alias, genmode] = [word('master'), word('ifalias'), readAddrGenMode(name, system)]
  return {
    name,
    ifindex: Number(link.ifindex),
    kind,
    up: flags.includes('UP'),
    mtu: Number(link.mtu),
    mac: word('address') ?? '',
    master,
    alias,
    genmode,
    neighbourCache: documents.neighbourCache.filter(on).flatMap(toCachedNeighbours),
    configItems: [
      ...toAddressItems(link),
      ...listRouteItems(documents, link),
      ...documents.neighbours.filter(on).map(toNeighbourItem),
      ...documents.proxyNeighbours.filter(on).map(({ dst }) => toNeighbourItem({ dst })),
      ...documents.rules.flatMap(({ family, all }) =>
        all.filter(isRuleOfLink(name)).map((rule) => toRuleItem(rule, family, name)),
      ),
    ],
  }
}

function findUnsupported(link: IpJson, documents: IpDocuments): readonly string[] {
  const name = String(link.ifname)
  const foreign = (kind: 'route' | 'rule', facets: IpJson, label: unknown) => {
    const key = findUnknownKey(kind, facets)
    return key === undefined ? [] : [`the ${kind} ${String(label)} has '${key}'`]
  }
  const infos = (link.addr_info ?? []) as readonly IpJson[]
  return [
    ...infos
      .filter(({ dadfailed }) => dadfailed === true)
      .map(({ local }) => `the address ${String(local)} is in use by another host (dadfailed)`),
    ...infos
      .filter(({ dadfailed, tentative }) => dadfailed !== true && tentative === true)
      .map(({ local }) => `the address ${String(local)} is still tentative: try again in two seconds`),
    ...documents.routes.flatMap(({ all }) =>
      all.filter((route) => isRouteOfLink(route, link)).flatMap((route) => foreign('route', route, route.dst)),
    ),
    ...documents.rules.flatMap(({ all }) =>
      all.filter(isRuleOfLink(name)).flatMap((rule) => foreign('rule', rule, rule.priority)),
    ),
    ...documents.nexthops
      .filter(({ dev }) => dev === name)
      .map(({ id }) => `the nexthop object ${String(id)} leads over it`),
  ]
}

/** Kinds of links that take all frames of the NIC they hang on. */
const MACVLAN_KINDS = ['macvlan', 'macvtap', 'ipvlan', 'ipvtap']

function findChildren(links: readonly IpJson[]): ReadonlyMap<string, readonly string[]> {
  const children = new Map<string, string[]>()
  for (const { link, ifname, linkinfo } of links) {
    const { info_kind: kind = '' } = (linkinfo ?? {}) as { readonly info_kind?: string }
    if (typeof link === 'string' && MACVLAN_KINDS.includes(kind))
      children.set(link, [...(children.get(link) ?? []), `${kind} ${String(ifname)}`])
  }
  return children
}

/** Asks the kernel for the host's links, with all that hangs on them. Throws when `ip` fails. */
export async function readHostState(system: System): Promise<HostState> {
  const takenAt = readUptime(system)
  const documents = await readIpDocuments(system)
  const byName = <T>(make: (link: IpJson) => T) =>
    new Map(documents.links.map((link) => [String(link.ifname), make(link)]))
  return {
    takenAt,
    links: byName((link) => toHostLinkState(link, documents, system)),
    children: findChildren(documents.links),
    unsupported: byName((link) => findUnsupported(link, documents)),
  }
}
