import { type EngineKind, findEngineSocket, usesEngineCommand } from '../../runtimes/running'
import type { LineSource, System } from '../../system/types'

/** An event of a container. */
export interface ContainerEvent {
  readonly engine: EngineKind
  readonly action: 'start' | 'rename' | 'end'
  /** The full id. */
  readonly id: string
  /** The name; after a rename, the new one. */
  readonly name: string
}

/** Callbacks of an event stream. */
export interface EngineListener {
  /** The stream is connected and misses no event from now on. */
  onConnect(engine: EngineKind): void
  onEvent(event: ContainerEvent): void
  /** The stream has ended or could not connect; called once until it connects again. */
  onDisconnect(engine: EngineKind, why: string): void
}

/** Event names of the runtimes; Podman has its own names for two of them. */
const EVENT_ACTIONS: Readonly<Record<string, ContainerEvent['action']>> = {
  start: 'start',
  rename: 'rename',
  die: 'end',
  died: 'end',
  destroy: 'end',
  remove: 'end',
  unpause: 'start',
}

/** Seconds before reconnecting; doubled after each failure. */
const FIRST_RETRY_DELAY = 0.25
const MAX_RETRY_DELAY = 5

/** An event in the API of Docker and Podman, or as `podman events` prints it. */
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

/** Parses one line of a stream; undefined for irrelevant events. */
export function parseContainerEvent(line: string, engine: EngineKind): ContainerEvent | undefined {
  const json = parseEventJson(line)
  const what = EVENT_ACTIONS[json?.Action ?? json?.Status ?? json?.status ?? '']
  const id = json?.Actor?.ID ?? json?.ID ?? json?.id
  const name = json?.Actor?.Attributes?.name ?? json?.Name
  if (what === undefined || !id || !name || (json?.Type ?? 'container') !== 'container') return undefined
  return { engine, action: what, id, name: name.replace(/^\//, '') }
}

function parseEventJson(line: string): EngineEventJson | undefined {
  try {
    return JSON.parse(line) as EngineEventJson
  } catch {
    return undefined // a truncated line, or another program's output
  }
}

/** The current source of an engine's events; undefined when the engine is not installed or not running. */
function findEventSource(engine: EngineKind, since: number, system: System): LineSource | undefined {
  const socket = findEngineSocket(engine, system)
  if (socket !== undefined) {
    const filters = JSON.stringify({ type: ['container'], event: Object.keys(EVENT_ACTIONS) })
    return { socket, path: `/events?since=${(since / 1000).toFixed(3)}&filters=${encodeURIComponent(filters)}` }
  }
  if (!usesEngineCommand(engine, system)) return undefined
  // Use the command when there is no socket, or when only the command knows the endpoint (contexts, TLS).
  const format = engine === 'docker' ? '{{json .}}' : 'json'
  const moment = new Date(since).toISOString()
  const stream = engine === 'docker' ? [] : ['--stream']
  // Without setpriv, the command would survive a killed watch until its next event.
  const bound = system.hasProgram('setpriv') ? ['setpriv', '--pdeathsig', 'TERM'] : []
  const options = [...stream, '--since', moment, '--filter', 'type=container', '--format', format]
  return { argv: [...bound, engine, 'events', ...options] }
}

/**
 * Follows the events of an engine until the signal aborts, across restarts of its daemon. It asks for events from
 * shortly before the connection, so that none is missed.
 */
export async function followEngineEvents(
  engine: EngineKind,
  listener: EngineListener,
  { system, signal }: { readonly system: System; readonly signal: AbortSignal },
): Promise<void> {
  let pause = FIRST_RETRY_DELAY
  let isReported = false
  while (!signal.aborted) {
    const source = findEventSource(engine, system.now(), system)
    const follower = {
      onOpen: () => {
        pause = FIRST_RETRY_DELAY
        isReported = false
        listener.onConnect(engine)
      },
      onLine: (line: string) => {
        const event = parseContainerEvent(line, engine)
        if (event !== undefined) listener.onEvent(event)
      },
    }
    const why = source === undefined ? 'it is not there' : await system.followLines(source, follower, signal)
    if (!isReported && !signal.aborted) listener.onDisconnect(engine, why)
    isReported = true
    await system.sleep(pause, signal)
    pause = Math.min(2 * pause, MAX_RETRY_DELAY)
  }
}
