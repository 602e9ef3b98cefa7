import type { OwnRule } from '../../firewall/rule'
import { type Family, toCidr } from '../../model/address'
import type { ShareKind } from '../../model/attach-options'

/** A host address on a bridge, or on the host end of a link without one. */
export interface HostIfAddress {
  readonly dev: string
  readonly family: Family
  readonly ip: string
  readonly prefix: number
  /** Further arguments of `ip addr add`. */
  readonly words: readonly string[]
}

/** A host route to a guest's address. */
export interface HostRoute {
  readonly family: Family
  /** A single address. */
  readonly dst: string
  readonly dev: string
  readonly src?: string
}

/** An address of a guest or of the host that the host answers for on that interface. */
export interface ProxyNeighbour {
  readonly ip: string
  readonly dev: string
}

export interface HostSysctl {
  /** With slashes, as below /proc/sys: an interface name may contain a dot. */
  readonly key: string
  readonly value: string
  /** Whether it disappears with an interface of ours, and needs no restoring. */
  readonly goesWithLink: boolean
}

/** A host macvlan on a NIC, through which host and guests reach each other. */
export interface HostMacvlan {
  readonly name: string
  readonly parent: string
  readonly kind: ShareKind
  readonly mode: string
}

/** A bridge port, and whether it is in hairpin mode. */
export interface HairpinPort {
  readonly port: string
  readonly on: boolean
}

/** The host state that attachments need beside their links. */
export interface DesiredState {
  readonly hairpins: readonly HairpinPort[]
  readonly addresses: readonly HostIfAddress[]
  readonly routes: readonly HostRoute[]
  readonly proxyNeighbours: readonly ProxyNeighbour[]
  readonly sysctls: readonly HostSysctl[]
  readonly hostMacvlans: readonly HostMacvlan[]
  readonly rules: readonly OwnRule[]
}

/** The union of several states; shared items appear twice. */
export function mergeStates(needs: readonly DesiredState[]): DesiredState {
  return {
    hairpins: needs.flatMap((it) => it.hairpins),
    addresses: needs.flatMap((it) => it.addresses),
    routes: needs.flatMap((it) => it.routes),
    proxyNeighbours: needs.flatMap((it) => it.proxyNeighbours),
    sysctls: needs.flatMap((it) => it.sysctls),
    hostMacvlans: needs.flatMap((it) => it.hostMacvlans),
    rules: needs.flatMap((it) => it.rules),
  }
}

export const EMPTY_STATE: DesiredState = mergeStates([])

const FORWARDING_SYSCTLS: Readonly<Record<Family, HostSysctl>> = {
  4: { key: 'net/ipv4/ip_forward', value: '1', goesWithLink: false },
  6: { key: 'net/ipv6/conf/all/forwarding', value: '1', goesWithLink: false },
}

/** The sysctl that turns forwarding on for that family. */
export function forwardingSysctl(family: Family): HostSysctl {
  return FORWARDING_SYSCTLS[family]
}

/** The items with duplicate keys removed; the last one is kept. */
export const uniqueBy = <T>(items: readonly T[], keyOf: (item: T) => string) => [
  ...new Map(items.map((item) => [keyOf(item), item])).values(),
]

/** Descriptions of the parts of a state, for messages. */
export const describeState = {
  address: (it: HostIfAddress) => `${toCidr(it)} on ${it.dev}`,
  route: ({ dst, dev }: HostRoute) => `the route to ${dst} over ${dev}`,
  proxy: ({ ip, dev }: ProxyNeighbour) => `the answer for ${ip} on ${dev}`,
  sysctl: ({ key, value }: HostSysctl) => `${key}=${value}`,
} as const
