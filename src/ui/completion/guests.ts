import { parseGuestName } from '../../model/guest-name'
import { findDockerSocket } from '../../runtimes/docker'
import { pickContainerName } from '../../runtimes/engine'
import { batchLine } from '../../system/batch'
import type { System } from '../../system/types'
import type { CompletionItem } from './candidate'
import { listAttachedGuests } from './records'

/** Seconds to wait for an engine before completion continues without it. */
const ENGINE_LIMIT = 0.3
/** Seconds to wait for the command of an engine without a socket: it starts slower. */
const COMMAND_LIMIT = 1

const PODMAN_SOCKET = '/run/podman/podman.sock'

/** The fields we read from GET /containers/json. */
interface EngineContainer {
  readonly Id: string
  readonly Names?: readonly string[]
  readonly State?: string
  readonly Status?: string
  readonly Image?: string
  readonly HostConfig?: { readonly NetworkMode?: string }
}

/** Which guests to list: those that are not running only if the command can wait for them. */
export interface GuestQuery {
  readonly typed: string
  readonly stopped: 'with' | 'without'
}

/** A container of an engine with Docker's API, by name and by id. */
interface ContainerItem {
  readonly name: string
  readonly id: string
  readonly text: string
}

async function listEngineContainers(
  socket: string,
  { stopped }: GuestQuery,
  system: System,
): Promise<readonly ContainerItem[]> {
  try {
    const { status, body } = await system.httpGet(
      socket,
      `/containers/json${stopped === 'with' ? '?all=1' : ''}`,
      ENGINE_LIMIT,
    )
    const all = status === 200 ? (JSON.parse(body) as readonly EngineContainer[]) : []
    return all.flatMap(({ Id, Names = [], State = '', Status = State, Image = '', HostConfig }) => {
      const isUsable = State === 'running' || (stopped === 'with' && State !== 'paused')
      if (!isUsable || HostConfig?.NetworkMode === 'host') return []
      const name = pickContainerName(Names) ?? Id
      return [{ name, id: Id, text: `${Image}, ${Status}` }]
    })
  } catch {
    return [] // The engine is not running, does not answer, or the user has no access.
  }
}

/** A hexadecimal word may be the start of an id; ids are offered from two digits on. */
function toContainerItems(
  containers: readonly ContainerItem[],
  prefix: string,
  typed: string,
): readonly CompletionItem[] {
  const rest = typed.slice(prefix.length)
  const names = containers.map(({ name, text }) => ({ value: `${prefix}${name}`, text }))
  const isId = typed.startsWith(prefix) && /^[0-9a-f]{2,64}$/.test(rest)
  const ids = containers.filter(({ id }) => isId && id.startsWith(rest))
  const length = Math.max(12, rest.length)
  return [
    ...names,
    ...ids.map(({ id, name, text }) => ({ value: `${prefix}${id.slice(0, length)}`, text: `${name}: ${text}` })),
  ]
}

async function listDockerItems(query: GuestQuery, system: System): Promise<readonly CompletionItem[]> {
  const socket = findDockerSocket(system)
  // An engine that only the docker command can reach is on another machine, where pipework cannot attach.
  if (socket === undefined || system.inode(socket) === undefined) return []
  const containers = await listEngineContainers(socket, query, system)
  const prefix = query.typed.startsWith('docker:') ? 'docker:' : ''
  return toContainerItems(containers, prefix, query.typed)
}

async function listByCommand(
  argv: readonly string[],
  prefix: string,
  system: System,
): Promise<readonly CompletionItem[]> {
  try {
    const { code, stdout } = await system.run(argv, COMMAND_LIMIT)
    const names = code === 0 ? stdout.split(/[\n,]/).filter(Boolean) : []
    return names.map((name) => ({ value: `${prefix}${name}`, text: `container of ${prefix.slice(0, -1)}` }))
  } catch {
    return []
  }
}

/** Asks Podman over its socket; asks its command only when the user typed the prefix. */
async function listPodmanItems(query: GuestQuery, system: System): Promise<readonly CompletionItem[]> {
  const prefix = 'podman:'
  const socket = /^unix:\/\/(.+)$/.exec(system.env.CONTAINER_HOST ?? '')?.[1] ?? PODMAN_SOCKET
  if (system.inode(socket) !== undefined)
    return toContainerItems(await listEngineContainers(socket, query, system), prefix, query.typed)
  if (!query.typed.startsWith(prefix)) return runtimePrefixItem(prefix, 'podman', system)
  const all = query.stopped === 'with' ? ['--all'] : []
  return listByCommand(['podman', 'ps', ...all, '--format', '{{.Names}}'], prefix, system)
}

async function listNerdctlItems({ typed }: GuestQuery, system: System): Promise<readonly CompletionItem[]> {
  const prefix = 'nerdctl:'
  if (!typed.startsWith(prefix)) return runtimePrefixItem(prefix, 'nerdctl', system)
  return listByCommand(['nerdctl', 'ps', '--format', '{{.Names}}'], prefix, system)
}

function runtimePrefixItem(prefix: string, program: string, system: System): readonly CompletionItem[] {
  return system.hasProgram(program) ? [{ value: prefix, text: `a container of ${program}` }] : []
}

/** Each running LXC container listens on an abstract socket; lxc-ls reads the same list, but is slower. */
function listLxcItems(system: System): readonly CompletionItem[] {
  const sockets = system.read('/proc/net/unix') ?? ''
  const names = [...sockets.matchAll(/@\/\S*\/lxc\/([^/\s]+)\/command$/gm)].map(([, name = '']) => name)
  return [...new Set(names)].map((name) => ({ value: `lxc:${name}`, text: 'container of LXC' }))
}

function listNetnsItems(system: System): readonly CompletionItem[] {
  const names = (system.list('/run/netns') ?? []).filter((name) => !name.startsWith('pipework-'))
  return names.map((name) => ({ value: `netns:${name}`, text: 'namespace of ip netns' }))
}

/** Guests that the parser would refuse are not offered. */
function isValidGuest({ value }: CompletionItem): boolean {
  if (value.endsWith(':')) return true
  try {
    return parseGuestName(value) !== undefined
  } catch {
    return false
  }
}

/** The guests to offer, Docker's first. */
export async function completeGuests(query: GuestQuery, system: System): Promise<readonly CompletionItem[]> {
  const [docker, podman, nerdctl] = await Promise.all([
    listDockerItems(query, system),
    listPodmanItems(query, system),
    listNerdctlItems(query, system),
  ])
  // A user without access to the engine still sees the records on its containers' links.
  const seen = docker.length > 0 ? [] : listAttachedGuests(system)
  const all = [...docker, ...seen, ...podman, ...listLxcItems(system), ...nerdctl, ...listNetnsItems(system)]
  return all.filter((it, index) => isValidGuest(it) && all.findIndex(({ value }) => value === it.value) === index)
}

/** The names of a guest's interfaces; undefined when they cannot be read. */
export async function listGuestIfnames(typed: string, system: System): Promise<readonly string[] | undefined> {
  try {
    const { kind, name } = parseGuestName(typed)
    if (kind === 'netns') return await listNetnsIfnames(name, system)
    const socket = kind === undefined || kind === 'docker' ? findDockerSocket(system) : PODMAN_SOCKET
    if (socket === undefined) return undefined
    const { status, body } = await system.httpGet(socket, `/containers/${encodeURIComponent(name)}/json`, ENGINE_LIMIT)
    const pid = status === 200 ? (JSON.parse(body) as { State?: { Pid?: number } }).State?.Pid : undefined
    const dev = pid === undefined ? undefined : system.read(`/proc/${pid}/net/dev`)
    return dev === undefined ? undefined : [...dev.matchAll(/^\s*([^\s:]+):/gm)].map(([, it = '']) => it)
  } catch {
    return undefined
  }
}

async function listNetnsIfnames(name: string, system: System): Promise<readonly string[] | undefined> {
  if (!system.isRoot) return undefined
  const { code, stdout } = await system.runIpBatch({ netns: name, lines: [batchLine`link show`], output: 'json' })
  if (code !== 0) return undefined
  return (JSON.parse(stdout) as readonly { readonly ifname: string }[]).map(({ ifname }) => ifname)
}
