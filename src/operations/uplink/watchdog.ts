import { readHostState, readUptime } from '../../state/host'
import type { System } from '../../system/types'
import { readProcessId, restoreMove, tryUplinkLock } from './run-move'
import { readUplinkState, type UplinkState } from './state-file'

/** Seconds between two reads of the state file. */
const POLL_INTERVAL = 0.05
/** Seconds between two tries of a failed restore, and the number of tries. */
const RETRY_DELAY = 1
const MAX_TRIES = 60

/**
 * A separate process that restores the host when pipework is killed during the move, or when the move is not confirmed
 * in time. It prints `ready` after loading all modules that it may need.
 */
export async function runUplinkWatchdog(bridge: string, system: System): Promise<void> {
  system.forwardSignals(() => {})
  await readHostState(system)
  system.write(1, 'ready\n')
  for (let tries = MAX_TRIES; tries > 0; ) {
    const state = readUplinkState(bridge, system)
    if (state?.stage !== 'moving' && state?.stage !== 'pending') return
    const error = findRestoreReason(state, system)
    const hasFailed = error !== undefined && (await tryRestore(state, error, system))
    if (hasFailed) tries -= 1
    await system.sleep(hasFailed ? RETRY_DELAY : POLL_INTERVAL)
  }
}

/** The reason to restore everything now; undefined while there is none. */
function findRestoreReason(state: UplinkState, system: System): string | undefined {
  const { stage, deadline = 0 } = state
  const isLate = readUptime(system) >= deadline
  if (stage === 'pending') return isLate ? 'it was not confirmed in time' : undefined
  // A free lock proves that the moving process is gone.
  if (!isLate) return 'pipework was killed during the move'
  killMover(state, system)
  return 'the move took too long'
}

/** Kills a hung move, whose lock would block the restore. Checks the process first, because its PID may be reused. */
function killMover({ mover }: UplinkState, system: System): void {
  if (mover !== undefined && readProcessId(mover.pid, system)?.startTime === mover.startTime) system.kill(mover.pid)
}

/** Restores under the lock, which the moving process holds while it lives; true when that failed. */
async function tryRestore({ bridge, stage }: UplinkState, error: string, system: System): Promise<boolean> {
  const release = await tryUplinkLock(system)
  if (release === undefined) return false
  try {
    // The moving process may have finished meanwhile.
    const state = readUplinkState(bridge, system)
    if (state?.stage !== stage) return false
    return (await restoreMove(state, system, error)).length > 0
  } finally {
    release()
  }
}
