import type { GuestKind } from '../../model/guest-name'
import { findGuest } from '../../runtimes/find'
import { scheduleGuestGc } from './events'
import type { DesiredAttachment } from './labels'
import { enqueueReconcile, type ReconcileContext, type TrackedGuest } from './reconcile'

/** Seconds between two checks of guests without events: file checks are cheap, running a program is not. */
const POLL_PERIODS: Readonly<Record<string, number>> = { netns: 2, pid: 2, lxc: 20, nerdctl: 20 }

/** Seconds between two checks while there is no such guest. */
const IDLE_PERIOD = 5

/** Polls guests that have no events: namespaces, processes, LXC, and nerdctl by prefix. */
export async function pollGuests(means: ReconcileContext, signal: AbortSignal): Promise<void> {
  await Promise.all(
    Object.entries(POLL_PERIODS).map(([kind, period]) =>
      pollKind(kind as GuestKind, { context: means, signal, period }),
    ),
  )
}

interface PollOptions {
  readonly context: ReconcileContext
  readonly signal: AbortSignal
  readonly period: number
}

async function pollKind(kind: GuestKind, { context, signal, period }: PollOptions): Promise<void> {
  let before: PollResult = { desired: [], guestCount: 0, instances: new Map() }
  while (!signal.aborted) {
    before = await pollOnce(kind, before, context)
    // Reloaded files may contain the first such guest.
    await context.system.sleep(before.guestCount === 0 ? Math.max(period, IDLE_PERIOD) : period, signal)
  }
}

/** The result of one check. */
interface PollResult {
  readonly desired: readonly DesiredAttachment[]
  /** The number of polled guests. */
  readonly guestCount: number
  /** The instances of running guests, by name. */
  readonly instances: ReadonlyMap<string, string>
}

async function pollOnce(kind: GuestKind, before: PollResult, means: ReconcileContext): Promise<PollResult> {
  const wishes = means.desired()
  const names = new Set(wishes.flatMap(({ request: { guest } }) => (guest.kind === kind ? [guest.name] : [])))
  const lives = new Map<string, string>()
  for (const name of names) {
    const guest = { kind, id: name, name }
    const life = await readInstanceId(guest, means)
    if (life !== undefined) lives.set(name, life)
    else if (before.instances.has(name)) scheduleGuestGc(guest, means)
    // Reloaded files may request something else.
    if (life !== undefined && (life !== before.instances.get(name) || wishes !== before.desired))
      enqueueReconcile(guest, means)
  }
  return { desired: wishes, guestCount: names.size, instances: lives }
}

/**
 * Identifies one run of a guest; undefined while it is stopped. The kernel reuses inode numbers of namespaces, so a
 * named namespace also needs its time, and a process its start time.
 */
async function readInstanceId({ kind, name }: TrackedGuest, { system }: ReconcileContext): Promise<string | undefined> {
  try {
    const { pid, id, nsPath } = await findGuest({ kind, name }, system)
    return [pid, id, system.inode(nsPath), pid === undefined ? system.mtime(nsPath) : ''].join(' ')
  } catch {
    return undefined
  }
}
