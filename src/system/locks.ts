import { PipeworkError } from '../model/errors'
import type { HeldNetns, Interrupt, System } from './types'

/** Who waits, and what ends the wait early. */
interface LockWait {
  readonly system: System
  readonly interrupt: Interrupt
}

/** Seconds that a run waits for another one at the same interface: more than the slowest step may take. */
const LOCK_TIMEOUT = 60

/** Seconds between two looks at the lock. */
const LOCK_POLL_INTERVAL = 0.01

/** One run at a time: what one finds half-made, and takes back to that when it fails, may be another's by then. */
export async function lockLink(
  ifname: string,
  { guest, pin }: { readonly guest: { readonly name: string }; readonly pin: HeldNetns },
  means: LockWait,
): Promise<() => void> {
  return waitForLock({ name: `${pin.inode}-${ifname}`, what: `'${ifname}' of '${guest.name}'` }, means)
}

/** The same for what several attachments have in common: the firewall, the sysctls and the bridges' addresses. */
export async function lockHostServices(means: LockWait): Promise<() => void> {
  return waitForLock({ name: 'outside', what: "the host's firewall" }, means)
}

async function waitForLock(
  { name, what }: { readonly name: string; readonly what: string },
  { system, interrupt }: LockWait,
): Promise<() => void> {
  const deadline = system.elapsed() + LOCK_TIMEOUT * 1000
  for (;;) {
    const release = system.tryLock(name)
    if (release !== undefined) return release
    if (interrupt.requested) throw new PipeworkError('interrupted')
    if (system.elapsed() >= deadline)
      throw new PipeworkError(`another pipework has been at ${what} for ${LOCK_TIMEOUT} s`, {
        hint: 'Look what it is waiting for: pgrep -a -f pipework',
      })
    await system.sleep(LOCK_POLL_INTERVAL)
  }
}
