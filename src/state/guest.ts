import type { Address, Family } from '../model/address'
import { ADDRESS_FAMILIES } from '../model/address'
import { batchLine, isSafeWord } from '../system/batch'
import type { System } from '../system/types'
import { findLinkByIndex, type HostLink } from './host-links'
import { type IpAddress, type IpLink, type IpRoute, ipQuery, isUsableWord, readIp, toFamily } from './ip-json'
import { decodeRecord, type PipeworkRecord } from './record'

export interface GuestAddress {
  readonly family: Family
  readonly ip: string
  readonly prefix: number
  /** True when the kernel or a router made it: link-local, SLAAC. */
  readonly automatic: boolean
  /** Further arguments of `ip addr add` that restore it: broadcast address, scope, label, lifetimes. */
  readonly attributes?: readonly string[]
  /** During IPv6 duplicate detection, and permanently when it finds a duplicate. */
  readonly tentative?: true
}

export interface GuestLink {
  readonly name: string
  readonly kind: string
  readonly ifindex: number
  /** The index of the link below or opposite it in another namespace: a veth's other end, a macvlan's NIC. */
  readonly peerIndex?: number
  /** The mode of a macvlan or ipvlan. */
  readonly mode?: string
  readonly mac: string
  readonly mtu: number
  readonly up: boolean
  readonly alias?: string
  readonly altnames?: readonly string[]
  /** The device of a real NIC on its bus, like the PCI address 0000:00:1f.6. */
  readonly parent?: string
  readonly permanentMac?: string
  readonly record?: PipeworkRecord
  readonly addresses: readonly GuestAddress[]
}

/** A route of the guest's main table. */
export interface GuestRoute {
  readonly family: Family
  readonly dst: string
  readonly dev: string
  readonly gateway?: string
  readonly metric: number
  /** Absent for the main table. */
  readonly table?: string
  /** Its origin: `kernel` for a route that belongs to an address. */
  readonly protocol: string
  /** What follows the destination in `ip route add`, to the last attribute. */
  readonly words: readonly string[]
}

/** The links of a guest and its main routing table. */
export interface GuestState {
  /** The inode of its namespace, where that is known. */
  readonly netns?: number
  readonly links: readonly GuestLink[]
  readonly routes: readonly GuestRoute[]
}

/** Whether the link has exactly that address. */
export function hasAddress(link: GuestLink | undefined, { ip, prefix }: Address): boolean {
  return link?.addresses.some((live) => live.ip === ip && live.prefix === prefix) ?? false
}

function toGuestAddress(info: IpAddress): GuestAddress {
  const { family, local, prefixlen, scope, broadcast, label, dynamic } = info
  const lifetimes = ['valid_lft', `${info.valid_life_time}`, 'preferred_lft', `${info.preferred_life_time}`]
  const attributes = [
    ...(broadcast === undefined ? [] : ['brd', broadcast]),
    ...(scope === 'global' ? [] : ['scope', scope]),
    // Without a label the kernel uses the interface's name; an explicit one would not follow a rename.
    ...(label?.includes(':') && isSafeWord(label) ? ['label', label] : []),
    ...(dynamic === true ? lifetimes : []),
  ]
  return {
    family: toFamily(family),
    ip: local,
    prefix: prefixlen,
    automatic: family === 'inet6' && (dynamic === true || scope === 'link'),
    attributes: attributes.length === 0 ? undefined : attributes,
    tentative: info.tentative === true ? true : undefined,
  }
}

/** The arguments of `ip addr add` that restore a live address, without another duplicate detection. */
export function toAddrAddArgs({ family, ip, prefix, attributes = [] }: GuestAddress): readonly string[] {
  return [`${ip}/${prefix}`, ...attributes, ...(family === 6 ? ['nodad'] : [])]
}

function toGuestLink(link: IpLink): GuestLink {
  const record = decodeRecord(link.ifalias)
  const { mode } = link.linkinfo?.info_data ?? {}
  return {
    name: link.ifname,
    kind: link.linkinfo?.info_kind ?? 'NIC',
    ifindex: link.ifindex,
    peerIndex: link.link_index === undefined || link.link_netnsid === undefined ? undefined : link.link_index,
    mode: typeof mode === 'string' ? mode : undefined,
    alias: link.ifalias,
    altnames: link.altnames,
    parent: link.parentdev,
    // `ip` prints it only when the link has another address now.
    permanentMac: link.permaddr ?? (link.linkinfo?.info_kind === undefined ? link.address : undefined),
    record,
    mac: link.address ?? '',
    mtu: link.mtu,
    up: link.flags.includes('UP'),
    addresses: link.addr_info.map(toGuestAddress),
  }
}

/** Converts a route of `ip -j -d route`, with the words that restore it. */
export function toGuestRoute(route: IpRoute, family: Family): GuestRoute {
  const via = route.via === undefined ? [] : ['via', route.via.family, route.via.host]
  const table = route.table === undefined || route.table === 'main' ? [] : ['table', route.table]
  const words = [
    ...(route.gateway === undefined ? via : ['via', route.gateway]),
    ...(route.dev === undefined ? [] : ['dev', route.dev]),
    ...(route.protocol === undefined ? [] : ['proto', route.protocol]),
    ...(route.scope === undefined || route.scope === 'global' ? [] : ['scope', route.scope]),
    ...(route.prefsrc === undefined ? [] : ['src', route.prefsrc]),
    ...(route.metric === undefined ? [] : ['metric', `${route.metric}`]),
    ...table,
    ...(route.flags?.includes('onlink') ? ['onlink'] : []),
    ...(route.pref === undefined || route.pref === 'medium' ? [] : ['pref', route.pref]),
    ...(route.metrics ?? []).flatMap((metrics) => Object.entries(metrics).flatMap(([key, value]) => [key, `${value}`])),
    ...(route.nexthops ?? []).flatMap(({ dev, gateway, weight }) => [
      'nexthop',
      ...(gateway === undefined ? [] : ['via', gateway]),
      ...(dev === undefined ? [] : ['dev', dev]),
      ...(weight === undefined ? [] : ['weight', `${weight}`]),
    ]),
  ]
  return {
    family,
    dst: route.dst,
    dev: route.dev ?? route.nexthops?.[0]?.dev ?? '',
    metric: route.metric ?? 0,
    protocol: route.protocol ?? 'boot',
    gateway: route.gateway,
    table: table[1],
    words,
  }
}

/**
 * The links and routes in a held namespace, or our own, read by one process. A link whose name cannot be a word of a
 * command (`a"b`) is left out, and so are its routes.
 * @throws PipeworkError when `ip` fails.
 */
export async function readGuestState(netns: string | undefined, system: System): Promise<GuestState> {
  const families = ADDRESS_FAMILIES.filter((family) => family === 4 || kernelHasIpv6(system))
  // A batch line cannot take -6, and for one table it prints IPv4 only; for all tables a prefix selects the family.
  const tables = families.map((family) =>
    family === 4 ? batchLine`route show table main` : batchLine`route show table all root ::/0`,
  )
  const [links, ...routes] = await readIp(
    [ipQuery.links(batchLine`address show`), ...tables.map((line) => ipQuery.routes(line))],
    { netns, system },
  )
  return {
    links: links.filter(({ ifname }) => isUsableWord(ifname)).map(toGuestLink),
    routes: families.flatMap((family, index) =>
      (routes[index] ?? [])
        // Unreachable and blackhole routes use no link, so they never conflict with ours.
        .filter(({ table = 'main', type = 'unicast' }) => table === 'main' && type === 'unicast')
        .map((route) => toGuestRoute(route, family))
        .filter(({ words }) => words.every(isUsableWord)),
    ),
  }
}

export function kernelHasIpv6(system: System): boolean {
  return system.list('/proc/sys/net/ipv6/conf') !== undefined
}

/** The sysctls that an attach sets on its interface. */
export const GUEST_SYSCTLS = {
  /** Announce IPv4 addresses by ARP when the link's MAC address is set. */
  arpNotify: (ifname: string) => `net/ipv4/conf/${ifname}/arp_notify`,
  /** The same for IPv6, by neighbour advertisement. */
  ndiscNotify: (ifname: string) => `net/ipv6/conf/${ifname}/ndisc_notify`,
  /** Docker sets it to 1 in containers without IPv6. */
  disableIpv6: (ifname: string) => `net/ipv6/conf/${ifname}/disable_ipv6`,
  /** Whether the kernel accepts router advertisements. */
  acceptRa: (ifname: string) => `net/ipv6/conf/${ifname}/accept_ra`,
  /** Whether the kernel creates an address from them. */
  autoconf: (ifname: string) => `net/ipv6/conf/${ifname}/autoconf`,
  /** Whether routers become default gateways. */
  acceptRaDefault: (ifname: string) => `net/ipv6/conf/${ifname}/accept_ra_defrtr`,
} as const

const { arpNotify: _, ...OF_IPV6 } = GUEST_SYSCTLS
const IPV6_SYSCTL_KEYS = Object.values(OF_IPV6)

/** The sysctls of an interface in a pinned namespace, by key. */
export async function readGuestSysctls(
  ifname: string,
  netns: string,
  system: System,
): Promise<Readonly<Record<string, string>>> {
  const keys = [
    GUEST_SYSCTLS.arpNotify(ifname),
    ...(kernelHasIpv6(system) ? IPV6_SYSCTL_KEYS.map((key) => key(ifname)) : []),
  ]
  const { stdout } = await system.runIpBatch({
    lines: [batchLine`netns exec ${netns} sysctl -n ${keys}`],
    output: 'text',
  })
  const values = stdout.split('\n')
  return Object.fromEntries(keys.map((key, index) => [key, values[index] ?? '']))
}

/** Whether the two are ends of one veth pair: indexes repeat between namespaces, so each must name the other. */
export function areVethPeers(inGuest: GuestLink, link: HostLink | undefined): boolean {
  return link !== undefined && link.ifindex === inGuest.peerIndex && link.peerIndex === inGuest.ifindex
}

/** The host NIC below a macvlan or ipvlan in a guest. */
export function findMacvlanParent(inGuest: GuestLink | undefined, system: System): HostLink | undefined {
  return inGuest?.kind === 'macvlan' || inGuest?.kind === 'ipvlan'
    ? findLinkByIndex(inGuest.peerIndex, system)
    : undefined
}
