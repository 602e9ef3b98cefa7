import * as fs from 'node:fs'
import { PipeworkError } from '../model/errors'
import { toFileError, tryOr } from './files'
import { createOwnerId, isOwnerAlive } from './owner'
import { lockDescriptor } from './process'
import type { HeldNetns, Interrupt, NodeProcess, System } from './types'

// A lock is a symbolic link that names its holder by PID and start time, so that one of a killed run holds up nobody.
// It is made in one system call, where flock(1) would be a process more for each attach. Only who removes the lock of a
// dead holder needs flock(1): of two who see it, the slower one must not remove what the quicker one has made since.

const RUN_DIR = '/run/pipework'

const lockPath = (name: string) => `${RUN_DIR}/${name}.lock`

const readOwner = (name: string) => tryOr(() => fs.readlinkSync(lockPath(name)))

/** Removes the lock of a dead holder. The kernel releases the file's lock when this process ends, however it ends. */
async function removeStaleLock(name: string, owner: string): Promise<void> {
  const fd = fs.openSync(`${RUN_DIR}/stale-locks`, 'w', 0o600)
  try {
    await lockDescriptor(fd)
    if (readOwner(name) === owner) fs.unlinkSync(lockPath(name))
  } finally {
    fs.closeSync(fd)
  }
}

/** Makes the calls that take locks. What this process holds at its exit is released. */
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

/** Which lock, and what it guards in the words of a message. */
interface LockSpec {
  readonly name: string
  readonly subject: string
  /** Seconds to wait for another run: more than the slowest step may take. */
  readonly limit?: number
}

/** Who waits, and what ends the wait early. */
interface LockWait {
  readonly system: System
  readonly interrupt: Interrupt
}

/** Seconds between two looks at a lock. */
const LOCK_POLL_INTERVAL = 0.01

/** Takes a lock, waiting for the run that holds it. Answers how to release it. */
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

/** The lock of one interface of a guest: a run must not find, or undo, what another one has half done. */
export function lockLink(
  ifname: string,
  { guest, pin }: { readonly guest: { readonly name: string }; readonly pin: Pick<HeldNetns, 'inode'> },
  wait: LockWait,
): Promise<() => void> {
  return acquireLock({ name: `${pin.inode}-${ifname}`, subject: `'${ifname}' of '${guest.name}'` }, wait)
}

/** The lock of what several attachments share: the firewall, the sysctls and the bridges' addresses. */
export function lockHostServices(wait: LockWait): Promise<() => void> {
  return acquireLock({ name: 'outside', subject: "the host's firewall" }, wait)
}
