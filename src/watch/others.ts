import { findGuest } from '../guest'
import type { GuestKind } from '../guestname'
import { tidyLater } from './dispatch'
import { type KeeperMeans, type Kept, keep } from './keeper'

/** Seconds between two looks at guests that tell nobody when they start: at a file, or with the help of a program. */
const PERIODS: Readonly<Record<string, number>> = { netns: 2, pid: 2, lxc: 20, nerdctl: 20 }

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
  const seen = new Map<string, number | undefined>()
  while (!signal.aborted) {
    const names = new Set(means.wishes().flatMap(({ request: { guest } }) => (guest.kind === kind ? [guest.name] : [])))
    for (const name of names) {
      const inode = await readInode({ kind, id: name, name }, means)
      if (inode === undefined && seen.get(name) !== undefined) tidyLater({ kind, id: name, name }, means)
      if (inode !== undefined && inode !== seen.get(name)) keep({ kind, id: name, name }, means)
      seen.set(name, inode)
    }
    for (const name of seen.keys()) if (!names.has(name)) seen.delete(name)
    await means.host.sleep(period, signal)
  }
}

/** Tells one life of a guest from the next; undefined while it does not run. */
async function readInode({ kind, name }: Kept, { host }: KeeperMeans): Promise<number | undefined> {
  try {
    return host.inode((await findGuest({ kind, name }, host)).nsPath)
  } catch {
    return undefined
  }
}
