import { ADDRESS_FAMILIES, type Address, type Family, formatAddress, parseAddress } from '../model/address'
import { PipeworkError } from '../model/errors'
import { parseGuestName } from '../model/guest-name'
import { parseIfname } from '../model/ifname'
import { parseUplinkSpec } from '../model/uplink'

/**
 * The record that pipework writes on a link it creates: the kernel keeps it in the link's ifalias (255 bytes) and
 * removes it with the link.
 * `pipework1;g=docker:web;c=3f2a9c1d0b7e;i=eth1;h=br1;a=10.0.0.2/24@10.0.0.1;d4=via+172.17.0.1+dev+eth0`
 */
export interface LinkRecord {
  readonly kind: 'link'
  readonly guest: { readonly kind: string; readonly name: string; readonly id?: string }
  /** The interface's name in the guest. */
  readonly ifname: string
  /** The host interface it is attached to: the bridge. */
  readonly hostif: string
  /** The requested uplink of the bridge, as typed after its @. */
  readonly uplink?: string
  /** Undefined when they did not fit into the alias; then they are read from the link in the guest. */
  readonly addresses: readonly Address[] | undefined
  /** The address sources as typed: dhcp, slaac. Their addresses are among `addresses`. */
  readonly sources?: readonly string[]
  /** The other words of the request as typed: the MAC address or U:text, @vlan, --options. */
  readonly words: readonly string[]
  /** The default routes that this link's replaced. */
  readonly previous: readonly DefaultRoute[]
  /**
   * The host name of a NIC that was moved into the guest. The rest of its configuration is in a host file: the guest
   * can write here, and must not be able to give the host addresses or routes.
   */
  readonly nic?: string
  /** The configuration file of the request, as `up` names it: eight digits. A typed request has none. */
  readonly file?: string
}

/** A default route: its family, and the words after `ip route add default`. */
export interface DefaultRoute {
  readonly family: Family
  readonly words: readonly string[]
}

/** The record on a bridge or VLAN device that pipework created and may remove when it is unused. */
export interface OwnedRecord {
  readonly kind: 'made'
}

/** A record of a later version: it only shows that the link is ours. */
export interface UnknownRecord {
  readonly kind: 'unknown'
  readonly version: number
}

export type PipeworkRecord = LinkRecord | OwnedRecord | UnknownRecord

/** The protocol of our host routes, and the metric of our host addresses: neither can carry a record. */
export const ROUTE_PROTO = '112'

const RECORD_VERSION = 1
const IFALIAS_MAX = 255
/**
 * The group of a VLAN device from its creation, which cannot set an alias, until its record clears it: a killed run's
 * device is recognised by it. (`pw` in ASCII, which no other program uses.)
 */
export const PENDING_GROUP = '28791'
/** The alias of a bridge or VLAN device that pipework created. */
export const OWNED_ALIAS = `pipework${RECORD_VERSION};made`

const ROUTE_OPTION = '--route='
const isRouteOption = (word: string) => word.startsWith(ROUTE_OPTION)

// A record is one word of `ip -batch`: any character that could end a field or a word is escaped.
const escapeWord = (text: string) =>
  text.replaceAll(/[^\w./:@,=~-]/gu, (char) => encodeURIComponent(char).replaceAll(/['()*!]/g, hexEscape))
const hexEscape = (char: string) => `%${char.charCodeAt(0).toString(16)}`
const unescapeWord = (text: string) => decodeURIComponent(text)

/** Removes control characters, because the text is printed and the guest may have written the record. */
function unescapeName(text: string): string {
  const name = unescapeWord(text)
  if (/\p{Cc}/u.test(name)) throw new RangeError(`a control character in a record: ${JSON.stringify(name)}`)
  return name
}

/** The fields that are written into the alias; some are dropped for lack of room. */
interface RecordFields {
  /** Addresses as typed, or `*` when they are left out. */
  readonly addressList: string
  readonly file: string
}

const formatAddressList = (addresses: readonly Address[]) => addresses.map(formatAddress).join(',')

function formatRecord(record: LinkRecord, { addressList, file }: RecordFields): string {
  const { guest, ifname, hostif, uplink, addresses = [], sources = [], words, previous, nic } = record
  const leased = formatAddressList(addresses.filter((it) => it.leased))
  return [
    `pipework${RECORD_VERSION}`,
    `g=${guest.kind}:${escapeWord(guest.name)}`,
    ...(guest.id === undefined ? [] : [`c=${guest.id.slice(0, 12)}`]),
    `i=${escapeWord(ifname)}`,
    `h=${escapeWord(hostif)}`,
    ...(uplink === undefined ? [] : [`u=${escapeWord(uplink)}`]),
    `a=${addressList}`,
    ...sources.map((word) => `s=${escapeWord(word)}`),
    ...(leased === '' || addressList === '*' ? [] : [`l=${leased}`]),
    // There may be several routes, and the alias is short.
    ...words.map((word) =>
      isRouteOption(word) ? `r=${escapeWord(word.slice(ROUTE_OPTION.length))}` : `w=${escapeWord(word)}`,
    ),
    ...previous.map(({ family, words }) => `d${family}=${words.map(escapeWord).join('+')}`),
    ...(nic === undefined ? [] : [`n=${escapeWord(nic)}`]),
    ...(file === '' ? [] : [`f=${file}`]),
  ].join(';')
}

/** The ifalias for a link; addresses and file are left out when they do not fit. Throws when it is still too long. */
export function encodeRecord(record: LinkRecord): string {
  const { guest, ifname, addresses, sources = [], words, file = '' } = record
  const list = addresses === undefined ? '*' : formatAddressList(addresses.filter((it) => !it.leased))
  const candidates: readonly RecordFields[] = [
    { addressList: list, file },
    { addressList: '*', file },
    { addressList: '*', file: '' },
  ]
  const fitting = candidates.map((it) => formatRecord(record, it)).find((it) => Buffer.byteLength(it) <= IFALIAS_MAX)
  if (fitting === undefined)
    throw new PipeworkError(
      `the record of '${ifname}' in '${guest.name}' does not fit into an ifalias of ${IFALIAS_MAX} bytes`,
      {
        hint: words.some(isRouteOption)
          ? `Give fewer routes with --route, and the others with: pipework route ${guest.name} add …\nA change needs room for what was, too: take it away first, with pipework disconnect.`
          : sources.some((word) => word.includes(':'))
            ? 'Give the DHCP client fewer options.'
            : 'The name of the guest is too long: take its id.',
      },
    )
  return fitting
}

/** Parses an ifalias; undefined when pipework did not write it. Unknown fields are ignored, missing ones are empty. */
export function decodeRecord(alias: string | undefined): PipeworkRecord | undefined {
  const [head = '', ...fields] = (alias ?? '').trim().split(';')
  const version = /^pipework(\d+)$/.exec(head)?.[1]
  if (version === undefined) return undefined
  if (Number(version) > RECORD_VERSION) return { kind: 'unknown', version: Number(version) }
  if (fields.includes('made')) return { kind: 'made' }
  try {
    return decodeLinkRecord(fields)
  } catch {
    return { kind: 'unknown', version: Number(version) } // edited by hand
  }
}

/** The word goes into a command again, and the guest may have written the record. */
function validateWord(word: string): string {
  if (!/^[^\s"'#\\\p{Cc}]+$/u.test(word)) throw new RangeError(`unsafe word in a record: ${JSON.stringify(word)}`)
  return word
}

/** As strict as for a typed name: it becomes a word of commands and a part of paths. */
function parseRecordedGuest(typed: string, id: string): LinkRecord['guest'] {
  const { kind, name } = parseGuestName(typed)
  if (kind === undefined) throw new RangeError(`a guest without a kind in a record: ${JSON.stringify(typed)}`)
  if (!/^[\w.:-]{0,64}$/.test(id)) throw new RangeError(`not the id of a guest: ${JSON.stringify(id)}`)
  return { kind, name, id: id === '' ? undefined : id }
}

/** An interface, or `routed:` and one. */
function parseRecordedHostif(hostif: string): string {
  parseIfname(hostif.replace(/^routed:/, ''), 'host interface')
  return hostif
}

function parseRecordedUplink(uplink: string): string | undefined {
  if (uplink === '') return undefined
  parseUplinkSpec(uplink)
  return uplink
}

function parseLeasedAddress(typed: string): Address {
  return { ...parseAddress(typed), leased: true }
}

function decodeLinkRecord(fields: readonly string[]): LinkRecord {
  const all = (key: string) =>
    fields.filter((field) => field.startsWith(`${key}=`)).map((field) => field.slice(key.length + 1))
  const one = (key: string) => unescapeName(all(key)[0] ?? '')
  const addresses = one('a')
  const leased = one('l').split(',').filter(Boolean).map(parseLeasedAddress)
  const sources = all('s').map(unescapeName)
  const [nic, file] = [one('n'), one('f')]
  return {
    kind: 'link',
    guest: parseRecordedGuest(one('g'), one('c')),
    ifname: parseIfname(one('i'), 'interface'),
    hostif: parseRecordedHostif(one('h')),
    uplink: parseRecordedUplink(one('u')),
    addresses: addresses === '*' ? undefined : [...addresses.split(',').filter(Boolean).map(parseAddress), ...leased],
    sources: sources.length === 0 ? undefined : sources,
    words: [...all('w').map(unescapeName), ...all('r').map((route) => ROUTE_OPTION + unescapeName(route))],
    previous: ADDRESS_FAMILIES.flatMap((family) =>
      all(`d${family}`).map((words) => ({ family, words: words.split('+').map(unescapeWord).map(validateWord) })),
    ),
    nic: nic === '' ? undefined : parseIfname(nic, 'NIC'),
    file: /^[0-9a-f]{8}$/.test(file) ? file : undefined,
  }
}

/** The host interface as a user types it. */
export function formatHostif({ hostif, uplink }: Pick<LinkRecord, 'hostif' | 'uplink'>): string {
  return uplink === undefined ? hostif : `${hostif}@${uplink}`
}

/** The guest as a user types it. */
export function formatGuest({ kind, name }: LinkRecord['guest']): string {
  return kind === 'docker' ? name : `${kind}:${name}`
}
