import type { GuestKind } from '../../model/guest-name'
import { findGuest } from '../../runtimes/find'
import { scheduleGuestGc } from './events'
import type { DesiredAttachment } from './labels'
import { enqueueReconcile, type ReconcileContext, type TrackedGuest } from './reconcile'

/** Seconds between two looks at guests that tell nobody when they start: at a file, or with the help of a program. */
const POLL_PERIODS: Readonly<Record<string, number>> = { netns: 2, pid: 2, lxc: 20, nerdctl: 20 }

/** Seconds between two looks while there is no such guest. */
const IDLE_PERIOD = 5

/** Keeps the lines of guests that have no events, by looking for them: namespaces, processes, LXC and nerdctl by prefix. */
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
  /** Seconds. */
  readonly period: number
}

async function pollKind(kind: GuestKind, { context, signal, period }: PollOptions): Promise<void> {
  let before: PollResult = { desired: [], guestCount: 0, instances: new Map() }
  while (!signal.aborted) {
    before = await pollOnce(kind, before, context)
    // Files that are read again may bring the first.
    await context.system.sleep(before.guestCount === 0 ? Math.max(period, IDLE_PERIOD) : period, signal)
  }
}

/** What was there at a look. */
interface PollResult {
  readonly desired: readonly DesiredAttachment[]
  /** The number of guests that are looked for. */
  readonly guestCount: number
  /** By name, of those that run. */
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
    // Files that were read again may wish for something else.
    if (life !== undefined && (life !== before.instances.get(name) || wishes !== before.desired))
      enqueueReconcile(guest, means)
  }
  return { desired: wishes, guestCount: names.size, instances: lives }
}

/**
 * Tells one life of a guest from the next; undefined while it does not run. The kernel gives the number of a namespace
 * that has ended to a new one, so that a name needs the time as well, and a process when it started.
 */
async function readInstanceId({ kind, name }: TrackedGuest, { system }: ReconcileContext): Promise<string | undefined> {
  try {
    const { pid, id, nsPath } = await findGuest({ kind, name }, system)
    return [pid, id, system.inode(nsPath), pid === undefined ? system.mtime(nsPath) : ''].join(' ')
  } catch {
    return undefined
  }
}
