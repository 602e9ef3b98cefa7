import { Netmask } from 'netmask'
import { usageError } from './errors'
import { addressBits, isIP, isLinkLocalAddress } from './ip'

export type Family = 4 | 6

/** An address with its prefix, as `ip addr` takes it, and the gateway typed after the `@`. */
export interface Address {
  readonly family: Family
  /** Canonical text: dotted quad, or RFC 5952. */
  readonly ip: string
  /** Prefix length in bits. */
  readonly prefix: number
  /** Canonical, same family. */
  readonly gateway?: string
  /** Given by a DHCP server, and not typed. */
  readonly leased?: true
}

/** The `ip/prefix` of an address. */
export function toCidr({ ip, prefix }: Address): string {
  return `${ip}/${prefix}`
}

/** The address as it is typed: `ip/prefix[@gateway]`. */
export function formatAddress(address: Address): string {
  return toCidr(address) + (address.gateway === undefined ? '' : `@${address.gateway}`)
}

/** The canonical text of an address that `isIP` accepts; netmask's own parser is laxer and would take `10.1`. */
function canonicalizeIp(ip: string, family: Family): string {
  return family === 4 ? ip : new Netmask(`${ip}/128`).base
}

function detectFamily(text: string): Family | undefined {
  return isIP(text) || undefined
}

/** The length of a netmask like 255.255.255.0, or of one that is a length already; undefined for anything else. */
export function parsePrefixLength(text: string, family: Family): number | undefined {
  const bits = addressBits(family)
  if (/^(0|[1-9]\d{0,2})$/.test(text)) return Number(text) <= bits ? Number(text) : undefined
  if (family !== 4 || isIP(text) !== 4) return undefined
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
        ? `No host can have it: take an address from ${block.first} on.`
        : `It belongs to the subnet's routers (RFC 4291): take an address like ${block.base}1.`,
    )
  if (block.broadcast === address.ip)
    throw usageError(
      `'${typed}': ${address.ip} is the broadcast address of ${block.base}/${address.prefix}`,
      `No host can have it: take an address up to ${block.last}.`,
    )
}

/** Refuses an address that no host on a LAN can have; `typed` is what it stands in. */
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
  const family = detectFamily(text)
  if (family === undefined)
    throw usageError(
      `'${typed}': the gateway '${text}' is not an IP address`,
      `Write it like ${of.family === 4 ? '192.168.1.10/24@192.168.1.1' : 'fd00::10/64@fd00::1'}.`,
    )
  if (family !== of.family)
    throw usageError(
      `'${typed}': the gateway '${text}' is IPv${family}, the address is IPv${of.family}`,
      'Give each family its own address and gateway, with a comma between: 10.0.0.2/24@10.0.0.1,fd00::2/64@fd00::1',
    )
  const gateway = canonicalizeIp(text, family)
  validateHostAddress({ family, ip: gateway }, typed)
  if (gateway === of.ip) throw usageError(`'${typed}': the gateway is the address itself`, 'Give the router’s address.')
  // Of IPv6 the first address of a subnet is its routers' own.
  if (family === 4 && isOnLink(of, gateway)) validateNotNetworkAddress({ ...of, ip: gateway }, typed)
  return gateway
}

/**
 * `ip/prefix[@gateway]`, the prefix in bits or as a dotted netmask.
 * Throws a usage error for whatever a host cannot have.
 */
export function parseAddress(typed: string): Address {
  const [cidr = '', gateway, ...rest] = typed.split('@')
  const [ip = '', prefixText, ...more] = cidr.split('/')
  const family = detectFamily(ip)
  if (rest.length > 0 || more.length > 0 || family === undefined)
    throw usageError(
      `'${typed}' is not an address`,
      'Write IP/PREFIX[@GATEWAY], like 192.168.1.10/24@192.168.1.1 or fd00::10/64, or 0/0 for an interface without address.',
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
  return detectFamily(text) === family ? canonicalizeIp(text, family) : undefined
}

/** An address alone, canonical; `what` begins the message. Throws a usage error. */
export function parseIpAddress(typed: string, what: string): { readonly family: Family; readonly ip: string } {
  const family = detectFamily(typed)
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

/** True when the address's own subnet reaches the other address without a route. */
export function isOnLink(of: Address, ip: string): boolean {
  if (isLinkLocalAddress(ip)) return true
  return of.prefix === 0 || new Netmask(toCidr(of)).contains(ip)
}

/** Whether a network, as `network/prefix` or a single address, has that address; undefined when it cannot be read. */
export function networkContains(network: string, ip: string): boolean | undefined {
  if (network.includes(':') !== ip.includes(':')) return false
  try {
    return new Netmask(network).contains(ip)
  } catch {
    return undefined
  }
}

/** The largest packet of a link, in bytes: from 68, the least that IPv4 allows, to 65535. Throws a usage error. */
export function parseMtu(typed: string): number {
  const mtu = /^\d{1,5}$/.test(typed) ? Number(typed) : 0
  if (mtu < 68 || mtu > 65535)
    throw usageError(`--mtu '${typed}' is not an MTU`, 'It goes from 68 to 65535; IPv6 needs 1280.')
  return mtu
}

/** Six bytes in lower case hexadecimal with colons; a unicast address. Throws a usage error. */
export function parseMac(typed: string): string {
  const mac = typed.toLowerCase()
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac))
    throw usageError(
      `'${typed}' is not a MAC address`,
      'Write six bytes like 26:2e:71:98:60:8f, or U:TEXT to derive one from a text.',
    )
  if (mac === '00:00:00:00:00:00')
    throw usageError(
      `'${typed}' is no MAC address that an interface can have`,
      'Take one like 26:2e:71:98:60:8f, or U:TEXT to derive one from a text.',
    )
  const first = Number.parseInt(mac.slice(0, 2), 16)
  if (first & 1) {
    const unicast = ((first & 0xfe) | 2).toString(16).padStart(2, '0') + mac.slice(2)
    throw usageError(`'${typed}' is a multicast MAC address`, `The first byte must be even: ${unicast}, for example.`)
  }
  return mac
}

/**
 * A name that the kernel takes for an interface (dev_valid_name: 1 to 15 bytes, no slash, colon or white space,
 * not . or ..) and that `ip -batch` reads as one plain word. Throws a usage error.
 */
export function parseIfname(typed: string, what: string): string {
  const bytes = Buffer.byteLength(typed)
  const reason =
    (typed === '' && 'it is empty') ||
    (bytes > 15 && `it has ${bytes} bytes, the kernel takes 15`) ||
    ((typed === '.' || typed === '..') && 'the kernel does not take it') ||
    (typed.startsWith('-') && 'it starts with a dash') ||
    (/[^\x21-\x7e]/.test(typed) && 'it has white space, control or non-ASCII characters') ||
    (/[/:"'#\\%@;]/.test(typed) && `it has a '${/[/:"'#\\%@;]/.exec(typed)?.[0]}'`)
  if (reason)
    throw usageError(
      `${JSON.stringify(typed).replaceAll(/^"|"$/g, "'")} is no name for the ${what}: ${reason}`,
      'Take a short name like eth1.',
    )
  return typed
}

/** Whether the text can be an InfiniBand partition key: up to four hexadecimal digits, as the original took it. */
export function isPartitionKey(text: string): boolean {
  return /^[0-9a-f]{1,4}$/i.test(text)
}

/** A time in seconds, fractions allowed, not negative. Throws a usage error. */
export function parseSeconds(typed: string, option: string): number {
  if (!/^\d+(\.\d+)?$/.test(typed))
    throw usageError(`${option} '${typed}' is not a number of seconds`, `Write it like ${option} 30`)
  return Number(typed)
}

/**
 * FNV-1a over the text's UTF-8 bytes, 64 bits in hexadecimal: for names and addresses that are to be the same at each
 * run, where nobody could gain by a collision. (node:crypto takes 2 ms of every start.)
 */
export function fnv1aHash(text: string): string {
  let hash = 0xcbf29ce484222325n
  for (const byte of Buffer.from(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n)
  return hash.toString(16).padStart(16, '0')
}

/** `eth0.10`, or where that exceeds what the kernel takes a name of our own that is always the same. */
export function vlanDeviceName(nic: string, vlan: number): string {
  const name = `${nic}.${vlan}`
  return name.length <= 15 ? name : `vl${fnv1aHash(nic).slice(0, 8)}.${vlan}`
}
