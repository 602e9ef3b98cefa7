import { type Address, type Family, toNetworkCidr } from './address'
import { type AddressSpec, type DhcpOptions, mayLeaseDefaultRoute } from './address-spec'
import { usageError } from './errors'
import { type HostServiceOptions, toHostServiceWords } from './host-services'
import { parseMtu } from './number'
import { parseMetric, parseRouteSpec, type RouteSpec } from './route'

/** How a link shares a NIC: with its own MAC address (macvlan), or the NIC's (ipvlan). */
export const SHARE_MODES = {
  macvlan: ['bridge', 'private', 'vepa', 'passthru', 'source'],
  ipvlan: ['l2', 'l3', 'l3s'],
} as const

export type ShareKind = keyof typeof SHARE_MODES

export interface SharingSpec {
  readonly kind: ShareKind
  readonly mode: string
}

/** The options of an attach, as typed. */
export interface AttachOptions extends DhcpOptions, HostServiceOptions {
  readonly i?: string | undefined
  readonly l?: string | undefined
  readonly a?: string | undefined
  readonly kind?: string | undefined
  readonly mode?: string | undefined
  readonly direct?: boolean | undefined
  readonly routes?: readonly string[] | undefined
  readonly metric?: string | undefined
  readonly defaultRoute?: boolean | undefined
  readonly policyRoute?: boolean | undefined
  readonly mtu?: string | undefined
  readonly txOffload?: string | undefined
  readonly probe?: boolean | undefined
  readonly vlanFiltering?: boolean | undefined
  readonly firewall?: string | undefined
  readonly strict?: boolean | undefined
  readonly force?: boolean | undefined
}

/** Parses --kind and --mode. Throws usage errors. */
export function parseSharingSpec({ kind = 'macvlan', mode }: AttachOptions): SharingSpec {
  if (kind !== 'macvlan' && kind !== 'ipvlan')
    throw usageError(`--kind '${kind}' is not macvlan or ipvlan`, 'Write --kind macvlan or --kind ipvlan.')
  const modes: readonly string[] = SHARE_MODES[kind]
  if (mode !== undefined && !modes.includes(mode))
    throw usageError(`--mode '${mode}' is not a mode of ${kind}`, `Modes of ${kind}: ${modes.join(', ')}.`)
  return { kind, mode: mode ?? SHARE_MODES[kind][0] }
}

/** How a link shares its NIC, from the words of its record. */
export function parseRecordSharing(words: readonly string[]): SharingSpec {
  const optionOf = (name: string) => words.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3)
  const kind = optionOf('kind') === 'ipvlan' ? 'ipvlan' : 'macvlan'
  return { kind, mode: optionOf('mode') ?? SHARE_MODES[kind][0] }
}

/** The gateway of that family among the addresses. */
export function findGateway(addresses: readonly Address[], family: Family): string | undefined {
  return addresses.find((address) => address.family === family && address.gateway !== undefined)?.gateway
}

/** The routes in the words of a link record. */
export function parseRecordRoutes(words: readonly string[]): readonly RouteSpec[] {
  return words.flatMap((word) => {
    const typed = /^--route=(.*)$/.exec(word)?.[1]
    try {
      return typed === undefined ? [] : [parseRouteSpec(typed)]
    } catch {
      return [] // a record that was edited by hand
    }
  })
}

/** The next hop of a route: the typed one, else the gateway of its family. */
export function resolveVia({ family, via }: RouteSpec, addresses: readonly Address[]): string | undefined {
  return via ?? findGateway(addresses, family)
}

function parseRouteSpecs(typed: readonly string[], { addresses, sources }: AddressSpec): readonly RouteSpec[] {
  const routes = typed.map(parseRouteSpec)
  routes.forEach(({ family, dst, metric, via }, index) => {
    const ofFamily = addresses.filter((address) => address.family === family)
    if (routes.findIndex((it) => it.dst === dst && it.metric === metric) !== index)
      throw usageError(`--route '${typed[index]}': there are two routes to ${dst}`, 'Give each its own metric.')
    if (ofFamily.length === 0 && sources.some((source) => source.family === family))
      throw usageError(
        `--route '${typed[index]}': the routes of a leased address come from the server`,
        'Add the route with pipework route <guest> add …, or on the server (DHCP option 121).',
      )
    if (ofFamily.length === 0)
      throw usageError(
        `--route '${typed[index]}': the interface gets no IPv${family} address`,
        'Give it one, or leave the route out.',
      )
    if (ofFamily.some(({ ip }) => ip === via))
      throw usageError(`--route '${typed[index]}': ${via} is the interface's own address`, 'Give the router’s address.')
    if (metric === undefined && ofFamily.some((address) => toNetworkCidr(address) === dst))
      throw usageError(
        `--route '${typed[index]}': that is the subnet of the interface`,
        'Leave it out: the address brings this route.',
      )
  })
  return routes
}

/** The routing part of a request. */
export interface RoutingSpec {
  /** Routes other than the default route. */
  readonly routes: readonly RouteSpec[]
  /** Of the default routes; absent for the kernel's default. */
  readonly metric?: number
  /** Whether the gateways become default routes. */
  readonly defaultRoute: boolean
  /** Whether replies leave by the interface the request arrived on. */
  readonly policyRoute: boolean
}

/** Parses --route, --metric, --no-default-route and --policy-route. Throws usage errors. */
export function parseRoutingSpec(options: AttachOptions, addressSpec: AddressSpec): RoutingSpec {
  const { addresses } = addressSpec
  const { routes = [], metric, defaultRoute = true, policyRoute = false } = options
  const hasGateway = addresses.some(({ gateway }) => gateway !== undefined) || mayLeaseDefaultRoute(addressSpec, 4)
  if (metric !== undefined && !hasGateway)
    throw usageError(
      `--metric '${metric}' needs a gateway`,
      'It is the metric of the default route: IP/PREFIX@GATEWAY.',
    )
  if (metric !== undefined && !defaultRoute)
    throw usageError(
      `--metric '${metric}' is for the default route, but --no-default-route adds none`,
      'Leave one of the two out.',
    )
  if (policyRoute && addresses.length === 0)
    throw usageError('--policy-route needs a typed address', 'Type the address, or leave --policy-route out.')
  return {
    routes: parseRouteSpecs(routes, addressSpec),
    metric: metric === undefined ? undefined : parseMetric(metric, '--metric'),
    defaultRoute,
    policyRoute,
  }
}

/** Parses --mtu. Throws usage errors. */
export function parseMtuOption({ mtu: typed }: AttachOptions, { addresses, sources }: AddressSpec): { mtu?: number } {
  if (typed === undefined) return {}
  const mtu = parseMtu(typed)
  const address6 = addresses.find(({ family }) => family === 6)?.ip ?? sources.find(({ family }) => family === 6)?.typed
  if (mtu < 1280 && address6 !== undefined)
    throw usageError(
      `--mtu '${typed}' is too small for ${address6}`,
      'IPv6 needs 1280 (RFC 8200); with less, the kernel removes IPv6 from the interface.',
    )
  return { mtu }
}

/** Parses --tx-offload. Throws usage errors. */
export function parseTxOffload({ txOffload: typed }: AttachOptions): { txOffload?: 'on' | 'off' } {
  if (typed === undefined) return {}
  if (typed !== 'on' && typed !== 'off')
    throw usageError(`--tx-offload '${typed}' is not on or off`, 'Write --tx-offload off, or leave it out.')
  return { txOffload: typed }
}

const FIREWALL_MODES = ['allow', 'warn', 'off'] as const

/** What to do when the host's firewall drops packets on the bridge. */
export interface FirewallSpec {
  /** Add an accept rule; warn and suggest a fix; do not check. */
  readonly firewall: (typeof FIREWALL_MODES)[number]
  /** Whether a drop is an error before the first change. */
  readonly strict: boolean
}

/** Parses --firewall and --strict. Throws usage errors. */
export function parseFirewallSpec({ firewall: typed = 'warn', strict = false }: AttachOptions): FirewallSpec {
  const firewall = FIREWALL_MODES.find((it) => it === typed)
  if (firewall === undefined)
    throw usageError(`--firewall '${typed}' is not allow, warn or off`, 'To add an accept rule: --firewall allow')
  if (strict && firewall === 'off')
    throw usageError('--strict checks the firewall, but --firewall off turns that check off', 'Give one of the two.')
  return { firewall, strict }
}

/** The options that go into the link record, as typed. */
export function toRecordWords(options: AttachOptions): readonly string[] {
  const word = (name: string, value: string | undefined) => (value === undefined ? [] : [`--${name}=${value}`])
  const { kind, mode, metric, routes = [], mtu, txOffload } = options
  return [
    ...(options.direct ? ['--direct-phys'] : []),
    ...word('kind', kind),
    ...word('mode', mode),
    ...word('metric', metric),
    ...(options.defaultRoute === false ? ['--no-default-route'] : []),
    ...routes.flatMap((route) => word('route', route)),
    ...(options.policyRoute ? ['--policy-route'] : []),
    ...word('mtu', mtu),
    ...word('tx-offload', txOffload),
    ...(options.firewall === 'allow' ? ['--firewall=allow'] : []),
    ...(options.dhcpOnce ? ['--dhcp-once'] : []),
    ...(options.dhcpDns ? ['--dhcp-dns'] : []),
    ...toHostServiceWords(options),
  ]
}
