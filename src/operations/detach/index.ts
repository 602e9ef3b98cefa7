import { PipeworkError } from '../../model/errors'
import type { GuestName } from '../../model/guest-name'
import type { ClientState } from '../../network/dhcp/state'
import { DHCP_DIR } from '../../network/dhcp/state'
import { type ExecuteOptions, executePlan } from '../../plan/execute'
import type { Plan } from '../../plan/step'
import { AmbiguousGuestError, type Guest } from '../../runtimes/find'
import type { ExistingAttachment } from '../../state/attachments'
import { mayHaveHostServices } from '../../state/marker'
import type { LinkRecord } from '../../state/record'
import { lockHostServices, lockLink } from '../../system/locks'
import type { System } from '../../system/types'
import {
  type DetachTarget,
  findAttachments,
  type GuestAttachments,
  matchesGuest,
  type ResolvedTarget,
  resolveTargetGuest,
  selectTargets,
} from '../look'
import type { ChangeOptions, Transcript } from '../types'
import { type CleanupResult, cleanUpGuestRules, cleanUpHost } from './cleanup'
import { type DetachInputs, planDetach, stateAfterDetach } from './plan'
import { readDetachInputs } from './read'

/** The result of `disconnect`: removed attachments, removed leftovers of earlier attachments, or nothing. */
export type DisconnectResult =
  | { readonly kind: 'detached'; readonly result: DetachResult }
  | { readonly kind: 'cleaned'; readonly cleanup: CleanupResult }
  | { readonly kind: 'nothing'; readonly result: DetachResult }

/** Detaches a guest; if it has no attachment, removes leftovers of earlier ones. */
export async function disconnectGuest(target: DetachTarget, options: ChangeOptions): Promise<DisconnectResult> {
  const result = await detachGuest(target, options)
  if (!options.dryRun) await stopOrphanedClients(options.system)
  if (result.detached.length > 0) return { kind: 'detached', result }
  const cleanup =
    (await cleanUpGuestRules(target.guestName, options)) ??
    (result.attachments.length === 0 ? await cleanUpHost(options) : undefined)
  return cleanup === undefined ? { kind: 'nothing', result } : { kind: 'cleaned', cleanup }
}

/** Stops the DHCP clients of stopped guests. */
async function stopOrphanedClients(system: System): Promise<void> {
  if ((system.list(DHCP_DIR) ?? []).length > 0)
    await (await import('../../network/dhcp/cleanup')).cleanUpDhcpClients(system)
}

/**
 * Removes the target's attachments; a dry run only plans it.
 * @throws PipeworkError when that fails; the host is unchanged.
 */
export async function detachGuest(aim: DetachTarget, options: ChangeOptions): Promise<DetachResult> {
  const reached = await resolveTargetGuest(aim.guestName, options.system)
  const transcript = options.openTranscript?.(reached.guest ?? placeholderGuest(aim.guestName))
  try {
    return await detachLocked({ ...aim, resolved: reached, transcript }, options)
  } finally {
    transcript?.end()
    if (reached.guest !== undefined) reached.pin?.release()
  }
}

/** The target, with the transcript for its steps. */
interface DetachTask extends ResolvedTarget {
  readonly transcript: Transcript | undefined
}

/** An attachment and the steps that removed it. */
export interface DetachedLink {
  readonly attachment: ExistingAttachment
  readonly plan: Plan
}

/** The removed attachments, out of all attachments of the guest. */
export interface DetachResult {
  readonly detached: readonly DetachedLink[]
  readonly attachments: readonly ExistingAttachment[]
  readonly target: ResolvedTarget
}

/**
 * Detaches under the lock for host services: another run may just have started to use what this one no longer needs.
 */
async function detachLocked(asked: DetachTask, options: ChangeOptions): Promise<DetachResult> {
  const { system, interrupt } = options
  const locks: (() => void)[] = []
  try {
    const { all } = await findAttachments(asked, system)
    const names = selectTargets(all, asked).map(({ record }) => record.ifname)
    if (names.length > 0 && asked.resolved.guest === undefined) validateUnambiguous(all, asked.guestName)
    const { guest, pin } = asked.resolved.guest === undefined ? { guest: undefined, pin: undefined } : asked.resolved
    // Lock in the same order as an attach, so that two runs never deadlock.
    if (guest !== undefined && pin !== undefined && !options.dryRun)
      for (const name of [...new Set(names)].sort())
        locks.push(await lockLink(name, { guest, pin }, { system, interrupt }))
    if (mayHaveHostServices(system) && !options.dryRun) locks.push(await lockHostServices({ system, interrupt }))
    const done = await detachSequentially(names, asked, options)
    return { detached: [...done, ...(await releaseLeftoverLeases(asked, options))], attachments: all, target: asked }
  } finally {
    for (const release of locks) release()
  }
}

/** Detaches one link after the other, so that each plan sees the routes that the previous one left. */
async function detachSequentially(
  names: readonly string[],
  asked: DetachTask,
  options: ChangeOptions,
): Promise<readonly DetachedLink[]> {
  const done: DetachedLink[] = []
  let expected: GuestAttachments | undefined
  for (const name of names) {
    const now = expected ?? (await findAttachments(asked, options.system))
    const attached = selectTargets(now.all, asked).find(({ record }) => record.ifname === name)
    if (attached === undefined) continue
    const others = now.all.filter((it) => it !== attached && it.deadPort === undefined)
    const gone = [...(asked.gone ?? []), ...(expected === undefined ? [] : done.map((it) => it.attachment))]
    // The script of a dry run is written before it runs, so all links leave with the first plan.
    const together = options.dryRun ? selectTargets(now.all, asked) : [attached]
    const leaving = done.length > 0 && options.dryRun ? [] : [...(asked.gone ?? []), ...together]
    const detachment = await readDetachInputs(
      { attachment: attached, others, gone, leaving, ...now },
      asked,
      options.system,
    )
    const plan = await planWithLeaseRelease(planDetach(detachment), { attached, asked }, options.system)
    if (options.dryRun) expected = attachmentsAfter(detachment, now)
    else await executeDetach(plan, attached, { asked, options })
    done.push({ attachment: attached, plan })
  }
  return done
}

/** Adds the release of DHCP leases before the link is removed. */
async function planWithLeaseRelease(
  plan: Plan,
  {
    attached: { record, inGuest },
    asked: { resolved },
  }: { readonly attached: ExistingAttachment; readonly asked: ResolvedTarget },
  system: System,
): Promise<Plan> {
  if ((system.list(DHCP_DIR) ?? []).length === 0) return plan
  const { planReleaseOnDetach } = await import('../../network/dhcp/release')
  const pin = resolved.guest === undefined || inGuest === undefined ? undefined : resolved.pin
  return planReleaseOnDetach(plan, { record, netns: pin === undefined ? undefined : pin.inode }, system)
}

/** Releases the leases whose links are gone because the guest has stopped or restarted. */
async function releaseLeftoverLeases(asked: DetachTask, options: ChangeOptions): Promise<readonly DetachedLink[]> {
  if ((options.system.list(DHCP_DIR) ?? []).length === 0 || asked.files !== undefined) return []
  const [{ listOrphanedClients }, { planClientRemoval }] = await Promise.all([
    import('../../network/dhcp/release'),
    import('../../network/dhcp/supervisor'),
  ])
  const { ifnames } = asked
  const left = listOrphanedClients(
    ({ guest, ifname }) => matchesGuest(guest, asked) && (ifnames === undefined || ifnames.includes(ifname)),
    options.system,
  )
  const done: DetachedLink[] = []
  const gone = { asked: { ...asked, resolved: { error: GUEST_GONE } }, options }
  for (const tenant of left) {
    const attached = toExistingAttachment(tenant.client)
    const forget = planClientRemoval(tenant)
    const plan = [...(await planReleaseNetns(tenant, options.system)), ...forget]
    const isDone = options.dryRun || (await executeDetach(plan, attached, gone).then(() => true, isRolledBack))
    if (!isDone) await executeDetach(forget, attached, gone)
    done.push({ attachment: attached, plan: isDone ? plan : forget })
  }
  return done
}

/** The steps that release the lease of a stopped guest; empty when that is impossible and the lease must expire. */
async function planReleaseNetns(tenant: ClientState, system: System): Promise<Plan> {
  const { toReleaseNamespace, planOrphanRelease } = await import('../../network/dhcp/release')
  const standIn = toReleaseNamespace(tenant, system)
  if (standIn === undefined) return []
  const [{ parseAttachRequest }, { planAttachment }] = await Promise.all([
    import('../../model/request'),
    import('../attach'),
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

/**
 * Returns false when the failed plan was rolled back completely, so that the caller can try another way; else rethrows.
 */
function isRolledBack(error: unknown): false {
  if (error instanceof PipeworkError && error.leftovers.length === 0) return false
  throw error
}

/** A deleted link, from the state of its DHCP client. */
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

/** The expected state after this plan: without the link, and with the remaining dead ports. */
function attachmentsAfter(detachment: DetachInputs, { all, ovs }: GuestAttachments): GuestAttachments {
  const next = stateAfterDetach(detachment)
  const dead = all.filter((it) => it.deadPort !== undefined && it !== detachment.attachment)
  return { ...next, all: [...next.all, ...dead], ovs }
}

/** Refuses a name that no running guest has and that matches several recorded guests. */
function validateUnambiguous(all: readonly ExistingAttachment[], { name }: GuestName): void {
  const guests = new Set(all.map(({ record: { guest } }) => `${guest.kind}:${guest.name}`))
  if (guests.size > 1)
    throw new AmbiguousGuestError(`'${name}' is ambiguous: it may mean ${[...guests].join(' or ')}`, {
      hint: 'Write one of these.',
    })
}

/** A placeholder for a stopped guest: no step of the plan runs inside it. */
export function placeholderGuest({ name }: Pick<GuestName, 'name'>): Guest {
  return { kind: 'docker', name, nsPath: '/proc/self/ns/net' }
}

async function executeDetach(
  plan: Plan,
  attached: ExistingAttachment,
  { asked, options }: { asked: DetachTask; options: ChangeOptions },
): Promise<void> {
  await executePlan(
    plan,
    toExecuteOptions(asked.resolved.guest ?? placeholderGuest(attached.record.guest), asked, options),
  )
}

function toExecuteOptions(
  guest: Guest,
  { resolved, transcript }: DetachTask,
  { system, interrupt }: ChangeOptions,
): ExecuteOptions {
  return {
    system,
    guest,
    netns: resolved.guest === undefined ? '' : (resolved.pin?.netns ?? ''),
    interrupt,
    onStep: transcript === undefined ? undefined : transcript.onStep,
  }
}
