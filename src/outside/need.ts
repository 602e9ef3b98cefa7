import { ANY_LOCAL, acceptBridged, type Rule } from '../firewall/rule'
import type { ShareKind } from '../options'
import { MARK } from '../record'
import { type Address, type Family, fingerprint, toCidr, toNetwork } from '../values'
import { LINK_GATEWAY, type Outside, type Published, parseRouted } from './wish'

/** An address of the host on a bridge, or on its end of a link without one. */
export interface HostAddress {
  readonly dev: string
  readonly family: Family
  readonly ip: string
  readonly prefix: number
  /** What else `ip addr add` needs. */
  readonly words: readonly string[]
}

/** A route of the host to an address of a guest. */
export interface HostRoute {
  readonly family: Family
  /** A single address. */
  readonly dst: string
  readonly dev: string
  readonly src?: string
}

/** An address of a guest, or of the host, for which the host answers on that interface. */
export interface Proxied {
  readonly ip: string
  readonly dev: string
}

export interface Sysctl {
  /** With slashes, as below /proc/sys: a dot may belong to an interface's name. */
  readonly key: string
  readonly value: string
  /** Whether it goes with an interface of ours, so that there is nothing to put back. */
  readonly own: boolean
}

/** A link of the host on a NIC, past which host and guests reach each other. */
export interface Shim {
  readonly name: string
  readonly parent: string
  readonly kind: ShareKind
  readonly mode: string
}

/** A port of a bridge, and whether it sends back by it what came in by it. */
export interface Hairpin {
  readonly port: string
  readonly on: boolean
}

/** What attachments need of the host beside their links. */
export interface Need {
  readonly hairpins: readonly Hairpin[]
  readonly addresses: readonly HostAddress[]
  readonly routes: readonly HostRoute[]
  readonly proxies: readonly Proxied[]
  readonly sysctls: readonly Sysctl[]
  readonly shims: readonly Shim[]
  readonly rules: readonly Rule[]
}

/** An attachment, as far as the host beside its link is concerned. */
export interface Subject {
  /** For messages: the guest's name. */
  readonly guest: string
  readonly ifname: string
  readonly hostif: string
  /** The link's end in the host; none of a macvlan. */
  readonly hostEnd?: string
  /** Whether that end is a port of a Linux bridge. */
  readonly isPort: boolean
  /** What a macvlan or ipvlan hangs on. */
  readonly parent?: string
  readonly sharing?: { readonly kind: ShareKind; readonly mode: string }
  readonly addresses: readonly Address[]
  readonly words: readonly string[]
  readonly outside: Outside
}

/** The host's own addresses, by interface. */
export type HostAddresses = ReadonlyMap<string, readonly Address[]>

const NOTHING: Need = { hairpins: [], addresses: [], routes: [], proxies: [], sysctls: [], shims: [], rules: [] }
const FAMILIES = [4, 6] as const
const bitsOf = (family: Family) => (family === 4 ? 32 : 128)

/** All of several needs; what two share is there twice. */
export function sumOf(needs: readonly Need[]): Need {
  return {
    hairpins: needs.flatMap((it) => it.hairpins),
    addresses: needs.flatMap((it) => it.addresses),
    routes: needs.flatMap((it) => it.routes),
    proxies: needs.flatMap((it) => it.proxies),
    sysctls: needs.flatMap((it) => it.sysctls),
    shims: needs.flatMap((it) => it.shims),
    rules: needs.flatMap((it) => it.rules),
  }
}

/** The interface of the host through which it reaches the guest. */
export function devOf({ hostif, hostEnd }: Subject): string {
  return parseRouted(hostif) === undefined ? hostif : (hostEnd ?? '')
}

const FORWARDING: Readonly<Record<Family, Sysctl>> = {
  4: { key: 'net/ipv4/ip_forward', value: '1', own: false },
  6: { key: 'net/ipv6/conf/all/forwarding', value: '1', own: false },
}

/** The sysctl that turns forwarding on for that family. */
export function forwardingOf(family: Family): Sysctl {
  return FORWARDING[family]
}

function needOfBridge({ hostif, hostEnd, isPort, outside }: Subject): Need {
  return {
    ...NOTHING,
    // Where bridges obey the firewall, what a guest sends to a published port of its own goes back by the same port.
    hairpins: hostEnd === undefined || !isPort ? [] : [{ port: hostEnd, on: outside.published.length > 0 }],
    addresses: outside.bridgeAddresses.map(({ family, ip, prefix }) => ({
      dev: hostif,
      family,
      ip,
      prefix,
      words: [...(family === 4 && prefix < 31 ? ['brd', '+'] : []), 'metric', MARK],
    })),
  }
}

/** The link leads to the host alone, which has the gateway's address there and answers for everybody else. */
function needOfRouted(subject: Subject): Need {
  const { addresses, hostif } = subject
  const [routed, dev] = [parseRouted(hostif), devOf(subject)]
  if (routed === undefined) return NOTHING
  const { nic } = routed
  const has = (family: Family) => addresses.some((it) => it.family === family)
  return {
    ...NOTHING,
    addresses: addresses.flatMap(({ family, gateway }) =>
      gateway === undefined ? [] : [toGateway(dev, family, gateway)],
    ),
    routes: addresses.map(({ family, ip }) => ({ family, dst: ip, dev })),
    proxies: nic === undefined ? [] : addresses.map(({ ip }) => ({ ip, dev: nic })),
    sysctls: [
      ...(has(4)
        ? [
            { key: `net/ipv4/conf/${dev}/proxy_arp`, value: '1', own: true },
            // Else each first answer waits for up to 0.8 s, for the sake of a neighbour that is not there.
            { key: `net/ipv4/neigh/${dev}/proxy_delay`, value: '0', own: true },
          ]
        : []),
      ...(nic !== undefined && has(6) ? [{ key: `net/ipv6/conf/${nic}/proxy_ndp`, value: '1', own: false }] : []),
      ...(nic === undefined ? [] : FAMILIES.filter(has).map(forwardingOf)),
    ],
    rules: nic === undefined ? [] : addresses.flatMap(({ family, ip }) => acceptBoth({ family, dev, ip })),
  }
}

function toGateway(dev: string, family: Family, ip: string): HostAddress {
  const isOfLink = ip === LINK_GATEWAY[family] || /^fe[89ab].:/.test(ip)
  return {
    dev,
    family,
    ip,
    prefix: family === 6 && isOfLink ? 64 : bitsOf(family),
    // Not an address that the host itself would ever speak from.
    words: [...(isOfLink ? ['scope', 'link'] : []), 'metric', MARK, ...(family === 6 ? ['nodad'] : [])],
  }
}

function acceptBoth({ family, dev, ip }: { family: Family; dev: string; ip: string }): readonly Rule[] {
  return [
    { family, act: 'accept', owner: dev, in: dev, from: ip },
    { family, act: 'accept', owner: dev, out: dev, to: ip },
  ]
}

/** The subnets of the guest whose traffic to the outside the host forwards: those that have their gateway there. */
function listSources(subject: Subject): readonly { readonly family: Family; readonly net: string }[] {
  const { addresses, hostif } = subject
  const isAlone = parseRouted(hostif) !== undefined
  return addresses
    .filter(({ family }) => addresses.some((it) => it.family === family && it.gateway !== undefined))
    .map((address) => ({ family: address.family, net: isAlone ? address.ip : toNetwork(address) }))
}

function needOfNat(subject: Subject): Need {
  const { nat } = subject.outside
  if (nat === undefined) return NOTHING
  const dev = devOf(subject)
  const { out } = nat
  const sources = listSources(subject)
  const families = FAMILIES.filter((family) => sources.some((it) => it.family === family))
  const way = out === undefined ? {} : { out }
  const isAlone = parseRouted(subject.hostif) !== undefined
  return {
    ...NOTHING,
    sysctls: families.map(forwardingOf),
    rules: [
      ...sources.flatMap(({ family, net: from }): readonly Rule[] => [
        { family, act: 'masquerade', owner: dev, ...(out === undefined ? { notOut: dev } : way), from },
        { family, act: 'accept', owner: dev, in: dev, ...way, from },
        { family, act: 'accept', owner: dev, out: dev, to: from, state: 'known' },
      ]),
      ...(isAlone ? [] : acceptBridged(dev).filter(({ family }) => families.includes(family))),
    ],
  }
}

const formatPorts = ({ first, last }: Published['ports']) => (first === last ? `${first}` : `${first}-${last}`)

/** Whether the host is the guest's gateway, so that replies come back through it whoever asked. */
function isGateway(subject: Subject, family: Family, own: HostAddresses): boolean {
  const { addresses, hostif, outside } = subject
  if (parseRouted(hostif) !== undefined) return true
  const gateway = addresses.find((it) => it.family === family && it.gateway !== undefined)?.gateway
  return [...outside.bridgeAddresses, ...(own.get(hostif) ?? [])].some(({ ip }) => ip === gateway)
}

function publish(published: Published, { ip, family }: Address, subject: Subject): readonly Rule[] {
  const { protocol, at, ports, to } = published
  const dev = devOf(subject)
  const target = ports.first === to.first ? { ip } : { ip, port: formatPorts(to) }
  const toGuest = { family, owner: dev, out: dev, to: ip, protocol, ports: formatPorts(to) } as const
  return [
    { family, act: 'dnat', owner: dev, to: at?.ip ?? ANY_LOCAL, protocol, ports: formatPorts(ports), target },
    { ...toGuest, act: 'accept' },
  ]
}

/** With the rules that make the guest answer to the host, and not past it, where it would. */
function needOfPublished(subject: Subject, own: HostAddresses): Need {
  const { addresses, outside } = subject
  const dev = devOf(subject)
  const needs = outside.published.flatMap((published) =>
    FAMILIES.flatMap((family) => {
      const address = addresses.find((it) => it.family === family)
      if (address === undefined || (published.at !== undefined && published.at.family !== family)) return []
      const back = { family, act: 'masquerade', owner: dev, out: dev, to: address.ip, state: 'sent' } as const
      const isHere = isGateway(subject, family, own)
      const isLoopback = published.at === undefined || published.at.ip.startsWith('127.')
      const near = [toNetwork(address), ...(family === 4 ? ['127.0.0.0/8'] : [])]
      const rules: readonly Rule[] = [
        ...publish(published, address, subject),
        { family, act: 'accept', owner: dev, in: dev, from: address.ip, state: 'known' },
        ...(isHere ? near.map((from) => ({ ...back, from })) : [back]),
        ...(family === 4 && isLoopback ? guardLoopback(dev) : []),
      ]
      const localnet = { key: `net/ipv4/conf/${dev}/route_localnet`, value: '1', own: subject.hostEnd === dev }
      const sysctls = [...(family === 4 && isLoopback ? [localnet] : []), forwardingOf(family)]
      return [{ ...NOTHING, rules, sysctls }]
    }),
  )
  return sumOf(needs)
}

/** With route_localnet whoever is on that interface would reach what listens on 127.0.0.1 only. */
function guardLoopback(dev: string): readonly Rule[] {
  const guard = { family: 4, act: 'drop', owner: dev, in: dev } as const
  return [
    { ...guard, to: '127.0.0.0/8' },
    { ...guard, from: '127.0.0.0/8' },
  ]
}

/** `pw-eth0`, or what is short enough. */
function shimNameOf(parent: string): string {
  return parent.length <= 12 ? `pw-${parent}` : `pw-${fingerprint(parent).slice(0, 12)}`
}

/** A link beside the guests' on their NIC, without an address, that answers for the host's. */
function needOfHostAccess({ outside, parent, sharing, addresses }: Subject, own: HostAddresses): Need {
  if (!outside.hostAccess || parent === undefined || sharing === undefined) return NOTHING
  const dev = shimNameOf(parent)
  const global = (own.get(parent) ?? []).filter(({ ip }) => !/^fe[89ab].:/.test(ip))
  const has6 = addresses.some(({ family }) => family === 6)
  return {
    ...NOTHING,
    shims: [{ name: dev, parent, ...sharing }],
    routes: addresses.flatMap(({ family, ip }) => {
      const src = global.find((it) => it.family === family)?.ip
      return src === undefined ? [] : [{ family, dst: ip, dev, src }]
    }),
    // For IPv4 the kernel answers on any interface; for IPv6 only for what is proxied.
    proxies: has6 ? global.flatMap(({ family, ip }) => (family === 6 ? [{ ip, dev }] : [])) : [],
    sysctls: has6
      ? ['forwarding', 'proxy_ndp'].map((name) => ({ key: `net/ipv6/conf/${dev}/${name}`, value: '1', own: true }))
      : [],
  }
}

/** What one attachment needs of the host, whose own addresses are these. */
export function needOf(subject: Subject, own: HostAddresses): Need {
  return sumOf([
    needOfBridge(subject),
    needOfRouted(subject),
    needOfNat(subject),
    needOfPublished(subject, own),
    needOfHostAccess(subject, own),
  ])
}

/** One of each key, the last. */
export const byKey = <T>(items: readonly T[], keyOf: (item: T) => string) => [
  ...new Map(items.map((item) => [keyOf(item), item])).values(),
]

/** What people call the parts of a need. */
export const describe = {
  address: (it: HostAddress) => `${toCidr(it)} on ${it.dev}`,
  route: ({ dst, dev }: HostRoute) => `the route to ${dst} over ${dev}`,
  proxy: ({ ip, dev }: Proxied) => `the answer for ${ip} on ${dev}`,
  sysctl: ({ key, value }: Sysctl) => `${key}=${value}`,
} as const
