import { PipeworkError } from '../model/errors'
import type { System } from '../system/types'
import { ENGINE_TIMEOUT, inspectByCommand, inspectOverSocket, mayBeForeignProcess, unreachableGuest } from './engine'
import type { ContainerRuntime, Guest, GuestLookup } from './types'

const DOCKER_SOCKET = '/var/run/docker.sock'

/** The Docker Engine at DOCKER_HOST or in the current context. */
export const dockerRuntime: ContainerRuntime = {
  kind: 'docker',
  noun: 'container',
  title: 'Docker',
  program: 'docker',
  listCommand: 'docker ps',
  async find(name, system) {
    const socket = findDockerSocket(system)
    const answer =
      socket === undefined
        ? await inspectByCommand(dockerRuntime, name, system)
        : await inspectOverSocket(dockerRuntime, name, { socket, system }).catch((cause) =>
            throwDockerError(socket, cause),
          )
    if (answer.state !== 'found' || !mayBeForeignProcess(answer.guest, system)) return answer
    return (await explainUnreachable(answer.guest, socket, system)) ?? answer
  },
}

/** The Engine's socket; undefined when only the docker command can connect (contexts, TLS, ssh). */
export function findDockerSocket(system: System): string | undefined {
  const { DOCKER_HOST } = system.env
  if (DOCKER_HOST) return /^unix:\/\/(.+)$/.exec(DOCKER_HOST)?.[1]
  return readDockerContext(system) === 'default' ? DOCKER_SOCKET : undefined
}

/** The context that the docker command uses. */
export function readDockerContext(system: System): string {
  const { DOCKER_CONTEXT, DOCKER_CONFIG, HOME } = system.env
  if (DOCKER_CONTEXT) return DOCKER_CONTEXT
  const config = system.read(`${DOCKER_CONFIG || `${HOME ?? '/root'}/.docker`}/config.json`) ?? ''
  return /"currentContext"\s*:\s*"([^"]*)"/.exec(config)?.[1] ?? 'default'
}

function throwDockerError(socket: string, cause: unknown): never {
  const code = (cause as { code?: string }).code
  if (code === undefined) throw cause
  if (code === 'EACCES')
    throw new PipeworkError(`no permission on Docker's socket '${socket}'`, {
      hint: 'Run pipework with sudo, or as a member of the group docker.',
      cause,
    })
  if (code === 'ENOENT' || code === 'ECONNREFUSED')
    throw new PipeworkError(`Docker is not running: nobody listens on '${socket}'`, {
      hint: 'Start it (systemctl start docker), set DOCKER_HOST, or name another kind of guest, like netns:NAME.',
      cause,
    })
  const how = code === 'ETIMEDOUT' ? ` within ${ENGINE_TIMEOUT} s` : `: ${code}`
  throw new PipeworkError(`Docker does not answer on '${socket}'${how}`, {
    hint: 'Look at it with: docker version',
    cause,
  })
}

interface EngineInfo {
  readonly OperatingSystem?: string
  readonly SecurityOptions?: readonly string[]
}

/** Explains where a container runs whose process is not on this machine, if its Engine reports that. */
async function explainUnreachable(
  guest: Guest,
  socket: string | undefined,
  system: System,
): Promise<GuestLookup | undefined> {
  const { OperatingSystem, SecurityOptions = [] } = await readEngineInfo(socket, system)
  if (OperatingSystem === 'Docker Desktop')
    return unreachableGuest(
      guest,
      'Docker Desktop runs it in a virtual machine',
      'Use a Docker Engine on this machine (docker context use default), or run pipework inside that machine.',
    )
  const { DOCKER_HOST } = system.env
  if (socket === undefined)
    return unreachableGuest(
      guest,
      DOCKER_HOST ? `DOCKER_HOST is '${DOCKER_HOST}'` : `the Docker context is '${readDockerContext(system)}'`,
      'Run pipework on the machine where the container runs.',
    )
  if (system.read(`/proc/${guest.pid}/cgroup`) === undefined && SecurityOptions.includes('name=rootless'))
    return unreachableGuest(
      guest,
      'its Docker is rootless, with processes of its own',
      'Look for its process among those of this machine, and name that: pid:N.',
    )
  return undefined
}

async function readEngineInfo(socket: string | undefined, system: System): Promise<EngineInfo> {
  try {
    if (socket !== undefined)
      return JSON.parse((await system.httpGet(socket, '/info', ENGINE_TIMEOUT)).body) as EngineInfo
    return JSON.parse(
      (await system.run(['docker', 'info', '--format', '{{json .}}'], ENGINE_TIMEOUT)).stdout,
    ) as EngineInfo
  } catch {
    return {} // only needed for an explanation
  }
}
