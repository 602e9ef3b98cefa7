import { usageError } from './errors'
import {
  type Address,
  type Family,
  formatAddress,
  isPkey,
  parseAddress,
  parseIfname,
  parseMac,
  parseMetric,
  parseMtu,
  parseRoute,
  parseVlans,
  type RouteWish,
  toNetwork,
  type VlanSet,
} from './values'

/** The kinds of guest that a prefix can choose: `netns:blue`. */
export const GUEST_KINDS = ['docker', 'podman', 'lxc', 'nerdctl', 'netns', 'pid'] as const
export type GuestKind = (typeof GUEST_KINDS)[number]

/** A guest as it is typed: a name or id, and the kind where a prefix says so. */
export interface GuestName {
  readonly kind?: GuestKind
  readonly name: string
}

/** A MAC address, or the text after `U:` from which one is derived. */
export type MacWish = { readonly mac: string } | { readonly from: string }

/** How a link shares a NIC with others: a MAC address of its own (macvlan), or the NIC's (ipvlan). */
export const SHARE_MODES = {
  macvlan: ['bridge', 'private', 'vepa', 'passthru', 'source'],
  ipvlan: ['l2', 'l3', 'l3s'],
} as const

export type ShareKind = keyof typeof SHARE_MODES

export interface Sharing {
  readonly kind: ShareKind
  readonly mode: string
}

/** One attachment, wished for: what the words after `pipework` ask. */
export interface AttachRequest {
  readonly hostif: string
  readonly guest: GuestName
  /** The interface's name in the guest. */
  readonly ifname: string
  /** Whether -i gave that name. */
  readonly isNamed: boolean
  /** The name of the link's host end, where `-l` gave one. */
  readonly hostEnd?: string
  /** Empty for `0/0`: an interface without an address. */
  readonly addresses: readonly Address[]
  readonly mac?: MacWish
  readonly vlan?: VlanSet
  /** The text after the last @, which is the partition key where the host interface is an InfiniBand one. */
  readonly tag?: string
  /** On a NIC: macvlan in bridge mode unless asked otherwise. */
  readonly sharing: Sharing
  /** Whether the NIC itself goes into the guest. */
  readonly direct: boolean
  /** Routes beside the default. */
  readonly routes: readonly RouteWish[]
  /** Of the default routes; the kernel's choice when absent. */
  readonly metric?: number
  /** Whether the gateways become default routes. */
  readonly defaultRoute: boolean
  /** Whether replies to what arrives on the interface leave by it, whatever the main table says. */
  readonly policyRoute: boolean
  /** The largest packet, in bytes. */
  readonly mtu?: number
  /** Whether the interface may leave checksums to whoever sends its packets on. */
  readonly txOffload?: 'on' | 'off'
  /** The words beside host interface, guest, names and addresses, as typed: they go into the record. */
  readonly words: readonly string[]
  /** Whether to ask the LAN if an address is taken. */
  readonly probe: boolean
  /** Whether a bridge that is there may start to keep VLANs apart, which changes the traffic of all its ports. */
  readonly vlanFiltering: boolean
  /** Whether to change what is normally refused: move the link to another bridge, use Docker's own. */
  readonly force: boolean
}

/** The options of the main form, as typed. */
export interface AttachOptions {
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
  readonly force?: boolean | undefined
}

/** `[kind:]name`. Runtimes take [a-zA-Z0-9_.-]; LXC and `ip netns` any file name, of which we take the harmless ones. */
export function parseGuest(typed: string): GuestName {
  const [, prefix, rest = ''] = /^(?:([a-z]+):)?(.*)$/s.exec(typed) ?? []
  if (prefix !== undefined && !isGuestKind(prefix))
    throw usageError(`'${typed}': there is no guest kind '${prefix}'`, `The kinds are ${GUEST_KINDS.join(', ')}.`)
  if (!/^[A-Za-z0-9_][\w.@+-]*$/.test(rest) || rest.length > 255)
    throw usageError(
      `${JSON.stringify(typed)} is not the name of a guest`,
      'Give the name or id of a running container, or netns:NAME for a namespace of `ip netns`.',
    )
  if (prefix === 'pid' && !/^[1-9]\d{0,9}$/.test(rest))
    throw usageError(`'${typed}': '${rest}' is not the number of a process`, 'Write pid:N, like pid:1234.')
  return prefix === undefined ? { name: rest } : { kind: prefix, name: rest }
}

function isGuestKind(word: string): word is GuestKind {
  return (GUEST_KINDS as readonly string[]).includes(word)
}

/** A name, or `mac:` and the address of a NIC, in any case. */
function parseHostif(typed: string): string {
  if (/^mac:/i.test(typed)) return `mac:${parseMac(typed.slice(4))}`
  const alias = /^([^:]+):\d+$/.exec(typed)?.[1]
  if (alias !== undefined)
    throw usageError(`'${typed}' is an address on '${alias}', not an interface`, `Give the interface: ${alias}`)
  return parseIfname(typed, 'host interface')
}

/** What `-a` says. */
export function parseFamily(typed: string): Family {
  if (typed === '4' || typed === 'inet') return 4
  if (typed === '6' || typed === 'inet6') return 6
  throw usageError(`-a '${typed}' is not an address family`, 'Write 4, inet, 6 or inet6.')
}

function parseAddresses(typed: string, family: Family | undefined): readonly Address[] {
  if (typed === '0/0') return []
  const all = typed.split(',').map((item) => {
    if (item === '0/0') throw usageError(`'${typed}': 0/0 means no address and stands alone`)
    return parseAddress(item)
  })
  const addresses = all.filter((address) => family === undefined || address.family === family)
  if (addresses.length === 0) throw usageError(`'${typed}' has no IPv${family} address, and -a asks for one`)
  addresses.forEach((address, index) => {
    if (addresses.findIndex(({ ip }) => ip === address.ip) !== index)
      throw usageError(`'${typed}': ${address.ip} stands there twice`)
    const first = addresses.find((other) => other.family === address.family && other.gateway !== undefined)
    if (first !== undefined && address.gateway !== undefined && first.gateway !== address.gateway)
      throw usageError(
        `'${typed}': two gateways for IPv${address.family}, ${first.gateway} and ${address.gateway}`,
        'An interface has one default gateway for each family.',
      )
  })
  return addresses
}

/** What follows the last @: VLANs, or what can only be the partition key of an InfiniBand network. */
function parseTag(tag: string): { tag: string; vlan?: VlanSet } {
  try {
    return { tag, vlan: parseVlans(tag) }
  } catch (error) {
    if (isPkey(tag)) return { tag }
    throw error
  }
}

function parseMacAndVlan(typed: string): { mac?: MacWish; tag?: string; vlan?: VlanSet } {
  const at = typed.lastIndexOf('@')
  const macText = at < 0 ? typed : typed.slice(0, at)
  const vlan = at < 0 ? {} : parseTag(typed.slice(at + 1))
  if (macText === '') return vlan
  if (!/^U:/.test(macText)) return { mac: { mac: parseMac(macText) }, ...vlan }
  if (macText === 'U:') throw usageError(`'${typed}': there is no text after U:`, 'Write U:TEXT, like U:web.')
  return { mac: { from: macText.slice(2) }, ...vlan }
}

/** The VLANs among the words of a record. */
export function vlansOf(words: readonly string[]): VlanSet | undefined {
  const word = words.find((it) => !it.startsWith('--'))
  try {
    return word === undefined ? undefined : parseMacAndVlan(word).vlan
  } catch {
    return undefined // edited by hand
  }
}

function parseSharing({ kind = 'macvlan', mode }: AttachOptions): Sharing {
  if (kind !== 'macvlan' && kind !== 'ipvlan')
    throw usageError(`--kind '${kind}' is not a way to share a NIC`, 'Write macvlan or ipvlan.')
  const modes: readonly string[] = SHARE_MODES[kind]
  if (mode !== undefined && !modes.includes(mode))
    throw usageError(`--mode '${mode}' is not a mode of ${kind}`, `The modes are ${modes.join(', ')}.`)
  return { kind, mode: mode ?? SHARE_MODES[kind][0] }
}

/** The gateway of that family among the addresses of a request or a record. */
export function gatewayOf(addresses: readonly Address[], family: Family): string | undefined {
  return addresses.find((address) => address.family === family && address.gateway !== undefined)?.gateway
}

/** The routes among the words of a record. */
export function routesOf(words: readonly string[]): readonly RouteWish[] {
  return words.flatMap((word) => {
    const typed = /^--route=(.*)$/.exec(word)?.[1]
    try {
      return typed === undefined ? [] : [parseRoute(typed)]
    } catch {
      return [] // edited by hand
    }
  })
}

/** The router of a route: the one typed, else the gateway of the family, else none. */
export function viaOf({ family, via }: RouteWish, addresses: readonly Address[]): string | undefined {
  return via ?? gatewayOf(addresses, family)
}

function parseRoutes(typed: readonly string[], addresses: readonly Address[]): readonly RouteWish[] {
  const routes = typed.map(parseRoute)
  routes.forEach(({ family, dst, metric, via }, index) => {
    const ofFamily = addresses.filter((address) => address.family === family)
    if (routes.findIndex((it) => it.dst === dst && it.metric === metric) !== index)
      throw usageError(`--route '${typed[index]}': there are two routes to ${dst}`, 'Give each its own metric.')
    if (ofFamily.length === 0)
      throw usageError(
        `--route '${typed[index]}': the interface is to have no IPv${family} address`,
        'Give it one, or leave the route out.',
      )
    if (ofFamily.some(({ ip }) => ip === via))
      throw usageError(`--route '${typed[index]}': ${via} is the interface's own address`, 'Give the router’s address.')
    if (metric === undefined && ofFamily.some((address) => toNetwork(address) === dst))
      throw usageError(`--route '${typed[index]}': that is the subnet of the interface`, 'Its route comes by itself.')
  })
  return routes
}

type Routing = Pick<AttachRequest, 'routes' | 'metric' | 'defaultRoute' | 'policyRoute'>

function parseRouting(options: AttachOptions, addresses: readonly Address[]): Routing {
  const { routes = [], metric, defaultRoute = true, policyRoute = false } = options
  if (metric !== undefined && !addresses.some(({ gateway }) => gateway !== undefined))
    throw usageError(
      `--metric '${metric}': there is no gateway`,
      'It is the metric of the default route: IP/PREFIX@GATEWAY.',
    )
  if (metric !== undefined && !defaultRoute)
    throw usageError(`--metric '${metric}' is for the default route, and --no-default-route forbids one`)
  if (policyRoute && addresses.length === 0)
    throw usageError('--policy-route goes by the addresses of the interface, and it is to have none')
  return {
    routes: parseRoutes(routes, addresses),
    ...(metric === undefined ? {} : { metric: parseMetric(metric, '--metric') }),
    defaultRoute,
    policyRoute,
  }
}

function parseSize({ mtu: typed }: AttachOptions, addresses: readonly Address[]): { mtu?: number } {
  if (typed === undefined) return {}
  const mtu = parseMtu(typed)
  const address6 = addresses.find(({ family }) => family === 6)
  if (mtu < 1280 && address6 !== undefined)
    throw usageError(
      `--mtu '${typed}' is too small for ${address6.ip}`,
      'IPv6 needs 1280 (RFC 8200); with less the kernel takes it from the interface.',
    )
  return { mtu }
}

function parseOffload({ txOffload: typed }: AttachOptions): { txOffload?: 'on' | 'off' } {
  if (typed === undefined) return {}
  if (typed !== 'on' && typed !== 'off') throw usageError(`--tx-offload '${typed}' is neither on nor off`)
  return { txOffload: typed }
}

/** The options that go into the record, as typed. */
function toRecordWords(options: AttachOptions): readonly string[] {
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
  ]
}

/** The words of the main form: `<hostif> <guest> <address>[,…] [mac][@vlan]`. Throws usage errors, asks no host. */
export function toRequest(words: readonly string[], options: AttachOptions): AttachRequest {
  const [hostif, guest, address, last, ...rest] = words
  if (hostif === undefined || guest === undefined || address === undefined)
    throw usageError(
      hostif === undefined
        ? 'nothing to do'
        : `after '${words.at(-1)}' there is no ${guest === undefined ? 'guest' : 'address'}`,
      'pipework <bridge> [-i ifname] [-l hostname] [-a 4|6] <guest> <ip/prefix[@gateway]>[,…] [mac|U:text][@vlan]',
    )
  if (rest.length > 0)
    throw usageError(`'${rest[0]}' is a word too many`, 'Several addresses have a comma between them and no space.')
  const { i, l, a } = options
  const addresses = parseAddresses(address, a === undefined ? undefined : parseFamily(a))
  return {
    hostif: parseHostif(hostif),
    guest: parseGuest(guest),
    ifname: parseIfname(i ?? 'eth1', 'interface in the guest'),
    isNamed: i !== undefined,
    ...(l === undefined ? {} : { hostEnd: parseIfname(l, "link's host end") }),
    addresses,
    ...(last === undefined ? {} : parseMacAndVlan(last)),
    sharing: parseSharing(options),
    direct: options.direct ?? false,
    ...parseRouting(options, addresses),
    ...parseSize(options, addresses),
    ...parseOffload(options),
    words: [...(last === undefined ? [] : [last]), ...toRecordWords(options)],
    probe: options.probe ?? true,
    vlanFiltering: options.vlanFiltering ?? false,
    force: options.force ?? false,
  }
}

/** The request in the words that ask for it: what stands in a file, in a record, in a message. */
export function toWords(request: AttachRequest): readonly string[] {
  const { hostif, ifname, isNamed, hostEnd, guest, addresses, words } = request
  return [
    hostif,
    ...(isNamed ? ['-i', ifname] : []),
    ...(hostEnd === undefined ? [] : ['-l', hostEnd]),
    guest.kind === undefined ? guest.name : `${guest.kind}:${guest.name}`,
    addresses.length === 0 ? '0/0' : addresses.map(formatAddress).join(','),
    ...words,
  ]
}
