import { readPortFirewall } from '../firewall/check'
import type { Address } from '../model/address'
import type { LineParser } from '../model/command-line'
import { PipeworkError } from '../model/errors'
import type { GuestName } from '../model/guest-name'
import type { LeaseReport } from '../model/report'
import { shellQuote } from '../model/shell'
import { findGuest, type Guest, GuestNotFoundError, holdGuestNetns } from '../runtimes/find'
import type { ExistingAttachment } from '../state/attachments'
import { readAttachments } from '../state/attachments'
import { areVethPeers, type GuestLink, type GuestState, readGuestState } from '../state/guest'
import type { HostLink } from '../state/host-links'
import { formatGuest } from '../state/record'
import { batchLine } from '../system/batch'
import type { System } from '../system/types'
import { createLeaseReader, findFirewallDrops, findMissingServices } from './list'
import { findByOtherNames } from './look'
import { toSavedLine } from './save'
import { listFileTags } from './up/read-files'
import { readUplinkState } from './uplink/state-file'

/** An interface that pipework attached. */
export interface InspectEntry {
  readonly ifname: string
  readonly hostif: string
  readonly hostEnd?: HostLink
  /** The link in the guest, if it could be read. */
  readonly inGuest?: GuestLink
  /** As recorded. */
  readonly addresses: readonly Address[]
  /** The addresses leased from DHCP servers. */
  readonly leases: readonly LeaseReport[]
  /** The NIC that connects its bridge. */
  readonly uplink?: string
  /** Host services of the attachment: NAT, published ports, addresses. */
  readonly outside: readonly (readonly [string, string])[]
  /** Missing host services. */
  readonly missing: readonly string[]
  /** What the host's firewall does to its frames; absent when the rules could not be read. */
  readonly firewall?: readonly string[]
  /** The attachment file it comes from. */
  readonly file?: string
  /** The command that requests it. */
  readonly command?: string
  readonly undo: string
}

/** What `inspect` shows of a guest. */
export interface InspectView {
  readonly title: string
  readonly guest?: Guest
  readonly state?: GuestState
  readonly rules?: readonly string[]
  /** Why the view is incomplete. */
  readonly why?: PipeworkError
  readonly attachments: readonly InspectEntry[]
}

export interface InspectOptions {
  readonly system: System
  readonly parseLine: LineParser
}

/** Reads everything known about the network of a guest. */
export async function inspectGuest(
  guestName: GuestName,
  typedName: string,
  options: InspectOptions,
): Promise<InspectView> {
  const { system } = options
  const inspected = await readInspectedGuest(guestName, system)
  const all = await readAttachments(system)
  const named = all.filter(({ record }) => isRecordOfGuest(record.guest, guestName, inspected.guest))
  const others = await findUnderOtherNames(
    all.filter((it) => !named.includes(it)),
    inspected,
    system,
  )
  const own = [...named, ...others]
  if (own.length === 0 && inspected.why instanceof GuestNotFoundError) throw inspected.why
  return {
    title: inspected.guest === undefined ? typedName : formatGuest(inspected.guest),
    ...inspected,
    attachments: await toInspectEntries(own, { all, state: inspected.state }, options),
  }
}

/** The guest and its state, as far as reachable, and the error otherwise. */
type InspectedGuest = Pick<InspectView, 'guest' | 'state' | 'rules' | 'why'>

async function readInspectedGuest(wanted: GuestName, system: System): Promise<InspectedGuest> {
  try {
    const guest = await findGuest(wanted, system)
    if (!system.isRoot)
      return { guest, why: new PipeworkError('only root sees the inside of a guest: run it with sudo') }
    const pin = holdGuestNetns(guest, system)
    try {
      const [state, rules] = await Promise.all([readGuestState(pin.netns, system), readPolicyRules(pin.netns, system)])
      return { guest, state, rules }
    } finally {
      pin.release()
    }
  } catch (why) {
    if (why instanceof PipeworkError) return { why }
    throw why
  }
}

/** Policy rules other than the three that the kernel creates in each namespace. */
async function readPolicyRules(netns: string, system: System): Promise<readonly string[]> {
  const { code, stdout } = await system.runIpBatch({ netns, lines: [batchLine`rule show`], output: 'text' })
  const lines = code === 0 ? stdout.split('\n').map((line) => line.trim().replaceAll(/\s+/g, ' ')) : []
  return lines.filter((line) => line !== '' && !/^(0|32766|32767): from all lookup (local|main|default)$/.test(line))
}

/** Attachments of the guest under its other names. */
async function findUnderOtherNames(
  all: readonly ExistingAttachment[],
  { guest, state }: InspectedGuest,
  system: System,
): Promise<readonly ExistingAttachment[]> {
  const inode = guest === undefined ? undefined : system.inode(guest.nsPath)
  return state === undefined || inode === undefined ? [] : findByOtherNames(all, { state, inode }, system)
}

function isRecordOfGuest(
  recorded: ExistingAttachment['record']['guest'],
  wanted: GuestName,
  guest: Guest | undefined,
): boolean {
  if (guest !== undefined) return recorded.kind === guest.kind && recorded.name === guest.name
  return recorded.name === wanted.name && (wanted.kind === undefined || wanted.kind === recorded.kind)
}

/** The inputs of every entry. */
interface InspectInputs {
  readonly state: GuestState | undefined
  readonly missingServices: ReadonlyMap<ExistingAttachment, readonly string[]>
  readonly checkFirewall: Awaited<ReturnType<typeof readPortFirewall>> | undefined
  readonly firewallDrops: Awaited<ReturnType<typeof findFirewallDrops>>
  readonly readLeases: Awaited<ReturnType<typeof createLeaseReader>>
}

async function toInspectEntries(
  own: readonly ExistingAttachment[],
  { all, state }: { readonly all: readonly ExistingAttachment[]; readonly state: GuestState | undefined },
  options: InspectOptions,
): Promise<readonly InspectEntry[]> {
  const { system } = options
  // Unreadable rules are left out of the view.
  const rules = system.isRoot ? readPortFirewall(system).catch(() => undefined) : undefined
  const barring = findFirewallDrops(own, system)
  const [lacking, judge, readLeases, barred] = await Promise.all([
    findMissingServices(all, system),
    rules,
    createLeaseReader(system),
    barring,
  ])
  return Promise.all(
    own.map((it) =>
      toInspectEntry(
        it,
        { state, missingServices: lacking, checkFirewall: judge, readLeases, firewallDrops: barred },
        options,
      ),
    ),
  )
}

/** What the firewall does to frames on the attachment's Linux bridge port, and to its forwarded traffic. */
function toFirewallField(
  attached: ExistingAttachment,
  { checkFirewall, firewallDrops }: InspectInputs,
  system: System,
): Pick<InspectEntry, 'firewall'> {
  const { record, hostEnd } = attached
  const bridge = hostEnd?.master
  const isPort = bridge !== undefined && system.inode(`/sys/class/net/${bridge}/bridge`) !== undefined
  const ips = (record.addresses ?? []).map(({ ip }) => ip)
  const frames = isPort && hostEnd !== undefined ? checkFirewall?.({ bridge, port: hostEnd.name, ips }) : undefined
  const warnings = [frames, firewallDrops.get(attached)].filter((it) => it !== undefined)
  if (warnings.length === 0) return isPort && checkFirewall !== undefined ? { firewall: ['lets its frames pass'] } : {}
  const lines = warnings.flatMap(({ message, command }) => [
    message.replace(/^the firewall of this host /, ''),
    ...(command === undefined ? [] : [`fix: ${command}`]),
  ])
  return { firewall: lines }
}

/** Row titles of the options that need host services. */
const HOST_SERVICE_TITLES: Readonly<Record<string, string>> = {
  '--bridge-address': 'the host',
  '--nat': 'NAT',
  '--publish': 'publish',
  '--host-access': 'the host',
}

function formatHostServices(words: readonly string[]): readonly (readonly [string, string])[] {
  return words.flatMap((word) => {
    const [option = '', ...value] = word.split('=')
    const title = HOST_SERVICE_TITLES[option]
    const rest = value.join('=')
    if (title === undefined) return []
    if (option === '--bridge-address') return [[title, `has ${rest} on the bridge`] as const]
    if (option === '--host-access') return [[title, 'and the guest reach each other'] as const]
    return [[title, rest || 'with an address of this host, by any interface'] as const]
  })
}

/** The path of the file that a record refers to by an eight-digit tag, if it is in a well-known place. */
function findFileByTag(tag: string, system: System): string {
  const folders = ['/etc/pipework', '.']
  const paths = folders.flatMap((folder) =>
    (system.list(folder) ?? []).filter((name) => name.endsWith('.pipework')).map((name) => `${folder}/${name}`),
  )
  return paths[listFileTags(paths, system).indexOf(tag)]?.replace(/^\.\//, '') ?? 'a file in another place'
}

async function toInspectEntry(
  attached: ExistingAttachment,
  known: InspectInputs,
  { system, parseLine }: InspectOptions,
): Promise<InspectEntry> {
  const { record, hostEnd } = attached
  const { state, missingServices, readLeases } = known
  const inGuest = state?.links.find((link) =>
    hostEnd === undefined ? link.name === record.ifname : areVethPeers(link, hostEnd),
  )
  const line = await toSavedLine(attached, system, parseLine)
  const uplink = readUplinkState(record.hostif, system)?.nic
  return {
    ifname: record.ifname,
    hostif: record.hostif,
    hostEnd,
    inGuest,
    addresses: record.addresses ?? [],
    leases: record.sources === undefined ? [] : readLeases(record),
    uplink,
    outside: formatHostServices(record.words),
    missing: missingServices.get(attached) ?? [],
    ...toFirewallField(attached, known, system),
    file: record.file === undefined ? undefined : findFileByTag(record.file, system),
    command: 'line' in line ? `pipework ${line.line}` : undefined,
    undo: ['pipework', 'disconnect', formatGuest(record.guest), record.ifname].map(shellQuote).join(' '),
  }
}
