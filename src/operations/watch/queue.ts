import type { Interrupt, System } from '../../system/types'

/** Heard by work that is to end. */
export interface WorkInterrupt extends Interrupt {
  /** It has taken too long; else what it is for has passed. */
  readonly isLate: boolean
}

/** Work for one container. It ends early when `interrupt` is heard, having taken back what it began. */
export type QueuedWork = (interrupt: WorkInterrupt) => Promise<void>

export interface WorkQueueOptions {
  readonly system: System
  /** How many containers are worked on side by side. */
  readonly concurrency: number
  /** Seconds after which a place goes to others: what takes longer waits for the network, and not for this machine. */
  readonly slotTime: number
  /** Seconds that one piece of work may take before it is interrupted. */
  readonly timeout: number
  /** Told when that happens. */
  onTimeout(key: string): void
  /** Told of what work throws: it is meant to throw nothing. */
  onError(key: string, error: unknown): void
}

/** What there is for one container: one piece of work at most is under way, one at most waits. */
interface QueueEntry {
  running?: { requested: boolean; isLate: boolean }
  waiting?: QueuedWork
  /** Ends the delay of what waits; absent when it may begin. */
  delay?: AbortController
}

/** A number of places, given in the order of asking. */
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
 * One queue for each container, in which the newest wins: of several events only the last is worked on, and never two
 * at once. Nothing is kept of a container that has nothing to do.
 */
export class WorkQueues {
  private readonly entries = new Map<string, QueueEntry>()
  private readonly places: Semaphore
  private readonly awaited: (() => void)[] = []

  constructor(private readonly options: WorkQueueOptions) {
    this.places = createSemaphore(options.concurrency)
  }

  /**
   * Puts work into the queue of that container, in place of what still waits there. Without a delay (in seconds) it
   * interrupts what is under way.
   */
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

  /** Drops what waits for that container, and interrupts what is under way: it has ended. */
  drop(key: string): void {
    const entry = this.entries.get(key)
    if (entry === undefined) return
    cancelDelay(entry)
    delete entry.waiting
    interruptRunning(entry)
    this.advance(key, entry)
  }

  /** Whether work for that key waits for its time. */
  isWaiting(key: string): boolean {
    return this.entries.get(key)?.waiting !== undefined
  }

  /** Resolves when nothing is under way, and nothing waits but what has been put off. */
  async settled(): Promise<void> {
    if (!this.isQuiet()) await new Promise<void>((resolve) => this.awaited.push(resolve))
  }

  /** Drops what waits, interrupts what is under way, and resolves when that has ended. */
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

  /** While it goes on, and be it for long, the container's own queue is held. */
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

/** What is under way is for a state of the container that has passed. */
function interruptRunning({ running }: QueueEntry): void {
  if (running !== undefined) Object.assign(running, { requested: true, isLate: false })
}

/** What has been put off may begin, or be replaced. */
function cancelDelay(entry: QueueEntry): void {
  entry.delay?.abort()
  delete entry.delay
}
