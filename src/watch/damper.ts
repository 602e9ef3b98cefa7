import type { Host } from '../host'

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

/** Tells containers that start again and again from those that were restarted. */
export interface Damper {
  started(key: string): Damping
  /** Forgets containers that are steady, or gone. */
  prune(): void
}

/** Doubles the wait with each start that follows within seconds of the one before, as restart policies do. */
export function createDamper(host: Host): Damper {
  const loops = new Map<string, { readonly count: number; readonly last: number }>()
  const isSteady = (last: number) => host.elapsed() - last > (STEADY + LONGEST) * 1000
  return {
    started(key) {
      const before = loops.get(key)
      const now = host.elapsed()
      const isSoon = before !== undefined && now - before.last < STEADY * 1000
      const count = isSoon ? before.count + 1 : 1
      loops.set(key, { count, last: now })
      const excess = count - PATIENCE
      return { delay: excess <= 0 ? 0 : Math.min(2 ** (excess - 1), LONGEST), isNew: excess === 1 }
    },
    prune() {
      for (const [key, { last }] of loops) if (isSteady(last)) loops.delete(key)
    },
  }
}
