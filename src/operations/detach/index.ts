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

/** What `disconnect` did: attachments that are gone, leftovers of earlier ones that are gone, or nothing. */
export type DisconnectResult =
  | { readonly kind: 'detached'; readonly result: DetachResult }
  | { readonly kind: 'cleaned'; readonly cleanup: CleanupResult }
  | { readonly kind: 'nothing'; readonly result: DetachResult }

/** Detaches a guest; where it has nothing of ours, removes leftovers of earlier attachments. */
export async function disconnectGuest(target: DetachTarget, options: ChangeOptions): Promise<DisconnectResult> {
  const result = await detachGuest(target, options)
  if (!options.dryRun) await stopOrphanedClients(options.system)
  if (result.detached.length > 0) return { kind: 'detached', result }
  const cleanup =
    (await cleanUpGuestRules(target.guestName, options)) ??
    (result.attachments.length === 0 ? await cleanUpHost(options) : undefined)
  return cleanup === undefined ? { kind: 'nothing', result } : { kind: 'cleaned', cleanup }
}

/** Stops DHCP clients whose guests have ended. */
async function stopOrphanedClients(system: System): Promise<void> {
  if ((system.list(DHCP_DIR) ?? []).length > 0)
    await (await import('../../network/dhcp/cleanup')).cleanUpDhcpClients(system)
}

/** Takes away what is aimed at; on a dry run only plans it. Throws why it cannot, the host being as it was. */
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
async function detachLocked(asked: DetachTask, options: ChangeOptions): Promise<DetachResult> {
  const { system, interrupt } = options
  const locks: (() => void)[] = []
  try {
    const { all } = await findAttachments(asked, system)
    const names = selectTargets(all, asked).map(({ record }) => record.ifname)
    if (names.length > 0 && asked.resolved.guest === undefined) validateUnambiguous(all, asked.guestName)
    const { guest, pin } = asked.resolved.guest === undefined ? { guest: undefined, pin: undefined } : asked.resolved
    // In the order in which an attach takes them, so that no two runs wait for each other.
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

/** One after the other, so that each sees the routes as the one before has left them. */
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
    // A script is written before its first line runs: there all go at once.
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
  const { planReleaseOnDetach } = await import('../../network/dhcp/release')
  const pin = resolved.guest === undefined || inGuest === undefined ? undefined : resolved.pin
  return planReleaseOnDetach(plan, { record, netns: pin === undefined ? undefined : pin.inode }, system)
}

/** Gives back the leases that outlived the links of a guest: it has ended, or was started again. */
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

/** The steps that give back the lease of a guest that is gone; none where that cannot be done, and it runs out. */
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
  const next = stateAfterDetach(detachment)
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

/** Stands for a guest that is gone: nothing of its plan runs inside it. */
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
