import { formatAddress } from '../../model/address'
import type { LineParser } from '../../model/command-line'
import { ExitCode, PipeworkError } from '../../model/errors'
import type { GuestKind } from '../../model/guest-name'
import { findGuest, GuestNotFoundError, holdGuestNetns } from '../../runtimes/find'
import { isEngineKind, readContainerConfig } from '../../runtimes/running'
import { GuestNotRunningError } from '../../runtimes/types'
import { resolveHostif } from '../../state/host-links'
import { formatGuest } from '../../state/record'
import type { Interrupt, System } from '../../system/types'
import { type AttachPlan, attachGuests } from '../attach'
import { createFirewallCheck, wantsFirewallWarning } from '../attach/firewall-check'
import {
  type DesiredAttachment,
  type LabelAttachments,
  type LabelRules,
  matchesContainer,
  readLabelAttachments,
} from './labels'
import type { Logger } from './log'
import type { WorkInterrupt, WorkQueues } from './queue'

/** A container whose attachments the watch maintains. */
export interface TrackedGuest {
  readonly kind: GuestKind
  readonly id: string
  readonly name: string
}

export interface ReconcileContext {
  readonly system: System
  readonly queues: WorkQueues
  readonly log: Logger
  readonly labelRules: LabelRules
  /** The current lines of the files. */
  desired(): readonly DesiredAttachment[]
  /** Bridges whose firewall warning has been logged. */
  readonly warnedBridges: Set<string>
  readonly parseLine: LineParser
}

/** Seconds before each retry; the last value repeats. */
const RETRY_DELAYS = [0.25, 1, 4, 15, 60] as const

/** The number of tries, and the errors of the last one. */
interface RetryState {
  readonly count: number
  readonly messages: readonly string[]
}

export const queueKey = ({ kind, id }: Pick<TrackedGuest, 'kind' | 'id'>) => `${kind}:${id}`

/** Queues the attach of everything desired for a container. */
export function enqueueReconcile(container: TrackedGuest, means: ReconcileContext, delay = 0): void {
  const work = (last: RetryState) => (interrupt: WorkInterrupt) =>
    reconcile(container, { context: means, interrupt, previous: last, retry: again })
  const again = (next: RetryState) => {
    const pause = RETRY_DELAYS[Math.min(next.count, RETRY_DELAYS.length) - 1] ?? 60
    means.queues.put(queueKey(container), work(next), pause)
  }
  means.queues.put(queueKey(container), work({ count: 0, messages: [] }), delay)
}

interface ReconcileAttempt {
  readonly context: ReconcileContext
  readonly interrupt: WorkInterrupt
  readonly previous: RetryState
  retry(next: RetryState): void
}

async function reconcile(
  container: TrackedGuest,
  { context, interrupt, previous, retry }: ReconcileAttempt,
): Promise<void> {
  const { system, log } = context
  const failed: PipeworkError[] = []
  const fail = (error: unknown) => {
    if (!(error instanceof PipeworkError)) throw error
    failed.push(error)
  }
  try {
    // A failing label does not stop the lines of files.
    for (const wishes of await findDesired(container, { context, isFirst: previous.count === 0 }))
      if (wishes.length > 0 && !interrupt.requested)
        await attachDesired(wishes, container, { ...context, interrupt }).catch(fail)
  } catch (error) {
    fail(error)
  }
  // A newer event is handled next, and a stopped container has an event of its own.
  const hasEnded = failed.length > 0 && !(await mayBeRunning(container, system))
  const isPast = hasEnded || (interrupt.requested && !interrupt.isLate)
  if (failed.length === 0 || (isPast && failed.every(({ leftovers }) => leftovers.length === 0))) return
  const said = failed.map(describeFailure)
  for (const [index, { hint }] of failed.entries()) {
    const text = said[index] ?? ''
    if (!previous.messages.includes(text)) log({ level: 'error', about: formatGuest(container), text, hint })
  }
  // A usage error does not go away with a retry.
  if (!isPast && failed.some(({ exitCode }) => exitCode !== ExitCode.usage))
    retry({ count: previous.count + 1, messages: said })
}

function describeFailure({ message, leftovers }: PipeworkError): string {
  return [message, ...leftovers.map(({ what, command }) => `left: ${what}, remove it with: ${command}`)].join('; ')
}

/** Whether the container may still be running. */
async function mayBeRunning({ kind, id }: TrackedGuest, system: System): Promise<boolean> {
  try {
    await findGuest({ kind, name: id }, system)
    return true
  } catch (error) {
    return !(error instanceof GuestNotRunningError || error instanceof GuestNotFoundError)
  }
}

/** Whether anything can be desired for the container, judged by its name. */
export function mayHaveDesired(container: TrackedGuest, { labelRules, desired }: ReconcileContext): boolean {
  return (
    labelRules.labels ||
    labelRules.envCompat ||
    desired().some(({ request }) => matchesContainer(request.guest, container))
  )
}

interface FindDesiredOptions {
  readonly context: ReconcileContext
  /** Whether to log refusals. */
  readonly isFirst: boolean
}

/** The desired attachments of files and labels. When two are for one interface, the first wins. */
async function findDesired(
  container: TrackedGuest,
  { context, isFirst }: FindDesiredOptions,
): Promise<readonly (readonly DesiredAttachment[])[]> {
  const { system } = context
  const warn = (text: string, hint?: string) => {
    if (isFirst) context.log({ level: 'warning', about: formatGuest(container), text, hint })
  }
  const fromFiles: DesiredAttachment[] = []
  for (const wish of context.desired())
    if (matchesContainer(wish.request.guest, container) && (await ownsBareName(wish, container, system)))
      fromFiles.push(wish)
  const { attachments: fromLabels, rejected } = await readLabelsOf(container, context)
  for (const { where, why } of rejected) warn(`${where} is refused: ${why.message}`, why.hint)
  const taken = new Map<string, string>()
  const isFree = ({ request, source }: DesiredAttachment) => {
    const { ifname } = resolveHostif(request, system)
    const rival = taken.get(ifname)
    if (rival === undefined) taken.set(ifname, source)
    else warn(`${source} is left out: ${rival} has ${ifname}, and goes first`)
    return rival === undefined
  }
  return [fromFiles.filter(isFree), fromLabels.filter(isFree)]
}

async function readLabelsOf(
  { kind, id }: TrackedGuest,
  { system, labelRules, parseLine }: ReconcileContext,
): Promise<LabelAttachments> {
  const isAsked = isEngineKind(kind) && (labelRules.labels || labelRules.envCompat)
  const config = isAsked ? await readContainerConfig(kind, id, system).catch(failReadingLabels) : undefined
  return config === undefined ? { attachments: [], rejected: [] } : readLabelAttachments(config, labelRules, parseLine)
}

/** Turns the error of an engine that died while answering into one that is retried. */
function failReadingLabels(cause: unknown): never {
  const why = cause instanceof Error ? cause.message : String(cause)
  throw new PipeworkError(`its labels cannot be read: ${why}`, { cause })
}

/** A bare name means a Podman container only if Docker has none of that name. */
async function ownsBareName(
  { request: { guest } }: DesiredAttachment,
  { kind, id }: TrackedGuest,
  system: System,
): Promise<boolean> {
  if (guest.kind !== undefined || kind === 'docker') return true
  const owner = await findGuest(guest, system).catch(() => undefined)
  return owner?.id === id
}

/** Attaches everything desired in one change, and logs it. */
async function attachDesired(
  wishes: readonly DesiredAttachment[],
  container: TrackedGuest,
  means: AttachDesiredContext,
): Promise<void> {
  const { system, log, interrupt } = means
  const began = system.elapsed()
  const guest = await findGuest({ kind: container.kind, name: container.id }, system)
  // The container was renamed meanwhile: other work handles its new name.
  if (isEngineKind(guest.kind) && guest.name !== container.name) return
  const pin = holdGuestNetns(guest, system)
  try {
    const requests = wishes.map(({ request }) => resolveHostif(request, system))
    const done = await attachGuests(requests, { guest, pin }, { system, interrupt })
    const changed = done.some(({ plan }) => plan.length > 0)
    const ms = Math.round(system.elapsed() - began)
    const text = `${done.map(describeAttached).join('; ')}${changed ? ` (${ms} ms)` : ''}`
    log({ level: 'info', about: formatGuest(guest), text, details: { changed, ms } })
    if (changed) await warnFirewallDrops(done, means)
  } finally {
    pin.release()
  }
}

interface AttachDesiredContext extends ReconcileContext {
  readonly interrupt: Interrupt
}

/** Warns once for each bridge whose frames a firewall drops, like a manual attach. */
async function warnFirewallDrops(
  done: readonly AttachPlan[],
  { system, log, warnedBridges }: ReconcileContext,
): Promise<void> {
  for (const planned of done) {
    const { request } = planned
    if (!wantsFirewallWarning(request) || warnedBridges.has(request.hostif)) continue
    const warning = await (await createFirewallCheck([request], system))?.(planned)
    if (warning === undefined) continue
    warnedBridges.add(request.hostif)
    const { message: text, command } = warning
    log({ level: 'warning', about: request.hostif, text, hint: command && `fix: ${command}` })
  }
}

function describeAttached({ request: { ifname, hostif, addresses, sources }, plan }: AttachPlan): string {
  const list = [...addresses.map(formatAddress), ...sources.map(({ typed }) => typed)].join(',') || 'no address'
  return `${ifname} on ${hostif}, ${list}${plan.length === 0 ? ' already' : ''}`
}
