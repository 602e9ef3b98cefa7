import { ANY_LOCAL, acceptBridged, type Rule } from '../../firewall/rule'
import { type Address, type Family, fingerprint, toNetwork } from '../../model/address'
import type { ShareKind } from '../../model/attach-options'
import { LINK_GATEWAY, type Outside, type Published, parseRouted } from '../../model/host-services'
import { bitsOf, FAMILIES, isLinkLocal } from '../../model/ip'
import { MARK } from '../../state/record'
import { forwardingOf, type HostAddress, type Need, NOTHING, sumOf } from './need'

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

/** The interface of the host through which it reaches the guest. */
export function devOf({ hostif, hostEnd }: Subject): string {
  return parseRouted(hostif) === undefined ? hostif : (hostEnd ?? '')
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
  const isOfLink = ip === LINK_GATEWAY[family] || isLinkLocal(ip)
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
  const global = (own.get(parent) ?? []).filter(({ ip }) => !isLinkLocal(ip))
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
