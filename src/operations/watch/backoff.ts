import type { System } from '../../system/types'

/** Starts in a row, each soon after the one before, that are worked on at once. */
const RESTART_BURST = 5
/** A container that has run that long, in seconds, is not in a loop. */
const STABLE_AFTER = 10
/** Seconds that the work for a container in a loop waits at most. */
const MAX_BACKOFF = 30

/** How a start is to be treated. */
export interface RestartDelay {
  /** Seconds to wait, if it is still running then. */
  readonly delay: number
  /** True for the first of a loop, which is worth a line in the log. */
  readonly isFirst: boolean
}

/** Told of each start of a container, tells those that start again and again from those that were restarted. */
export type RestartBackoff = (key: string) => RestartDelay

/** Doubles the wait with each start that follows within seconds of the one before, as restart policies do. */
export function createRestartBackoff(system: System): RestartBackoff {
  // In the order of their last starts: nothing is kept of what has been steady since, or gone.
  const recent = new Map<string, { readonly count: number; readonly last: number }>()
  return (started) => {
    const now = system.elapsed()
    for (const [key, { last }] of recent) {
      if (now - last < STABLE_AFTER * 1000) break
      recent.delete(key)
    }
    const count = (recent.get(started)?.count ?? 0) + 1
    recent.delete(started)
    recent.set(started, { count, last: now })
    const excess = count - RESTART_BURST
    return { delay: excess <= 0 ? 0 : Math.min(2 ** (excess - 1), MAX_BACKOFF), isFirst: excess === 1 }
  }
}
