import { type Family, toNetworkCidr } from '../model/address'
import {
  type IpAddress,
  type IpLink,
  type IpNeighbour,
  type IpNextHop,
  type IpRoute,
  type IpRule,
  toFamily,
} from './ip-json'
import { DEV_PLACEHOLDER, INFINITE_LIFETIME, type LinkConfigItem } from './link-config'

const optionArgs = (key: string, value: string | number | undefined) => (value === undefined ? [] : [key, `${value}`])
const familyOf = (text: string): Family => (text.includes(':') ? 6 : 4)

/** Converts an address of `ip -j -d address`. */
export function toAddressItem(info: IpAddress, dev: string): LinkConfigItem {
  const { local, prefixlen, address: peer, label, scope } = info
  const family = toFamily(info.family)
  const cidr = `${local}${peer === undefined ? `/${prefixlen}` : ''}`
  const flags = (['home', 'mngtmpaddr', 'noprefixroute', 'autojoin'] as const).filter((flag) => info[flag] === true)
  const own = [
    ...(peer === undefined ? [] : ['peer', `${peer}/${prefixlen}`]),
    ...optionArgs('broadcast', info.broadcast),
    ...optionArgs('anycast', info.anycast),
    ...(family === 4 && scope !== 'global' ? optionArgs('scope', scope) : []),
    // A label starts with the link's name; one that would be too long for the new name is dropped.
    ...(label?.startsWith(`${dev}:`) ? ['label', DEV_PLACEHOLDER + label.slice(dev.length)] : []),
    ...optionArgs('metric', info.metric),
    // Newer versions print the origin: kernel_ll, kernel_ra.
    ...optionArgs('proto', info.protocol),
    ...flags,
  ]
  const valid = info.valid_life_time ?? INFINITE_LIFETIME
  // `nodad`: the address was in use a moment ago, so it needs no duplicate detection. `addr change` then clears the
  // flag, unless the address had it before.
  const add =
    family === 4
      ? [['addr', 'add', cidr, ...own, 'dev', DEV_PLACEHOLDER]]
      : [
          ['addr', 'add', cidr, ...own, 'nodad', 'dev', DEV_PLACEHOLDER],
          ...(info.nodad === true ? [] : [['addr', 'change', cidr, ...own, 'dev', DEV_PLACEHOLDER]]),
        ]
  return {
    kind: 'address',
    family,
    description: `the address ${local}/${prefixlen}`,
    add,
    del: ['addr', 'del', cidr, ...(peer === undefined ? [] : ['peer', `${peer}/${prefixlen}`]), 'dev', DEV_PLACEHOLDER],
    lifetimes:
      valid < INFINITE_LIFETIME ? { valid, preferred: info.preferred_life_time ?? INFINITE_LIFETIME } : undefined,
    leftover:
      valid < INFINITE_LIFETIME && family === 6 && peer === undefined
        ? ['route', 'flush', 'table', 'all', 'exact', toSubnet(info), 'dev', DEV_PLACEHOLDER, 'proto', 'kernel']
        : undefined,
  }
}

function toSubnet({ local, prefixlen }: IpAddress): string {
  return toNetworkCidr({ ip: local, prefix: prefixlen })
}

function viaArgs({ gateway, via }: IpNextHop): readonly string[] {
  if (gateway !== undefined) return ['via', gateway]
  return via === undefined ? [] : ['via', via.family, via.host]
}

const onlinkArgs = ({ flags = [] }: IpNextHop) => (flags.includes('onlink') ? ['onlink'] : [])
const toDevArg = (word: string | undefined, dev: string) => (word === dev ? DEV_PLACEHOLDER : (word ?? ''))

function nextHopArgs(hops: readonly IpNextHop[], dev: string): readonly string[] {
  return hops.flatMap((hop) => [
    ...['nexthop', ...viaArgs(hop), 'dev', toDevArg(hop.dev, dev)],
    ...(hop.weight === undefined ? [] : ['weight', `${hop.weight}`]),
    ...onlinkArgs(hop),
  ])
}

/** The route keys that pipework can restore. */
const ROUTE_KEYS =
  'type dst tos gateway via dev table protocol scope prefsrc metric flags pref metrics nexthops expires ttl-propagate'

/**
 * Whether a route belongs to the link (a document of `ip -j address`). Routes that the kernel adds with an address are
 * excluded.
 */
export function isRouteOfLink(route: IpRoute, { ifname, addr_info }: Pick<IpLink, 'ifname' | 'addr_info'>): boolean {
  const hops = route.nexthops ?? []
  if (route.dev !== ifname && !hops.some((hop) => hop.dev === ifname)) return false
  if (route.protocol !== 'kernel') return true
  // NetworkManager adds subnet routes itself and marks them as the kernel's.
  const owners = addr_info.filter((info) => isSubnetRoute(route, info))
  return owners.length > 0 && owners.every(({ noprefixroute }) => noprefixroute === true)
}

/** Whether the route leads to the subnet of the address, and for IPv4 from it. */
function isSubnetRoute({ type = 'unicast', dst, prefsrc }: IpRoute, address: IpAddress): boolean {
  const { local, prefixlen } = address
  const [network, prefix] = dst.split('/')
  return (
    type === 'unicast' &&
    toSubnet(address) === `${network}/${prefix ?? prefixlen}` &&
    (local.includes(':') || prefsrc === local)
  )
}

/** The protocol of a route that replaces an announced one until the next router advertisement. */
const STAND_IN_PROTO = '113'

function toAnnounced(route: IpRoute, family: Family): LinkConfigItem['announced'] {
  if (family !== 6 || route.dst !== 'default' || route.gateway === undefined) return undefined
  if (route.protocol === 'ra') return 'heard'
  return route.protocol === STAND_IN_PROTO ? 'stand-in' : undefined
}

/**
 * Only the kernel can create a route that it treats as announced. A route of ours with the same metric would make the
 * kernel reject each advertisement until all addresses expire: so ours has the next higher metric.
 */
function toStandInRoute(route: IpRoute): IpRoute {
  return { ...route, protocol: STAND_IN_PROTO, metric: (route.metric ?? 0) + 1 }
}

/** The words that identify a route to the kernel, in every command. */
function routeKeyArgs(route: IpRoute, family: Family): readonly string[] {
  const dst = route.dst === 'default' ? (family === 4 ? '0.0.0.0/0' : '::/0') : route.dst
  return [
    ...(route.type === undefined || route.type === 'unicast' ? [] : [route.type]),
    dst,
    ...optionArgs('tos', route.tos),
    ...optionArgs('table', route.table),
    ...optionArgs('metric', route.metric),
  ]
}

/** Converts a route of `ip -j -d route show table all`, if it belongs to the link. */
export function toRouteItems(route: IpRoute, family: Family, dev: string): readonly LinkConfigItem[] {
  const hops = route.nexthops ?? []
  // To the kernel an IPv6 multipath route is several routes; those over other links are not ours.
  return family === 6 && hops.length > 0
    ? hops.filter((hop) => hop.dev === dev).map((hop) => toRouteItem({ ...route, ...hop, nexthops: [] }, family, dev))
    : [toRouteItem(route, family, dev)]
}

function toRouteItem(route: IpRoute, family: Family, dev: string): LinkConfigItem {
  const announced = toAnnounced(route, family)
  if (announced === undefined) return toPlainRouteItem(route, family, dev)
  const it = toPlainRouteItem(route, family, dev)
  const { add } = announced === 'heard' ? toPlainRouteItem(toStandInRoute(route), family, dev) : it
  return { ...it, add, announced }
}

function toPlainRouteItem(route: IpRoute, family: Family, dev: string): LinkConfigItem {
  const hops = route.nexthops ?? []
  const isDefault = route.dst === 'default'
  const key = routeKeyArgs(route, family)
  const proto = ['proto', route.protocol ?? 'boot']
  const path = hops.length > 0 ? nextHopArgs(hops, dev) : [...viaArgs(route), 'dev', DEV_PLACEHOLDER]
  const isHeavy = hops.length === 0 && (route.weight ?? 1) !== 1
  const rest = [
    ...(family === 4 ? optionArgs('scope', route.scope) : []),
    ...optionArgs('src', route.prefsrc),
    ...(route.pref === undefined || route.pref === 'medium' ? [] : ['pref', route.pref]),
    ...(route.metrics ?? []).flatMap((them) => Object.entries(them).flatMap(([name, value]) => [name, String(value)])),
    ...onlinkArgs(route),
  ]
  const gateway = route.gateway ?? route.via?.host ?? hops.find((it) => it.dev === dev)?.gateway
  return {
    kind: 'route',
    family,
    description: `${isDefault ? `the default route for IPv${family}` : `the route to ${route.dst}`}${route.table === 'main' ? '' : ` in table ${route.table}`}`,
    add: [['route', 'append', ...key, ...proto, ...rest, ...(isHeavy ? nextHopArgs([route], dev) : path)]],
    del: ['route', 'del', ...key, ...proto, ...path],
    lifetimes: route.expires === undefined ? undefined : { valid: route.expires },
    routeKey: `${family} ${key.join(' ')}`,
    gateway,
    isDefault: isDefault ? isDefault : undefined,
  }
}

/** Converts a manual entry of `ip -j neigh show nud permanent` or `… proxy`. */
export function toNeighbourItem({ dst: ip, lladdr, router }: IpNeighbour): LinkConfigItem {
  const kind = lladdr === undefined ? ['proxy'] : []
  return {
    kind: 'neighbour',
    family: familyOf(ip),
    description: `the neighbour ${ip}`,
    add: [
      lladdr === undefined
        ? ['neigh', 'replace', 'proxy', ip, 'dev', DEV_PLACEHOLDER]
        : [
            'neigh',
            'replace',
            ip,
            'lladdr',
            lladdr,
            ...(router === null ? ['router'] : []),
            'nud',
            'permanent',
            'dev',
            DEV_PLACEHOLDER,
          ],
    ],
    del: ['neigh', 'del', ...kind, ip, 'dev', DEV_PLACEHOLDER],
  }
}

const RULE_KEYS =
  'priority not src srclen dst dstlen tos fwmark fwmask iif iif_detached oif oif_detached table suppress_prefixlen protocol ipproto'

/** Converts a rule of `ip -j rule` that names the link. */
export function toRuleItem(rule: IpRule, family: Family, dev: string): LinkConfigItem {
  const prefix = (of: 'src' | 'dst') => {
    const length = rule[`${of}len`]
    const address = rule[of] ?? 'all'
    return length === undefined ? address : `${address}/${length}`
  }
  const mark = rule.fwmask === undefined ? '' : `/${rule.fwmask}`
  const words = [
    ...('not' in rule ? ['not'] : []),
    'from',
    prefix('src'),
    ...(rule.dst === undefined ? [] : ['to', prefix('dst')]),
    ...optionArgs('tos', rule.tos),
    ...(rule.fwmark === undefined ? [] : ['fwmark', `${rule.fwmark}${mark}`]),
    ...(rule.iif === undefined ? [] : ['iif', toDevArg(rule.iif, dev)]),
    ...(rule.oif === undefined ? [] : ['oif', toDevArg(rule.oif, dev)]),
    ...optionArgs('ipproto', rule.ipproto),
    ...optionArgs('priority', rule.priority),
    ...optionArgs('table', rule.table),
    ...optionArgs('suppress_prefixlength', rule.suppress_prefixlen),
    ...optionArgs('protocol', rule.protocol),
  ]
  return {
    kind: 'rule',
    family,
    description: `the IPv${family} rule ${rule.priority}`,
    add: [['rule', 'add', ...words]],
    del: ['rule', 'del', ...words],
  }
}

/** The first key of a route or rule that pipework cannot restore, if any. */
export function findUnknownKey(kind: 'route' | 'rule', item: IpRoute | IpRule): string | undefined {
  const known = (kind === 'route' ? ROUTE_KEYS : RULE_KEYS).split(' ')
  const foreign = Object.keys(item).find((key) => !known.includes(key))
  if (foreign !== undefined || !('nexthops' in item)) return foreign
  return (item.nexthops ?? [])
    .flatMap((hop) => Object.keys(hop))
    .find((key) => !['gateway', 'via', 'dev', 'weight', 'flags'].includes(key))
}
