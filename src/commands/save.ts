import { type Family, formatAddress } from '../model/address'
import { formatLine } from '../model/attachment-file'
import { usageError } from '../model/errors'
import { parseGuest } from '../model/guest-name'
import { deriveHostEnds } from '../network/names'
import type { Attached } from '../operations/detach/plan'
import { findDoubt } from '../operations/save'
import { findGuest, pinGuest } from '../runtimes/find'
import { readAttachments } from '../state/attachments'
import { arePeers, type GuestLink, type Route, readGuest } from '../state/guest'
import { readOurLinks } from '../state/host-links'
import { formatGuest, formatHostif } from '../state/record'
import type { Host } from '../system/types'
import type { Call, Outcome } from '../ui/command'
import { readRequest } from './attach'

/** An attachment as a line of a file, or why there is none. */
type Saved = { readonly line: string } | { readonly comment: string }

/** What is attached now as a file for `up`. */
export async function run({ host, parse, words: [path] }: Call): Promise<Outcome> {
  if (path !== undefined)
    throw usageError(`save prints, and does not write '${path}'`, `Redirect it: pipework save > ${path}`)
  const attachments = [...(await readAttachments(host))].sort((a, b) => compare(keyOf(a), keyOf(b)))
  const known = await Promise.all(attachments.map((it) => toLine(it, host, parse)))
  const saved = [...known, ...listUnknown(host)]
  const notes = host.isRoot ? [] : ['not root: what has no end in the host (macvlan, ipvlan, dummy) could not be seen']
  const comments = [...notes, ...saved.flatMap((it) => ('comment' in it ? [it.comment] : []))]
  const lines = saved.flatMap((it) => ('line' in it ? [it.line] : []))
  const remarks = ['what pipework had attached; pipework up <this file> makes it so again', ...comments]
  return {
    text: [...remarks.map((it) => `# ${it.replaceAll(/\s+/g, ' ')}`), ...lines].map((line) => `${line}\n`).join(''),
    json: { ok: true, lines, comments },
    wanted: true,
  }
}

const keyOf = ({ record: { guest, ifname } }: Attached) => `${guest.kind}:${guest.name} ${ifname}`

/** By code units: the order of a locale takes 7 ms to load. */
function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}

/** The line of a file that asks for the attachment. */
export async function toLine(attached: Attached, host: Host, parse: Call['parse']): Promise<Saved> {
  const { record } = attached
  const what = `${formatGuest(record.guest)} has ${record.ifname} on ${record.hostif}`
  if (record.guest.kind === 'pid') return { comment: `${what}: a process does not come again` }
  try {
    const doubt = await findDoubt(attached, host)
    if (doubt !== undefined) return { comment: `${what}, says a record inside a guest: ${doubt}` }
    const address = await readAddress(attached, host)
    if (address === undefined) return { comment: `${what}: its addresses could not be read` }
    const line = formatLine(await toWords(attached, { address, host, parse }))
    return line === undefined ? { comment: `${what}: a line cannot hold its words` } : { line }
  } catch (error) {
    // Its guest cannot be asked, or somebody has edited the record.
    return { comment: `${what}: ${error instanceof Error ? error.message : String(error)}` }
  }
}

/** The words that ask for it. Rejects when they do not. */
async function toWords(
  attached: Attached,
  { address, host, parse }: { readonly address: string; readonly host: Host; readonly parse: Call['parse'] },
): Promise<readonly string[]> {
  const { ifname, guest, words } = attached.record
  const hostif = formatHostif(attached.record)
  const names = [...(ifname === 'eth1' ? [] : ['-i', ifname]), ...hostEndWords(attached, host)]
  const [options, others] = [words.filter((it) => it.startsWith('--')), words.filter((it) => !it.startsWith('--'))]
  const positionals = [formatGuest(guest), address, ...others]
  // A bridge may be called like a command: after `--` a word is an interface's name.
  const isCommand = (await parse([hostif])).command !== ''
  const line = isCommand
    ? [...names, ...options, '--', hostif, ...positionals]
    : [hostif, ...names, ...positionals, ...options]
  readRequest(await parse(line))
  return line
}

/** As recorded; what did not fit into the record is read from the guest. */
async function readAddress({ record, hostEnd }: Attached, host: Host): Promise<string | undefined> {
  const { addresses, sources = [], guest, ifname } = record
  if (addresses !== undefined)
    return [...sources, ...addresses.filter(({ leased }) => !leased).map(formatAddress)].join(',') || '0/0'
  // What came by a lease could not be told from what was typed.
  if (!host.isRoot || sources.length > 0) return undefined
  const pin = pinGuest(await findGuest(parseGuest(`${guest.kind}:${guest.name}`), host), host)
  try {
    const { links, routes } = await readGuest(pin.netns, host)
    const link = links.find((it) => it.name === ifname && (hostEnd === undefined || arePeers(it, hostEnd)))
    return link === undefined ? undefined : formatLive(link, routes)
  } finally {
    pin.release()
  }
}

/** The addresses that somebody gave the link, with the gateways that its default routes lead to. */
function formatLive({ name, addresses }: GuestLink, routes: readonly Route[]): string {
  const all = addresses.filter(({ automatic }) => !automatic)
  // The kernel lists the latest of IPv6 first.
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

/** Only a name that somebody chose: the usual one is derived again. */
function hostEndWords({ record, hostEnd }: Attached, host: Host): readonly string[] {
  if (hostEnd === undefined || record.nic !== undefined) return []
  const { bridge, ovs } = deriveHostEnds(record.ifname, record.guest, host)
  return hostEnd.name === bridge || hostEnd.name === ovs ? [] : ['-l', hostEnd.name]
}

/** Links of ours that say nothing that this version understands. */
function listUnknown(host: Host): readonly Saved[] {
  return readOurLinks(host).flatMap(({ name, record }) =>
    record?.kind === 'unknown' ? [{ comment: `${name}: its record was written by another version, or by hand` }] : [],
  )
}
