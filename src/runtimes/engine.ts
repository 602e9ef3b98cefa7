import { PipeworkError } from '../model/errors'
import type { System } from '../system/types'
import { type ContainerRuntime, type Guest, type GuestCandidate, type GuestLookup, GuestNotRunningError } from './types'

/** Seconds to wait for an engine's answer. */
export const ENGINE_TIMEOUT = 10

/** The fields we read from `docker inspect` or GET /containers/{id}/json; Podman and nerdctl print the same. */
interface ContainerInspectJson {
  readonly Id: string
  readonly Name: string
  readonly State: {
    readonly Status?: string
    readonly Pid: number
    readonly Paused?: boolean
    readonly Restarting?: boolean
  }
  readonly HostConfig?: { readonly NetworkMode?: string } | null
  readonly NetworkSettings?: { readonly SandboxKey?: string } | null
}

/** A query about one container, and a function that inspects another one. */
interface InspectQuery {
  readonly engine: ContainerRuntime
  readonly name: string
  /** The container of that name or id, if there is one. */
  inspect(name: string): Promise<ContainerInspectJson | undefined>
}

/** Asks over the engine's socket, which is faster than its command. Rejects with the system's error. */
export async function inspectOverSocket(
  engine: ContainerRuntime,
  name: string,
  means: { socket: string; system: System },
): Promise<GuestLookup> {
  const get = (path: string) => means.system.httpGet(means.socket, path, ENGINE_TIMEOUT)
  const ask = (it: string) => get(`/containers/${encodeURIComponent(it)}/json`)
  const { status, body } = await ask(name)
  const inspect = async (it: string) => {
    const other = await ask(it)
    return other.status === 200 ? parseInspectJson(other.body, engine) : undefined
  }
  if (status === 200) return toGuestLookup(parseInspectJson(body, engine), { engine, name, inspect })
  const list = await get('/containers/json?all=1')
  const all = list.status === 200 ? (JSON.parse(list.body) as { Id: string; Names?: string[] }[]) : []
  const candidates = all.map(({ Id, Names = [] }) => ({ id: Id, name: pickContainerName(Names) ?? Id.slice(0, 12) }))
  const unknown = toNotFound(name, candidates)
  if (status === 404 || unknown.state === 'several') return unknown
  throw new PipeworkError(`${engine.title} cannot tell which container '${name}' is: ${parseErrorMessage(body)}`, {
    hint: `See what there is: ${engine.listCommand}`,
  })
}

/** Another program may listen on the socket, or the engine may have died while it answered. */
function parseInspectJson(body: string, { title, listCommand }: ContainerRuntime): ContainerInspectJson {
  try {
    const inspected = JSON.parse(body) as Partial<ContainerInspectJson>
    if (inspected.Id && inspected.Name && inspected.State) return inspected as ContainerInspectJson
  } catch {}
  throw new PipeworkError(`${title} gave an answer that cannot be read: '${body.slice(0, 40)}'`, {
    hint: `Does it answer otherwise? ${listCommand}`,
  })
}

function parseErrorMessage(body: string): string {
  return /"message"\s*:\s*"((?:[^"\\]|\\.)*)"/.exec(body)?.[1] ?? body.trim()
}

/** Asks with the engine's own command, which can connect everywhere. Throws when the command fails. */
export async function inspectByCommand(engine: ContainerRuntime, name: string, system: System): Promise<GuestLookup> {
  const { program } = engine
  const run = (it: string) => system.run([program, 'inspect', '--type', 'container', it], ENGINE_TIMEOUT)
  const read = (text: string) => (JSON.parse(text) as readonly Partial<ContainerInspectJson>[]).map(fillMissingFields)
  const { code, stdout, stderr } = await run(name)
  const all = code === 0 ? read(stdout) : []
  // nerdctl inspects every container whose id starts with the text.
  const found = all.length > 1 ? all.find(({ Name }) => Name === name) : all[0]
  const inspect = async (it: string) => {
    const other = await run(it)
    return other.code === 0 ? read(other.stdout)[0] : undefined
  }
  if (found !== undefined) return toGuestLookup(found, { engine, name, inspect })
  if (code !== 0 && !/no such (container|object)|multiple IDs|more than one result/i.test(stderr))
    throw new PipeworkError(`${program} inspect failed: ${stderr.trim() || `exit code ${code}`}`, {
      hint: `See what there is: ${engine.listCommand}`,
    })
  const list = await system.run([program, 'ps', '-a', '--no-trunc', '--format', '{{.ID}} {{.Names}}'], ENGINE_TIMEOUT)
  const lines = list.stdout.split('\n').map((line) => line.trim().split(/[ ,]/))
  return toNotFound(
    name,
    lines.flatMap(([id = '', ...names]) =>
      id === '' ? [] : [{ id, name: pickContainerName(names) ?? id.slice(0, 12) }],
    ),
  )
}

/** nerdctl prints no state for containers that were never started, and no name for those of Kubernetes. */
function fillMissingFields({ Id = '', Name, State, ...rest }: Partial<ContainerInspectJson>): ContainerInspectJson {
  return { ...rest, Id, Name: Name || Id.slice(0, 12), State: State ?? { Status: 'created', Pid: 0 } }
}

/** The containers that the name may mean when none matches exactly. */
function toNotFound(name: string, all: readonly Required<GuestCandidate>[]): GuestLookup {
  const candidates = all.filter(({ id }) => id.startsWith(name))
  if (candidates.length > 1) return { state: 'several', candidates }
  return { state: 'unknown', names: all.map((it) => it.name) }
}

async function toGuestLookup(inspected: ContainerInspectJson, question: InspectQuery): Promise<GuestLookup> {
  const { Id: id, State, HostConfig, NetworkSettings } = inspected
  const name = stripSlash(inspected.Name)
  const why = checkContainerState(inspected, name, question)
  if (why !== undefined) return { state: 'refused', candidate: { name, id }, error: why }
  const sandbox = NetworkSettings?.SandboxKey
  const owner = /^container:(.+)$/.exec(HostConfig?.NetworkMode ?? '')?.[1]
  const sharedWith = owner === undefined ? undefined : await readOwnerName(owner, question)
  const guest: Guest = {
    kind: question.engine.kind,
    name,
    id,
    pid: State.Pid,
    nsPath: `/proc/${State.Pid}/ns/net`,
    sandbox: sandbox ? sandbox : undefined,
    sharedWith,
  }
  return { state: 'found', guest }
}

async function readOwnerName(owner: string, { inspect }: InspectQuery): Promise<string> {
  const found = await inspect(owner)
  return found === undefined ? owner.slice(0, 12) : stripSlash(found.Name)
}

const stripSlash = (name: string) => name.replace(/^\//, '')

/** A container's own name in an engine's list: `--link` adds others, like `/web/db`. */
export function pickContainerName(names: readonly string[]): string | undefined {
  return names.map(stripSlash).find((name) => !name.includes('/'))
}

function checkContainerState(
  { State, HostConfig }: ContainerInspectJson,
  name: string,
  { engine }: InspectQuery,
): PipeworkError | undefined {
  const { program } = engine
  const { Status = State.Paused ? 'paused' : 'running', Pid } = State
  if (Status === 'paused')
    return new GuestNotRunningError(`the container '${name}' is paused`, {
      hint: `Wake it up first: ${program} unpause ${name}`,
    })
  // nerdctl prints Restarting for every container with a restart policy, and keeps the PID of exited ones.
  if (Status === 'restarting' || (State.Restarting && Pid === 0))
    return new GuestNotRunningError(`the container '${name}' is restarting`, {
      hint: `Wait for it with --wait-guest SECONDS; if it never stays up: ${program} logs ${name}`,
    })
  if (Status !== 'running' || Pid === 0)
    return new GuestNotRunningError(
      `the container '${name}' is not running${State.Status ? ` (${State.Status})` : ''}`,
      {
        hint: `Start it (${program} start ${name}), or wait for it with --wait-guest SECONDS.`,
      },
    )
  return HostConfig?.NetworkMode === 'host' ? hostNetworkError({ kind: engine.kind, name }) : undefined
}

/** Refuses a guest without a network of its own. */
export function hostNetworkError({ kind, name }: Pick<Guest, 'kind' | 'name'>): PipeworkError {
  const own =
    kind === 'lxc' ? ' Give it its own: lxc.net.0.type = empty.' : ' Start it with another --network, like none.'
  return new PipeworkError(`'${name}' shares the network of the host`, {
    hint: `Its interfaces are the host’s own, so there is nothing to attach.${kind === 'pid' || kind === 'netns' ? '' : own}`,
  })
}

/**
 * Whether another process may have the guest's PID by now: runtimes put the id into the cgroup's path. Rootless ones do
 * not always, so this only leads to a closer check.
 */
export function mayBeForeignProcess({ pid, id }: Guest, system: System): boolean {
  return pid !== undefined && id !== undefined && !system.read(`/proc/${pid}/cgroup`)?.includes(id)
}

/** Refuses a container whose process does not run on this kernel. */
export function unreachableGuest({ name, id }: Guest, where: string, hint: string): GuestLookup {
  const why = new PipeworkError(`the container '${name}' is out of reach: ${where}`, { hint })
  return { state: 'refused', candidate: { name, id }, error: why }
}
