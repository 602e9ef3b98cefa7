import {
  findUnplugging,
  hasGlobalAddress,
  pickDeadPorts,
  pickGuestSide,
  readHostSide,
  readNamespaces,
  readOvsIfThere,
} from '../attachments'
import { lockShared } from '../converge'
import { type Attached, type Detachment, foresee, planDetach } from '../detach'
import { PipeworkError, usageError } from '../errors'
import { execute, type Run } from '../execute'
import { AmbiguousGuest, findGuest, type Guest, NoSuchGuest, pinGuest } from '../guest'
import { type GuestName, parseGuest } from '../guestname'
import type { Host, Pin } from '../host'
import { type HostLink, isTunnel, listPorts, readHostLink } from '../hostlinks'
import { arePeers, findLower, type GuestLink, type GuestState, readGuest, readSysctls } from '../inside'
import { readNic } from '../nics'
import { MARKER } from '../outside/wish'
import type { OvsDatabase } from '../ovsdb'
import { readPort } from '../ports'
import { formatGuest, type LinkRecord } from '../record'
import { toScript, transcribe } from '../report'
import { readPolicy } from '../rules'
import { LEASES } from '../sources'
import type { Plan } from '../step'
import { parseIfname } from '../values'
import { type Call, type Outcome, refuseUnlessRoot } from './call'
import { sweep } from './sweep'

/** Takes a guest's attachments away, all or the one named. */
export async function run(call: Call): Promise<Outcome> {
  const [typed, ifname, ...rest] = call.words
  if (typed === undefined || rest.length > 0)
    throw usageError(
      typed === undefined ? 'disconnect: which guest?' : `'${rest[0]}' is a word too many`,
      'pipework disconnect <guest> [ifname]',
    )
  const wanted = parseGuest(typed)
  if (ifname !== undefined) parseIfname(ifname, 'interface in the guest')
  refuseUnlessRoot(call)
  const taken = await detach({ wanted, ...(ifname === undefined ? {} : { ifnames: [ifname] }) }, call)
  if (taken.done.length === 0)
    return (taken.all.length === 0 ? await sweep(call) : undefined) ?? reportNothing(taken, ifname)
  return call.flag('dry-run') ? toScriptOutcome(taken, call) : toOutcome(taken.done)
}

/** Takes away what is aimed at; on a dry run only plans it. Throws why it cannot, the host being as it was. */
export async function detach(aim: Aim, call: Call): Promise<Taken> {
  const reached = await reachGuest(aim.wanted, call.host)
  try {
    return await detachAll({ ...aim, reached }, call)
  } finally {
    if (reached.guest !== undefined) reached.pin?.release()
  }
}

/** The guest, pinned; or why not: its links with an end in the host are taken away all the same. */
type Reached =
  | { readonly guest: Guest; readonly pin: Pin | undefined; readonly why?: undefined }
  | { readonly guest?: undefined; readonly why: PipeworkError }

async function reachGuest(wanted: GuestName, host: Host): Promise<Reached> {
  try {
    const guest = await findGuest(wanted, host)
    return { guest, pin: host.isRoot ? pinGuest(guest, host) : undefined }
  } catch (why) {
    if (why instanceof PipeworkError && !(why instanceof AmbiguousGuest)) return { why }
    throw why
  }
}

function isMeant(guest: LinkRecord['guest'], { wanted, reached }: Wanted): boolean {
  const { kind, name } = wanted
  if (reached.guest !== undefined)
    return (
      guest.kind === reached.guest.kind &&
      guest.name === reached.guest.name &&
      // What hangs on an earlier process of that number is not this one's.
      (guest.kind !== 'pid' || guest.id === reached.guest.id)
    )
  if (kind !== undefined ? kind !== guest.kind : guest.kind === 'netns' || guest.kind === 'pid') return false
  // A full id begins with the twelve digits recorded; a typed prefix begins them.
  const { id } = guest
  return guest.name === name || (id !== undefined && name.length >= 4 && (name.startsWith(id) || id.startsWith(name)))
}

/** What is to be taken away from a guest: everything, or what the rest says. */
export interface Aim {
  readonly wanted: GuestName
  /** Only these interfaces. */
  readonly ifnames?: readonly string[]
  /** Only what was made from one of these files. */
  readonly files?: readonly string[]
  /** What a dry run has taken away from other guests before. */
  readonly gone?: readonly Attached[]
}

interface Wanted extends Aim {
  readonly reached: Reached
}

function isAimedAt({ record }: Attached, { ifnames, files }: Aim): boolean {
  if (files !== undefined && (record.file === undefined || !files.includes(record.file))) return false
  return ifnames === undefined || ifnames.includes(record.ifname)
}

interface Seen {
  readonly all: readonly Attached[]
  readonly state?: GuestState
  readonly ovs?: OvsDatabase
}

/** What pipework attached to the guest, as it is now, and the inside of the guest. */
async function look(asked: Wanted, host: Host): Promise<Seen> {
  const ovs = await readOvsIfThere(host)
  const dead = pickDeadPorts(ovs).filter(({ record }) => isMeant(record.guest, asked))
  const hostSide = readHostSide(host).filter(({ record }) => isMeant(record.guest, asked))
  const database = ovs === undefined ? {} : { ovs }
  const { guest, pin } = asked.reached.guest === undefined ? { guest: undefined, pin: undefined } : asked.reached
  if (guest === undefined || pin === undefined) return { all: [...hostSide, ...dead], ...database }
  const state = await readGuest(pin.netns, host)
  const withEnds = hostSide.map((attached) => {
    const inGuest = state.links.find((link) => arePeers(link, attached.hostEnd))
    return inGuest === undefined ? attached : { ...attached, inGuest }
  })
  return { all: [...withEnds, ...pickGuestSide(state), ...dead], state, ...database }
}

/** An attachment, and the steps that took it away. */
export interface Detached {
  readonly attached: Attached
  readonly plan: Plan
}

/** What was taken away, of all that the guest had. */
export interface Taken {
  readonly done: readonly Detached[]
  readonly all: readonly Attached[]
  readonly asked: Wanted
}

/** Alone, where the host has more of ours than links: what one no longer needs may be what another has just asked for. */
async function detachAll(asked: Wanted, call: Call): Promise<Taken> {
  const { host, io } = call
  if (host.read(MARKER) === undefined || call.flag('dry-run')) return detachInTurn(asked, call)
  const release = await lockShared({ host, interrupt: io.interrupt })
  try {
    return await detachInTurn(asked, call)
  } finally {
    release()
  }
}

/** One after the other, so that each sees the routes as the one before has left them. */
async function detachInTurn(asked: Wanted, call: Call): Promise<Taken> {
  const { all } = await look(asked, call.host)
  const names = all.filter((it) => isAimedAt(it, asked)).map(({ record }) => record.ifname)
  if (names.length > 0) refuseSeveral(all, asked.wanted)
  const done: Detached[] = []
  let foreseen: Seen | undefined
  for (const name of names) {
    const now = foreseen ?? (await look(asked, call.host))
    const attached = now.all.find((it) => it.record.ifname === name && isAimedAt(it, asked))
    if (attached === undefined) continue
    const others = now.all.filter((it) => it !== attached && it.deadPort === undefined)
    const gone = [...(asked.gone ?? []), ...(foreseen === undefined ? [] : done.map((it) => it.attached))]
    // A script is written before its first line runs: there all go at once.
    const together = call.flag('dry-run') ? all.filter((it) => isAimedAt(it, asked)) : [attached]
    const leaving = done.length > 0 && call.flag('dry-run') ? [] : [...(asked.gone ?? []), ...together]
    const detachment = await gather({ attached, others, gone, leaving, ...now }, asked, call.host)
    const plan = await planDeparture(planDetach(detachment), { attached, asked }, call.host)
    if (call.flag('dry-run')) foreseen = foreseeAll(detachment, now)
    else await act(plan, attached, { asked, call })
    done.push({ attached, plan })
  }
  return { done: [...done, ...(await returnLeft(asked, call))], all, asked }
}

/** Where there are DHCP clients, the link's own end before it does. */
async function planDeparture(
  plan: Plan,
  { attached: { record, inGuest }, asked: { reached } }: { readonly attached: Attached; readonly asked: Wanted },
  host: Host,
): Promise<Plan> {
  if (host.list(LEASES) === undefined) return plan
  const { planDeparture } = await import('../dhcp/depart')
  const pin = reached.guest === undefined || inGuest === undefined ? undefined : reached.pin
  return planDeparture(plan, { record, ...(pin === undefined ? {} : { netns: pin.inode }) }, host)
}

/** Gives back the leases that outlived the links of a guest: it has ended, or was started again. */
async function returnLeft(asked: Wanted, call: Call): Promise<readonly Detached[]> {
  if (call.host.list(LEASES) === undefined || asked.files !== undefined) return []
  const { listLeft } = await import('../dhcp/depart')
  const { ifnames } = asked
  const left = listLeft(
    ({ guest, ifname }) => isMeant(guest, asked) && (ifnames === undefined || ifnames.includes(ifname)),
    call.host,
  )
  const done = left.map(({ tenant, plan }) => ({ attached: toAttached(tenant.client), plan }))
  for (const { attached, plan } of done)
    if (!call.flag('dry-run')) await act(plan, attached, { asked: { ...asked, reached: { why: GONE } }, call })
  return done
}

/** A link that is gone, as its client remembers it. */
function toAttached({ guest, ifname, hostif }: Pick<LinkRecord, 'guest' | 'ifname' | 'hostif'>): Attached {
  return {
    record: { kind: 'link', guest, ifname, hostif, addresses: [], words: [], previous: [] },
    alias: '',
  }
}

const GONE = new PipeworkError('the guest is gone')

/** What the next look will show: without the link, and with the dead ports but the one that goes. */
function foreseeAll(detachment: Detachment, { all, ovs }: Seen): Seen {
  const next = foresee(detachment)
  const dead = all.filter((it) => it.deadPort !== undefined && it !== detachment.attached)
  return { ...next, all: [...next.all, ...dead], ...(ovs === undefined ? {} : { ovs }) }
}

interface Known extends Pick<Detachment, 'attached' | 'others'> {
  readonly state?: GuestState
  readonly ovs?: OvsDatabase
  /** Taken away by the plans before this one, and still there: it is a dry run. */
  readonly gone: readonly Attached[]
  /** Those that leave with this one, itself among them, and whose needs of the host end with it. */
  readonly leaving: readonly Attached[]
}

/** What the host no longer needs; who has only links has nothing there. */
async function planLeaving({ leaving }: Known, host: Host): Promise<Pick<Detachment, 'release'>> {
  if (leaving.length === 0 || host.read(MARKER) === undefined) return {}
  const { planRelease } = await import('../outside/plan')
  return { release: await planRelease(leaving, host) }
}

async function gather(known: Known, { reached }: Wanted, host: Host): Promise<Detachment> {
  const { attached, others, state, gone, ovs } = known
  const { inGuest, hostEnd } = attached
  const parent = findLower(inGuest, host)
  const port = hostEnd === undefined ? undefined : await readPort(hostEnd, 'filtering', host)
  const unused = await findUnused({ hostEnd, parent, gone }, host)
  const tunnels = findTunnels({ hostEnd, gone }, host)
  const unplugging = await findUnplugging(attached, { ovs, gone }, host)
  const pin = reached.guest === undefined ? undefined : reached.pin
  const nic = attached.record.nic === undefined ? undefined : readNic(attached.record.nic, host)
  return {
    attached,
    others,
    ...(state === undefined ? {} : { state }),
    sysctls: pin === undefined || inGuest === undefined ? {} : await readSysctls(inGuest.name, pin.netns, host),
    ...(port === undefined ? {} : { port }),
    ...(unplugging === undefined ? {} : { unplugging }),
    ...(parent === undefined ? {} : { parent }),
    ...(nic === undefined ? {} : { nic }),
    ...(await gatherPolicy(known, pin, host)),
    ...(await planLeaving(known, host)),
    ...(unused === undefined ? {} : { unused }),
    ...(tunnels.length === 0 ? {} : { tunnels }),
    ...(await gatherPassage(known, host)),
  }
}

/** The rules that let the frames of a bridge pass the firewall, when the last attachment there is the one that goes. */
async function gatherPassage({ attached: { hostEnd }, gone }: Known, host: Host): Promise<Pick<Detachment, 'passage'>> {
  const bridge = hostEnd?.master
  if (bridge === undefined || !host.isRoot || host.inode('/proc/sys/net/bridge') === undefined) return {}
  const ends = [hostEnd?.name, ...gone.map((it) => it.hostEnd?.name)]
  const others = readHostSide(host).filter((it) => !ends.includes(it.hostEnd.name))
  const used = others.flatMap((it) => [it.hostEnd.master ?? '', it.record.hostif])
  if (used.includes(bridge)) return {}
  const { planNoPassage } = await import('../passage')
  return { passage: await planNoPassage(used, host) }
}

/** The rules of an attachment that was made with --policy-route; routes over links that are gone went with them. */
async function gatherPolicy(
  { attached, gone }: Known,
  pin: Pin | undefined,
  host: Host,
): Promise<Pick<Detachment, 'policy'>> {
  const { inGuest, record } = attached
  if (pin === undefined || inGuest === undefined || !record.words.includes('--policy-route')) return {}
  const { rules, routes } = await readPolicy(record.ifname, pin.netns, host)
  const names = gone.map((it) => it.inGuest?.name)
  return { policy: { rules, routes: routes.filter(({ dev }) => !names.includes(dev)) } }
}

/** The VXLANs of ours on its bridge, when nobody else is left there. */
function findTunnels(
  { hostEnd, gone }: { readonly hostEnd: HostLink | undefined; readonly gone: readonly Attached[] },
  host: Host,
): readonly string[] {
  const ends = [hostEnd?.name, ...gone.map((it) => it.hostEnd?.name)]
  const others = hostEnd?.master === undefined ? [] : listPorts(hostEnd.master, host).filter((it) => !ends.includes(it))
  return others.every((name) => isTunnel(name, host)) ? others : []
}

/** The bridge or VLAN device below, when pipework made it and nobody else uses it. */
async function findUnused(
  { hostEnd, parent, gone }: { hostEnd: HostLink | undefined; parent: HostLink | undefined; gone: readonly Attached[] },
  host: Host,
): Promise<HostLink | undefined> {
  const master = hostEnd?.master === undefined ? undefined : readHostLink(hostEnd.master, host)
  const below = parent ?? master
  if (below?.record?.kind !== 'made' || below.master !== undefined) return undefined
  const ends = [hostEnd?.name, ...gone.map((it) => it.hostEnd?.name)]
  if (
    below.kind === 'bridge' &&
    listPorts(below.name, host).some((port) => !ends.includes(port) && !isTunnel(port, host))
  )
    return undefined
  if (await hasGlobalAddress(below.name, host)) return undefined
  if (below.kind === 'bridge') return below
  const states = await readNamespaces(host, 'all')
  const isUser = ({ kind, peerIndex }: GuestLink) => kind !== 'veth' && peerIndex === below.ifindex
  const users = states.flatMap(({ links }) => links.filter(isUser))
  const stillThere = gone.filter(({ inGuest }) => inGuest !== undefined && isUser(inGuest))
  return users.length > 1 + stillThere.length ? undefined : below
}

/** Refuses a name that nobody answers to now, and that stands for several guests in the records. */
function refuseSeveral(all: readonly Attached[], { name }: GuestName): void {
  const guests = new Set(all.map(({ record: { guest } }) => `${guest.kind}:${guest.name}`))
  if (guests.size > 1)
    throw new AmbiguousGuest(`'${name}' is ambiguous: it may mean ${[...guests].join(' or ')}`, {
      hint: 'Write one of these.',
    })
}

/** Nothing to take away is no error, but a name that nobody knows is. */
function reportNothing({ all, asked: { wanted, reached } }: Taken, ifname: string | undefined): Outcome {
  if (reached.why instanceof NoSuchGuest && all.length === 0) throw reached.why
  const what = ifname === undefined ? 'nothing' : `no ${ifname}`
  const has = all.length === 0 ? '' : ` (it has ${all.map(({ record }) => record.ifname).join(', ')})`
  return {
    text: `${formatGuest({ kind: 'docker', ...wanted })} has ${what} that pipework attached${has}; nothing changed\n`,
    json: { ok: true, changed: false, detached: [] },
  }
}

/** Stands for a guest that is gone: nothing of its plan runs inside it. */
function absent({ record }: Attached): Guest {
  return { kind: 'docker', name: record.guest.name, nsPath: '/proc/self/ns/net' }
}

async function act(plan: Plan, attached: Attached, { asked, call }: { asked: Wanted; call: Call }): Promise<void> {
  await execute(plan, toRun(asked.reached.guest ?? absent(attached), asked, call))
}

function toRun(guest: Guest, { reached }: Wanted, { host, io, flag }: Call): Run {
  return {
    host,
    guest,
    netns: reached.guest === undefined ? '' : (reached.pin?.netns ?? ''),
    interrupt: io.interrupt,
    ...(flag('verbose') ? { onStep: transcribe(guest, io.err) } : {}),
  }
}

/** The shell script that does the same. */
export function toDetachScript({ done, asked: { reached } }: Taken, words: readonly string[]): string {
  const guest = reached.guest ?? done.map(({ attached }) => absent(attached))[0]
  return guest === undefined ? '' : toScript({ plan: done.flatMap((it) => it.plan), guest, words })
}

function toScriptOutcome(taken: Taken, call: Call): Outcome {
  const plan = taken.done.flatMap((it) => it.plan)
  const script = toDetachScript(taken, ['disconnect', ...call.words])
  return { text: script, json: { ok: true, dryRun: true, steps: plan.map(({ why }) => why), script }, wanted: true }
}

/** What was taken away, told. */
export function toOutcome(done: readonly Detached[]): Outcome {
  const lines = done.flatMap(({ attached: { record }, plan }) => [
    `${formatGuest(record.guest)} no longer has ${record.ifname} on ${record.hostif}`,
    ...plan.filter(({ why }) => /^(remove |put the earlier|give .* back)/.test(why)).map(({ why }) => `  ${why}`),
  ])
  const detached = done.map(({ attached: { record, hostEnd }, plan }) => ({
    guest: record.guest,
    ifname: record.ifname,
    hostif: record.hostif,
    hostEnd: hostEnd?.name ?? null,
    steps: plan.map(({ why }) => why),
  }))
  return { text: lines.map((line) => `${line}\n`).join(''), json: { ok: true, changed: detached.length > 0, detached } }
}
