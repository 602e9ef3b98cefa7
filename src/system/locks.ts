import * as fs from 'node:fs'
import { PipeworkError } from '../model/errors'
import { toFileError, tryOr } from './files'
import { createOwnerId, isOwnerAlive } from './owner'
import { lockDescriptor } from './process'
import type { HeldNetns, Interrupt, NodeProcess, System } from './types'

// A lock is a symbolic link that names its holder by PID and start time, so that a killed run's lock does not block
// others. It is created by one system call; flock(1) would be another process for each attach. Only removing a dead
// holder's lock needs flock(1): when two processes see it, the slower one must not remove the faster one's new lock.

const RUN_DIR = '/run/pipework'

const lockPath = (name: string) => `${RUN_DIR}/${name}.lock`

const readOwner = (name: string) => tryOr(() => fs.readlinkSync(lockPath(name)))

/** Removes a dead holder's lock. The kernel releases the flock when this process ends for any reason. */
async function removeStaleLock(name: string, owner: string): Promise<void> {
  const fd = fs.openSync(RUN_DIR, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY)
  try {
    await lockDescriptor(fd)
    if (readOwner(name) === owner) fs.unlinkSync(lockPath(name))
  } finally {
    fs.closeSync(fd)
  }
}

/** Creates the lock calls. Locks that this process holds at its exit are released. */
export function createLocks(self: NodeProcess): Pick<System, 'tryLock' | 'findLockOwner'> {
  const ownerId = createOwnerId(self)
  const held = new Set<string>()
  self.onExit(() => {
    for (const path of held) tryOr(() => fs.unlinkSync(path))
  })
  return {
    async tryLock(name) {
      const path = lockPath(name)
      const owner = readOwner(name)
      if (owner !== undefined && isOwnerAlive(owner)) return undefined
      try {
        fs.mkdirSync(RUN_DIR, { recursive: true, mode: 0o700 })
        if (owner !== undefined) await removeStaleLock(name, owner)
        fs.symlinkSync(ownerId(), path)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined
        throw toFileError(path, error)
      }
      held.add(path)
      return () => {
        if (held.delete(path)) fs.unlinkSync(path)
      }
    },
    findLockOwner(name) {
      const owner = readOwner(name)
      return owner !== undefined && isOwnerAlive(owner) ? Number(owner.split('-')[0]) : undefined
    },
  }
}

/** A lock's name, and what it guards, for messages. */
interface LockSpec {
  readonly name: string
  readonly subject: string
  /** Seconds to wait for another run: longer than the slowest step. */
  readonly limit?: number
}

/** The waiting system, and the signal that ends the wait early. */
interface LockWait {
  readonly system: System
  readonly interrupt: Interrupt
}

/** Seconds between two checks of a lock. */
const LOCK_POLL_INTERVAL = 0.01

/** Takes a lock, waiting for the run that holds it. Returns the function that releases it. */
export async function acquireLock(
  { name, subject, limit = 60 }: LockSpec,
  { system, interrupt }: LockWait,
): Promise<() => void> {
  const deadline = system.elapsed() + limit * 1000
  for (;;) {
    const release = await system.tryLock(name)
    if (release !== undefined) return release
    if (interrupt.requested) throw new PipeworkError('interrupted')
    if (system.elapsed() >= deadline)
      throw new PipeworkError(`another pipework has been changing ${subject} for ${limit} s`, {
        hint: 'See what it is waiting for: pgrep -a -f pipework',
      })
    await system.sleep(LOCK_POLL_INTERVAL)
  }
}

/** The lock of one interface of a guest: a run must not see or undo the half-done work of another. */
export function lockLink(
  ifname: string,
  { guest, pin }: { readonly guest: { readonly name: string }; readonly pin: Pick<HeldNetns, 'inode'> },
  wait: LockWait,
): Promise<() => void> {
  return acquireLock({ name: `${pin.inode}-${ifname}`, subject: `'${ifname}' of '${guest.name}'` }, wait)
}

/** The lock of state that attachments share: the firewall, the sysctls and the bridges' addresses. */
export function lockHostServices(wait: LockWait): Promise<() => void> {
  return acquireLock({ name: 'outside', subject: "the host's firewall" }, wait)
}
