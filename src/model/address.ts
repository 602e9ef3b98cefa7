import { isIP } from 'node:net'
import { Netmask } from 'netmask'
import { usageError } from './errors'

export type Family = 4 | 6

/** The order in which steps for both families run. */
export const ADDRESS_FAMILIES = [4, 6] as const satisfies readonly Family[]

/** An address with its prefix, and the gateway typed after the `@`. */
export interface Address {
  readonly family: Family
  /** Canonical text: dotted quad, or RFC 5952. */
  readonly ip: string
  /** Prefix length in bits. */
  readonly prefix: number
  /** Canonical, same family. */
  readonly gateway?: string
  /** From a DHCP server, not typed. */
  readonly leased?: true
}

/** The `ip/prefix` of an address. */
export function toCidr({ ip, prefix }: Address): string {
  return `${ip}/${prefix}`
}

/** The address as typed: `ip/prefix[@gateway]`. */
export function formatAddress(address: Address): string {
  return toCidr(address) + (address.gateway === undefined ? '' : `@${address.gateway}`)
}

/** The prefix length of a single address. */
export function addressBits(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128
}

/** Whether an IPv6 address is link-local, fe80::/10 (RFC 4291). */
export function isLinkLocalAddress(ip: string): boolean {
  return /^fe[89ab].:/.test(ip)
}

/** The canonical text of a valid address. Check before: netmask's own parser is laxer and takes `10.1`. */
function canonicalizeIp(ip: string, family: Family): string {
  return family === 4 ? ip : new Netmask(`${ip}/128`).base
}

/** The family of an IP address; undefined for anything else, also for an address with a zone (`fe80::1%eth0`). */
export function ipFamily(text: string): Family | undefined {
  if (text.includes('%')) return undefined
  const family = isIP(text)
  return family === 4 || family === 6 ? family : undefined
}

/** The prefix length of `24` or `255.255.255.0`; undefined for anything else. */
export function parsePrefixLength(text: string, family: Family): number | undefined {
  const bits = addressBits(family)
  if (/^(0|[1-9]\d{0,2})$/.test(text)) return Number(text) <= bits ? Number(text) : undefined
  if (family !== 4 || ipFamily(text) !== 4) return undefined
  try {
    return new Netmask('0.0.0.0', text).bitmask
  } catch {
    return undefined // ones after zeros, like 255.0.255.0
  }
}

function validateNotNetworkAddress(address: Address, typed: string): void {
  const bits = addressBits(address.family)
  if (address.prefix >= bits - 1 || address.prefix === 0) return
  const block = new Netmask(toCidr(address))
  if (block.base === address.ip)
    throw usageError(
      `'${typed}': ${address.ip} is the network address of ${block.base}/${address.prefix}`,
      address.family === 4
        ? `No host can have it: use an address from ${block.first} on.`
        : `It belongs to the routers of the subnet (RFC 4291): use an address like ${block.base}1.`,
    )
  if (block.broadcast === address.ip)
    throw usageError(
      `'${typed}': ${address.ip} is the broadcast address of ${block.base}/${address.prefix}`,
      `No host can have it: use an address up to ${block.last}.`,
    )
}

/** Refuses an address that no host on a LAN can have. */
export function validateHostAddress({ family, ip }: Pick<Address, 'family' | 'ip'>, typed: string): void {
  const first = Number.parseInt(ip, 10)
  const reason =
    family === 4
      ? (first === 0 && 'not an address of a host') ||
        (first === 127 && 'a loopback address') ||
        (first >= 224 && first < 240 && 'a multicast address') ||
        (first >= 240 && 'a reserved address')
      : (ip === '::' && 'not an address of a host') ||
        (ip === '::1' && 'the loopback address') ||
        (/^ff..:/.test(ip) && 'a multicast address') ||
        (/^::ffff:/.test(ip) && 'an IPv4-mapped address')
  if (reason) throw usageError(`'${typed}': ${ip} is ${reason}`, 'Give an address that a host on the LAN can have.')
}

function parseGateway(text: string, of: Omit<Address, 'gateway'>, typed: string): string {
  const family = ipFamily(text)
  if (family === undefined)
    throw usageError(
      `'${typed}': the gateway '${text}' is not an IP address`,
      `Write it like ${of.family === 4 ? '192.168.1.10/24@192.168.1.1' : 'fd00::10/64@fd00::1'}.`,
    )
  if (family !== of.family)
    throw usageError(
      `'${typed}': the gateway '${text}' is IPv${family}, the address is IPv${of.family}`,
      'Give each family its own address and gateway, separated by a comma: 10.0.0.2/24@10.0.0.1,fd00::2/64@fd00::1',
    )
  const gateway = canonicalizeIp(text, family)
  validateHostAddress({ family, ip: gateway }, typed)
  if (gateway === of.ip) throw usageError(`'${typed}': the gateway is the address itself`, 'Give the router’s address.')
  // The first address of an IPv6 subnet belongs to its routers.
  if (family === 4 && isOnLink(of, gateway)) validateNotNetworkAddress({ ...of, ip: gateway }, typed)
  return gateway
}

/**
 * Parses `ip/prefix[@gateway]`; the prefix may be a dotted netmask.
 * Throws a usage error for an address that a host cannot have.
 */
export function parseAddress(typed: string): Address {
  const [cidr = '', gateway, ...rest] = typed.split('@')
  const [ip = '', prefixText, ...more] = cidr.split('/')
  const family = ipFamily(ip)
  if (rest.length > 0 || more.length > 0 || family === undefined)
    throw usageError(
      `'${typed}' is not an address`,
      'Write IP/PREFIX[@GATEWAY], like 192.168.1.10/24@192.168.1.1 or fd00::10/64, or 0/0 for no address.',
    )
  if (prefixText === undefined) {
    const guess = `${ip}/${family === 4 ? 24 : 64}${gateway === undefined ? '' : `@${gateway}`}`
    throw usageError(`'${typed}' has no prefix length`, `Did you mean ${guess}?`)
  }
  const prefix = parsePrefixLength(prefixText, family)
  if (prefix === undefined)
    throw usageError(
      `'${typed}': '${prefixText}' is not a prefix length`,
      family === 4 ? 'It goes from 0 to 32, or is a netmask like 255.255.255.0.' : 'It goes from 0 to 128.',
    )
  const address = { family, ip: canonicalizeIp(ip, family), prefix }
  validateHostAddress(address, typed)
  validateNotNetworkAddress(address, typed)
  return gateway === undefined ? address : { ...address, gateway: parseGateway(gateway, address, typed) }
}

/** The canonical text of an address of that family; undefined for anything else. */
export function toCanonicalIp(text: string, family: Family): string | undefined {
  return ipFamily(text) === family ? canonicalizeIp(text, family) : undefined
}

/** An address without prefix; `what` starts the error message. Throws a usage error. */
export function parseIpAddress(typed: string, what: string): { readonly family: Family; readonly ip: string } {
  const family = ipFamily(typed)
  if (family === undefined)
    throw usageError(`${what}: '${typed}' is not an IP address`, 'Write it like 192.168.1.10 or fd00::10.')
  return { family, ip: canonicalizeIp(typed, family) }
}

/** Whether two subnets have an address in common. */
export function subnetsOverlap(a: Address, b: Address): boolean {
  return a.family === b.family && (subnetContains(a, b.ip) || subnetContains(b, a.ip))
}

/** Whether the subnet of an address contains the other address. */
function subnetContains(of: Address, ip: string): boolean {
  return new Netmask(toCidr(of)).contains(ip)
}

/** The subnet of an address, as `network/prefix`. */
export function toNetworkCidr(address: Pick<Address, 'ip' | 'prefix'>): string {
  return `${new Netmask(`${address.ip}/${address.prefix}`).base}/${address.prefix}`
}

/** Whether the subnet of the address contains the other address, or that is link-local. */
export function isOnLink(of: Address, ip: string): boolean {
  if (isLinkLocalAddress(ip)) return true
  return of.prefix === 0 || new Netmask(toCidr(of)).contains(ip)
}

/** Whether `network/prefix` or a single address contains the address; undefined when it cannot be parsed. */
export function networkContains(network: string, ip: string): boolean | undefined {
  if (network.includes(':') !== ip.includes(':')) return false
  try {
    return new Netmask(network).contains(ip)
  } catch {
    return undefined
  }
}
