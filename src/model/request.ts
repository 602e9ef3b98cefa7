import { type Family, formatAddress, isPartitionKey, parseIfname, parseMac } from './address'
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
import { type HostServices, parseHostServices, parseRouted } from './host-services'
import { isIP } from './ip'
import { formatUplinkSpec, splitBridgeUplink, type UplinkSpec, withUplinkVlan } from './uplink'
import { parseVlanSet, type VlanSet } from './vlan'

/** A MAC address, or the text after `U:` from which one is derived. */
export type MacSpec = { readonly mac: string } | { readonly seed: string }

/** One attachment, wished for: what the words after `pipework` ask. */
export interface AttachRequest extends RoutingSpec, FirewallSpec, AddressSpec {
  readonly hostif: string
  /** What the bridge is to be connected to. */
  readonly uplink?: UplinkSpec
  readonly guest: GuestName
  /** The interface's name in the guest. */
  readonly ifname: string
  /** Whether -i gave that name. */
  readonly isIfnameGiven: boolean
  /** The name of the link's host end, where `-l` gave one. */
  readonly hostEnd?: string
  readonly mac?: MacSpec
  readonly vlan?: VlanSet
  /** The text after the last @, which is the partition key where the host interface is an InfiniBand one. */
  readonly tag?: string
  /** On a NIC: macvlan in bridge mode unless asked otherwise. */
  readonly sharing: SharingSpec
  /** Whether the NIC itself goes into the guest. */
  readonly direct: boolean
  /** The largest packet, in bytes. */
  readonly mtu?: number
  /** Whether the interface may leave checksums to whoever sends its packets on. */
  readonly txOffload?: 'on' | 'off'
  /** How leases are got and kept. */
  readonly dhcp: DhcpSpec
  /** What is wanted of the host beside the link. */
  readonly hostServices: HostServices
  /** The words beside host interface, guest, names and addresses, as typed: they go into the record. */
  readonly words: readonly string[]
  /** Whether to ask the LAN if an address is taken. */
  readonly probe: boolean
  /** Whether a bridge that is there may start to keep VLANs apart, which changes the traffic of all its ports. */
  readonly vlanFiltering: boolean
  /** Whether to change what is normally refused: move the link to another bridge, use Docker's own. */
  readonly force: boolean
  /** The file that asks for it, as records call it. */
  readonly file?: string
}

/** A name, or `mac:` and the address of a NIC, in any case. */
function parseHostInterface(typed: string): string {
  if (/^mac:/i.test(typed)) return `mac:${parseMac(typed.slice(4))}`
  const nic = parseRouted(typed)?.nic
  if (nic !== undefined) return `routed:${parseIfname(nic, 'NIC')}`
  const alias = /^([^:]+):\d+$/.exec(typed)?.[1]
  if (alias !== undefined)
    throw usageError(`'${typed}' is an address on '${alias}', not an interface`, `Give the interface: ${alias}`)
  return parseIfname(typed, 'host interface')
}

/** What `-a` says. */
export function parseAddressFamily(typed: string): Family {
  if (typed === '4' || typed === 'inet') return 4
  if (typed === '6' || typed === 'inet6') return 6
  throw usageError(`-a '${typed}' is not an address family`, 'Write 4, inet, 6 or inet6.')
}

/** What follows the last @: VLANs, or what can only be the partition key of an InfiniBand network. */
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
  if (isIP(typed.slice(at + 1)) !== 0)
    throw usageError(
      `'${typed}' is an address, and stands where the MAC address and the VLAN do`,
      'A gateway stands behind its address, without a space: IP/PREFIX@GATEWAY.',
    )
  const macText = at < 0 ? typed : typed.slice(0, at)
  const vlan = at < 0 ? {} : parseVlanTag(typed.slice(at + 1))
  if (macText === '') return vlan
  if (!/^U:/.test(macText)) return { mac: { mac: parseMac(macText) }, ...vlan }
  if (macText === 'U:') throw usageError(`'${typed}': there is no text after U:`, 'Write U:TEXT, like U:web.')
  return { mac: { seed: macText.slice(2) }, ...vlan }
}

/** The VLANs among the words of a record. */
export function parseRecordVlans(words: readonly string[]): VlanSet | undefined {
  const word = words.find((it) => !it.startsWith('--'))
  try {
    return word === undefined ? undefined : parseMacAndVlan(word).vlan
  } catch {
    return undefined // edited by hand
  }
}

/** The bridge and its uplink; what follows the last @ is the uplink's VLAN then, and not the port's. */
function parseHostSide(typed: string, last: string | undefined, { direct }: AttachOptions) {
  const { hostif, uplink } = splitBridgeUplink(typed)
  const asked: { tag?: string; vlan?: VlanSet } = last === undefined ? {} : parseMacAndVlan(last)
  if (uplink === undefined) return { hostif: parseHostInterface(hostif), ...asked }
  if (direct)
    throw usageError(
      `--direct-phys moves a NIC as a whole, and '${typed}' is a bridge with an uplink`,
      'Leave --direct-phys out, or name the NIC alone, without a bridge before it.',
    )
  const { tag, vlan, ...mac } = asked
  return {
    hostif: parseIfname(hostif, 'bridge'),
    ...mac,
    uplink: tag === undefined ? uplink : withUplinkVlan(uplink, tag),
  }
}

/** Whether the word can only be meant as an address. */
const isAddressLike = (word: string) => isIP(word.split(/[/@]/, 1)[0] ?? '') !== 0 || word === '0/0'

/** Refuses words whose order is another than it has to be, where it is plain what each of them is. */
function validateWordOrder(hostif: string, guest: string, address: string): void {
  const [wrong, others] = isAddressLike(hostif) ? [hostif, [guest, address]] : [guest, [hostif, address]]
  if (/^(docker|podman|lxc|nerdctl|netns|pid):./.test(hostif))
    throw usageError(
      `'${hostif}' is a guest, and stands where the bridge does`,
      `Did you mean pipework ${isAddressLike(guest) ? 'br1' : guest} ${hostif} ${isAddressLike(guest) ? guest : address}?`,
    )
  if (!isAddressLike(wrong) || isAddressLike(address)) return
  throw usageError(
    `'${wrong}' is an address, and stands where the ${wrong === hostif ? 'bridge' : 'guest'} does`,
    `Did you mean pipework ${[...others, wrong].join(' ')}?`,
  )
}

function incompleteError([hostif, guest]: readonly string[]): Error {
  const synopsis =
    'pipework <bridge> [-i ifname] [-l hostname] [-a 4|6] <guest> <ip/prefix[@gateway]>[,…] [mac|U:text][@vlan]'
  if (hostif === undefined) return usageError('nothing to do', synopsis)
  const rest = `${guest ?? 'web'} 192.168.1.10/24`
  return usageError(
    guest === undefined ? `after '${hostif}' there is no guest` : `after '${guest}' there is no address`,
    `For example: pipework ${hostif} ${rest}; dhcp asks for an address, 0/0 is none.\n${synopsis}`,
  )
}

/** The words of the main form: `<hostif> <guest> <address>[,…] [mac][@vlan]`. Throws usage errors, asks no host. */
export function parseAttachRequest(words: readonly string[], options: AttachOptions): AttachRequest {
  const [hostif, guest, address, last, ...rest] = words
  if (hostif === undefined || guest === undefined || address === undefined) throw incompleteError(words)
  validateWordOrder(hostif, guest, address)
  validateNoExtraArgs(rest, 'Several addresses have a comma between them and no space.')
  const { i, l, a } = options
  const addressing = parseAddressSpec(address, a === undefined ? undefined : parseAddressFamily(a))
  return {
    ...parseHostSide(hostif, last, options),
    guest: parseGuestName(guest),
    ifname: parseIfname(i ?? 'eth1', 'interface in the guest'),
    isIfnameGiven: i !== undefined,
    hostEnd: l === undefined ? undefined : parseIfname(l, "link's host end"),
    ...addressing,
    sharing: parseSharingSpec(options),
    direct: options.direct ?? false,
    dhcp: parseDhcpSpec(options, addressing),
    ...parseRoutingSpec(options, addressing),
    ...parseMtuOption(options, addressing),
    ...parseTxOffload(options),
    hostServices: parseHostServices(options, addressing.addresses),
    words: [...(last === undefined ? [] : [last]), ...toRecordWords(options)],
    probe: options.probe ?? true,
    vlanFiltering: options.vlanFiltering ?? false,
    ...parseFirewallSpec(options),
    force: options.force ?? false,
  }
}

/** The request in the words that ask for it: what stands in a file, in a record, in a message. */
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
