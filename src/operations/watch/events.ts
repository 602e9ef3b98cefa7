import { type EngineKind, listRunningContainers } from '../../runtimes/running'
import { formatGuest } from '../../state/record'
import type { RestartBackoff } from './backoff'
import type { ContainerEvent, EngineListener } from './engine-events'
import { collectGarbage, collectGuestGarbage, hasMovedNics } from './gc'
import { enqueueReconcile, mayHaveDesired, queueKey, type ReconcileContext, type TrackedGuest } from './reconcile'

/** The runtimes with an event stream. */
export const WATCHED_ENGINES: readonly EngineKind[] = ['docker', 'podman']

const ENGINE_TITLES: Readonly<Record<EngineKind, string>> = { docker: 'Docker', podman: 'Podman' }

/** Seconds between a container's end and the cleanup: most containers start again sooner. */
const GC_DELAY = 2
/** The queue for work that concerns no single container. */
const GC_QUEUE = 'leftovers'

/** Handles events. */
export interface EventRouter {
  readonly listener: EngineListener
  /** Resolves when every engine has answered, and all running containers are queued. */
  readonly started: Promise<unknown>
  /** Reconciles all running containers. */
  reconcileAll(): Promise<void>
}

/** The state of the engines. */
interface EngineStatus {
  readonly up: Set<EngineKind>
  readonly onFirstAnswer: Map<EngineKind, () => void>
}

/**
 * Turns events into work: attaches started containers, cleans up after stopped ones, and reconciles all of an engine's
 * containers when its stream connects.
 */
export function createEventRouter(means: ReconcileContext, damper: RestartBackoff): EventRouter {
  const engines: EngineStatus = { up: new Set(), onFirstAnswer: new Map() }
  const begun = Promise.all(
    WATCHED_ENGINES.map((engine) => new Promise<void>((resolve) => engines.onFirstAnswer.set(engine, resolve))),
  )
  const converge = (engine: EngineKind) => reconcileEngine(engine, means)
  const listener: EngineListener = {
    onConnect(engine) {
      engines.up.add(engine)
      means.log({ level: 'notice', about: ENGINE_TITLES[engine], text: 'follows its events' })
      void converge(engine).then(engines.onFirstAnswer.get(engine))
    },
    onDisconnect(engine, why) {
      const wasUp = engines.up.delete(engine)
      engines.onFirstAnswer.get(engine)?.()
      if (wasUp)
        means.log({ level: 'warning', about: ENGINE_TITLES[engine], text: `does not answer (${why}): waits for it` })
    },
    onEvent: (event) => handleEvent(event, means, damper),
  }
  return { listener, started: begun, reconcileAll: async () => void (await Promise.all([...engines.up].map(converge))) }
}

async function reconcileEngine(engine: EngineKind, means: ReconcileContext): Promise<void> {
  try {
    for (const running of await listRunningContainers(engine, means.system)) {
      const container = { kind: engine, ...running }
      if (mayHaveDesired(container, means)) enqueueReconcile(container, means)
    }
  } catch (error) {
    // The engine has died again; its stream ends too.
    const why = error instanceof Error ? error.message : String(error)
    means.log({ level: 'warning', about: ENGINE_TITLES[engine], text: `cannot be asked what runs: ${why}` })
  }
  scheduleGc(means)
}

/** Schedules one cleanup for all containers that stop within the delay. */
function scheduleGc(means: ReconcileContext): void {
  if (means.queues.isWaiting(GC_QUEUE)) return
  means.queues.put(GC_QUEUE, (interrupt) => collectGarbage({ ...means, interrupt }), GC_DELAY)
}

function handleEvent(
  { engine, action, id, name }: ContainerEvent,
  means: ReconcileContext,
  damper: RestartBackoff,
): void {
  const container: TrackedGuest = { kind: engine, id, name }
  if (action === 'end') scheduleGuestGc(container, means)
  else if (mayHaveDesired(container, means))
    enqueueReconcile(container, means, action === 'start' ? restartDelay(container, means, damper) : 0)
}

/** Seconds to wait for a container in a restart loop. */
function restartDelay(container: TrackedGuest, { log }: ReconcileContext, damper: RestartBackoff): number {
  const { delay, isFirst } = damper(queueKey(container))
  const text = 'starts again and again: from now on it is attached when it has run for a while'
  if (isFirst) log({ level: 'warning', about: formatGuest(container), text })
  return delay
}

/** Schedules the cleanup of a stopped guest: NICs at once, because the next start needs them; the rest later. */
export function scheduleGuestGc(container: TrackedGuest, means: ReconcileContext): void {
  const { queues, system } = means
  if (hasMovedNics(container, system))
    queues.put(queueKey(container), (interrupt) => collectGuestGarbage(container, { ...means, interrupt }))
  else queues.drop(queueKey(container))
  scheduleGc(means)
}
