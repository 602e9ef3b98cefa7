import type { GuestKind } from '../model/guest-name'
import type { Host } from '../system/types'
import { dockerSocket } from './docker'
import { ENGINE_LIMIT, pickName } from './engine'
import { podmanSocket } from './podman'

/** The runtimes that tell what happens to their containers. */
export type EventfulKind = 'docker' | 'podman'

export function isEventful(kind: GuestKind): kind is EventfulKind {
  return kind === 'docker' || kind === 'podman'
}

/** A container that runs. */
export interface Running {
  readonly id: string
  readonly name: string
}

/** What a container was made with, as far as it may ask for something. */
export interface ContainerConfig extends Running {
  readonly kind: EventfulKind
  readonly hostname: string
  readonly labels: Readonly<Record<string, string>>
  /** `NAME=value`. */
  readonly env: readonly string[]
}

/** The socket of an engine where one listens; else its command knows the way. */
export function engineSocket(kind: EventfulKind, host: Host): string | undefined {
  const socket = kind === 'docker' ? dockerSocket(host) : podmanSocket(host)
  return socket !== undefined && host.inode(socket) !== undefined ? socket : undefined
}

/** Whether the engine is asked by its command where no socket is there: Docker without its socket is not running. */
export function hasCommand(kind: EventfulKind, host: Host): boolean {
  return host.has(kind) && (kind === 'podman' || dockerSocket(host) === undefined)
}

/** The containers of an engine that run now. Rejects when it cannot be asked. */
export async function listRunning(kind: EventfulKind, host: Host): Promise<readonly Running[]> {
  const socket = engineSocket(kind, host)
  if (socket !== undefined) {
    const { body } = await host.get(socket, '/containers/json', ENGINE_LIMIT)
    const all = JSON.parse(body) as readonly { readonly Id: string; readonly Names?: readonly string[] }[]
    return all.map(({ Id: id, Names = [] }) => ({ id, name: pickName(Names) ?? id }))
  }
  if (!hasCommand(kind, host)) return []
  const { stdout } = await host.run([kind, 'ps', '--no-trunc', '--format', '{{.ID}} {{.Names}}'], ENGINE_LIMIT)
  const lines = stdout.split('\n').map((line) => line.trim().split(/[ ,]/))
  return lines.flatMap(([id = '', ...names]) => (id === '' ? [] : [{ id, name: pickName(names) ?? id }]))
}

interface Inspected {
  readonly Id: string
  readonly Name: string
  readonly Config?: {
    readonly Hostname?: string
    readonly Labels?: Readonly<Record<string, string>> | null
    readonly Env?: readonly string[] | null
  }
}

/** Labels and environment of the container with that id; undefined when there is none any more. */
export async function readConfig(kind: EventfulKind, id: string, host: Host): Promise<ContainerConfig | undefined> {
  const socket = engineSocket(kind, host)
  const text =
    socket === undefined
      ? (await host.run([kind, 'inspect', '--type', 'container', id], ENGINE_LIMIT)).stdout
      : (await host.get(socket, `/containers/${id}/json`, ENGINE_LIMIT)).body
  const [inspected] = [JSON.parse(text || '[]')].flat() as readonly Inspected[]
  if (inspected?.Config === undefined) return undefined
  const { Id, Name, Config } = inspected
  return {
    kind,
    id: Id,
    name: Name.replace(/^\//, ''),
    hostname: Config.Hostname ?? '',
    labels: Config.Labels ?? {},
    env: Config.Env ?? [],
  }
}
