import type { Family } from '../model/address'
import type { System } from '../system/types'
import { hexToBytes, readProcRoutes } from './proc-routes'

/** A host address, on the link that reaches its subnet. */
export interface SubnetAddress {
  readonly family: Family
  readonly ip: string
  readonly prefix: number
  readonly dev: string
}

/** What /proc shows of the host's subnets: without a process, and including links that are down. */
export interface HostSubnets {
  readonly addresses: readonly SubnetAddress[]
  /** Gateways of default routes. */
  readonly gateways: readonly Pick<SubnetAddress, 'family' | 'ip' | 'dev'>[]
  /** Neighbours that have answered or were probed. */
  readonly neighbours: readonly string[]
}

const PROC_NET = '/proc/net'

const splitFields = (text: string | undefined) => (text ?? '').split('\n').map((line) => line.trim().split(/\s+/))

/** Formats 32 hexadecimal digits as in RFC 5952. */
export function formatIpv6Hex(hex: string): string {
  return new URL(`http://[${hex.match(/.{4}/g)?.join(':')}]`).hostname.slice(1, -1)
}

function countPrefixBits(mask: readonly number[]): number {
  return mask.map((byte) => byte.toString(2).replaceAll('0', '').length).reduce((sum, bits) => sum + bits, 0)
}

/** The host's own addresses in the trie. */
function readLocalIpv4(system: System): readonly string[] {
  const lines = (system.read(`${PROC_NET}/fib_trie`) ?? '').split('\n')
  return lines.flatMap((line, index) => {
    const [, ip] = line.split('|-- ')
    return ip !== undefined && lines[index + 1]?.endsWith('/32 host LOCAL') ? [ip] : []
  })
}

function readIpv4Subnets(system: System): Pick<HostSubnets, 'addresses' | 'gateways'> {
  const routes = readProcRoutes(4, PROC_NET, system) ?? []
  const local = [...new Set(readLocalIpv4(system))]
  const addresses = routes.flatMap(({ dev, dst, via, mask }) => {
    const [network, bits] = [hexToBytes(dst), hexToBytes(mask)]
    const prefix = countPrefixBits(bits)
    if (via !== '00000000' || prefix === 0) return []
    const isInside = (ip: string) =>
      ip.split('.').every((byte, index) => (Number(byte) & (bits[index] ?? 0)) === network[index])
    return local.filter(isInside).map((ip) => ({ family: 4 as const, ip, prefix, dev }))
  })
  const gateways = routes.flatMap(({ dev, via, isDefault }) =>
    isDefault && via !== '00000000' ? [{ family: 4 as const, ip: hexToBytes(via).join('.'), dev }] : [],
  )
  return { addresses, gateways }
}

function readIpv6Subnets(system: System): Pick<HostSubnets, 'addresses' | 'gateways'> {
  const addresses = splitFields(system.read(`${PROC_NET}/if_inet6`)).flatMap(
    ([hex = '', , prefix = '', scope, , dev = '']) =>
      hex.length === 32 && scope === '00' && dev !== 'lo'
        ? [{ family: 6 as const, ip: formatIpv6Hex(hex), prefix: Number.parseInt(prefix, 16), dev }]
        : [],
  )
  const gateways = (readProcRoutes(6, PROC_NET, system) ?? []).flatMap(({ dev, via, isDefault }) =>
    isDefault && via.length === 32 && !/^0+$/.test(via) && !via.startsWith('fe8')
      ? [{ family: 6 as const, ip: formatIpv6Hex(via), dev }]
      : [],
  )
  return { addresses, gateways }
}

/** Reads the subnets. Unreadable files count as empty. */
export function readSubnets(system: System): HostSubnets {
  const [v4, v6] = [readIpv4Subnets(system), readIpv6Subnets(system)]
  const neighbours = splitFields(system.read(`${PROC_NET}/arp`)).flatMap(([ip = '', , flags]) =>
    /^\d/.test(ip) && flags !== '0x0' ? [ip] : [],
  )
  return {
    addresses: [...v4.addresses, ...v6.addresses],
    gateways: [...v4.gateways, ...v6.gateways],
    neighbours,
  }
}
