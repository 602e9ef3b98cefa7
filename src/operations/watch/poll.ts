import type { GuestKind } from '../../model/guest-name'
import { findGuest } from '../../runtimes/find'
import { tidyLater } from './events'
import type { Wish } from './labels'
import { type KeeperMeans, type Kept, keep } from './reconcile'

/** Seconds between two looks at guests that tell nobody when they start: at a file, or with the help of a program. */
const PERIODS: Readonly<Record<string, number>> = { netns: 2, pid: 2, lxc: 20, nerdctl: 20 }

/** Seconds between two looks while there is no such guest. */
const IDLE = 5

/** Keeps the lines of guests that have no events, by looking for them: namespaces, processes, LXC and nerdctl by prefix. */
export async function followOthers(means: KeeperMeans, signal: AbortSignal): Promise<void> {
  await Promise.all(
    Object.entries(PERIODS).map(([kind, period]) => followKind(kind as GuestKind, { means, signal, period })),
  )
}

interface Look {
  readonly means: KeeperMeans
  readonly signal: AbortSignal
  /** Seconds. */
  readonly period: number
}

async function followKind(kind: GuestKind, { means, signal, period }: Look): Promise<void> {
  let before: Seen = { wishes: [], wanted: 0, lives: new Map() }
  while (!signal.aborted) {
    before = await look(kind, before, means)
    // Files that are read again may bring the first.
    await means.host.sleep(before.wanted === 0 ? Math.max(period, IDLE) : period, signal)
  }
}

/** What was there at a look. */
interface Seen {
  readonly wishes: readonly Wish[]
  /** The number of guests that are looked for. */
  readonly wanted: number
  /** By name, of those that run. */
  readonly lives: ReadonlyMap<string, string>
}

async function look(kind: GuestKind, before: Seen, means: KeeperMeans): Promise<Seen> {
  const wishes = means.wishes()
  const names = new Set(wishes.flatMap(({ request: { guest } }) => (guest.kind === kind ? [guest.name] : [])))
  const lives = new Map<string, string>()
  for (const name of names) {
    const guest = { kind, id: name, name }
    const life = await readLife(guest, means)
    if (life !== undefined) lives.set(name, life)
    else if (before.lives.has(name)) tidyLater(guest, means)
    // Files that were read again may wish for something else.
    if (life !== undefined && (life !== before.lives.get(name) || wishes !== before.wishes)) keep(guest, means)
  }
  return { wishes, wanted: names.size, lives }
}

/**
 * Tells one life of a guest from the next; undefined while it does not run. The kernel gives the number of a namespace
 * that has ended to a new one, so that a name needs the time as well, and a process when it started.
 */
async function readLife({ kind, name }: Kept, { host }: KeeperMeans): Promise<string | undefined> {
  try {
    const { pid, id, nsPath } = await findGuest({ kind, name }, host)
    return [pid, id, host.inode(nsPath), pid === undefined ? host.since(nsPath) : ''].join(' ')
  } catch {
    return undefined
  }
}
