import type { Host } from '../host'
import { type Address, type Family, formatAddress, isOnLink } from '../values'

/** An address of the host, on the link that its subnet is reached by. */
export interface HostAddress {
  readonly family: Family
  readonly ip: string
  readonly prefix: number
  readonly dev: string
}

/** What the host knows of its subnets, out of /proc: no process is started, and a link that is down is known too. */
export interface Subnets {
  readonly addresses: readonly HostAddress[]
  /** Gateways of default routes. */
  readonly gateways: readonly Pick<HostAddress, 'family' | 'ip' | 'dev'>[]
  /** Neighbours that have answered, or were asked for. */
  readonly neighbours: readonly string[]
}

const PROC = '/proc/net'

const linesOf = (text: string | undefined) => (text ?? '').split('\n').map((line) => line.trim().split(/\s+/))

/** Hexadecimal in the byte order of the machine, as /proc/net/route has it. */
function toIp4(hex: string): string {
  return (hex.match(/../g) ?? [])
    .reverse()
    .map((byte) => Number.parseInt(byte, 16))
    .join('.')
}

/** 32 hexadecimal digits, shortened as RFC 5952 says. */
function toIp6(hex: string): string {
  return new URL(`http://[${hex.match(/.{4}/g)?.join(':')}]`).hostname.slice(1, -1)
}

function countBits(mask: string): number {
  return [...mask].reduce((bits, digit) => bits + (Number.parseInt(digit, 16).toString(2).match(/1/g)?.length ?? 0), 0)
}

/** The addresses in the trie that are the host's own. */
function readLocal4(host: Host): readonly string[] {
  const lines = (host.read(`${PROC}/fib_trie`) ?? '').split('\n')
  return lines.flatMap((line, index) => {
    const ip = /\|-- ([\d.]+)$/.exec(line)?.[1]
    return ip !== undefined && /\/32 host LOCAL$/.test(lines[index + 1] ?? '') ? [ip] : []
  })
}

function read4(host: Host): Pick<Subnets, 'addresses' | 'gateways'> {
  const routes = linesOf(host.read(`${PROC}/route`)).filter(([, dst = '']) => /^[0-9A-F]{8}$/.test(dst))
  const local = [...new Set(readLocal4(host))]
  const addresses = routes.flatMap(([dev = '', dst = '', via, , , , , mask = '']) => {
    const subnet = { family: 4, ip: toIp4(dst), prefix: countBits(mask) } as const
    if (via !== '00000000' || subnet.prefix === 0) return []
    return local.filter((ip) => isOnLink(subnet, ip)).map((ip) => ({ ...subnet, ip, dev }))
  })
  const gateways = routes.flatMap(([dev = '', dst, via = '', , , , , mask]) =>
    dst === '00000000' && mask === '00000000' && via !== '00000000'
      ? [{ family: 4 as const, ip: toIp4(via), dev }]
      : [],
  )
  return { addresses, gateways }
}

function read6(host: Host): Pick<Subnets, 'addresses' | 'gateways'> {
  const addresses = linesOf(host.read(`${PROC}/if_inet6`)).flatMap(([hex = '', , prefix = '', scope, , dev = '']) =>
    hex.length === 32 && scope === '00' && dev !== 'lo'
      ? [{ family: 6 as const, ip: toIp6(hex), prefix: Number.parseInt(prefix, 16), dev }]
      : [],
  )
  const gateways = linesOf(host.read(`${PROC}/ipv6_route`)).flatMap((fields) => {
    const [dst = '', bits, , , via = ''] = fields
    const isDefault = /^0{32}$/.test(dst) && bits === '00' && via.length === 32 && !/^0+$/.test(via)
    return isDefault && !via.startsWith('fe8') ? [{ family: 6 as const, ip: toIp6(via), dev: fields.at(-1) ?? '' }] : []
  })
  return { addresses, gateways }
}

/** Reads them. What cannot be read is taken to be empty. */
export function readSubnets(host: Host): Subnets {
  const [v4, v6] = [read4(host), read6(host)]
  const neighbours = linesOf(host.read(`${PROC}/arp`)).flatMap(([ip = '', , flags]) =>
    /^\d/.test(ip) && flags !== '0x0' ? [ip] : [],
  )
  return {
    addresses: [...v4.addresses, ...v6.addresses],
    gateways: [...v4.gateways, ...v6.gateways],
    neighbours,
  }
}

const toNumber = (ip: string) =>
  ip.includes(':')
    ? BigInt(`0x${expand(ip)}`)
    : BigInt(ip.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0))

function expand(ip: string): string {
  const [head = '', tail] = ip.split('::')
  const groups = (text: string | undefined) => (text ? text.split(':') : [])
  const filled = tail === undefined ? groups(head) : [...groups(head), ...groups(tail)]
  const zeros = Array<string>(Math.max(0, 8 - filled.length)).fill('0')
  const all = tail === undefined ? filled : [...groups(head), ...zeros, ...groups(tail)]
  return all.map((group) => group.padStart(4, '0')).join('')
}

function fromNumber(number: bigint, family: Family): string {
  if (family === 6) return toIp6(number.toString(16).padStart(32, '0'))
  return [24n, 16n, 8n, 0n].map((shift) => `${(number >> shift) & 255n}`).join('.')
}

/** How many addresses are tried: a subnet of IPv6 has no end. */
const TRIES = 65536n

/** The first address of the subnet behind `after` that nobody is known to have, going round at its end. */
export function nextFree(
  subnet: Pick<Address, 'family' | 'ip' | 'prefix'>,
  after: string,
  taken: readonly string[],
): string | undefined {
  const { family, prefix } = subnet
  const size = 1n << BigInt((family === 4 ? 32 : 128) - prefix)
  if (size < 4n) return undefined
  const first = (toNumber(subnet.ip) / size) * size
  const used = new Set(taken.map(toNumber))
  const start = toNumber(after) - first
  // Without the subnet's own address and, in IPv4, its broadcast address.
  const last = family === 4 ? size - 2n : size - 1n
  for (let offset = 1n; offset <= last && offset <= TRIES; offset += 1n) {
    const candidate = first + 1n + ((start + offset - 1n) % last)
    if (!used.has(candidate)) return fromNumber(candidate, family)
  }
  return undefined
}

/** What to base a suggestion on: the host's subnets, and what other attachments of the same host interface have. */
export interface Ground {
  readonly hostif: string
  readonly subnets: Subnets
  readonly recorded: readonly Address[]
}

/** An address to suggest, as it is typed, for each subnet that the host interface is known to be in. */
export function suggestAddresses({ hostif, subnets, recorded }: Ground): readonly string[] {
  const own = subnets.addresses.filter(({ dev }) => dev === hostif)
  const known: readonly Pick<Address, 'family' | 'ip' | 'prefix'>[] = [...own, ...recorded]
  const distinct = known.filter((it, index) => known.findIndex((other) => isSameSubnet(other, it)) === index)
  const all = [...subnets.addresses, ...subnets.gateways, ...recorded].map(({ ip }) => ip)
  const gateways = recorded.flatMap(({ gateway }) => gateway ?? [])
  const taken = [...all, ...gateways, ...subnets.neighbours]
  return distinct.flatMap((subnet) => {
    const inside = recorded.filter((it) => isSameSubnet(it, subnet))
    const highest = inside.map(({ ip }) => ip).sort((a, b) => Number(toNumber(b) - toNumber(a)))[0]
    const ip = nextFree(subnet, highest ?? subnet.ip, taken)
    const gateway =
      inside.find((it) => it.gateway !== undefined)?.gateway ??
      subnets.gateways.find((it) => it.dev === hostif && isOnLink({ ...subnet }, it.ip))?.ip ??
      own.find((it) => isSameSubnet(it, subnet))?.ip
    const address = { family: subnet.family, prefix: subnet.prefix }
    return ip === undefined ? [] : [formatAddress({ ...address, ip, ...(gateway === undefined ? {} : { gateway }) })]
  })
}

function isSameSubnet(a: Pick<Address, 'family' | 'ip' | 'prefix'>, b: Pick<Address, 'family' | 'ip' | 'prefix'>) {
  return a.family === b.family && a.prefix === b.prefix && isOnLink(a, b.ip)
}
