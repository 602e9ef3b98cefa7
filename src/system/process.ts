import type { ChildProcess } from 'node:child_process'
import { PipeworkError } from '../model/errors'
import { type CommandResult, formatBatch, SCRIPT_ENV } from '../plan/step'
import { tryOr } from './files'
import type { IpBatch, NodeProcess, PrespawnedIp, System } from './types'

/** Seconds a program may take. */
const DEFAULT_TIMEOUT = 30

/** In names and aliases, which who is in a guest chooses, `ip` prints it as it is: that is no JSON, and moves a cursor. */
const CONTROL_CHARS = /[^\P{Cc}\n\t]/gu

// In a group of its own, so that Ctrl-C at the terminal reaches pipework alone, which finishes its step and rolls back.
const DETACHED = { detached: true } as const

/** Which Debian package brings a program. */
const DEBIAN_PACKAGES: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  bridge: 'iproute2',
  sysctl: 'procps',
  nsenter: 'util-linux',
  docker: 'docker.io',
  podman: 'podman',
  'lxc-info': 'lxc',
  arping: 'iputils-arping',
}

function notInstalledError(program: string): PipeworkError {
  const from = DEBIAN_PACKAGES[program]
  return new PipeworkError(`'${program}' is not installed`, {
    hint: from === undefined ? undefined : `Install it: apt install ${from}`,
  })
}

/** What is wanted of a program's streams, its environment, and its end. */
interface SpawnOptions {
  readonly stdin: 'ignore' | 'pipe'
  readonly stdout: 'ignore' | 'pipe'
  /** Ours when absent. */
  readonly env?: NodeJS.ProcessEnv
  /** Ends it before its time; without what it has started, when absent. */
  readonly terminate?: (child: ChildProcess) => void
}

/** A program that runs, and may wait for its input. */
interface SpawnedProgram {
  /** Gives it its input; rejects when it does not end within that many seconds. */
  finish(input: string, limit: number): Promise<CommandResult>
  kill(): void
}

/**
 * Every attach runs `ip`, so it goes straight to node:child_process: loading execa and its first call cost as much as
 * all the rest of an attach (18 ms beside 20 of bare node).
 */
async function spawnProgram(
  [file = '', ...args]: readonly string[],
  { stdin, stdout, env, terminate = (child) => void child.kill() }: SpawnOptions,
): Promise<SpawnedProgram> {
  const { spawn } = await import('node:child_process')
  const child = spawn(file, args, { ...DETACHED, stdio: [stdin, stdout, 'pipe'], env })
  const [out, err]: [string[], string[]] = [[], []]
  child.stdout?.setEncoding('utf8').on('data', (text: string) => out.push(text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => err.push(text))
  // An ip that stops at an early line closes its end; what it said of that line comes with its exit.
  child.stdin?.on('error', () => {})
  const ended = new Promise<CommandResult & { readonly signal: string | null }>((resolve, reject) => {
    child.on('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' ? notInstalledError(file) : notStartedError(file, error.message)),
    )
    child.on('close', (code, signal) =>
      resolve({ code: code ?? 1, stdout: out.join(''), stderr: err.join(''), signal }),
    )
  })
  // How it ended is nothing to somebody who has dismissed it.
  ended.catch(() => {})
  return {
    async finish(text, limit) {
      // spawn's own timeout goes on where there is no such program: the error would be followed by 30 seconds of nothing.
      const timer = setTimeout(() => terminate(child), limit * 1000)
      child.stdin?.end(text)
      const { signal, ...result } = await ended.finally(() => clearTimeout(timer))
      if (signal === 'SIGTERM') throw timeoutError([file, ...args], limit)
      return result
    },
    kill: () => terminate(child),
  }
}

/** Starts an `ip -batch` that waits for its lines. It ends with the programs that its lines have started. */
async function startIpBatch(
  { netns, output: answer, force }: Omit<IpBatch, 'lines'>,
  self: NodeProcess,
): Promise<PrespawnedIp> {
  const argv = [
    'ip',
    ...(netns === undefined ? [] : ['-n', netns]),
    ...(answer === 'json' ? ['-j', '-d'] : []),
    ...(force ? ['-force'] : []),
    '-batch',
    '-',
  ]
  const end = ({ pid }: ChildProcess) => void tryOr(() => pid === undefined || self.terminate(-pid))
  const output = answer === undefined ? 'ignore' : 'pipe'
  const { finish, kill } = await spawnProgram(argv, { stdin: 'pipe', stdout: output, terminate: end })
  return {
    send: async (lines) => {
      const { stdout, ...result } = await finish(formatBatch(lines), DEFAULT_TIMEOUT)
      return { ...result, stdout: stdout === '' ? '' : stdout.replaceAll(CONTROL_CHARS, '\ufffd') }
    },
    cancel: kill,
  }
}

/** The calls that run `ip`. */
export function createIpRunner(self: NodeProcess): Pick<System, 'runIpBatch' | 'startIpBatch'> {
  return {
    runIpBatch: async ({ lines, ...place }) => (await startIpBatch(place, self)).send(lines),
    startIpBatch: (netns) => startIpBatch(netns === undefined ? {} : { netns }, self),
  }
}

/** Runs a program that only answers, without execa. */
export async function runQuery(argv: readonly string[], limit = DEFAULT_TIMEOUT): Promise<CommandResult> {
  const { finish } = await spawnProgram(argv, { stdin: 'ignore', stdout: 'pipe' })
  return finish('', limit)
}

/** Runs a program by execa, to its end. */
export async function runProgram(
  argv: readonly string[],
  limit = DEFAULT_TIMEOUT,
  input?: string,
): Promise<CommandResult> {
  const [file = '', ...args] = argv
  const { execa } = await import('execa')
  const result = await execa(file, args, {
    ...DETACHED,
    reject: false,
    env: { LC_ALL: 'C' },
    ...(input === undefined ? { stdin: 'ignore' } : { input: `${input}\n` }),
    stripFinalNewline: false,
    timeout: limit * 1000,
  })
  if (result.code === 'ENOENT') throw notInstalledError(file)
  if (result.timedOut) throw timeoutError(argv, limit)
  if (result.exitCode === undefined && result.signal === undefined)
    throw notStartedError(file, result.shortMessage ?? '')
  return { code: result.exitCode ?? 1, stdout: result.stdout, stderr: result.stderr }
}

/** Runs a script of ours, whose output is nobody's; what it starts may stay. */
export async function runOwnScript(argv: readonly string[]): Promise<CommandResult> {
  const { finish } = await spawnProgram(argv, { stdin: 'ignore', stdout: 'ignore', env: SCRIPT_ENV })
  return finish('', DEFAULT_TIMEOUT)
}

/** Straight to node:child_process, as runIp: execa has nothing to add, and this way `exec` starts 20 ms sooner. */
export function createForegroundRunner(self: NodeProcess): System['runForeground'] {
  return async ([file = '', ...args]) => {
    const [{ spawn }, { constants }] = await Promise.all([import('node:child_process'), import('node:os')])
    return new Promise((resolve, reject) => {
      const child = spawn(file, args, { stdio: 'inherit' })
      // Ctrl-C and Ctrl-\ reach it from the terminal, as they reach us. The others may be meant for us alone.
      self.forwardSignals((signal) => {
        if (signal === 'SIGTERM' || signal === 'SIGHUP') child.kill(signal)
      })
      child.on('error', (error: NodeJS.ErrnoException) =>
        reject(error.code === 'ENOENT' ? notInstalledError(file) : notStartedError(file, error.message)),
      )
      child.on('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])))
    })
  }
}

function notStartedError(program: string, reason: string): PipeworkError {
  return new PipeworkError(`'${program}' could not be started: ${reason}`, { hint: `Try it by hand: ${program}` })
}

function timeoutError(argv: readonly string[], limit: number): PipeworkError {
  return new PipeworkError(`'${argv.join(' ')}' did not end within ${limit} s`, {
    hint: 'Try it by hand, to see what it is waiting for.',
  })
}
