import { type Address, type Family, parseAddress, parseSeconds } from './address'
import {
  type AddressSource,
  DHCP_CLIENTS,
  isAddressSource,
  parseAddressSource,
  splitAddressList,
} from './address-sources'
import { usageError } from './errors'
import { listClosest } from './nearest'

/** Which addresses an interface is to have: those that are typed, and where others come from. */
export interface AddressSpec {
  /** Those of a lease are among them, once it is known. Empty for `0/0`. */
  readonly addresses: readonly Address[]
  /** A DHCP server, a router. */
  readonly sources: readonly AddressSource[]
}

/** How a lease is got and kept. */
export interface DhcpSpec {
  /** Seconds to wait for it. */
  readonly timeout: number
  /** Whether nobody renews it. */
  readonly once: boolean
  /** Whether the guest is told the servers for names. */
  readonly dns: boolean
  /** The largest packet that a server named, where it has given a lease already. */
  readonly mtu?: number
}

/** The options for that, as typed. */
export interface DhcpOptions {
  readonly dhcpTimeout?: string | undefined
  readonly dhcpOnce?: boolean | undefined
  readonly dhcpDns?: boolean | undefined
}

/** `IP/PREFIX[@GATEWAY]`, `dhcp` and the like, with commas between; or `0/0`. Throws usage errors. */
export function parseAddressSpec(typed: string, family: Family | undefined): AddressSpec {
  if (typed === '0/0') return { addresses: [], sources: [] }
  const isWanted = (it: { readonly family: Family }) => family === undefined || it.family === family
  const items = splitAddressList(typed)
  if (items.includes('0/0'))
    throw usageError(`'${typed}': 0/0 means no address and stands alone`, 'Leave 0/0 out, or all the others.')
  if (items.length > 1 && items.includes(''))
    throw usageError(
      `'${typed}': beside a comma there is no address`,
      'Several addresses have a comma between them and no space.',
    )
  const typedOnes = items.filter((item) => !isAddressSource(item)).map(parseStaticAddress)
  const addresses = typedOnes.filter(isWanted)
  const sources = items.filter(isAddressSource).map(parseAddressSource).filter(isWanted)
  if (addresses.length + sources.length === 0)
    throw usageError(
      `'${typed}' has no IPv${family} address, and -a asks for one`,
      `Give one, or leave -a ${family} out.`,
    )
  validateDistinct(addresses, typed)
  sources.forEach(({ kind, family: it, typed: word }, index) => {
    if (sources.findIndex((other) => other.kind === kind && other.family === it) !== index)
      throw usageError(`'${typed}': '${word}' asks for what '${sources[0]?.typed}' asks for already`, 'One is enough.')
  })
  return { addresses, sources }
}

/** An address; a word that is nearly one for a lease is told so. */
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
      throw usageError(`'${typed}': ${address.ip} stands there twice`, 'Once is enough.')
    const first = addresses.find((other) => other.family === address.family && other.gateway !== undefined)
    if (first !== undefined && address.gateway !== undefined && first.gateway !== address.gateway)
      throw usageError(
        `'${typed}': two gateways for IPv${address.family}, ${first.gateway} and ${address.gateway}`,
        'An interface has one default gateway for each family.',
      )
  })
}

/** Seconds that a DHCP server has to answer, unless others are given. */
const DEFAULT_DHCP_TIMEOUT = '30'

/** What the options say of the leases. Throws usage errors. */
export function parseDhcpSpec(options: DhcpOptions, { sources }: AddressSpec): DhcpSpec {
  const { dhcpTimeout, dhcpOnce: once = false, dhcpDns: dns = false } = options
  const [option, isMissing] =
    dhcpTimeout === undefined
      ? [once ? '--dhcp-once' : dns ? '--dhcp-dns' : '', !sources.some(({ kind }) => kind === 'dhcp')]
      : [`--dhcp-timeout '${dhcpTimeout}'`, sources.length === 0]
  if (option !== '' && isMissing)
    throw usageError(`${option} is for addresses by DHCP`, 'Write dhcp in the place of the address.')
  const stays = sources.find(({ typed }) => /^\w+-f\b/.test(typed))
  if (once && stays !== undefined)
    throw usageError(
      `'${stays.typed}' is a client that stays, and --dhcp-once one that does not`,
      `Write ${stays.typed.replace('-f', '')}, or leave --dhcp-once out.`,
    )
  const timeout = parseSeconds(dhcpTimeout ?? DEFAULT_DHCP_TIMEOUT, '--dhcp-timeout')
  if (timeout === 0)
    throw usageError(
      `--dhcp-timeout '${dhcpTimeout}' leaves no time for an answer`,
      `Give it a second at least; without the option it is ${DEFAULT_DHCP_TIMEOUT}.`,
    )
  return { timeout, once, dns }
}

/** Whether a DHCP server may give the default route of that family: it need not. */
export function mayLeaseDefaultRoute({ sources, addresses }: AddressSpec, family: Family): boolean {
  const isTyped = addresses.some((it) => it.family === family && it.gateway !== undefined && !it.leased)
  return family === 4 && !isTyped && sources.some((it) => it.kind === 'dhcp' && it.family === 4)
}
