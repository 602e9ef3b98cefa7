import type { Interrupt, System } from '../../system/types'

/** Interrupts a piece of work. */
export interface WorkInterrupt extends Interrupt {
  /** True after a timeout; false when a newer event replaced the work. */
  readonly isLate: boolean
}

/** Work for one container. When interrupted it rolls back and ends early. */
export type QueuedWork = (interrupt: WorkInterrupt) => Promise<void>

export interface WorkQueueOptions {
  readonly system: System
  /** The number of containers handled concurrently. */
  readonly concurrency: number
  /** Seconds after which a slot is freed: longer work waits for the network, not for this machine. */
  readonly slotTime: number
  /** Seconds after which a piece of work is interrupted. */
  readonly timeout: number
  /** Called after an interruption by the timeout. */
  onTimeout(key: string): void
  /** Called when work throws, which it should not. */
  onError(key: string, error: unknown): void
}

/** The state of one container: at most one piece of work runs, and at most one waits. */
interface QueueEntry {
  running?: { requested: boolean; isLate: boolean }
  waiting?: QueuedWork
  /** Cancels the delay of the waiting work; absent when there is no delay. */
  delay?: AbortController
}

/** Slots, given out in the order of requests. */
interface Semaphore {
  acquire(): Promise<void>
  release(): void
}

function createSemaphore(count: number): Semaphore {
  const asking: (() => void)[] = []
  const free = { count }
  return {
    async acquire(): Promise<void> {
      if (free.count > 0) free.count -= 1
      else await new Promise<void>((resolve) => asking.push(resolve))
    },
    release(): void {
      const next = asking.shift()
      if (next === undefined) free.count += 1
      else next()
    },
  }
}

/**
 * One queue for each container, in which the newest work wins: only the last of several events is handled, and never
 * two at once. Idle containers have no entry.
 */
export class WorkQueues {
  private readonly entries = new Map<string, QueueEntry>()
  private readonly places: Semaphore
  private readonly awaited: (() => void)[] = []

  constructor(private readonly options: WorkQueueOptions) {
    this.places = createSemaphore(options.concurrency)
  }

  /** Queues work for a container and replaces waiting work. Without a delay (in seconds) it interrupts running work. */
  put(key: string, work: QueuedWork, delay = 0): void {
    const entry = this.entries.get(key) ?? {}
    this.entries.set(key, entry)
    cancelDelay(entry)
    entry.waiting = work
    if (delay > 0) {
      const hold = new AbortController()
      entry.delay = hold
      void this.options.system.sleep(delay, hold.signal).then(() => {
        if (hold.signal.aborted) return
        delete entry.delay
        this.advance(key, entry)
      })
      return
    }
    interruptRunning(entry)
    this.advance(key, entry)
  }

  /** Drops waiting work and interrupts running work, because the container has stopped. */
  drop(key: string): void {
    const entry = this.entries.get(key)
    if (entry === undefined) return
    cancelDelay(entry)
    delete entry.waiting
    interruptRunning(entry)
    this.advance(key, entry)
  }

  /** Whether work for that key is waiting. */
  isWaiting(key: string): boolean {
    return this.entries.get(key)?.waiting !== undefined
  }

  /** Resolves when no work is running, and only delayed work is waiting. */
  async settled(): Promise<void> {
    if (!this.isQuiet()) await new Promise<void>((resolve) => this.awaited.push(resolve))
  }

  /** Drops waiting work, interrupts running work, and resolves when all of it has ended. */
  async stop(): Promise<void> {
    for (const key of [...this.entries.keys()]) this.drop(key)
    await this.settled()
  }

  private isQuiet(): boolean {
    return [...this.entries.values()].every(({ running, delay }) => running === undefined && delay !== undefined)
  }

  private advance(key: string, entry: QueueEntry): void {
    const { running, waiting, delay } = entry
    if (running !== undefined || delay !== undefined) return
    if (waiting === undefined) this.entries.delete(key)
    else {
      delete entry.waiting
      entry.running = { requested: false, isLate: false }
      void this.perform(key, waiting, entry.running).then(() => {
        delete entry.running
        this.advance(key, entry)
      })
    }
    if (this.isQuiet()) for (const resolve of this.awaited.splice(0)) resolve()
  }

  /** Runs the work. The container's own queue stays blocked until it ends, even after its slot is free. */
  private async perform(key: string, work: QueuedWork, running: NonNullable<QueueEntry['running']>): Promise<void> {
    const { system, slotTime, timeout, onTimeout, onError } = this.options
    await this.places.acquire()
    const done = new AbortController()
    void system.sleep(slotTime, done.signal).then(() => this.places.release())
    void system.sleep(timeout, done.signal).then(() => {
      if (done.signal.aborted || running.requested) return
      Object.assign(running, { requested: true, isLate: true })
      onTimeout(key)
    })
    await work(running).catch((error: unknown) => onError(key, error))
    done.abort()
  }
}

/** Running work belongs to an outdated state of the container. */
function interruptRunning({ running }: QueueEntry): void {
  if (running !== undefined) Object.assign(running, { requested: true, isLate: false })
}

function cancelDelay(entry: QueueEntry): void {
  entry.delay?.abort()
  delete entry.delay
}
