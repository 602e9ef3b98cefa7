import { type EventfulKind, listRunning } from '../../runtimes/running'
import { formatGuest } from '../../state/record'
import type { Damper } from './backoff'
import type { ContainerEvent, Listener } from './engine-events'
import { hasNicsAway, tidyAll, tidyGuest } from './gc'
import { type KeeperMeans, type Kept, keep, keyOf, mayConcern } from './reconcile'

/** The runtimes whose events are followed. */
export const ENGINES: readonly EventfulKind[] = ['docker', 'podman']

const TITLES: Readonly<Record<EventfulKind, string>> = { docker: 'Docker', podman: 'Podman' }

/** Seconds after a container's end until its leftovers are looked for: mostly it starts again before. */
const TIDY_DELAY = 2
/** The queue of what concerns no container alone. */
const SWEEP = 'leftovers'

/** What is done when something happens. */
export interface Dispatch {
  readonly listener: Listener
  /** Resolves when every engine has been heard of, and what runs has been put into the queues. */
  readonly begun: Promise<unknown>
  /** Looks at all that runs anew. */
  convergeAll(): Promise<void>
}

/** What is known of the engines. */
interface Engines {
  readonly up: Set<EventfulKind>
  readonly heard: Map<EventfulKind, () => void>
}

/** Turns events into work: what starts is attached, what ends is tidied up after, and a new stream means to look at all. */
export function createDispatch(means: KeeperMeans, damper: Damper): Dispatch {
  const engines: Engines = { up: new Set(), heard: new Map() }
  const begun = Promise.all(ENGINES.map((engine) => new Promise<void>((resolve) => engines.heard.set(engine, resolve))))
  const converge = (engine: EventfulKind) => convergeEngine(engine, means)
  const listener: Listener = {
    onUp(engine) {
      engines.up.add(engine)
      means.log({ level: 'notice', about: TITLES[engine], text: 'follows its events' })
      void converge(engine).then(engines.heard.get(engine))
    },
    onDown(engine, why) {
      const wasUp = engines.up.delete(engine)
      engines.heard.get(engine)?.()
      if (wasUp) means.log({ level: 'warning', about: TITLES[engine], text: `does not answer (${why}): waits for it` })
    },
    onEvent: (event) => dispatch(event, means, damper),
  }
  return { listener, begun, convergeAll: async () => void (await Promise.all([...engines.up].map(converge))) }
}

async function convergeEngine(engine: EventfulKind, means: KeeperMeans): Promise<void> {
  try {
    for (const running of await listRunning(engine, means.host)) {
      const container = { kind: engine, ...running }
      if (mayConcern(container, means)) keep(container, means)
    }
  } catch (error) {
    // It has died again: its stream ends, too.
    const why = error instanceof Error ? error.message : String(error)
    means.log({ level: 'warning', about: TITLES[engine], text: `cannot be asked what runs: ${why}` })
  }
  sweepLater(means)
}

/** One sweep for all that end within a while, however many they are. */
function sweepLater(means: KeeperMeans): void {
  if (means.queues.isWaiting(SWEEP)) return
  means.queues.put(SWEEP, (interrupt) => tidyAll({ ...means, interrupt }), TIDY_DELAY)
}

function dispatch({ engine, what, id, name }: ContainerEvent, means: KeeperMeans, damper: Damper): void {
  const container: Kept = { kind: engine, id, name }
  if (what === 'end') tidyLater(container, means)
  else if (mayConcern(container, means)) keep(container, means, what === 'start' ? damp(container, means, damper) : 0)
}

/** Seconds that a container which starts again and again has to wait. */
function damp(container: Kept, { log }: KeeperMeans, damper: Damper): number {
  const { delay, isNew } = damper(keyOf(container))
  const text = 'starts again and again: from now on it is attached when it has run for a while'
  if (isNew) log({ level: 'warning', about: formatGuest(container), text })
  return delay
}

/** Looks for what a guest left that has ended. A NIC is needed by the next start; everything else has time. */
export function tidyLater(container: Kept, means: KeeperMeans): void {
  const { queues, host } = means
  if (hasNicsAway(container, host))
    queues.put(keyOf(container), (interrupt) => tidyGuest(container, { ...means, interrupt }))
  else queues.drop(keyOf(container))
  sweepLater(means)
}
