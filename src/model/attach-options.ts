import { type Address, type Family, parseMtu, toNetworkCidr } from './address'
import { type AddressSpec, type DhcpOptions, mayLeaseDefaultRoute } from './address-spec'
import { usageError } from './errors'
import { type HostServiceOptions, toHostServiceWords } from './host-services'
import { parseMetric, parseRouteSpec, type RouteSpec } from './route'

/** How a link shares a NIC with others: a MAC address of its own (macvlan), or the NIC's (ipvlan). */
export const SHARE_MODES = {
  macvlan: ['bridge', 'private', 'vepa', 'passthru', 'source'],
  ipvlan: ['l2', 'l3', 'l3s'],
} as const

export type ShareKind = keyof typeof SHARE_MODES

export interface SharingSpec {
  readonly kind: ShareKind
  readonly mode: string
}

/** The options of the main form, as typed. */
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

/** What --kind and --mode say. Throws usage errors. */
export function parseSharingSpec({ kind = 'macvlan', mode }: AttachOptions): SharingSpec {
  if (kind !== 'macvlan' && kind !== 'ipvlan')
    throw usageError(`--kind '${kind}' is not a way to share a NIC`, 'Write macvlan or ipvlan.')
  const modes: readonly string[] = SHARE_MODES[kind]
  if (mode !== undefined && !modes.includes(mode))
    throw usageError(`--mode '${mode}' is not a mode of ${kind}`, `The modes are ${modes.join(', ')}.`)
  return { kind, mode: mode ?? SHARE_MODES[kind][0] }
}

/** How a link shares its NIC: what the words of its record say, or the defaults. */
export function parseRecordSharing(words: readonly string[]): SharingSpec {
  const optionOf = (name: string) => words.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3)
  const kind = optionOf('kind') === 'ipvlan' ? 'ipvlan' : 'macvlan'
  return { kind, mode: optionOf('mode') ?? SHARE_MODES[kind][0] }
}

/** The gateway of that family among the addresses of a request or a record. */
export function findGateway(addresses: readonly Address[], family: Family): string | undefined {
  return addresses.find((address) => address.family === family && address.gateway !== undefined)?.gateway
}

/** The routes among the words of a record. */
export function parseRecordRoutes(words: readonly string[]): readonly RouteSpec[] {
  return words.flatMap((word) => {
    const typed = /^--route=(.*)$/.exec(word)?.[1]
    try {
      return typed === undefined ? [] : [parseRouteSpec(typed)]
    } catch {
      return [] // edited by hand
    }
  })
}

/** The router of a route: the one typed, else the gateway of the family, else none. */
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
        `--route '${typed[index]}': over an address that is not typed, the server says which routes there are`,
        'Give the route with pipework route <guest> add …, or in the server (DHCP option 121).',
      )
    if (ofFamily.length === 0)
      throw usageError(
        `--route '${typed[index]}': the interface is to have no IPv${family} address`,
        'Give it one, or leave the route out.',
      )
    if (ofFamily.some(({ ip }) => ip === via))
      throw usageError(`--route '${typed[index]}': ${via} is the interface's own address`, 'Give the router’s address.')
    if (metric === undefined && ofFamily.some((address) => toNetworkCidr(address) === dst))
      throw usageError(
        `--route '${typed[index]}': that is the subnet of the interface`,
        'Leave it out: it comes with the address.',
      )
  })
  return routes
}

/** Where packets are to go, of a request. */
export interface RoutingSpec {
  /** Routes beside the default. */
  readonly routes: readonly RouteSpec[]
  /** Of the default routes; the kernel's choice when absent. */
  readonly metric?: number
  /** Whether the gateways become default routes. */
  readonly defaultRoute: boolean
  /** Whether replies to what arrives on the interface leave by it, whatever the main table says. */
  readonly policyRoute: boolean
}

/** What --route, --metric, --no-default-route and --policy-route say of a link with these addresses. Throws usage errors. */
export function parseRoutingSpec(options: AttachOptions, addressing: AddressSpec): RoutingSpec {
  const { addresses } = addressing
  const { routes = [], metric, defaultRoute = true, policyRoute = false } = options
  const hasGateway = addresses.some(({ gateway }) => gateway !== undefined) || mayLeaseDefaultRoute(addressing, 4)
  if (metric !== undefined && !hasGateway)
    throw usageError(
      `--metric '${metric}': there is no gateway`,
      'It is the metric of the default route: IP/PREFIX@GATEWAY.',
    )
  if (metric !== undefined && !defaultRoute)
    throw usageError(
      `--metric '${metric}' is for the default route, and --no-default-route forbids one`,
      'Leave one of the two out.',
    )
  if (policyRoute && addresses.length === 0)
    throw usageError(
      '--policy-route goes by the addresses that are typed, and there are none',
      'Type the address, or leave --policy-route out.',
    )
  return {
    routes: parseRouteSpecs(routes, addressing),
    metric: metric === undefined ? undefined : parseMetric(metric, '--metric'),
    defaultRoute,
    policyRoute,
  }
}

/** What --mtu says. Throws usage errors. */
export function parseMtuOption({ mtu: typed }: AttachOptions, { addresses, sources }: AddressSpec): { mtu?: number } {
  if (typed === undefined) return {}
  const mtu = parseMtu(typed)
  const address6 = addresses.find(({ family }) => family === 6)?.ip ?? sources.find(({ family }) => family === 6)?.typed
  if (mtu < 1280 && address6 !== undefined)
    throw usageError(
      `--mtu '${typed}' is too small for ${address6}`,
      'IPv6 needs 1280 (RFC 8200); with less the kernel takes it from the interface.',
    )
  return { mtu }
}

/** What --tx-offload says. Throws usage errors. */
export function parseTxOffload({ txOffload: typed }: AttachOptions): { txOffload?: 'on' | 'off' } {
  if (typed === undefined) return {}
  if (typed !== 'on' && typed !== 'off')
    throw usageError(`--tx-offload '${typed}' is neither on nor off`, 'Write --tx-offload off, or leave it out.')
  return { txOffload: typed }
}

const FIREWALL_MODES = ['allow', 'warn', 'off'] as const

/** What to do where the host's firewall drops what goes over the bridge. */
export interface FirewallSpec {
  /** Make a rule that lets it pass; say so, and how to mend it; do not look. */
  readonly firewall: (typeof FIREWALL_MODES)[number]
  /** Whether that is refused before the first change. */
  readonly strict: boolean
}

/** What --firewall and --strict say. Throws usage errors. */
export function parseFirewallSpec({ firewall: typed = 'warn', strict = false }: AttachOptions): FirewallSpec {
  const firewall = FIREWALL_MODES.find((it) => it === typed)
  if (firewall === undefined)
    throw usageError(`--firewall '${typed}' is not allow, warn or off`, 'To let the traffic pass: --firewall allow')
  if (strict && firewall === 'off')
    throw usageError('--strict looks at the firewall, and --firewall off forbids that', 'Give one of the two.')
  return { firewall, strict }
}

/** The options that go into the record, as typed. */
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
