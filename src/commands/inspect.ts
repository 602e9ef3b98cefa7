import { readPassage } from '../firewall/bridge-accept'
import { PipeworkError, refuseSurplus, usageError } from '../model/errors'
import { type GuestName, parseGuest } from '../model/guest-name'
import type { Attached } from '../operations/detach/plan'
import { loadLeases, readBarred, readLacking } from '../operations/list'
import { findByOtherNames } from '../operations/look'
import { listTags } from '../operations/up/read-files'
import { readJournal } from '../operations/uplink/state-file'
import { batchLine } from '../plan/step'
import { findGuest, type Guest, NoSuchGuest, pinGuest } from '../runtimes/find'
import { readAttachments } from '../state/attachments'
import { arePeers, type GuestState, readGuest } from '../state/guest'
import { formatGuest } from '../state/record'
import type { Host } from '../system/types'
import type { Call, Outcome } from '../ui/command'
import { type Entry, formatPage, type Page } from '../ui/format/inspect'
import { fitScreen, screenOf } from '../ui/terminal'
import { toLine } from './save'

/** All there is to know of one guest. */
export async function run(call: Call): Promise<Outcome> {
  const [typed, ...rest] = call.words
  const usage = 'pipework inspect <guest>'
  if (typed === undefined) throw usageError('inspect: which guest?', usage)
  refuseSurplus(rest, usage)
  const wanted = parseGuest(typed)
  const reached = await reach(wanted, call.host)
  const all = await readAttachments(call.host)
  const named = all.filter(({ record }) => isMeant(record.guest, wanted, reached.guest))
  const own = [
    ...named,
    ...(await findOthers(
      all.filter((it) => !named.includes(it)),
      reached,
      call.host,
    )),
  ]
  // Nobody knows the name, and no link does.
  if (own.length === 0 && reached.why instanceof NoSuchGuest) throw reached.why
  const page: Page = {
    title: reached.guest === undefined ? typed : formatGuest(reached.guest),
    ...reached,
    attachments: await toEntries(own, { all, state: reached.state }, call),
  }
  const { why, ...rest2 } = page
  const trouble = why === undefined ? {} : { why: why.message }
  return {
    text: fitScreen(formatPage(page), screenOf(call.host)),
    json: { ok: true, ...rest2, ...trouble },
    wanted: true,
  }
}

/** The guest and its inside, as far as it can be reached; and why not. */
type Reached = Pick<Page, 'guest' | 'state' | 'rules' | 'why'>

async function reach(wanted: GuestName, host: Host): Promise<Reached> {
  try {
    const guest = await findGuest(wanted, host)
    if (!host.isRoot) return { guest, why: new PipeworkError('only root sees the inside of a guest: run it with sudo') }
    const pin = pinGuest(guest, host)
    try {
      const [state, rules] = await Promise.all([readGuest(pin.netns, host), readRules(pin.netns, host)])
      return { guest, state, rules }
    } finally {
      pin.release()
    }
  } catch (why) {
    if (why instanceof PipeworkError) return { why }
    throw why
  }
}

/** The rules that somebody has made: not the three that every namespace has. */
async function readRules(netns: string, host: Host): Promise<readonly string[]> {
  const { code, stdout } = await host.ip({ netns, lines: [batchLine`rule show`], answer: 'text' })
  const lines = code === 0 ? stdout.split('\n').map((line) => line.trim().replaceAll(/\s+/g, ' ')) : []
  return lines.filter((line) => line !== '' && !/^(0|32766|32767): from all lookup (local|main|default)$/.test(line))
}

/** What the guest has by another of its names. */
async function findOthers(
  all: readonly Attached[],
  { guest, state }: Reached,
  host: Host,
): Promise<readonly Attached[]> {
  const inode = guest === undefined ? undefined : host.inode(guest.nsPath)
  return state === undefined || inode === undefined ? [] : findByOtherNames(all, { state, inode }, host)
}

function isMeant(recorded: Attached['record']['guest'], wanted: GuestName, guest: Guest | undefined): boolean {
  if (guest !== undefined) return recorded.kind === guest.kind && recorded.name === guest.name
  return recorded.name === wanted.name && (wanted.kind === undefined || wanted.kind === recorded.kind)
}

/** What every entry is written from. */
interface Known {
  readonly state: GuestState | undefined
  readonly lacking: ReadonlyMap<Attached, readonly string[]>
  readonly judge: Awaited<ReturnType<typeof readPassage>> | undefined
  readonly barred: Awaited<ReturnType<typeof readBarred>>
  readonly readLeases: Awaited<ReturnType<typeof loadLeases>>
}

async function toEntries(
  own: readonly Attached[],
  { all, state }: { readonly all: readonly Attached[]; readonly state: GuestState | undefined },
  call: Call,
): Promise<readonly Entry[]> {
  const { host } = call
  // Rules that cannot be read are not spoken of.
  const rules = host.isRoot ? readPassage(host).catch(() => undefined) : undefined
  const barring = readBarred(own, host)
  const [lacking, judge, readLeases, barred] = await Promise.all([
    readLacking(all, host),
    rules,
    loadLeases(host),
    barring,
  ])
  return Promise.all(own.map((it) => toEntry(it, { state, lacking, judge, readLeases, barred }, call)))
}

/** What the firewall does to the frames of its port, where that is of a bridge of Linux, and to what the host forwards for it. */
function toFirewall(attached: Attached, { judge, barred }: Known, host: Host): Pick<Entry, 'firewall'> {
  const { record, hostEnd } = attached
  const bridge = hostEnd?.master
  const isPort = bridge !== undefined && host.inode(`/sys/class/net/${bridge}/bridge`) !== undefined
  const ips = (record.addresses ?? []).map(({ ip }) => ip)
  const frames = isPort && hostEnd !== undefined ? judge?.({ bridge, port: hostEnd.name, ips }) : undefined
  const warnings = [frames, barred.get(attached)].filter((it) => it !== undefined)
  if (warnings.length === 0) return isPort && judge !== undefined ? { firewall: ['lets its frames pass'] } : {}
  const lines = warnings.flatMap(({ message, command }) => [
    message.replace(/^the firewall of this host /, ''),
    ...(command === undefined ? [] : [`mend it: ${command}`]),
  ])
  return { firewall: lines }
}

/** The options that ask for more than a link, as rows. */
const OUTSIDE: Readonly<Record<string, string>> = {
  '--bridge-address': 'the host',
  '--nat': 'NAT',
  '--publish': 'publish',
  '--host-access': 'the host',
}

function toOutside(words: readonly string[]): readonly (readonly [string, string])[] {
  return words.flatMap((word) => {
    const [option = '', ...value] = word.split('=')
    const title = OUTSIDE[option]
    const rest = value.join('=')
    if (title === undefined) return []
    if (option === '--bridge-address') return [[title, `has ${rest} on the bridge`] as const]
    if (option === '--host-access') return [[title, 'and the guest reach each other'] as const]
    return [[title, rest || 'with an address of this host, by any interface'] as const]
  })
}

/** The path of a file that a record names by eight digits, where it lies at a place that is known. */
function findFile(tag: string, host: Host): string {
  const folders = ['/etc/pipework', '.']
  const paths = folders.flatMap((folder) =>
    (host.list(folder) ?? []).filter((name) => name.endsWith('.pipework')).map((name) => `${folder}/${name}`),
  )
  return paths[listTags({ words: paths, host }).indexOf(tag)]?.replace(/^\.\//, '') ?? 'a file that is elsewhere'
}

async function toEntry(attached: Attached, known: Known, { host, parse }: Call): Promise<Entry> {
  const { record, hostEnd } = attached
  const { state, lacking, readLeases } = known
  const inGuest = state?.links.find((link) =>
    hostEnd === undefined ? link.name === record.ifname : arePeers(link, hostEnd),
  )
  const line = await toLine(attached, host, parse)
  const uplink = readJournal(record.hostif, host)?.nic
  return {
    ifname: record.ifname,
    hostif: record.hostif,
    hostEnd,
    inGuest,
    addresses: record.addresses ?? [],
    leases: record.sources === undefined ? [] : readLeases(record),
    uplink,
    outside: toOutside(record.words),
    missing: lacking.get(attached) ?? [],
    ...toFirewall(attached, known, host),
    file: record.file === undefined ? undefined : findFile(record.file, host),
    command: 'line' in line ? `pipework ${line.line}` : undefined,
    undo: `pipework disconnect ${formatGuest(record.guest)} ${record.ifname}`,
  }
}
