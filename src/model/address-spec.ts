import { type Address, type Family, parseAddress } from './address'
import { DHCP_CLIENTS, type DhcpClient, splitShellWords, validateDhcpOptions } from './dhcp-options'
import { usageError } from './errors'
import { listClosest } from './nearest'
import { parseSeconds } from './number'

/** The source of an address that is not typed: a DHCP server, or router advertisements. */
export interface AddressSource {
  readonly kind: 'dhcp' | 'slaac'
  readonly family: Family
  /** The client, where the user named one. */
  readonly client?: DhcpClient
  /** The options after the colon, split into arguments. */
  readonly options: readonly string[]
  /** As typed, for the link record. */
  readonly typed: string
}

const SOURCE_PATTERN = /^(dhcp6|dhcp|slaac|(?:udhcpc|dhclient|dhcpcd)(?:-f)?)(?::(.*))?$/s

/** Whether the word starts like an address source; the rest may be invalid. */
function isAddressSource(word: string): boolean {
  return /^(dhcp|udhcpc|dhclient|slaac)/.test(word)
}

/** Parses `dhcp`, `udhcpc:-x hostname:web`, `slaac` and the like. Throws a usage error. */
export function parseAddressSource(typed: string): AddressSource {
  const [, name = '', options] = SOURCE_PATTERN.exec(typed) ?? []
  if (name === '')
    throw usageError(
      `'${typed}' is not a source of addresses`,
      'Write dhcp, udhcpc, dhclient or dhcpcd, optionally with :options; dhcp6 or slaac for IPv6; or IP/PREFIX.',
    )
  if (name === 'slaac' && options !== undefined)
    throw usageError(`'${typed}': slaac takes no options`, 'The kernel configures the address itself.')
  const program = name.replace(/-f$/, '')
  const client = DHCP_CLIENTS.find((it) => it === program)
  const family = name === 'dhcp6' || name === 'slaac' ? 6 : 4
  const args = options === undefined ? [] : splitShellWords(options, typed)
  // In the original, `dhcp` was udhcpc; its options are still udhcpc's. Those of dhcp6 are dhclient's.
  validateDhcpOptions(args, client ?? (family === 6 ? 'dhclient' : 'udhcpc'), typed)
  return {
    kind: name === 'slaac' ? 'slaac' : 'dhcp',
    family,
    client,
    options: args,
    typed,
  }
}

/** Splits at commas outside quotes: `dhcp:'-x 60:a,b',fd00::5/64` is two. */
export function splitAddressList(typed: string): readonly string[] {
  return typed.match(/(?:[^,'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*"|['"\\])+|(?<=^|,)(?=,|$)/gs) ?? [typed]
}

/** The addresses that an interface gets: typed ones, and sources of others. */
export interface AddressSpec {
  /** Includes leased ones once they are known. Empty for `0/0`. */
  readonly addresses: readonly Address[]
  readonly sources: readonly AddressSource[]
}

/** How a lease is requested and renewed. */
export interface DhcpSpec {
  /** Seconds to wait for the first lease. */
  readonly timeout: number
  /** The lease is not renewed. */
  readonly once: boolean
  /** Whether the guest's resolv.conf gets the DNS servers of the lease. */
  readonly dns: boolean
  /** The MTU of an existing lease. */
  readonly mtu?: number
}

/** The DHCP options as typed. */
export interface DhcpOptions {
  readonly dhcpTimeout?: string | undefined
  readonly dhcpOnce?: boolean | undefined
  readonly dhcpDns?: boolean | undefined
}

/** Parses `IP/PREFIX[@GATEWAY]`, `dhcp` and the like, separated by commas; or `0/0`. Throws usage errors. */
export function parseAddressSpec(typed: string, family: Family | undefined): AddressSpec {
  if (typed === '0/0') return { addresses: [], sources: [] }
  const isWanted = (it: { readonly family: Family }) => family === undefined || it.family === family
  const items = splitAddressList(typed)
  if (items.includes('0/0'))
    throw usageError(
      `'${typed}': 0/0 means no address and cannot be combined with others`,
      'Leave 0/0 out, or all the others.',
    )
  if (items.length > 1 && items.includes(''))
    throw usageError(
      `'${typed}': an address is missing before or after a comma`,
      'Separate several addresses by commas, without spaces.',
    )
  const staticAddresses = items.filter((item) => !isAddressSource(item)).map(parseStaticAddress)
  const addresses = staticAddresses.filter(isWanted)
  const sources = items.filter(isAddressSource).map(parseAddressSource).filter(isWanted)
  if (addresses.length + sources.length === 0)
    throw usageError(
      `'${typed}' has no IPv${family} address, but -a ${family} needs one`,
      `Give one, or leave -a ${family} out.`,
    )
  validateDistinct(addresses, typed)
  sources.forEach(({ kind, family: it, typed: word }, index) => {
    if (sources.findIndex((other) => other.kind === kind && other.family === it) !== index)
      throw usageError(
        `'${typed}': '${word}' requests the same address as '${sources[0]?.typed}'`,
        'Leave one of them out.',
      )
  })
  return { addresses, sources }
}

/** Parses a typed address; suggests an address source for a mistyped one. */
function parseStaticAddress(item: string): Address {
  const word = item.toLowerCase()
  const names = ['dhcp', 'dhcp6', 'slaac', ...DHCP_CLIENTS]
  const near = names.includes(word) ? [word] : /^[a-z]+6?$/.test(word) ? listClosest(word, names) : []
  if (near.length > 0) throw usageError(`'${item}' is not an address`, `Did you mean ${near.join(' or ')}?`)
  return parseAddress(item)
}

function validateDistinct(addresses: readonly Address[], typed: string): void {
  addresses.forEach((address, index) => {
    if (addresses.findIndex(({ ip }) => ip === address.ip) !== index)
      throw usageError(`'${typed}': ${address.ip} is given twice`, 'Give it once.')
    const first = addresses.find((other) => other.family === address.family && other.gateway !== undefined)
    if (first !== undefined && address.gateway !== undefined && first.gateway !== address.gateway)
      throw usageError(
        `'${typed}': two gateways for IPv${address.family}, ${first.gateway} and ${address.gateway}`,
        'An interface has one default gateway for each family.',
      )
  })
}

const DEFAULT_DHCP_TIMEOUT = '30'

/** Parses the DHCP options. Throws usage errors. */
export function parseDhcpSpec(options: DhcpOptions, { sources }: AddressSpec): DhcpSpec {
  const { dhcpTimeout, dhcpOnce: once = false, dhcpDns: dns = false } = options
  const [option, isMissing] =
    dhcpTimeout === undefined
      ? [once ? '--dhcp-once' : dns ? '--dhcp-dns' : '', !sources.some(({ kind }) => kind === 'dhcp')]
      : [`--dhcp-timeout '${dhcpTimeout}'`, sources.length === 0]
  if (option !== '' && isMissing)
    throw usageError(`${option} needs an address by DHCP`, 'Write dhcp instead of the address.')
  const persistent = sources.find(({ typed }) => /^\w+-f\b/.test(typed))
  if (once && persistent !== undefined)
    throw usageError(
      `'${persistent.typed}' keeps the client running, but --dhcp-once ends it`,
      `Write ${persistent.typed.replace('-f', '')}, or leave --dhcp-once out.`,
    )
  const timeout = parseSeconds(dhcpTimeout ?? DEFAULT_DHCP_TIMEOUT, '--dhcp-timeout')
  if (timeout === 0)
    throw usageError(
      `--dhcp-timeout '${dhcpTimeout}' leaves no time for an answer`,
      `Give at least one second; the default is ${DEFAULT_DHCP_TIMEOUT}.`,
    )
  return { timeout, once, dns }
}

/** Whether the default route of that family may come from a DHCP server. */
export function mayLeaseDefaultRoute({ sources, addresses }: AddressSpec, family: Family): boolean {
  const isTyped = addresses.some((it) => it.family === family && it.gateway !== undefined && !it.leased)
  return family === 4 && !isTyped && sources.some((it) => it.kind === 'dhcp' && it.family === 4)
}
