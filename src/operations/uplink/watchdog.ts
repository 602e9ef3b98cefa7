import { readHostState, readUptime } from '../../state/host'
import type { System } from '../../system/types'
import { restoreMove, UPLINK_LOCK } from './run-move'
import { readUplinkState, type UplinkState } from './state-file'

/** Seconds between two looks at the journal. */
const POLL_INTERVAL = 0.05
/** Seconds between two tries to put back what would not go, and how many there are. */
const RETRY_DELAY = 1
const MAX_TRIES = 60

/**
 * The dead man's timer: a process of its own that puts an uplink back when pipework was killed amid the move, or when
 * nobody has confirmed it in time. It says that it is ready when all it may need is in memory.
 */
export async function runUplinkWatchdog(bridge: string, system: System): Promise<void> {
  system.forwardSignals(() => {})
  await readHostState(system)
  system.write(1, 'ready\n')
  for (let tries = MAX_TRIES; tries > 0; ) {
    const journal = readUplinkState(bridge, system)
    if (journal?.stage !== 'moving' && journal?.stage !== 'pending') return
    const why = findRestoreReason(journal, system)
    const isLeft = why !== undefined && (await tryRestore(journal, why, system))
    if (isLeft) tries -= 1
    await system.sleep(isLeft ? RETRY_DELAY : POLL_INTERVAL)
  }
}

/** Why it is to be put back now, if it is. */
function findRestoreReason({ stage, deadline = 0 }: UplinkState, system: System): string | undefined {
  const isLate = readUptime(system) >= deadline
  if (stage === 'pending') return isLate ? 'nobody confirmed it in time' : undefined
  if (!isLate) return 'pipework was killed amid the move'
  // It hangs, and holds the lock that the restore needs.
  const owner = system.findLockOwner(UPLINK_LOCK)
  if (owner !== undefined) system.kill(owner)
  return 'the move did not end'
}

/** Puts it back; true when something is left. The lock says whether the one who moves it is still alive. */
async function tryRestore({ bridge, stage }: UplinkState, why: string, system: System): Promise<boolean> {
  const release = await system.tryLock(UPLINK_LOCK)
  if (release === undefined) return false
  try {
    // Whoever had the lock may just have come to an end with it.
    const journal = readUplinkState(bridge, system)
    if (journal?.stage !== stage) return false
    return (await restoreMove(journal, system, why)).length > 0
  } finally {
    release()
  }
}
