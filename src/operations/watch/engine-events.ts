import { type EngineKind, findEngineSocket, usesEngineCommand } from '../../runtimes/running'
import type { LineSource, System } from '../../system/types'

/** What happened to a container. */
export interface ContainerEvent {
  readonly engine: EngineKind
  readonly action: 'start' | 'rename' | 'end'
  /** The full id. */
  readonly id: string
  /** Its name: after a renaming, the new one. */
  readonly name: string
}

/** Who is told what becomes of a stream. */
export interface EngineListener {
  /** The stream has begun: from `since` on, nothing is missed. */
  onConnect(engine: EngineKind): void
  onEvent(event: ContainerEvent): void
  /** It has ended, or could not begin; told once until it has begun again. */
  onDisconnect(engine: EngineKind, why: string): void
}

/** What the runtimes call the events that matter; Podman has words of its own for two of them. */
const EVENT_ACTIONS: Readonly<Record<string, ContainerEvent['action']>> = {
  start: 'start',
  rename: 'rename',
  die: 'end',
  died: 'end',
  destroy: 'end',
  remove: 'end',
  unpause: 'start',
}

/** Seconds until the next try after a stream has ended: doubled each time. */
const FIRST_RETRY_DELAY = 0.25
const MAX_RETRY_DELAY = 5

/** An event as Docker's API tells it, and Podman's; and as `podman events` prints it. */
interface EngineEventJson {
  readonly Type?: string
  readonly Action?: string
  readonly Status?: string
  readonly status?: string
  readonly ID?: string
  readonly id?: string
  readonly Name?: string
  readonly Actor?: { readonly ID?: string; readonly Attributes?: { readonly name?: string } }
}

/** One line of a stream; undefined when it is nothing to us. */
export function parseContainerEvent(line: string, engine: EngineKind): ContainerEvent | undefined {
  const told = parseEventJson(line)
  const what = EVENT_ACTIONS[told?.Action ?? told?.Status ?? told?.status ?? '']
  const id = told?.Actor?.ID ?? told?.ID ?? told?.id
  const name = told?.Actor?.Attributes?.name ?? told?.Name
  if (what === undefined || !id || !name || (told?.Type ?? 'container') !== 'container') return undefined
  return { engine, action: what, id, name: name.replace(/^\//, '') }
}

function parseEventJson(line: string): EngineEventJson | undefined {
  try {
    return JSON.parse(line) as EngineEventJson
  } catch {
    return undefined // cut off, or a word of something else that listens there
  }
}

/** Where the events of an engine come from, as it is now; undefined when it is not there. */
function findEventSource(engine: EngineKind, since: number, system: System): LineSource | undefined {
  const socket = findEngineSocket(engine, system)
  if (socket !== undefined) {
    const filters = JSON.stringify({ type: ['container'], event: Object.keys(EVENT_ACTIONS) })
    return { socket, path: `/events?since=${(since / 1000).toFixed(3)}&filters=${encodeURIComponent(filters)}` }
  }
  if (!usesEngineCommand(engine, system)) return undefined
  // Without a service, or where only the command knows the way (contexts, TLS).
  const format = engine === 'docker' ? '{{json .}}' : 'json'
  const moment = new Date(since).toISOString()
  const stream = engine === 'docker' ? [] : ['--stream']
  // It shall not outlive a watch that is killed: it would only notice at the next event.
  const bound = system.hasProgram('setpriv') ? ['setpriv', '--pdeathsig', 'TERM'] : []
  const options = [...stream, '--since', moment, '--filter', 'type=container', '--format', format]
  return { argv: [...bound, engine, 'events', ...options] }
}

/**
 * Follows the events of an engine for as long as the signal lets it, through restarts of its daemon. It asks from a
 * moment before the connection on: whatever happens while that is being made is told, too.
 */
export async function followEngineEvents(
  engine: EngineKind,
  listener: EngineListener,
  { system, signal }: { readonly system: System; readonly signal: AbortSignal },
): Promise<void> {
  let pause = FIRST_RETRY_DELAY
  let isTold = false
  while (!signal.aborted) {
    const source = findEventSource(engine, system.now(), system)
    const follower = {
      onOpen: () => {
        pause = FIRST_RETRY_DELAY
        isTold = false
        listener.onConnect(engine)
      },
      onLine: (line: string) => {
        const event = parseContainerEvent(line, engine)
        if (event !== undefined) listener.onEvent(event)
      },
    }
    const why = source === undefined ? 'it is not there' : await system.followLines(source, follower, signal)
    if (!isTold && !signal.aborted) listener.onDisconnect(engine, why)
    isTold = true
    await system.sleep(pause, signal)
    pause = Math.min(2 * pause, MAX_RETRY_DELAY)
  }
}
