import { type Address, addressBits, type Family, formatAddress, isOnLink } from '../../model/address'
import { formatIpv6Hex, type HostSubnets } from '../../state/subnets'

const ipToNumber = (ip: string) =>
  ip.includes(':')
    ? BigInt(`0x${expandIpv6(ip)}`)
    : BigInt(ip.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0))

function expandIpv6(ip: string): string {
  const [head = '', tail] = ip.split('::')
  const groups = (text: string | undefined) => (text ? text.split(':') : [])
  const filled = tail === undefined ? groups(head) : [...groups(head), ...groups(tail)]
  const zeros = Array<string>(Math.max(0, 8 - filled.length)).fill('0')
  const all = tail === undefined ? filled : [...groups(head), ...zeros, ...groups(tail)]
  return all.map((group) => group.padStart(4, '0')).join('')
}

function numberToIp(number: bigint, family: Family): string {
  if (family === 6) return formatIpv6Hex(number.toString(16).padStart(32, '0'))
  return [24n, 16n, 8n, 0n].map((shift) => `${(number >> shift) & 255n}`).join('.')
}

/** How many addresses are tried: an IPv6 subnet is too large to try all. */
const MAX_TRIES = 65536n

/** The first address after `after` that is not known to be in use, wrapping at the end of the subnet. */
export function nextFreeAddress(
  subnet: Pick<Address, 'family' | 'ip' | 'prefix'>,
  after: string,
  taken: readonly string[],
): string | undefined {
  const { family, prefix } = subnet
  const size = 1n << BigInt(addressBits(family) - prefix)
  if (size < 4n) return undefined
  const first = (ipToNumber(subnet.ip) / size) * size
  const used = new Set(taken.map(ipToNumber))
  const start = ipToNumber(after) - first
  // The subnet's own address is excluded, and in IPv4 its broadcast address.
  const last = family === 4 ? size - 2n : size - 1n
  for (let offset = 1n; offset <= last && offset <= MAX_TRIES; offset += 1n) {
    const candidate = first + 1n + ((start + offset - 1n) % last)
    if (!used.has(candidate)) return numberToIp(candidate, family)
  }
  return undefined
}

/**
 * The inputs of a suggestion: the host's subnets, and the addresses of other attachments of the same host interface.
 */
export interface AddressSuggestionInput {
  readonly hostif: string
  readonly subnets: HostSubnets
  readonly recorded: readonly Address[]
}

/** Suggests an address, as typed, for each known subnet of the host interface. */
export function suggestAddresses({ hostif, subnets, recorded }: AddressSuggestionInput): readonly string[] {
  const own = subnets.addresses.filter(({ dev }) => dev === hostif)
  const known: readonly Pick<Address, 'family' | 'ip' | 'prefix'>[] = [...own, ...recorded]
  const distinct = known.filter((it, index) => known.findIndex((other) => isSameSubnet(other, it)) === index)
  const all = [...subnets.addresses, ...subnets.gateways, ...recorded].map(({ ip }) => ip)
  const gateways = recorded.flatMap(({ gateway }) => gateway ?? [])
  const taken = [...all, ...gateways, ...subnets.neighbours]
  return distinct.flatMap((subnet) => {
    const inside = recorded.filter((it) => isSameSubnet(it, subnet))
    const highest = inside.map(({ ip }) => ip).sort((a, b) => Number(ipToNumber(b) - ipToNumber(a)))[0]
    const ip = nextFreeAddress(subnet, highest ?? subnet.ip, taken)
    const gateway =
      inside.find((it) => it.gateway !== undefined)?.gateway ??
      subnets.gateways.find((it) => it.dev === hostif && isOnLink({ ...subnet }, it.ip))?.ip ??
      own.find((it) => isSameSubnet(it, subnet))?.ip
    const address = { family: subnet.family, prefix: subnet.prefix }
    return ip === undefined ? [] : [formatAddress({ ...address, ip, gateway })]
  })
}

function isSameSubnet(a: Pick<Address, 'family' | 'ip' | 'prefix'>, b: Pick<Address, 'family' | 'ip' | 'prefix'>) {
  return a.family === b.family && a.prefix === b.prefix && isOnLink(a, b.ip)
}
