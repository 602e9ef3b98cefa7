import { PipeworkError, usageError, validateNoExtraArgs } from '../model/errors'
import { type GuestName, parseGuestName } from '../model/guest-name'
import { parseIfname } from '../model/ifname'
import type { ClientState } from '../network/dhcp/state'
import { DHCP_DIR } from '../network/dhcp/state'
import { cleanUpGuestRules, cleanUpHost } from '../operations/detach/cleanup'
import { type DetachInputs, stateAfterDetach as foreseeRest, planDetach } from '../operations/detach/plan'
import { readDetachInputs } from '../operations/detach/read'
import {
  type DetachTarget,
  findAttachments,
  type GuestAttachments,
  matchesGuest,
  type ResolvedTarget,
  resolveTargetGuest,
  selectTargets,
} from '../operations/look'
import { type ExecuteOptions, executePlan } from '../plan/execute'
import { formatScript } from '../plan/script'
import type { Plan } from '../plan/step'
import { AmbiguousGuestError, type Guest, GuestNotFoundError } from '../runtimes/find'
import type { ExistingAttachment } from '../state/attachments'
import { mayHaveHostServices } from '../state/marker'
import { formatGuest, type LinkRecord } from '../state/record'
import { lockHostServices, lockLink } from '../system/locks'
import type { System } from '../system/types'
import { type CommandContext, type CommandOutcome, openTranscripts, validateRoot } from '../ui/command'
import type { Transcript } from '../ui/transcript'

/** Takes a guest's attachments away, all or the one named. */
export async function run(call: CommandContext): Promise<CommandOutcome> {
  const [typed, ifname, ...rest] = call.positionals
  const usage = 'pipework disconnect <guest> [ifname]'
  if (typed === undefined) throw usageError('disconnect: which guest?', usage)
  validateNoExtraArgs(rest, usage)
  const wanted = parseGuestName(typed)
  if (ifname !== undefined) parseIfname(ifname, 'interface in the guest')
  validateRoot(call)
  const taken = await detachGuest({ guestName: wanted, ifnames: ifname === undefined ? undefined : [ifname] }, call)
  if (!call.hasFlag('dry-run')) await stopOrphanedClients(call.system)
  if (taken.detached.length === 0) {
    const swept =
      (await cleanUpGuestRules(wanted, call)) ?? (taken.attachments.length === 0 ? await cleanUpHost(call) : undefined)
    return swept ?? toNothingDetachedResult(taken, ifname)
  }
  return call.hasFlag('dry-run') ? toDryRunResult(taken, call) : toUndoableResult(taken.detached, call)
}

/** Ends DHCP clients that outlived their guests; nothing is loaded where there are none. */
async function stopOrphanedClients(system: System): Promise<void> {
  if ((system.list(DHCP_DIR) ?? []).length > 0)
    await (await import('../network/dhcp/cleanup')).cleanUpDhcpClients(system)
}

/** Takes away what is aimed at; on a dry run only plans it. Throws why it cannot, the host being as it was. */
export async function detachGuest(aim: DetachTarget, call: CommandContext): Promise<DetachResult> {
  const reached = await resolveTargetGuest(aim.guestName, call.system)
  const transcript = (await openTranscripts(call, 'one'))?.(reached.guest ?? placeholderGuest(aim.guestName))
  try {
    return await detachLocked({ ...aim, resolved: reached, transcript }, call)
  } finally {
    transcript?.end()
    if (reached.guest !== undefined) reached.pin?.release()
  }
}

/** What is wanted, and where its steps are told. */
interface DetachTask extends ResolvedTarget {
  readonly transcript: Transcript | undefined
}

/** An attachment, and the steps that took it away. */
export interface DetachedLink {
  readonly attachment: ExistingAttachment
  readonly plan: Plan
}

/** What was taken away, of all that the guest had. */
export interface DetachResult {
  readonly detached: readonly DetachedLink[]
  readonly attachments: readonly ExistingAttachment[]
  readonly target: ResolvedTarget
}

/** Alone, where the host has more of ours than links: what one no longer needs may be what another has just asked for. */
async function detachLocked(asked: DetachTask, call: CommandContext): Promise<DetachResult> {
  const { system, io } = call
  const locks: (() => void)[] = []
  try {
    const { all } = await findAttachments(asked, system)
    const names = selectTargets(all, asked).map(({ record }) => record.ifname)
    if (names.length > 0 && asked.resolved.guest === undefined) validateUnambiguous(all, asked.guestName)
    const { guest, pin } = asked.resolved.guest === undefined ? { guest: undefined, pin: undefined } : asked.resolved
    // In the order in which an attach takes them, so that no two runs wait for each other.
    if (guest !== undefined && pin !== undefined && !call.hasFlag('dry-run'))
      for (const name of [...new Set(names)].sort())
        locks.push(await lockLink(name, { guest, pin }, { system, interrupt: io.interrupt }))
    if (mayHaveHostServices(system) && !call.hasFlag('dry-run'))
      locks.push(await lockHostServices({ system, interrupt: io.interrupt }))
    const done = await detachSequentially(names, asked, call)
    return { detached: [...done, ...(await releaseLeftoverLeases(asked, call))], attachments: all, target: asked }
  } finally {
    for (const release of locks) release()
  }
}

/** One after the other, so that each sees the routes as the one before has left them. */
async function detachSequentially(
  names: readonly string[],
  asked: DetachTask,
  call: CommandContext,
): Promise<readonly DetachedLink[]> {
  const done: DetachedLink[] = []
  let foreseen: GuestAttachments | undefined
  for (const name of names) {
    const now = foreseen ?? (await findAttachments(asked, call.system))
    const attached = selectTargets(now.all, asked).find(({ record }) => record.ifname === name)
    if (attached === undefined) continue
    const others = now.all.filter((it) => it !== attached && it.deadPort === undefined)
    const gone = [...(asked.gone ?? []), ...(foreseen === undefined ? [] : done.map((it) => it.attachment))]
    // A script is written before its first line runs: there all go at once.
    const together = call.hasFlag('dry-run') ? selectTargets(now.all, asked) : [attached]
    const leaving = done.length > 0 && call.hasFlag('dry-run') ? [] : [...(asked.gone ?? []), ...together]
    const detachment = await readDetachInputs(
      { attachment: attached, others, gone, leaving, ...now },
      asked,
      call.system,
    )
    const plan = await planWithLeaseRelease(planDetach(detachment), { attached, asked }, call.system)
    if (call.hasFlag('dry-run')) foreseen = attachmentsAfter(detachment, now)
    else await executeDetach(plan, attached, { asked, call })
    done.push({ attachment: attached, plan })
  }
  return done
}

/** Where there are DHCP clients, the link's own end before it does. */
async function planWithLeaseRelease(
  plan: Plan,
  {
    attached: { record, inGuest },
    asked: { resolved },
  }: { readonly attached: ExistingAttachment; readonly asked: ResolvedTarget },
  system: System,
): Promise<Plan> {
  if ((system.list(DHCP_DIR) ?? []).length === 0) return plan
  const { planReleaseOnDetach } = await import('../network/dhcp/release-on-detach')
  const pin = resolved.guest === undefined || inGuest === undefined ? undefined : resolved.pin
  return planReleaseOnDetach(plan, { record, netns: pin === undefined ? undefined : pin.inode }, system)
}

/** Gives back the leases that outlived the links of a guest: it has ended, or was started again. */
async function releaseLeftoverLeases(asked: DetachTask, call: CommandContext): Promise<readonly DetachedLink[]> {
  if ((call.system.list(DHCP_DIR) ?? []).length === 0 || asked.files !== undefined) return []
  const [{ listOrphanedClients }, { planClientRemoval }] = await Promise.all([
    import('../network/dhcp/release-on-detach'),
    import('../network/dhcp/plan'),
  ])
  const { ifnames } = asked
  const left = listOrphanedClients(
    ({ guest, ifname }) => matchesGuest(guest, asked) && (ifnames === undefined || ifnames.includes(ifname)),
    call.system,
  )
  const done: DetachedLink[] = []
  const gone = { asked: { ...asked, resolved: { error: GUEST_GONE } }, call }
  for (const tenant of left) {
    const attached = toExistingAttachment(tenant.client)
    const forget = planClientRemoval(tenant)
    const plan = [...(await planReleaseNetns(tenant, call.system)), ...forget]
    const isDone = call.hasFlag('dry-run') || (await executeDetach(plan, attached, gone).then(() => true, isRolledBack))
    if (!isDone) await executeDetach(forget, attached, gone)
    done.push({ attachment: attached, plan: isDone ? plan : forget })
  }
  return done
}

/** The steps that give back the lease of a guest that is gone; none where that cannot be done, and it runs out. */
async function planReleaseNetns(tenant: ClientState, system: System): Promise<Plan> {
  const { toReleaseNamespace, planOrphanRelease } = await import('../network/dhcp/release-on-detach')
  const standIn = toReleaseNamespace(tenant, system)
  if (standIn === undefined) return []
  const [{ parseAttachRequest }, { planAttachment }] = await Promise.all([
    import('../model/request'),
    import('../operations/attach'),
  ])
  const { netns, words, options } = standIn
  try {
    const request = parseAttachRequest(words, { ...options, probe: false })
    const guest = { kind: 'netns', name: netns, nsPath: `/run/netns/${netns}` } as const
    const { plan: link } = await planAttachment(request, { guest, pin: undefined }, system)
    return planOrphanRelease(tenant, { netns, link }, system)
  } catch (error) {
    if (error instanceof PipeworkError) return []
    throw error
  }
}

/** False for a failure after which the host is as it was: then there is another way. Any other is thrown on. */
function isRolledBack(error: unknown): false {
  if (error instanceof PipeworkError && error.leftovers.length === 0) return false
  throw error
}

/** A link that is gone, as its client remembers it. */
function toExistingAttachment({
  guest,
  ifname,
  hostif,
}: Pick<LinkRecord, 'guest' | 'ifname' | 'hostif'>): ExistingAttachment {
  return {
    record: { kind: 'link', guest, ifname, hostif, addresses: [], words: [], previous: [] },
    alias: '',
  }
}

const GUEST_GONE = new PipeworkError('the guest is gone')

/** What the next look will show: without the link, and with the dead ports but the one that goes. */
function attachmentsAfter(detachment: DetachInputs, { all, ovs }: GuestAttachments): GuestAttachments {
  const next = foreseeRest(detachment)
  const dead = all.filter((it) => it.deadPort !== undefined && it !== detachment.attachment)
  return { ...next, all: [...next.all, ...dead], ovs }
}

/** Refuses a name that nobody answers to now, and that stands for several guests in the records. */
function validateUnambiguous(all: readonly ExistingAttachment[], { name }: GuestName): void {
  const guests = new Set(all.map(({ record: { guest } }) => `${guest.kind}:${guest.name}`))
  if (guests.size > 1)
    throw new AmbiguousGuestError(`'${name}' is ambiguous: it may mean ${[...guests].join(' or ')}`, {
      hint: 'Write one of these.',
    })
}

/** Nothing to take away is no error, but a name that nobody knows is. */
function toNothingDetachedResult(
  { attachments, target: { guestName, resolved } }: DetachResult,
  ifname: string | undefined,
): CommandOutcome {
  if (resolved.error instanceof GuestNotFoundError && attachments.length === 0) throw resolved.error
  const what = ifname === undefined ? 'nothing' : `no ${ifname}`
  const has = attachments.length === 0 ? '' : ` (it has ${attachments.map(({ record }) => record.ifname).join(', ')})`
  return {
    text: `${formatGuest({ kind: 'docker', ...guestName })} has ${what} that pipework attached${has}; nothing changed\n`,
    json: { ok: true, changed: false, detached: [] },
  }
}

/** Stands for a guest that is gone: nothing of its plan runs inside it. */
function placeholderGuest({ name }: Pick<GuestName, 'name'>): Guest {
  return { kind: 'docker', name, nsPath: '/proc/self/ns/net' }
}

async function executeDetach(
  plan: Plan,
  attached: ExistingAttachment,
  { asked, call }: { asked: DetachTask; call: CommandContext },
): Promise<void> {
  await executePlan(
    plan,
    toExecuteOptions(asked.resolved.guest ?? placeholderGuest(attached.record.guest), asked, call),
  )
}

function toExecuteOptions(
  guest: Guest,
  { resolved, transcript }: DetachTask,
  { system, io }: CommandContext,
): ExecuteOptions {
  return {
    system,
    guest,
    netns: resolved.guest === undefined ? '' : (resolved.pin?.netns ?? ''),
    interrupt: io.interrupt,
    onStep: transcript === undefined ? undefined : transcript.onStep,
  }
}

/** The shell script that does the same. */
export function toDetachScript({ detached, target: { resolved } }: DetachResult, words: readonly string[]): string {
  const guest = resolved.guest ?? detached.map(({ attachment }) => placeholderGuest(attachment.record.guest))[0]
  return guest === undefined ? '' : formatScript({ plan: detached.flatMap((it) => it.plan), guest, words })
}

function toDryRunResult(taken: DetachResult, call: CommandContext): CommandOutcome {
  const plan = taken.detached.flatMap((it) => it.plan)
  const script = toDetachScript(taken, ['disconnect', ...call.positionals])
  return {
    text: script,
    json: { ok: true, dryRun: true, steps: plan.map(({ description }) => description), script },
    printWhenQuiet: true,
  }
}

/** The same, how long it took, and what makes it again, as far as the host's own records know: who reads it is root. */
async function toUndoableResult(
  done: readonly DetachedLink[],
  { system, parse }: CommandContext,
): Promise<CommandOutcome> {
  const { text, json } = toDisconnectResult(done)
  const { toSavedLine } = await import('./save')
  const own = done.filter(({ attachment: { hostEnd } }) => hostEnd !== undefined)
  const lines = await Promise.all(own.map(({ attachment }) => toSavedLine(attachment, system, parse)))
  const undo = lines.flatMap((it) => ('line' in it ? [`pipework ${it.line}`] : []))
  // Behind what was taken away last; what else was done for it stands below.
  const end = text.indexOf('\n', text.lastIndexOf(' no longer has '))
  const took = `${text.slice(0, end)} (${Math.round(system.elapsed())} ms)${text.slice(end)}`
  return { text: `${took}${undo.map((line) => `  undo: ${line}\n`).join('')}`, json: { ...json, undo } }
}

/** What was taken away, told. */
export function toDisconnectResult(done: readonly DetachedLink[]): CommandOutcome {
  const lines = done.flatMap(({ attachment: { record }, plan }) => [
    `${formatGuest(record.guest)} no longer has ${record.ifname} on ${record.hostif}`,
    ...plan
      .filter(({ description }) => /^(remove |put the earlier|give .* back)/.test(description))
      .map(({ description }) => `  ${description}`),
  ])
  const detached = done.map(({ attachment: { record, hostEnd }, plan }) => ({
    guest: record.guest,
    ifname: record.ifname,
    hostif: record.hostif,
    hostEnd: hostEnd?.name ?? null,
    steps: plan.map(({ description }) => description),
  }))
  return { text: lines.map((line) => `${line}\n`).join(''), json: { ok: true, changed: detached.length > 0, detached } }
}
