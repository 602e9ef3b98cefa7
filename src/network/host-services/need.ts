import type { Rule } from '../../firewall/rule'
import { type Family, toCidr } from '../../model/address'
import type { ShareKind } from '../../model/attach-options'

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

/** A need of nothing at all. */
export const NOTHING: Need = sumOf([])

const FORWARDING: Readonly<Record<Family, Sysctl>> = {
  4: { key: 'net/ipv4/ip_forward', value: '1', own: false },
  6: { key: 'net/ipv6/conf/all/forwarding', value: '1', own: false },
}

/** The sysctl that turns forwarding on for that family. */
export function forwardingOf(family: Family): Sysctl {
  return FORWARDING[family]
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
