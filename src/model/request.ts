import { type Family, formatAddress, ipFamily } from './address'
import { type AddressSpec, type DhcpSpec, parseAddressSpec, parseDhcpSpec } from './address-spec'
import {
  type AttachOptions,
  type FirewallSpec,
  parseFirewallSpec,
  parseMtuOption,
  parseRoutingSpec,
  parseSharingSpec,
  parseTxOffload,
  type RoutingSpec,
  type SharingSpec,
  toRecordWords,
} from './attach-options'
import { usageError, validateNoExtraArgs } from './errors'
import { type GuestName, parseGuestName } from './guest-name'
import { type HostServices, parseHostServices } from './host-services'
import { parseIfname } from './ifname'
import { parseMac } from './mac'
import { parseRouted } from './routed'
import { formatUplinkSpec, splitBridgeUplink, type UplinkSpec, withUplinkVlan } from './uplink'
import { isPartitionKey, parseVlanSet, type VlanSet } from './vlan'

/** A MAC address, or the text after `U:` from which one is derived. */
export type MacSpec = { readonly mac: string } | { readonly seed: string }

/** An attachment as the command line requests it. */
export interface AttachRequest extends RoutingSpec, FirewallSpec, AddressSpec {
  readonly hostif: string
  /** The uplink of the bridge. */
  readonly uplink?: UplinkSpec
  readonly guest: GuestName
  /** The interface's name in the guest. */
  readonly ifname: string
  /** Whether -i gave that name. */
  readonly isIfnameGiven: boolean
  /** The name of the host end of the link, from `-l`. */
  readonly hostEnd?: string
  readonly mac?: MacSpec
  readonly vlan?: VlanSet
  /** The text after the last @; a partition key on an InfiniBand interface. */
  readonly tag?: string
  /** On a NIC: macvlan in bridge mode by default. */
  readonly sharing: SharingSpec
  /** Whether the NIC itself goes into the guest. */
  readonly direct: boolean
  readonly mtu?: number
  readonly txOffload?: 'on' | 'off'
  readonly dhcp: DhcpSpec
  readonly hostServices: HostServices
  /** The MAC address, VLANs and options as typed: they go into the link record. */
  readonly words: readonly string[]
  /** Whether to check the LAN for duplicate addresses. */
  readonly probe: boolean
  /** Whether to turn on VLAN filtering on an existing bridge: that affects all its ports. */
  readonly vlanFiltering: boolean
  /** Allows what is normally refused: moving to another bridge, using Docker's own bridge. */
  readonly force: boolean
  /** The configuration file of the request, as link records name it. */
  readonly file?: string
}

/** A name, or `mac:` and the address of a NIC. */
function parseHostInterface(typed: string): string {
  if (/^mac:/i.test(typed)) return `mac:${parseMac(typed.slice(4))}`
  const nic = parseRouted(typed)?.nic
  if (nic !== undefined) return `routed:${parseIfname(nic, 'NIC')}`
  const alias = /^([^:]+):\d+$/.exec(typed)?.[1]
  if (alias !== undefined)
    throw usageError(`'${typed}' is an address on '${alias}', not an interface`, `Give the interface: ${alias}`)
  return parseIfname(typed, 'host interface')
}

/** The value of `-a`. */
export function parseAddressFamily(typed: string): Family {
  if (typed === '4' || typed === 'inet') return 4
  if (typed === '6' || typed === 'inet6') return 6
  throw usageError(`-a '${typed}' is not an address family`, 'Write 4, inet, 6 or inet6.')
}

/** The text after the last @: VLANs, or an InfiniBand partition key. */
function parseVlanTag(tag: string): { tag: string; vlan?: VlanSet } {
  try {
    return { tag, vlan: parseVlanSet(tag) }
  } catch (error) {
    if (isPartitionKey(tag)) return { tag }
    throw error
  }
}

function parseMacAndVlan(typed: string): { mac?: MacSpec; tag?: string; vlan?: VlanSet } {
  const at = typed.lastIndexOf('@')
  if (ipFamily(typed.slice(at + 1)) !== undefined)
    throw usageError(
      `'${typed}' is an address, but a MAC address or VLAN belongs here`,
      'Append a gateway to its address, without a space: IP/PREFIX@GATEWAY.',
    )
  const macText = at < 0 ? typed : typed.slice(0, at)
  const vlan = at < 0 ? {} : parseVlanTag(typed.slice(at + 1))
  if (macText === '') return vlan
  if (!/^U:/.test(macText)) return { mac: { mac: parseMac(macText) }, ...vlan }
  if (macText === 'U:') throw usageError(`'${typed}': there is no text after U:`, 'Write U:TEXT, like U:web.')
  return { mac: { seed: macText.slice(2) }, ...vlan }
}

/** The VLANs in the words of a link record. */
export function parseRecordVlans(words: readonly string[]): VlanSet | undefined {
  const word = words.find((it) => !it.startsWith('--'))
  try {
    return word === undefined ? undefined : parseMacAndVlan(word).vlan
  } catch {
    return undefined // a record that was edited by hand
  }
}

/** The bridge and its uplink. With an uplink, the VLAN after the last @ is the uplink's, not the port's. */
function parseHostSide(typed: string, last: string | undefined, { direct }: AttachOptions) {
  const { hostif, uplink } = splitBridgeUplink(typed)
  const spec: { tag?: string; vlan?: VlanSet } = last === undefined ? {} : parseMacAndVlan(last)
  if (uplink === undefined) return { hostif: parseHostInterface(hostif), ...spec }
  if (direct)
    throw usageError(
      `--direct-phys moves a whole NIC, but '${typed}' is a bridge with an uplink`,
      'Leave --direct-phys out, or give only the NIC.',
    )
  const { tag, vlan, ...mac } = spec
  return {
    hostif: parseIfname(hostif, 'bridge'),
    ...mac,
    uplink: tag === undefined ? uplink : withUplinkVlan(uplink, tag),
  }
}

/** Whether the word can only be an address. */
const isAddressLike = (word: string) => ipFamily(word.split(/[/@]/, 1)[0] ?? '') !== undefined || word === '0/0'

/** Refuses arguments in the wrong order, where each one is easy to recognise. */
function validateWordOrder(hostif: string, guest: string, address: string): void {
  const [wrong, others] = isAddressLike(hostif) ? [hostif, [guest, address]] : [guest, [hostif, address]]
  if (/^(docker|podman|lxc|nerdctl|netns|pid):./.test(hostif))
    throw usageError(
      `'${hostif}' is a guest, but the bridge belongs here`,
      `Did you mean pipework ${isAddressLike(guest) ? 'br1' : guest} ${hostif} ${isAddressLike(guest) ? guest : address}?`,
    )
  if (!isAddressLike(wrong) || isAddressLike(address)) return
  throw usageError(
    `'${wrong}' is an address, but the ${wrong === hostif ? 'bridge' : 'guest'} belongs here`,
    `Did you mean pipework ${[...others, wrong].join(' ')}?`,
  )
}

function incompleteError([hostif, guest]: readonly string[]): Error {
  const synopsis =
    'pipework <bridge> [-i ifname] [-l hostname] [-a 4|6] <guest> <ip/prefix[@gateway]>[,…] [mac|U:text][@vlan]'
  if (hostif === undefined) return usageError('nothing to do', synopsis)
  const rest = `${guest ?? 'web'} 192.168.1.10/24`
  return usageError(
    guest === undefined ? `missing guest after '${hostif}'` : `missing address after '${guest}'`,
    `For example: pipework ${hostif} ${rest}; dhcp gets an address from a server, 0/0 means none.\n${synopsis}`,
  )
}

/** Parses `<hostif> <guest> <address>[,…] [mac][@vlan]` and the options. Throws usage errors. */
export function parseAttachRequest(words: readonly string[], options: AttachOptions): AttachRequest {
  const [hostif, guest, address, last, ...rest] = words
  if (hostif === undefined || guest === undefined || address === undefined) throw incompleteError(words)
  validateWordOrder(hostif, guest, address)
  validateNoExtraArgs(rest, 'Separate several addresses by commas, without spaces.')
  const { i, l, a } = options
  const addressSpec = parseAddressSpec(address, a === undefined ? undefined : parseAddressFamily(a))
  return {
    ...parseHostSide(hostif, last, options),
    guest: parseGuestName(guest),
    ifname: parseIfname(i ?? 'eth1', 'interface in the guest'),
    isIfnameGiven: i !== undefined,
    hostEnd: l === undefined ? undefined : parseIfname(l, "link's host end"),
    ...addressSpec,
    sharing: parseSharingSpec(options),
    direct: options.direct ?? false,
    dhcp: parseDhcpSpec(options, addressSpec),
    ...parseRoutingSpec(options, addressSpec),
    ...parseMtuOption(options, addressSpec),
    ...parseTxOffload(options),
    hostServices: parseHostServices(options, addressSpec.addresses),
    words: [...(last === undefined ? [] : [last]), ...toRecordWords(options)],
    probe: options.probe ?? true,
    vlanFiltering: options.vlanFiltering ?? false,
    ...parseFirewallSpec(options),
    force: options.force ?? false,
  }
}

/** The request as command-line words, for files and messages. */
export function formatRequestWords(request: AttachRequest): readonly string[] {
  const { hostif, uplink, ifname, isIfnameGiven, hostEnd, guest, addresses, sources, words } = request
  const list = [...sources.map(({ typed }) => typed), ...addresses.filter((it) => !it.leased).map(formatAddress)]
  return [
    uplink === undefined ? hostif : `${hostif}@${formatUplinkSpec(uplink)}`,
    ...(isIfnameGiven ? ['-i', ifname] : []),
    ...(hostEnd === undefined ? [] : ['-l', hostEnd]),
    guest.kind === undefined ? guest.name : `${guest.kind}:${guest.name}`,
    list.join(',') || '0/0',
    ...words,
  ]
}
