import type { Host } from '../../system/types'

/** Starts in a row, each soon after the one before, that are worked on at once. */
const PATIENCE = 5
/** A container that has run that long, in seconds, is not in a loop. */
const STEADY = 10
/** Seconds that the work for a container in a loop waits at most. */
const LONGEST = 30

/** How a start is to be treated. */
export interface Damping {
  /** Seconds to wait, if it is still running then. */
  readonly delay: number
  /** True for the first of a loop, which is worth a line in the log. */
  readonly isNew: boolean
}

/** Told of each start of a container, tells those that start again and again from those that were restarted. */
export type Damper = (key: string) => Damping

/** Doubles the wait with each start that follows within seconds of the one before, as restart policies do. */
export function createDamper(host: Host): Damper {
  // In the order of their last starts: nothing is kept of what has been steady since, or gone.
  const recent = new Map<string, { readonly count: number; readonly last: number }>()
  return (started) => {
    const now = host.elapsed()
    for (const [key, { last }] of recent) {
      if (now - last < STEADY * 1000) break
      recent.delete(key)
    }
    const count = (recent.get(started)?.count ?? 0) + 1
    recent.delete(started)
    recent.set(started, { count, last: now })
    const excess = count - PATIENCE
    return { delay: excess <= 0 ? 0 : Math.min(2 ** (excess - 1), LONGEST), isNew: excess === 1 }
  }
}
