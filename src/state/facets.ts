import { type Family, toNetwork } from '../model/address'
import { FOREVER, type Holding, SELF } from './link-config'

/** A document of `ip -j`, of which every key counts: what we do not know, we could not move. */
export type Facets = Readonly<Record<string, unknown>>

const text = (facets: Facets, key: string) => (facets[key] === undefined ? undefined : String(facets[key]))
const pair = (key: string, value: string | undefined) => (value === undefined ? [] : [key, value])
const familyOf = (text: string): Family => (text.includes(':') ? 6 : 4)

/** An address out of `ip -j -d address`. */
export function toAddress(info: Facets, dev: string): Holding {
  const family = info.family === 'inet6' ? 6 : 4
  const peer = text(info, 'address')
  const cidr = `${text(info, 'local')}${peer === undefined ? `/${info.prefixlen}` : ''}`
  const label = text(info, 'label')
  const flags = ['home', 'mngtmpaddr', 'noprefixroute', 'autojoin'].filter((flag) => info[flag] === true)
  const scope = text(info, 'scope')
  const own = [
    ...(peer === undefined ? [] : ['peer', `${peer}/${info.prefixlen}`]),
    ...pair('broadcast', text(info, 'broadcast')),
    ...pair('anycast', text(info, 'anycast')),
    ...(family === 4 && scope !== 'global' ? pair('scope', scope) : []),
    // A label begins with the name of its link; what is longer than a name does not go along.
    ...(label?.startsWith(`${dev}:`) ? ['label', SELF + label.slice(dev.length)] : []),
    ...pair('metric', text(info, 'metric')),
    // Newer ones tell who made it: kernel_ll, kernel_ra.
    ...pair('proto', text(info, 'protocol')),
    ...flags,
  ]
  const valid = Number(info.valid_life_time ?? FOREVER)
  // The kernel shall not ask the LAN again for an address that was in use a moment ago. But that it did, it remembers.
  const add =
    family === 4
      ? [['addr', 'add', cidr, ...own, 'dev', SELF]]
      : [
          ['addr', 'add', cidr, ...own, 'nodad', 'dev', SELF],
          ...(info.nodad === true ? [] : [['addr', 'change', cidr, ...own, 'dev', SELF]]),
        ]
  return {
    kind: 'address',
    family,
    what: `the address ${text(info, 'local')}/${info.prefixlen}`,
    add,
    del: ['addr', 'del', cidr, ...(peer === undefined ? [] : ['peer', `${peer}/${info.prefixlen}`]), 'dev', SELF],
    lifetimes: valid < FOREVER ? { valid, preferred: Number(info.preferred_life_time ?? FOREVER) } : undefined,
    remnant:
      valid < FOREVER && family === 6 && peer === undefined
        ? ['route', 'flush', 'table', 'all', 'exact', toSubnet(info), 'dev', SELF, 'proto', 'kernel']
        : undefined,
  }
}

function toSubnet({ local, prefixlen }: Facets): string {
  return toNetwork({ ip: String(local), prefix: Number(prefixlen) })
}

interface Hop {
  readonly gateway?: string
  readonly via?: { readonly family: string; readonly host: string }
  readonly dev?: string
  readonly weight?: number
  readonly flags?: readonly string[]
}

function toVia({ gateway, via }: Hop): readonly string[] {
  if (gateway !== undefined) return ['via', gateway]
  return via === undefined ? [] : ['via', via.family, via.host]
}

const onlink = ({ flags = [] }: Hop) => (flags.includes('onlink') ? ['onlink'] : [])
const self = (word: string | undefined, dev: string) => (word === dev ? SELF : (word ?? ''))

function toHops(hops: readonly Hop[], dev: string): readonly string[] {
  return hops.flatMap((hop) => [
    ...['nexthop', ...toVia(hop), 'dev', self(hop.dev, dev)],
    ...(hop.weight === undefined ? [] : ['weight', `${hop.weight}`]),
    ...onlink(hop),
  ])
}

/** The keys of a route that we know how to write. */
const ROUTE_KEYS =
  'type dst tos gateway via dev table protocol scope prefsrc metric flags pref metrics nexthops expires ttl-propagate'

/** Whether a route goes through the link, a document of `ip -j address`; those that come and go with its addresses are not meant. */
export function isRouteOf(route: Facets, { ifname, addr_info }: Facets): boolean {
  const hops = (route.nexthops ?? []) as readonly Hop[]
  if (route.dev !== ifname && !hops.some((hop) => hop.dev === ifname)) return false
  if (route.protocol !== 'kernel') return true
  // NetworkManager makes the route to a subnet itself, and lets it look as if it were the kernel's.
  const owners = ((addr_info ?? []) as readonly Facets[]).filter((info) => isToNetworkOf(route, info))
  return owners.length > 0 && owners.every(({ noprefixroute }) => noprefixroute === true)
}

/** Whether the route leads to the subnet of the address, and for IPv4 from it. */
function isToNetworkOf({ type, dst, prefsrc }: Facets, { local, prefixlen }: Facets): boolean {
  if ((type !== undefined && type !== 'unicast') || typeof local !== 'string') return false
  const [network, prefix] = String(dst).split('/')
  const own = toNetwork({ ip: local, prefix: Number(prefixlen) })
  return own === `${network}/${prefix ?? prefixlen}` && (local.includes(':') || prefsrc === local)
}

/** The protocol of a route that stands in for one that a router has announced. */
const STAND_IN = '113'

function whoAnnounced(route: Facets, family: Family): Holding['announced'] {
  if (family !== 6 || route.dst !== 'default' || route.gateway === undefined) return undefined
  const by = String(route.protocol)
  return by === 'ra' ? 'heard' : by === STAND_IN ? 'standing in' : undefined
}

/**
 * Only the kernel can make a route that it takes for announced. One of ours in its very place would have it give up each
 * time the router is heard, and with that all addresses run out: so ours stands one behind.
 */
function toStandIn(route: Facets): Facets {
  return { ...route, protocol: STAND_IN, metric: Number(route.metric) + 1 }
}

/** What stands for a route in every command: the kernel tells by it which are the same. */
function toKey(route: Facets, family: Family): readonly string[] {
  const dst = route.dst === 'default' ? (family === 4 ? '0.0.0.0/0' : '::/0') : String(route.dst)
  return [
    ...(route.type === undefined || route.type === 'unicast' ? [] : [String(route.type)]),
    dst,
    ...pair('tos', text(route, 'tos')),
    ...pair('table', text(route, 'table')),
    ...pair('metric', text(route, 'metric')),
  ]
}

/** A route out of `ip -j -d route show table all`, as far as it is the link's. */
export function toRoutes(route: Facets, family: Family, dev: string): readonly Holding[] {
  const hops = (route.nexthops ?? []) as readonly Hop[]
  // Of IPv6, several hops are several routes to the kernel, and those of other links are none of ours.
  return family === 6 && hops.length > 0
    ? hops.filter((hop) => hop.dev === dev).map((hop) => toRoute({ ...route, ...hop, nexthops: [] }, family, dev))
    : [toRoute(route, family, dev)]
}

function toRoute(route: Facets, family: Family, dev: string): Holding {
  const announced = whoAnnounced(route, family)
  if (announced === undefined) return toPlainRoute(route, family, dev)
  const it = toPlainRoute(route, family, dev)
  const { add } = announced === 'heard' ? toPlainRoute(toStandIn(route), family, dev) : it
  return { ...it, add, announced }
}

function toPlainRoute(route: Facets, family: Family, dev: string): Holding {
  const hop = route as Hop
  const hops = (route.nexthops ?? []) as readonly Hop[]
  const isDefault = route.dst === 'default'
  const key = toKey(route, family)
  const proto = ['proto', text(route, 'protocol') ?? 'boot']
  const path = hops.length > 0 ? toHops(hops, dev) : [...toVia(hop), 'dev', SELF]
  const isHeavy = hops.length === 0 && (hop.weight ?? 1) !== 1
  const rest = [
    ...(family === 4 ? pair('scope', text(route, 'scope')) : []),
    ...pair('src', text(route, 'prefsrc')),
    ...(route.pref === undefined || route.pref === 'medium' ? [] : ['pref', String(route.pref)]),
    ...((route.metrics ?? []) as readonly Facets[]).flatMap((them) =>
      Object.entries(them).flatMap(([name, value]) => [name, String(value)]),
    ),
    ...onlink(hop),
  ]
  const gateway = hop.gateway ?? hop.via?.host ?? hops.find((it) => it.dev === dev)?.gateway
  return {
    kind: 'route',
    family,
    what: `${isDefault ? `the default route for IPv${family}` : `the route to ${String(route.dst)}`}${route.table === 'main' ? '' : ` in table ${String(route.table)}`}`,
    add: [['route', 'append', ...key, ...proto, ...rest, ...(isHeavy ? toHops([hop], dev) : path)]],
    del: ['route', 'del', ...key, ...proto, ...path],
    lifetimes: route.expires === undefined ? undefined : { valid: Number(route.expires) },
    rank: `${family} ${key.join(' ')}`,
    gateway,
    isDefault: isDefault ? isDefault : undefined,
  }
}

/** An entry of `ip -j neigh show nud permanent`, or of `… proxy`, that somebody made. */
export function toNeighbour({ dst, lladdr, router }: Facets): Holding {
  const ip = String(dst)
  const kind = lladdr === undefined ? ['proxy'] : []
  return {
    kind: 'neighbour',
    family: familyOf(ip),
    what: `the neighbour ${ip}`,
    add: [
      lladdr === undefined
        ? ['neigh', 'replace', 'proxy', ip, 'dev', SELF]
        : [
            'neigh',
            'replace',
            ip,
            'lladdr',
            String(lladdr),
            ...(router === null ? ['router'] : []),
            'nud',
            'permanent',
            'dev',
            SELF,
          ],
    ],
    del: ['neigh', 'del', ...kind, ip, 'dev', SELF],
  }
}

const RULE_KEYS =
  'priority not src srclen dst dstlen tos fwmark fwmask iif iif_detached oif oif_detached table suppress_prefixlen protocol ipproto'

/** A rule out of `ip -j rule` that names the link. */
export function toRule(rule: Facets, family: Family, dev: string): Holding {
  const prefix = (of: 'src' | 'dst') => {
    const length = text(rule, `${of}len`)
    const address = text(rule, of) ?? 'all'
    return length === undefined ? address : `${address}/${length}`
  }
  const mark = text(rule, 'fwmask') === undefined ? '' : `/${text(rule, 'fwmask')}`
  const words = [
    ...('not' in rule ? ['not'] : []),
    'from',
    prefix('src'),
    ...(rule.dst === undefined ? [] : ['to', prefix('dst')]),
    ...pair('tos', text(rule, 'tos')),
    ...(rule.fwmark === undefined ? [] : ['fwmark', `${rule.fwmark}${mark}`]),
    ...(rule.iif === undefined ? [] : ['iif', self(text(rule, 'iif'), dev)]),
    ...(rule.oif === undefined ? [] : ['oif', self(text(rule, 'oif'), dev)]),
    ...pair('ipproto', text(rule, 'ipproto')),
    ...pair('priority', text(rule, 'priority')),
    ...pair('table', text(rule, 'table')),
    ...pair('suppress_prefixlength', text(rule, 'suppress_prefixlen')),
    ...pair('protocol', text(rule, 'protocol')),
  ]
  return {
    kind: 'rule',
    family,
    what: `the IPv${family} rule ${String(rule.priority)}`,
    add: [['rule', 'add', ...words]],
    del: ['rule', 'del', ...words],
  }
}

/** What of a route or a rule we could not write again, if anything: its first unknown key. */
export function findForeignKey(kind: 'route' | 'rule', facets: Facets): string | undefined {
  const known = (kind === 'route' ? ROUTE_KEYS : RULE_KEYS).split(' ')
  const foreign = Object.keys(facets).find((key) => !known.includes(key))
  if (foreign !== undefined || kind === 'rule') return foreign
  const hops = (facets.nexthops ?? []) as readonly Facets[]
  return hops.flatMap(Object.keys).find((key) => !['gateway', 'via', 'dev', 'weight', 'flags'].includes(key))
}
