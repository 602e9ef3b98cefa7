import type { GuestKind } from '../model/guest-name'
import type { System } from '../system/types'
import { findDockerSocket } from './docker'
import { ENGINE_TIMEOUT, pickContainerName } from './engine'
import { findPodmanSocket } from './podman'

/** The runtimes that report events of their containers. */
export type EngineKind = 'docker' | 'podman'

export function isEngineKind(kind: GuestKind): kind is EngineKind {
  return kind === 'docker' || kind === 'podman'
}

/** A running container. */
export interface RunningContainer {
  readonly id: string
  readonly name: string
}

/** The parts of a container's configuration that can request attachments. */
export interface ContainerConfig extends RunningContainer {
  readonly kind: EngineKind
  readonly hostname: string
  readonly labels: Readonly<Record<string, string>>
  /** `NAME=value`. */
  readonly env: readonly string[]
}

/** The engine's socket when it listens on one; else its command is used. */
export function findEngineSocket(kind: EngineKind, system: System): string | undefined {
  const socket = kind === 'docker' ? findDockerSocket(system) : findPodmanSocket(system)
  return socket !== undefined && system.inode(socket) !== undefined ? socket : undefined
}

/** Whether the engine's command is used when it has no socket: Docker without its socket is not running. */
export function usesEngineCommand(kind: EngineKind, system: System): boolean {
  return system.hasProgram(kind) && (kind === 'podman' || findDockerSocket(system) === undefined)
}

/** The running containers of an engine. Rejects when the engine does not answer. */
export async function listRunningContainers(kind: EngineKind, system: System): Promise<readonly RunningContainer[]> {
  const socket = findEngineSocket(kind, system)
  if (socket !== undefined) {
    const { body } = await system.httpGet(socket, '/containers/json', ENGINE_TIMEOUT)
    const all = JSON.parse(body) as readonly { readonly Id: string; readonly Names?: readonly string[] }[]
    return all.map(({ Id: id, Names = [] }) => ({ id, name: pickContainerName(Names) ?? id }))
  }
  if (!usesEngineCommand(kind, system)) return []
  const { stdout } = await system.run([kind, 'ps', '--no-trunc', '--format', '{{.ID}} {{.Names}}'], ENGINE_TIMEOUT)
  const lines = stdout.split('\n').map((line) => line.trim().split(/[ ,]/))
  return lines.flatMap(([id = '', ...names]) => (id === '' ? [] : [{ id, name: pickContainerName(names) ?? id }]))
}

interface ConfigInspectJson {
  readonly Id: string
  readonly Name: string
  readonly Config?: {
    readonly Hostname?: string
    readonly Labels?: Readonly<Record<string, string>> | null
    readonly Env?: readonly string[] | null
  }
}

/** Labels and environment of the container with that id; undefined when it no longer exists. */
export async function readContainerConfig(
  kind: EngineKind,
  id: string,
  system: System,
): Promise<ContainerConfig | undefined> {
  const socket = findEngineSocket(kind, system)
  const text =
    socket === undefined
      ? (await system.run([kind, 'inspect', '--type', 'container', id], ENGINE_TIMEOUT)).stdout
      : (await system.httpGet(socket, `/containers/${id}/json`, ENGINE_TIMEOUT)).body
  const [inspected] = [JSON.parse(text || '[]')].flat() as readonly ConfigInspectJson[]
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
