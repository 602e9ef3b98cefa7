import { readAttachments } from '../attachments'
import type { Attached } from '../detach'
import { deriveHostEnds } from '../facts'
import type { Host } from '../host'
import { readOurLinks } from '../hostlinks'
import { formatLine } from '../lines'
import { formatGuest } from '../record'
import { formatAddress } from '../values'
import { readRequest } from './attach'
import type { Call, Outcome } from './call'

/** An attachment as a line of a file, or why there is none. */
type Saved = { readonly line: string } | { readonly comment: string }

/** What is attached now as a file for `up`. */
export async function run({ host, parse }: Call): Promise<Outcome> {
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

async function toLine(attached: Attached, host: Host, parse: Call['parse']): Promise<Saved> {
  const { record } = attached
  const what = `${formatGuest(record.guest)} has ${record.ifname} on ${record.hostif}`
  if (record.guest.kind === 'pid') return { comment: `${what}: a process does not come again` }
  const address = addressOf(attached)
  if (address === undefined) return { comment: `${what}: its addresses could not be read` }
  try {
    const line = formatLine(await toWords(attached, { address, host, parse }))
    return line === undefined ? { comment: `${what}: a line cannot hold its words` } : { line }
  } catch (error) {
    // Somebody has edited the record.
    return { comment: `${what}: ${error instanceof Error ? error.message : String(error)}` }
  }
}

/** The words that ask for it. Rejects when they do not. */
async function toWords(
  attached: Attached,
  { address, host, parse }: { readonly address: string; readonly host: Host; readonly parse: Call['parse'] },
): Promise<readonly string[]> {
  const { ifname, hostif, guest, words } = attached.record
  const names = [...(ifname === 'eth1' ? [] : ['-i', ifname]), ...hostEndWords(attached, host)]
  const [options, others] = [words.filter((it) => it.startsWith('--')), words.filter((it) => !it.startsWith('--'))]
  const usual = [hostif, ...names, formatGuest(guest), address, ...others, ...options]
  // A bridge may be called like a command: after `--` a word is an interface's name.
  const isCommand = (await parse(usual)).command !== ''
  const line = isCommand ? [...names, ...options, '--', hostif, formatGuest(guest), address, ...others] : usual
  readRequest(await parse(line))
  return line
}

/** As recorded; what did not fit into the record is read from the guest. */
function addressOf({ record, inGuest }: Attached): string | undefined {
  const addresses =
    record.addresses?.map(formatAddress) ??
    inGuest?.addresses.filter(({ automatic }) => !automatic).map(({ ip, prefix }) => `${ip}/${prefix}`)
  if (addresses === undefined) return undefined
  return addresses.join(',') || '0/0'
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
