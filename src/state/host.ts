import { PipeworkError } from '../model/errors'
import { FAMILIES } from '../model/ip'
import { batchLine } from '../plan/step'
import type { Host } from '../system/types'
import { type Facets, findForeignKey, isRouteOf, toAddress, toNeighbour, toRoutes, toRule } from './facets'
import { hasIpv6 } from './guest'
import type { Holding } from './link-config'

/** A neighbour that the kernel found by itself. */
export interface Acquaintance {
  readonly ip: string
  readonly lladdr: string
}

/** A link as it is, with all that hangs on its name. */
export interface LinkState {
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
  readonly acquaintances: readonly Acquaintance[]
  /** In the order in which they are given to a link. */
  readonly holdings: readonly Holding[]
}

/** All links of the host at one moment. */
export interface Snapshot {
  /** Seconds since boot. */
  readonly takenAt: number
  readonly links: ReadonlyMap<string, LinkState>
  /** What hangs on a NIC and takes its frames: its macvlans and ipvlans, by the NIC's name. */
  readonly children: ReadonlyMap<string, readonly string[]>
  /** What could not be moved, by the link's name. */
  readonly obstacles: ReadonlyMap<string, readonly string[]>
}

/** Seconds since boot: a clock that nobody sets, and the same for all processes. */
export function uptime(host: Host): number {
  return Number(host.read('/proc/uptime')?.split(' ')[0] ?? 0)
}

interface Documents {
  readonly links: readonly Facets[]
  readonly routes: readonly { readonly family: 4 | 6; readonly all: readonly Facets[] }[]
  readonly neighbours: readonly Facets[]
  readonly proxies: readonly Facets[]
  readonly nexthops: readonly Facets[]
  readonly acquaintances: readonly Facets[]
  readonly rules: readonly { readonly family: 4 | 6; readonly all: readonly Facets[] }[]
}

async function readDocuments(host: Host): Promise<Documents> {
  const families = FAMILIES.filter((family) => family === 4 || hasIpv6(host))
  // Of all tables, what is below a prefix: a line of a batch has no other way to say which family is meant.
  const tables = families.map((family) => batchLine`route show table all root ${family === 4 ? '0.0.0.0/0' : '::/0'}`)
  const others = [
    batchLine`neigh show nud permanent`,
    batchLine`neigh show proxy`,
    batchLine`nexthop show`,
    batchLine`neigh show`,
  ]
  const [state, ...rules] = await Promise.all([
    host.ip({ lines: [batchLine`address show`, ...tables, ...others], answer: 'json' }),
    ...families.map((family) => host.query(['ip', `-${family}`, '-j', '-d', 'rule', 'show'])),
  ])
  const failed = [state, ...rules].find(({ code }) => code !== 0)
  if (failed !== undefined)
    throw new PipeworkError(`the host's network cannot be read: ${failed.stderr.trim()}`, {
      hint: 'See what `ip address` and `ip rule` say.',
    })
  const documents = state.stdout
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as readonly Facets[])
  const after = 1 + families.length
  return {
    links: documents[0] ?? [],
    routes: families.map((family, index) => ({ family, all: documents[1 + index] ?? [] })),
    neighbours: documents[after] ?? [],
    proxies: documents[after + 1] ?? [],
    nexthops: documents[after + 2] ?? [],
    acquaintances: documents[after + 3] ?? [],
    rules: families.map((family, index) => ({
      family,
      all: JSON.parse(rules[index]?.stdout.trim() || '[]') as readonly Facets[],
    })),
  }
}

/** IPv6 lists what came last first. */
function toAddresses(link: Facets): readonly Holding[] {
  const name = String(link.ifname)
  const infos = ((link.addr_info ?? []) as readonly Facets[]).filter(({ local }) => local !== undefined)
  const of = (family: string) => infos.filter((info) => info.family === family).map((info) => toAddress(info, name))
  return [...of('inet'), ...of('inet6').reverse()]
}

/** Routes to a router stand behind those that lead to it. */
function listRoutes({ routes }: Documents, link: Facets): readonly Holding[] {
  const all = routes.flatMap(({ family, all }) =>
    all.filter((route) => isRouteOf(route, link)).flatMap((route) => toRoutes(route, family, String(link.ifname))),
  )
  return [...all.filter(({ gateway }) => gateway === undefined), ...all.filter(({ gateway }) => gateway !== undefined)]
}

function toAcquaintance({ dst, lladdr, state }: Facets): readonly Acquaintance[] {
  const isKnown = ((state ?? []) as readonly string[]).some((it) =>
    ['REACHABLE', 'STALE', 'DELAY', 'PROBE'].includes(it),
  )
  return isKnown && lladdr !== undefined ? [{ ip: String(dst), lladdr: String(lladdr) }] : []
}

const namesLink = (dev: string) => (rule: Facets) => rule.iif === dev || rule.oif === dev

/** The kernel's numbers for the ways to make a link-local address, in their order. */
const GENMODES = ['eui64', 'none', 'stable_secret', 'random']

function readGenmode(name: string, host: Host): string | undefined {
  return GENMODES[Number(host.read(`/proc/sys/net/ipv6/conf/${name}/addr_gen_mode`) ?? -1)]
}

function toLinkState(link: Facets, documents: Documents, host: Host): LinkState {
  const name = String(link.ifname)
  const on = ({ dev }: Facets) => dev === name
  const flags = (link.flags ?? []) as readonly string[]
  const word = (key: string) => (link[key] === undefined ? undefined : String(link[key]))
  const { info_kind: kind } = (link.linkinfo ?? {}) as { readonly info_kind?: string }
  const [master, alias, genmode] = [word('master'), word('ifalias'), readGenmode(name, host)]
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
    acquaintances: documents.acquaintances.filter(on).flatMap(toAcquaintance),
    holdings: [
      ...toAddresses(link),
      ...listRoutes(documents, link),
      ...documents.neighbours.filter(on).map(toNeighbour),
      ...documents.proxies.filter(on).map(({ dst }) => toNeighbour({ dst })),
      ...documents.rules.flatMap(({ family, all }) =>
        all.filter(namesLink(name)).map((rule) => toRule(rule, family, name)),
      ),
    ],
  }
}

function findObstacles(link: Facets, documents: Documents): readonly string[] {
  const name = String(link.ifname)
  const foreign = (kind: 'route' | 'rule', facets: Facets, label: unknown) => {
    const key = findForeignKey(kind, facets)
    return key === undefined ? [] : [`the ${kind} ${String(label)} has '${key}'`]
  }
  const infos = (link.addr_info ?? []) as readonly Facets[]
  return [
    ...infos
      .filter(({ dadfailed }) => dadfailed === true)
      .map(({ local }) => `the address ${String(local)} is in use by another host (dadfailed)`),
    ...infos
      .filter(({ dadfailed, tentative }) => dadfailed !== true && tentative === true)
      .map(({ local }) => `the address ${String(local)} is still tentative: try again in two seconds`),
    ...documents.routes.flatMap(({ all }) =>
      all.filter((route) => isRouteOf(route, link)).flatMap((route) => foreign('route', route, route.dst)),
    ),
    ...documents.rules.flatMap(({ all }) =>
      all.filter(namesLink(name)).flatMap((rule) => foreign('rule', rule, rule.priority)),
    ),
    ...documents.nexthops
      .filter(({ dev }) => dev === name)
      .map(({ id }) => `the nexthop object ${String(id)} leads over it`),
  ]
}

/** Kinds of links that take all frames of the NIC they hang on. */
const TAKING = ['macvlan', 'macvtap', 'ipvlan', 'ipvtap']

function findChildren(links: readonly Facets[]): ReadonlyMap<string, readonly string[]> {
  const children = new Map<string, string[]>()
  for (const { link, ifname, linkinfo } of links) {
    const { info_kind: kind = '' } = (linkinfo ?? {}) as { readonly info_kind?: string }
    if (typeof link === 'string' && TAKING.includes(kind))
      children.set(link, [...(children.get(link) ?? []), `${kind} ${String(ifname)}`])
  }
  return children
}

/** Asks the kernel for the host's links, with all that hangs on them. Throws when `ip` fails. */
export async function readSnapshot(host: Host): Promise<Snapshot> {
  const takenAt = uptime(host)
  const documents = await readDocuments(host)
  const byName = <T>(make: (link: Facets) => T) =>
    new Map(documents.links.map((link) => [String(link.ifname), make(link)]))
  return {
    takenAt,
    links: byName((link) => toLinkState(link, documents, host)),
    children: findChildren(documents.links),
    obstacles: byName((link) => findObstacles(link, documents)),
  }
}
