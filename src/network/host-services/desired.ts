import {
  ACCEPT,
  bridgedAcceptRule,
  ESTABLISHED,
  MASQUERADE,
  match,
  matchNot,
  type OwnRule,
  ownRule,
  TRANSLATED,
} from '../../firewall/rule'
import {
  ADDRESS_FAMILIES,
  type Address,
  addressBits,
  type Family,
  isLinkLocalAddress,
  toNetworkCidr,
} from '../../model/address'
import type { ShareKind } from '../../model/attach-options'
import { fnv1aHash } from '../../model/hash'
import type { HostServices } from '../../model/host-services'
import type { PortMapping } from '../../model/port-mapping'
import { LINK_LOCAL_GATEWAY, parseRouted } from '../../model/routed'
import { ROUTE_PROTO } from '../../state/record'
import { type DesiredState, EMPTY_STATE, forwardingSysctl, type HostIfAddress, mergeStates } from './need'

/** The parts of an attachment that host services depend on. */
export interface HostAttachment {
  /** For messages: the guest's name. */
  readonly guest: string
  readonly ifname: string
  readonly hostif: string
  /** The host end of the link; a macvlan has none. */
  readonly hostEnd?: string
  /** Whether that end is a port of a Linux bridge. */
  readonly isBridgePort: boolean
  /** The parent of a macvlan or ipvlan. */
  readonly parent?: string
  readonly sharing?: { readonly kind: ShareKind; readonly mode: string }
  readonly addresses: readonly Address[]
  readonly words: readonly string[]
  readonly hostServices: HostServices
}

/** The host's own addresses, by interface. */
export type HostAddresses = ReadonlyMap<string, readonly Address[]>

/** The interface of the host through which it reaches the guest. */
export function hostDeviceFor({ hostif, hostEnd }: HostAttachment): string {
  return parseRouted(hostif) === undefined ? hostif : (hostEnd ?? '')
}

function desiredBridge({ hostif, hostEnd, isBridgePort, hostServices }: HostAttachment): DesiredState {
  return {
    ...EMPTY_STATE,
    // With br_netfilter, a guest's packets to its own published port return by the port they came from.
    hairpins:
      hostEnd === undefined || !isBridgePort ? [] : [{ port: hostEnd, on: hostServices.portMappings.length > 0 }],
    addresses: hostServices.bridgeAddresses.map(({ family, ip, prefix }) => ({
      dev: hostif,
      family,
      ip,
      prefix,
      words: [...(family === 4 && prefix < 31 ? ['brd', '+'] : []), 'metric', ROUTE_PROTO],
    })),
  }
}

/** The link leads only to the host, which has the gateway's address there and answers for all others (proxy ARP). */
function desiredRouted(subject: HostAttachment): DesiredState {
  const { addresses, hostif } = subject
  const [routed, dev] = [parseRouted(hostif), hostDeviceFor(subject)]
  if (routed === undefined) return EMPTY_STATE
  const { nic } = routed
  const has = (family: Family) => addresses.some((it) => it.family === family)
  return {
    ...EMPTY_STATE,
    addresses: addresses.flatMap(({ family, gateway }) =>
      gateway === undefined ? [] : [gatewayAddress(dev, family, gateway)],
    ),
    routes: addresses.map(({ family, ip }) => ({ family, dst: ip, dev })),
    proxyNeighbours: nic === undefined ? [] : addresses.map(({ ip }) => ({ ip, dev: nic })),
    sysctls: [
      ...(has(4)
        ? [
            { key: `net/ipv4/conf/${dev}/proxy_arp`, value: '1', goesWithLink: true },
            // Without it the kernel delays the first proxy ARP reply of each address (proxy_delay, arp(7)).
            { key: `net/ipv4/neigh/${dev}/proxy_delay`, value: '0', goesWithLink: true },
          ]
        : []),
      ...(nic !== undefined && has(6)
        ? [{ key: `net/ipv6/conf/${nic}/proxy_ndp`, value: '1', goesWithLink: false }]
        : []),
      ...(nic === undefined ? [] : ADDRESS_FAMILIES.filter(has).map(forwardingSysctl)),
    ],
    rules: nic === undefined ? [] : addresses.flatMap(({ family, ip }) => acceptBothWays({ family, dev, ip })),
  }
}

function gatewayAddress(dev: string, family: Family, ip: string): HostIfAddress {
  const isOfLink = ip === LINK_LOCAL_GATEWAY[family] || isLinkLocalAddress(ip)
  return {
    dev,
    family,
    ip,
    prefix: family === 6 && isOfLink ? 64 : addressBits(family),
    // Scope link: the host must not use it as a source address.
    words: [...(isOfLink ? ['scope', 'link'] : []), 'metric', ROUTE_PROTO, ...(family === 6 ? ['nodad'] : [])],
  }
}

function acceptBothWays({ family, dev, ip }: { family: Family; dev: string; ip: string }): readonly OwnRule[] {
  const scope = { owner: dev, family }
  return [
    ownRule(scope, ACCEPT, match('in', dev), match('saddr', ip)),
    ownRule(scope, ACCEPT, match('out', dev), match('daddr', ip)),
  ]
}

/** The guest's subnets whose outbound traffic the host forwards: those with their gateway on the host. */
function listNatSources(subject: HostAttachment): readonly { readonly family: Family; readonly net: string }[] {
  const { addresses, hostif } = subject
  const isAlone = parseRouted(hostif) !== undefined
  return addresses
    .filter(({ family }) => addresses.some((it) => it.family === family && it.gateway !== undefined))
    .map((address) => ({ family: address.family, net: isAlone ? address.ip : toNetworkCidr(address) }))
}

function desiredNat(subject: HostAttachment): DesiredState {
  const { nat } = subject.hostServices
  if (nat === undefined) return EMPTY_STATE
  const dev = hostDeviceFor(subject)
  const { out } = nat
  const sources = listNatSources(subject)
  const families = ADDRESS_FAMILIES.filter((family) => sources.some((it) => it.family === family))
  const isAlone = parseRouted(subject.hostif) !== undefined
  const leaving = out === undefined ? matchNot('out', dev) : match('out', out)
  return {
    ...EMPTY_STATE,
    sysctls: families.map(forwardingSysctl),
    rules: [
      ...sources.flatMap(({ family, net }) => {
        const scope = { owner: dev, family }
        const from = match('saddr', net)
        return [
          ownRule(scope, MASQUERADE, leaving, from),
          ownRule(scope, ACCEPT, match('in', dev), match('out', out), from),
          ownRule(scope, ACCEPT, match('out', dev), match('daddr', net), ESTABLISHED),
        ]
      }),
      ...(isAlone ? [] : families.map((family) => bridgedAcceptRule(dev, family))),
    ],
  }
}

const formatPortRange = ({ first, last }: PortMapping['hostPorts']) =>
  first === last ? `${first}` : `${first}-${last}`

/** Whether the host is the guest's gateway, so that replies to any client return through the host. */
function isHostGateway(subject: HostAttachment, family: Family, own: HostAddresses): boolean {
  const { addresses, hostif, hostServices } = subject
  if (parseRouted(hostif) !== undefined) return true
  const gateway = addresses.find((it) => it.family === family && it.gateway !== undefined)?.gateway
  return [...hostServices.bridgeAddresses, ...(own.get(hostif) ?? [])].some(({ ip }) => ip === gateway)
}

function portMappingRules(
  { protocol, listenAddress, hostPorts, guestPorts }: PortMapping,
  { ip, family }: Address,
  dev: string,
): readonly OwnRule[] {
  const scope = { owner: dev, family }
  const port = hostPorts.first === guestPorts.first ? undefined : formatPortRange(guestPorts)
  const toHost = listenAddress === undefined ? match('localDaddr') : match('daddr', listenAddress.ip)
  const portMatch = (ports: PortMapping['hostPorts']) => [
    ...match('protocol', protocol),
    ...match('dport', formatPortRange(ports)),
  ]
  return [
    ownRule(scope, { kind: 'dnat', ip, port }, toHost, portMatch(hostPorts)),
    ownRule(scope, ACCEPT, match('out', dev), match('daddr', ip), portMatch(guestPorts)),
  ]
}

/** The rules of published ports. They masquerade connections whose replies would otherwise bypass the host. */
function desiredPortMappings(subject: HostAttachment, own: HostAddresses): DesiredState {
  const { addresses, hostServices } = subject
  const dev = hostDeviceFor(subject)
  const needs = hostServices.portMappings.flatMap((published) =>
    ADDRESS_FAMILIES.flatMap((family) => {
      const address = addresses.find((it) => it.family === family)
      if (address === undefined || (published.listenAddress !== undefined && published.listenAddress.family !== family))
        return []
      const scope = { owner: dev, family }
      const masquerade = (from?: string) =>
        ownRule(scope, MASQUERADE, match('out', dev), match('saddr', from), match('daddr', address.ip), TRANSLATED)
      const isHere = isHostGateway(subject, family, own)
      const isLoopback = published.listenAddress === undefined || published.listenAddress.ip.startsWith('127.')
      const near = [toNetworkCidr(address), ...(family === 4 ? ['127.0.0.0/8'] : [])]
      const rules = [
        ...portMappingRules(published, address, dev),
        ownRule(scope, ACCEPT, match('in', dev), match('saddr', address.ip), ESTABLISHED),
        ...(isHere ? near.map(masquerade) : [masquerade()]),
        ...(family === 4 && isLoopback ? loopbackGuardRules(dev) : []),
      ]
      const localnet = { key: `net/ipv4/conf/${dev}/route_localnet`, value: '1', goesWithLink: subject.hostEnd === dev }
      const sysctls = [...(family === 4 && isLoopback ? [localnet] : []), forwardingSysctl(family)]
      return [{ ...EMPTY_STATE, rules, sysctls }]
    }),
  )
  return mergeStates(needs)
}

/** With route_localnet, neighbours on that interface could reach services that listen on 127.0.0.1 only. */
function loopbackGuardRules(dev: string): readonly OwnRule[] {
  return (['daddr', 'saddr'] as const).map((field) =>
    ownRule({ owner: dev, family: 4 }, { kind: 'drop' }, match('in', dev), match(field, '127.0.0.0/8')),
  )
}

/** `pw-eth0`, or a shorter derived name. */
function hostMacvlanName(parent: string): string {
  return parent.length <= 12 ? `pw-${parent}` : `pw-${fnv1aHash(parent).slice(0, 12)}`
}

/** A host macvlan on the guests' NIC, without an address, that answers for the host's addresses. */
function desiredHostAccess(
  { hostServices, parent, sharing, addresses }: HostAttachment,
  own: HostAddresses,
): DesiredState {
  if (!hostServices.hostAccess || parent === undefined || sharing === undefined) return EMPTY_STATE
  const dev = hostMacvlanName(parent)
  const global = (own.get(parent) ?? []).filter(({ ip }) => !isLinkLocalAddress(ip))
  const has6 = addresses.some(({ family }) => family === 6)
  return {
    ...EMPTY_STATE,
    hostMacvlans: [{ name: dev, parent, ...sharing }],
    routes: addresses.flatMap(({ family, ip }) => {
      const src = global.find((it) => it.family === family)?.ip
      return src === undefined ? [] : [{ family, dst: ip, dev, src }]
    }),
    // For IPv4 the kernel answers on any interface; for IPv6 only for proxied addresses.
    proxyNeighbours: has6 ? global.flatMap(({ family, ip }) => (family === 6 ? [{ ip, dev }] : [])) : [],
    sysctls: has6
      ? ['forwarding', 'proxy_ndp'].map((name) => ({
          key: `net/ipv6/conf/${dev}/${name}`,
          value: '1',
          goesWithLink: true,
        }))
      : [],
  }
}

/** The host state that one attachment needs; `own` are the host's addresses. */
export function desiredState(subject: HostAttachment, own: HostAddresses): DesiredState {
  return mergeStates([
    desiredBridge(subject),
    desiredRouted(subject),
    desiredNat(subject),
    desiredPortMappings(subject, own),
    desiredHostAccess(subject, own),
  ])
}
