import { type Family, formatAddress } from '../model/address'
import { formatFileLine } from '../model/attachment-file'
import type { LineParser } from '../model/command-line'
import { MAX_CONCURRENT_READS, mapConcurrently } from '../model/concurrency'
import { parseGuestName } from '../model/guest-name'
import { deriveHostEndNames } from '../network/names'
import { findGuest, holdGuestNetns } from '../runtimes/find'
import type { ExistingAttachment } from '../state/attachments'
import { readAttachments } from '../state/attachments'
import { areVethPeers, type GuestLink, type GuestRoute, readGuestState } from '../state/guest'
import { readRecordedLinks } from '../state/host-links'
import { formatGuest, formatHostif } from '../state/record'
import type { System } from '../system/types'
import { validateGuestRecord } from './recorded-link'

/** An attachment as a line of an attachment file, or the reason why it cannot be saved. */
export type SavedLine = { readonly line: string } | { readonly comment: string }

/** Formats all current attachments as lines for `up`. */
export async function saveAttachments(system: System, parseLine: LineParser): Promise<readonly SavedLine[]> {
  const attachments = [...(await readAttachments(system))].sort((a, b) => compareCodeUnits(sortKey(a), sortKey(b)))
  const saved = await mapConcurrently(attachments, MAX_CONCURRENT_READS, (it) => toSavedLine(it, system, parseLine))
  return [...saved, ...listUnknownRecords(system)]
}

const sortKey = ({ record: { guest, ifname } }: ExistingAttachment) => `${guest.kind}:${guest.name} ${ifname}`

// Not localeCompare, which loads the locale's collation data.
function compareCodeUnits(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}

/** The line of an attachment file for the attachment. */
export async function toSavedLine(
  attached: ExistingAttachment,
  system: System,
  parseLine: LineParser,
): Promise<SavedLine> {
  const { record } = attached
  const what = `${formatGuest(record.guest)} has ${record.ifname} on ${record.hostif}`
  if (record.guest.kind === 'pid') return { comment: `${what}: a process does not come again` }
  try {
    const problem = await validateGuestRecord(attached, system)
    if (problem !== undefined) return { comment: `${what}, says a record inside a guest: ${problem}` }
    const address = await readAddressArg(attached, system)
    if (address === undefined) return { comment: `${what}: its addresses could not be read` }
    const line = formatFileLine(await toCommandWords(attached, { address, system, parseLine }))
    return line === undefined ? { comment: `${what}: a line cannot hold its words` } : { line }
  } catch (error) {
    // The guest is unreachable, or the record was edited by hand.
    return { comment: `${what}: ${error instanceof Error ? error.message : String(error)}` }
  }
}

/** The command line of the attachment. Rejects when it does not parse. */
async function toCommandWords(
  attached: ExistingAttachment,
  { address, system, parseLine }: { readonly address: string; readonly system: System; readonly parseLine: LineParser },
): Promise<readonly string[]> {
  const { ifname, guest, words } = attached.record
  const hostif = formatHostif(attached.record)
  const names = [...(ifname === 'eth1' ? [] : ['-i', ifname]), ...hostEndArgs(attached, system)]
  const [options, others] = [words.filter((it) => it.startsWith('--')), words.filter((it) => !it.startsWith('--'))]
  const positionals = [formatGuest(guest), address, ...others]
  // A bridge can have the name of a command: after `--` the word is an interface name.
  const isCommand = (await parseLine([hostif])).command !== ''
  const line = isCommand
    ? [...names, ...options, '--', hostif, ...positionals]
    : [hostif, ...names, ...positionals, ...options]
  const parsed = await parseLine(line)
  parsed.toRequest()
  return line
}

/** The recorded addresses; read from the guest when they did not fit into the record. */
async function readAddressArg({ record, hostEnd }: ExistingAttachment, system: System): Promise<string | undefined> {
  const { addresses, sources = [], guest, ifname } = record
  if (addresses !== undefined)
    return [...sources, ...addresses.filter(({ leased }) => !leased).map(formatAddress)].join(',') || '0/0'
  // Leased addresses cannot be distinguished from typed ones.
  if (!system.isRoot || sources.length > 0) return undefined
  const pin = holdGuestNetns(await findGuest(parseGuestName(`${guest.kind}:${guest.name}`), system), system)
  try {
    const { links, routes } = await readGuestState(pin.netns, system)
    const link = links.find((it) => it.name === ifname && (hostEnd === undefined || areVethPeers(it, hostEnd)))
    return link === undefined ? undefined : formatCurrentAddresses(link, routes)
  } finally {
    pin.release()
  }
}

/** The link's configured addresses, with the gateways of its default routes. */
function formatCurrentAddresses({ name, addresses }: GuestLink, routes: readonly GuestRoute[]): string {
  const all = addresses.filter(({ automatic }) => !automatic)
  // The kernel lists the newest IPv6 address first.
  const given = [...all.filter(({ family }) => family === 4), ...all.filter(({ family }) => family === 6).reverse()]
  const gatewayOf = (family: Family) =>
    routes.find((it) => it.dst === 'default' && it.family === family && it.dev === name)?.gateway
  const words = given.map(({ ip, prefix, family }) => {
    const isFirst = given.find((it) => it.family === family)?.ip === ip
    const gateway = isFirst ? gatewayOf(family) : undefined
    return `${ip}/${prefix}${gateway === undefined ? '' : `@${gateway}`}`
  })
  return words.join(',') || '0/0'
}

/** The host end's name, if the user chose it; a derived name is derived again. */
function hostEndArgs({ record, hostEnd }: ExistingAttachment, system: System): readonly string[] {
  if (hostEnd === undefined || record.nic !== undefined) return []
  const { bridge, ovs } = deriveHostEndNames(record.ifname, record.guest, system)
  return hostEnd.name === bridge || hostEnd.name === ovs ? [] : ['-l', hostEnd.name]
}

/** Links of ours whose record this version cannot read. */
function listUnknownRecords(system: System): readonly SavedLine[] {
  return readRecordedLinks(system).flatMap(({ name, record }) =>
    record?.kind === 'unknown' ? [{ comment: `${name}: its record was written by another version, or by hand` }] : [],
  )
}
