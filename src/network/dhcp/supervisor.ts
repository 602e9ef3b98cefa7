import { type Command, guestNetns, type Plan } from '../../plan/step'
import type { ClientFile, DhcpProgramName } from './clients'
import hookScript from './hook.sh?raw'
import { type ClientState, isReleasable } from './state'
import supervisorScript from './supervisor.sh?raw'

/** The supervisor's file in a client's directory: earlier versions of pipework gave it this name, too. */
const SUPERVISOR_FILE = 'keep'
/** The words of `--start`, for a later start of the same client. */
const ARGUMENTS_FILE = 'arguments'

/** What the supervisor is started with. */
export interface SupervisorStart {
  /** The path of the guest's network namespace while the guest lives. */
  readonly guestPath: string
  readonly ifname: string
  /** The host end of the link; may be a name that no link has. */
  readonly hostEnd: string
  readonly program: DhcpProgramName
  /** Seconds that the client may run without a lease. */
  readonly limit: number
  /** Node and the script. */
  readonly pipeworkArgv: readonly string[]
  readonly clientArgv: readonly string[]
}

/** The words of `--start` after the namespace; supervisor.sh describes them. */
export function formatSupervisorArguments(start: SupervisorStart): readonly string[] {
  const { guestPath, ifname, hostEnd, program, limit, pipeworkArgv, clientArgv } = start
  return [guestPath, ifname, hostEnd, program, `${Math.ceil(limit) * 2}`, ...pipeworkArgv, ...clientArgv]
}

/** The files that the supervisor needs. */
export function supervisorFiles(args: readonly string[]): readonly ClientFile[] {
  return [
    { name: SUPERVISOR_FILE, text: supervisorScript.trimEnd() },
    { name: ARGUMENTS_FILE, text: JSON.stringify(args) },
    { name: 'hook', text: hookScript.trimEnd() },
  ]
}

type ClientDirectory = Pick<ClientState, 'directory'>

/** Starts the supervisor; of a client of an earlier version, the script has the arguments. */
export function startSupervisorCommand(
  { directory }: ClientDirectory,
  program: DhcpProgramName,
  args?: readonly string[],
): Command {
  return {
    kind: 'run',
    in: 'host',
    argv: [
      'sh',
      `${directory}/${SUPERVISOR_FILE}`,
      ...(args === undefined ? [] : ['--start']),
      guestNetns,
      ...(args ?? []),
    ],
    // Docker's client finds its daemon by the environment.
    cleanEnv: program === 'image' ? undefined : true,
  }
}

/** The command that stops the supervisor, and the client with it. */
export function stopSupervisorArgv({ directory }: ClientDirectory): readonly string[] {
  return ['sh', `${directory}/${SUPERVISOR_FILE}`, '--stop']
}

/** The same as a command of a plan. */
export function stopSupervisorCommand(client: ClientDirectory): Command {
  return { kind: 'run', in: 'host', argv: stopSupervisorArgv(client), cleanEnv: true }
}

/** The words of the last `--start`; undefined for a client of an earlier version. */
export function readSupervisorArguments({ files }: Pick<ClientState, 'files'>): readonly string[] | undefined {
  try {
    const args: unknown = JSON.parse(files[ARGUMENTS_FILE] ?? '')
    return Array.isArray(args) && args.every((word) => typeof word === 'string') ? args : undefined
  } catch {
    return undefined
  }
}

export function clientFileCommand(directory: string, { name, text }: { name: string; text?: string }): Command {
  const isExecutable = name === 'hook' ? true : undefined
  return { kind: 'file', in: 'host', path: `${directory}/${name}`, text, isExecutable }
}

export function restoreClientFiles({ directory, files }: ClientState): readonly Command[] {
  return Object.entries(files).map(([name, text]) => clientFileCommand(directory, { name, text }))
}

export function removeClientDirectory({ directory }: ClientDirectory): Command {
  return { kind: 'run', in: 'host', argv: ['rm', '-rf', directory] }
}

export function planClientStop(state: ClientState): Plan {
  if (!state.isRunning) return []
  const { ifname, program } = state.client
  return [
    {
      description: `stop the DHCP client of ${ifname}`,
      command: stopSupervisorCommand(state),
      undo: startSupervisorCommand(state, program, readSupervisorArguments(state)),
    },
  ]
}

/** Releases the lease, while the link still has its address. */
export function planLeaseRelease(state: ClientState, pipeworkArgv: readonly string[]): Plan {
  const { client, lease, directory } = state
  if (lease === undefined || !isReleasable(state)) return []
  return [
    {
      description: `release ${lease.ip} to the DHCP${client.family === 6 ? 'v6' : ''} server ${lease.server}`,
      command: { kind: 'run', in: 'guest', argv: [...pipeworkArgv, '__dhcp', 'release', directory] },
    },
  ]
}

export function planClientRemoval(state: ClientState): Plan {
  return [
    {
      description: `delete the files of the DHCP client of ${state.client.ifname}`,
      command: removeClientDirectory(state),
      undo: restoreClientFiles(state),
    },
  ]
}
