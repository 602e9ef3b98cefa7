import { readSnapshot, uptime } from '../../state/host'
import type { Host } from '../../system/types'
import { findOwner, putBack, tryLock } from './run-move'
import { type Journal, readJournal } from './state-file'

/** Seconds between two looks at the journal. */
const POLL = 0.05
/** Seconds between two tries to put back what would not go, and how many there are. */
const TRY_AGAIN = 1
const TRIES = 60

/**
 * The dead man's timer: a process of its own that puts an uplink back when pipework was killed amid the move, or when
 * nobody has confirmed it in time. It says that it is ready when all it may need is in memory.
 */
export async function guardUplink(bridge: string, host: Host): Promise<void> {
  host.attendSignals(() => {})
  await readSnapshot(host)
  host.write(1, 'ready\n')
  for (let tries = TRIES; tries > 0; ) {
    const journal = readJournal(bridge, host)
    if (journal?.stage !== 'moving' && journal?.stage !== 'pending') return
    const why = findReason(journal, host)
    const isLeft = why !== undefined && (await restore(journal, why, host))
    if (isLeft) tries -= 1
    await host.sleep(isLeft ? TRY_AGAIN : POLL)
  }
}

/** Why it is to be put back now, if it is. */
function findReason({ stage, deadline = 0 }: Journal, host: Host): string | undefined {
  const isLate = uptime(host) >= deadline
  if (stage === 'pending') return isLate ? 'nobody confirmed it in time' : undefined
  if (!isLate) return 'pipework was killed amid the move'
  // It hangs; with its lock it would keep us from mending.
  const owner = findOwner(host)
  if (owner !== undefined) host.kill(owner)
  return 'the move did not end'
}

/** Puts it back; true when something is left. The lock says whether the one who moves it is still alive. */
async function restore({ bridge, stage }: Journal, why: string, host: Host): Promise<boolean> {
  const release = tryLock(host)
  if (release === undefined) return false
  try {
    // Whoever had the lock may just have come to an end with it.
    const journal = readJournal(bridge, host)
    if (journal?.stage !== stage) return false
    return (await putBack(journal, host, why)).length > 0
  } finally {
    release()
  }
}
