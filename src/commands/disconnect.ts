import { parseIfname } from '../model/address'
import { LEASES } from '../model/address-sources'
import { PipeworkError, refuseSurplus, usageError } from '../model/errors'
import { type GuestName, parseGuest } from '../model/guest-name'
import { mayHaveOutside } from '../model/host-services'
import type { Tenant } from '../network/dhcp/state'
import { sweepHost, sweepRules } from '../operations/detach/cleanup'
import { type Attached, type Detachment, foresee as foreseeRest, planDetach } from '../operations/detach/plan'
import { gather } from '../operations/detach/read'
import { type Aim, isMeant, look, pickAimed, reachGuest, type Seen, type Wanted } from '../operations/look'
import { execute, type Run } from '../plan/execute'
import type { Plan } from '../plan/step'
import { AmbiguousGuest, type Guest, NoSuchGuest } from '../runtimes/find'
import { formatGuest, type LinkRecord } from '../state/record'
import { lockLink, lockShared } from '../system/locks'
import type { Host } from '../system/types'
import { type Call, type Outcome, openTranscripts, refuseUnlessRoot } from '../ui/command'
import { toScript } from '../ui/report'
import type { Transcript } from '../ui/transcript'

/** Takes a guest's attachments away, all or the one named. */
export async function run(call: Call): Promise<Outcome> {
  const [typed, ifname, ...rest] = call.words
  const usage = 'pipework disconnect <guest> [ifname]'
  if (typed === undefined) throw usageError('disconnect: which guest?', usage)
  refuseSurplus(rest, usage)
  const wanted = parseGuest(typed)
  if (ifname !== undefined) parseIfname(ifname, 'interface in the guest')
  refuseUnlessRoot(call)
  const taken = await detach({ wanted, ifnames: ifname === undefined ? undefined : [ifname] }, call)
  if (!call.flag('dry-run')) await sweepLeases(call.host)
  if (taken.done.length === 0) {
    const swept = (await sweepRules(wanted, call)) ?? (taken.all.length === 0 ? await sweepHost(call) : undefined)
    return swept ?? reportNothing(taken, ifname)
  }
  return call.flag('dry-run') ? toScriptOutcome(taken, call) : toUndoable(taken.done, call)
}

/** Ends DHCP clients that outlived their guests; nothing is loaded where there are none. */
async function sweepLeases(host: Host): Promise<void> {
  if ((host.list(LEASES) ?? []).length > 0) await (await import('../network/dhcp/cleanup')).sweepClients(host)
}

/** Takes away what is aimed at; on a dry run only plans it. Throws why it cannot, the host being as it was. */
export async function detach(aim: Aim, call: Call): Promise<Taken> {
  const reached = await reachGuest(aim.wanted, call.host)
  const transcript = (await openTranscripts(call, 'one'))?.(reached.guest ?? absent(aim.wanted))
  try {
    return await detachAll({ ...aim, reached, transcript }, call)
  } finally {
    transcript?.end()
    if (reached.guest !== undefined) reached.pin?.release()
  }
}

/** What is wanted, and where its steps are told. */
interface Task extends Wanted {
  readonly transcript: Transcript | undefined
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
async function detachAll(asked: Task, call: Call): Promise<Taken> {
  const { host, io } = call
  const locks: (() => void)[] = []
  try {
    const { all } = await look(asked, host)
    const names = pickAimed(all, asked).map(({ record }) => record.ifname)
    if (names.length > 0 && asked.reached.guest === undefined) refuseSeveral(all, asked.wanted)
    const { guest, pin } = asked.reached.guest === undefined ? { guest: undefined, pin: undefined } : asked.reached
    // In the order in which an attach takes them, so that no two runs wait for each other.
    if (guest !== undefined && pin !== undefined && !call.flag('dry-run'))
      for (const name of [...new Set(names)].sort())
        locks.push(await lockLink(name, { guest, pin }, { host, interrupt: io.interrupt }))
    if (mayHaveOutside(host) && !call.flag('dry-run')) locks.push(await lockShared({ host, interrupt: io.interrupt }))
    const done = await detachInTurn(names, asked, call)
    return { done: [...done, ...(await returnLeft(asked, call))], all, asked }
  } finally {
    for (const release of locks) release()
  }
}

/** One after the other, so that each sees the routes as the one before has left them. */
async function detachInTurn(names: readonly string[], asked: Task, call: Call): Promise<readonly Detached[]> {
  const done: Detached[] = []
  let foreseen: Seen | undefined
  for (const name of names) {
    const now = foreseen ?? (await look(asked, call.host))
    const attached = pickAimed(now.all, asked).find(({ record }) => record.ifname === name)
    if (attached === undefined) continue
    const others = now.all.filter((it) => it !== attached && it.deadPort === undefined)
    const gone = [...(asked.gone ?? []), ...(foreseen === undefined ? [] : done.map((it) => it.attached))]
    // A script is written before its first line runs: there all go at once.
    const together = call.flag('dry-run') ? pickAimed(now.all, asked) : [attached]
    const leaving = done.length > 0 && call.flag('dry-run') ? [] : [...(asked.gone ?? []), ...together]
    const detachment = await gather({ attached, others, gone, leaving, ...now }, asked, call.host)
    const plan = await planDeparture(planDetach(detachment), { attached, asked }, call.host)
    if (call.flag('dry-run')) foreseen = foreseeAll(detachment, now)
    else await act(plan, attached, { asked, call })
    done.push({ attached, plan })
  }
  return done
}

/** Where there are DHCP clients, the link's own end before it does. */
async function planDeparture(
  plan: Plan,
  { attached: { record, inGuest }, asked: { reached } }: { readonly attached: Attached; readonly asked: Wanted },
  host: Host,
): Promise<Plan> {
  if ((host.list(LEASES) ?? []).length === 0) return plan
  const { planDeparture } = await import('../network/dhcp/release-on-detach')
  const pin = reached.guest === undefined || inGuest === undefined ? undefined : reached.pin
  return planDeparture(plan, { record, netns: pin === undefined ? undefined : pin.inode }, host)
}

/** Gives back the leases that outlived the links of a guest: it has ended, or was started again. */
async function returnLeft(asked: Task, call: Call): Promise<readonly Detached[]> {
  if ((call.host.list(LEASES) ?? []).length === 0 || asked.files !== undefined) return []
  const [{ listLeft }, { planForget }] = await Promise.all([
    import('../network/dhcp/release-on-detach'),
    import('../network/dhcp/plan'),
  ])
  const { ifnames } = asked
  const left = listLeft(
    ({ guest, ifname }) => isMeant(guest, asked) && (ifnames === undefined || ifnames.includes(ifname)),
    call.host,
  )
  const done: Detached[] = []
  const gone = { asked: { ...asked, reached: { why: GONE } }, call }
  for (const tenant of left) {
    const attached = toAttached(tenant.client)
    const forget = planForget(tenant)
    const plan = [...(await planStandIn(tenant, call.host)), ...forget]
    const isDone = call.flag('dry-run') || (await act(plan, attached, gone).then(() => true, isLikeBefore))
    if (!isDone) await act(forget, attached, gone)
    done.push({ attached, plan: isDone ? plan : forget })
  }
  return done
}

/** The steps that give back the lease of a guest that is gone; none where that cannot be done, and it runs out. */
async function planStandIn(tenant: Tenant, host: Host): Promise<Plan> {
  const { toStandIn, planReturn } = await import('../network/dhcp/release-on-detach')
  const standIn = toStandIn(tenant, host)
  if (standIn === undefined) return []
  const [{ toRequest }, { foresee }] = await Promise.all([import('../model/request'), import('../operations/attach')])
  const { netns, words, options } = standIn
  try {
    const request = toRequest(words, { ...options, probe: false })
    const guest = { kind: 'netns', name: netns, nsPath: `/run/netns/${netns}` } as const
    const { plan: link } = await foresee(request, { guest, pin: undefined }, host)
    return planReturn(tenant, { netns, link }, host)
  } catch (error) {
    if (error instanceof PipeworkError) return []
    throw error
  }
}

/** False for a failure after which the host is as it was: then there is another way. Any other is thrown on. */
function isLikeBefore(error: unknown): false {
  if (error instanceof PipeworkError && error.leftovers.length === 0) return false
  throw error
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
  const next = foreseeRest(detachment)
  const dead = all.filter((it) => it.deadPort !== undefined && it !== detachment.attached)
  return { ...next, all: [...next.all, ...dead], ovs }
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
function absent({ name }: Pick<GuestName, 'name'>): Guest {
  return { kind: 'docker', name, nsPath: '/proc/self/ns/net' }
}

async function act(plan: Plan, attached: Attached, { asked, call }: { asked: Task; call: Call }): Promise<void> {
  await execute(plan, toRun(asked.reached.guest ?? absent(attached.record.guest), asked, call))
}

function toRun(guest: Guest, { reached, transcript }: Task, { host, io }: Call): Run {
  return {
    host,
    guest,
    netns: reached.guest === undefined ? '' : (reached.pin?.netns ?? ''),
    interrupt: io.interrupt,
    onStep: transcript === undefined ? undefined : transcript.onStep,
  }
}

/** The shell script that does the same. */
export function toDetachScript({ done, asked: { reached } }: Taken, words: readonly string[]): string {
  const guest = reached.guest ?? done.map(({ attached }) => absent(attached.record.guest))[0]
  return guest === undefined ? '' : toScript({ plan: done.flatMap((it) => it.plan), guest, words })
}

function toScriptOutcome(taken: Taken, call: Call): Outcome {
  const plan = taken.done.flatMap((it) => it.plan)
  const script = toDetachScript(taken, ['disconnect', ...call.words])
  return { text: script, json: { ok: true, dryRun: true, steps: plan.map(({ why }) => why), script }, wanted: true }
}

/** The same, how long it took, and what makes it again, as far as the host's own records know: who reads it is root. */
async function toUndoable(done: readonly Detached[], { host, parse }: Call): Promise<Outcome> {
  const { text, json } = toOutcome(done)
  const { toLine } = await import('./save')
  const own = done.filter(({ attached: { hostEnd } }) => hostEnd !== undefined)
  const lines = await Promise.all(own.map(({ attached }) => toLine(attached, host, parse)))
  const undo = lines.flatMap((it) => ('line' in it ? [`pipework ${it.line}`] : []))
  // Behind what was taken away last; what else was done for it stands below.
  const end = text.indexOf('\n', text.lastIndexOf(' no longer has '))
  const took = `${text.slice(0, end)} (${Math.round(host.elapsed())} ms)${text.slice(end)}`
  return { text: `${took}${undo.map((line) => `  undo: ${line}\n`).join('')}`, json: { ...json, undo } }
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
