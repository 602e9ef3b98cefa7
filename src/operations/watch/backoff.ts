import type { System } from '../../system/types'

/** The number of quick restarts in a row that are handled without delay. */
const RESTART_BURST = 5
/** Seconds of running after which a container is not in a restart loop. */
const STABLE_AFTER = 10
/** The longest delay for a container in a restart loop, in seconds. */
const MAX_BACKOFF = 30

/** How to handle a start. */
export interface RestartDelay {
  /** Seconds to wait before attaching. */
  readonly delay: number
  /** True for the first delayed start of a loop, which is logged. */
  readonly isFirst: boolean
}

/** Called at each start of a container; returns the delay for containers in a restart loop. */
export type RestartBackoff = (key: string) => RestartDelay

/** Doubles the delay with each quick restart, as Docker's restart policies do. */
export function createRestartBackoff(system: System): RestartBackoff {
  // Ordered by last start, so that stable or removed containers are dropped from the front.
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
