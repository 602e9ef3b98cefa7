import { PipeworkError } from '../model/errors'
import type { System } from '../system/types'
import { type ContainerRuntime, type Guest, type GuestCandidate, type GuestLookup, GuestNotRunningError } from './types'

/** Seconds that an engine may take for an answer; a healthy one takes a hundredth. */
export const ENGINE_TIMEOUT = 10

/** What we read of `docker inspect`, or of GET /containers/{id}/json; Podman and nerdctl write the same. */
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

/** One question to an engine: of which container, and how to ask for another. */
interface InspectQuery {
  readonly engine: ContainerRuntime
  readonly name: string
  /** The container of that name or id, if there is one. */
  inspect(name: string): Promise<ContainerInspectJson | undefined>
}

/** Asks over the engine's socket: 2 to 10 ms, where the command takes 25 to 60. Rejects with the system's error. */
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

/** Something else may listen on the socket, or the engine may have died while it answered. */
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

/** Asks by the engine's own command, which knows the way to wherever it is. Throws when that fails. */
export async function inspectByCommand(engine: ContainerRuntime, name: string, system: System): Promise<GuestLookup> {
  const { program } = engine
  const run = (it: string) => system.run([program, 'inspect', '--type', 'container', it], ENGINE_TIMEOUT)
  const read = (text: string) => (JSON.parse(text) as readonly Partial<ContainerInspectJson>[]).map(fillMissingFields)
  const { code, stdout, stderr } = await run(name)
  const all = code === 0 ? read(stdout) : []
  // nerdctl inspects every container whose id begins like that.
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

/** nerdctl shows no state of what was never started, and no name of what Kubernetes has made. */
function fillMissingFields({ Id = '', Name, State, ...rest }: Partial<ContainerInspectJson>): ContainerInspectJson {
  return { ...rest, Id, Name: Name || Id.slice(0, 12), State: State ?? { Status: 'created', Pid: 0 } }
}

/** Of all containers, those that the name may mean when it is not one of them. */
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

/** A container's own name among those that an engine lists: `--link` gives it others, like `/web/db`. */
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
  // nerdctl says Restarting of all that would be restarted, and keeps the PID of what has exited.
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
 * Whether the process with the guest's number may be somebody else's: runtimes put the id into the cgroup's path.
 * Rootless ones do not always, so this only asks for a closer look.
 */
export function mayBeForeignProcess({ pid, id }: Guest, system: System): boolean {
  return pid !== undefined && id !== undefined && !system.read(`/proc/${pid}/cgroup`)?.includes(id)
}

/** Refuses a container whose process is out of this kernel's reach. */
export function unreachableGuest({ name, id }: Guest, where: string, hint: string): GuestLookup {
  const why = new PipeworkError(`the container '${name}' is out of reach: ${where}`, { hint })
  return { state: 'refused', candidate: { name, id }, error: why }
}
