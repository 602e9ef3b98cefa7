import { readHostState, readUptime } from '../../state/host'
import type { System } from '../../system/types'
import { readProcessId, restoreMove, tryUplinkLock } from './run-move'
import { readUplinkState, type UplinkState } from './state-file'

/** Seconds between two looks at the state file. */
const POLL_INTERVAL = 0.05
/** Seconds between two tries of a restore that failed, and how many there are. */
const RETRY_DELAY = 1
const MAX_TRIES = 60

/**
 * A process of its own that restores the host when pipework was killed during the move, or when the move was not
 * confirmed in time. It says `ready` when it has loaded all that it may need.
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

/** Why everything is to be restored now; undefined while it is not. */
function findRestoreReason(state: UplinkState, system: System): string | undefined {
  const { stage, deadline = 0 } = state
  const isLate = readUptime(system) >= deadline
  if (stage === 'pending') return isLate ? 'it was not confirmed in time' : undefined
  // Taking the lock shows whether the process that moves is gone.
  if (!isLate) return 'pipework was killed during the move'
  killMover(state, system)
  return 'the move took too long'
}

/** A process that hangs has the lock and would block the restore. Its number may be another process's by now. */
function killMover({ mover }: UplinkState, system: System): void {
  if (mover !== undefined && readProcessId(mover.pid, system)?.startTime === mover.startTime) system.kill(mover.pid)
}

/** Restores while it has the lock, which the process that moves has as long as it lives; true when that failed. */
async function tryRestore({ bridge, stage }: UplinkState, error: string, system: System): Promise<boolean> {
  const release = await tryUplinkLock(system)
  if (release === undefined) return false
  try {
    // The process that had the lock may have finished in the meantime.
    const state = readUplinkState(bridge, system)
    if (state?.stage !== stage) return false
    return (await restoreMove(state, system, error)).length > 0
  } finally {
    release()
  }
}
