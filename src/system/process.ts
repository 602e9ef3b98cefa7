import type { ChildProcess } from 'node:child_process'
import { PipeworkError } from '../model/errors'
import { OWN_ENVIRONMENT, type Result, writeBatch } from '../plan/step'
import { attempt } from './files'
import type { Host, HostProcess, IpBatch, ReadyIp } from './types'

/** Seconds a program may take. */
const DEFAULT_LIMIT = 30

/** In names and aliases, which who is in a guest chooses, `ip` prints it as it is: that is no JSON, and moves a cursor. */
const CONTROL = /[^\P{Cc}\n\t]/gu

// In a group of its own, so that Ctrl-C at the terminal reaches pipework alone, which finishes its step and rolls back.
const CHILD = { detached: true } as const

/** Which Debian package brings a program. */
const PACKAGES: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  bridge: 'iproute2',
  sysctl: 'procps',
  nsenter: 'util-linux',
  docker: 'docker.io',
  podman: 'podman',
  'lxc-info': 'lxc',
  arping: 'iputils-arping',
}

function notInstalled(program: string): PipeworkError {
  const from = PACKAGES[program]
  return new PipeworkError(`'${program}' is not installed`, {
    hint: from === undefined ? undefined : `Install it: apt install ${from}`,
  })
}

/** What is wanted of a program's streams, its environment, and its end. */
interface Streams {
  readonly input: 'ignore' | 'pipe'
  readonly output: 'ignore' | 'pipe'
  /** Ours when absent. */
  readonly env?: NodeJS.ProcessEnv
  /** Ends it before its time; without what it has started, when absent. */
  readonly end?: (child: ChildProcess) => void
}

/** A program that runs, and may wait for its input. */
interface Started {
  /** Gives it its input; rejects when it does not end within that many seconds. */
  finish(input: string, limit: number): Promise<Result>
  kill(): void
}

/**
 * Every attach runs `ip`, so it goes straight to node:child_process: loading execa and its first call cost as much as
 * all the rest of an attach (18 ms beside 20 of bare node).
 */
async function start(
  [file = '', ...args]: readonly string[],
  { input, output, env, end = (child) => void child.kill() }: Streams,
): Promise<Started> {
  const { spawn } = await import('node:child_process')
  const child = spawn(file, args, { ...CHILD, stdio: [input, output, 'pipe'], env })
  const [out, err]: [string[], string[]] = [[], []]
  child.stdout?.setEncoding('utf8').on('data', (text: string) => out.push(text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => err.push(text))
  // An ip that stops at an early line closes its end; what it said of that line comes with its exit.
  child.stdin?.on('error', () => {})
  const ended = new Promise<Result & { readonly signal: string | null }>((resolve, reject) => {
    child.on('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' ? notInstalled(file) : notStarted(file, error.message)),
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
      const timer = setTimeout(() => end(child), limit * 1000)
      child.stdin?.end(text)
      const { signal, ...result } = await ended.finally(() => clearTimeout(timer))
      if (signal === 'SIGTERM') throw tooSlow([file, ...args], limit)
      return result
    },
    kill: () => end(child),
  }
}

/** Starts an `ip -batch` that waits for its lines. It ends with the programs that its lines have started. */
async function startIp({ netns, answer, force }: Omit<IpBatch, 'lines'>, self: HostProcess): Promise<ReadyIp> {
  const argv = [
    'ip',
    ...(netns === undefined ? [] : ['-n', netns]),
    ...(answer === 'json' ? ['-j', '-d'] : []),
    ...(force ? ['-force'] : []),
    '-batch',
    '-',
  ]
  const end = ({ pid }: ChildProcess) => void attempt(() => pid === undefined || self.end(-pid))
  const output = answer === undefined ? 'ignore' : 'pipe'
  const { finish, kill } = await start(argv, { input: 'pipe', output, end })
  return {
    send: async (lines) => {
      const { stdout, ...result } = await finish(writeBatch(lines), DEFAULT_LIMIT)
      return { ...result, stdout: stdout === '' ? '' : stdout.replaceAll(CONTROL, '\ufffd') }
    },
    dismiss: kill,
  }
}

/** The calls that run `ip`. */
export function createIp(self: HostProcess): Pick<Host, 'ip' | 'startIp'> {
  return {
    ip: async ({ lines, ...place }) => (await startIp(place, self)).send(lines),
    startIp: (netns) => startIp(netns === undefined ? {} : { netns }, self),
  }
}

/** Runs a program that only answers, without execa. */
export async function runQuery(argv: readonly string[], limit = DEFAULT_LIMIT): Promise<Result> {
  const { finish } = await start(argv, { input: 'ignore', output: 'pipe' })
  return finish('', limit)
}

/** Runs a program by execa, to its end. */
export async function runProgram(argv: readonly string[], limit = DEFAULT_LIMIT, input?: string): Promise<Result> {
  const [file = '', ...args] = argv
  const { execa } = await import('execa')
  const result = await execa(file, args, {
    ...CHILD,
    reject: false,
    env: { LC_ALL: 'C' },
    ...(input === undefined ? { stdin: 'ignore' } : { input: `${input}\n` }),
    stripFinalNewline: false,
    timeout: limit * 1000,
  })
  if (result.code === 'ENOENT') throw notInstalled(file)
  if (result.timedOut) throw tooSlow(argv, limit)
  if (result.exitCode === undefined && result.signal === undefined) throw notStarted(file, result.shortMessage ?? '')
  return { code: result.exitCode ?? 1, stdout: result.stdout, stderr: result.stderr }
}

/** Runs a script of ours, whose output is nobody's; what it starts may stay. */
export async function launchScript(argv: readonly string[]): Promise<Result> {
  const { finish } = await start(argv, { input: 'ignore', output: 'ignore', env: OWN_ENVIRONMENT })
  return finish('', DEFAULT_LIMIT)
}

/** Straight to node:child_process, as runIp: execa has nothing to add, and this way `exec` starts 20 ms sooner. */
export function createAttendant(self: HostProcess): Host['attend'] {
  return async ([file = '', ...args]) => {
    const [{ spawn }, { constants }] = await Promise.all([import('node:child_process'), import('node:os')])
    return new Promise((resolve, reject) => {
      const child = spawn(file, args, { stdio: 'inherit' })
      // Ctrl-C and Ctrl-\ reach it from the terminal, as they reach us. The others may be meant for us alone.
      self.relay((signal) => {
        if (signal === 'SIGTERM' || signal === 'SIGHUP') child.kill(signal)
      })
      child.on('error', (error: NodeJS.ErrnoException) =>
        reject(error.code === 'ENOENT' ? notInstalled(file) : notStarted(file, error.message)),
      )
      child.on('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])))
    })
  }
}

function notStarted(program: string, reason: string): PipeworkError {
  return new PipeworkError(`'${program}' could not be started: ${reason}`, { hint: `Try it by hand: ${program}` })
}

function tooSlow(argv: readonly string[], limit: number): PipeworkError {
  return new PipeworkError(`'${argv.join(' ')}' did not end within ${limit} s`, {
    hint: 'Try it by hand, to see what it is waiting for.',
  })
}
