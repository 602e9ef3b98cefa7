import type { Options } from 'execa'
import { PipeworkError } from '../model/errors'
import { formatBatch } from './batch'
import { tryOr } from './files'
import { MAX_LINE_LENGTH, splitLines } from './lines'
import type { CommandResult, IpBatch, LineFollower, NodeProcess, System } from './types'

/** Seconds that a program may run, unless its caller sets another limit. */
const DEFAULT_LIMIT = 30
/** Seconds from SIGTERM to SIGKILL. */
const KILL_DELAY = 5
/** Seconds to wait until a detached pipework is ready. */
const READY_LIMIT = 30

/** `ip` prints names and aliases unescaped, and a container chooses its own: a control character breaks JSON. */
const CONTROL_CHARS = /[^\P{Cc}\n\t]/gu

/** The environment of pipework's own scripts and their children. PIPEWORK marks them as started by pipework. */
const SCRIPT_ENV = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', PIPEWORK: 'alone' } as const

/** The Debian package of a program. */
const DEBIAN_PACKAGES: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  bridge: 'iproute2',
  sysctl: 'procps',
  nsenter: 'util-linux',
  flock: 'util-linux',
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

function notStartedError(program: string, reason: string): PipeworkError {
  return new PipeworkError(`'${program}' could not be started: ${reason}`, { hint: `Try it by hand: ${program}` })
}

function timeoutError(argv: readonly string[], limit: number): PipeworkError {
  return new PipeworkError(`'${argv.join(' ')}' did not end within ${limit} s`, {
    hint: 'Try it by hand, to see what it is waiting for.',
  })
}

/**
 * Ends a process group at its limit: SIGTERM, then SIGKILL. The whole group, because a child of the program may hold
 * its output open. Returns how to cancel that, and whether it has happened.
 */
function limitGroup(pid: number | undefined, limit: number, self: NodeProcess) {
  const state = { isTimedOut: false }
  const send = (signal: 'SIGTERM' | 'SIGKILL') => void tryOr(() => pid !== undefined && self.kill(-pid, signal))
  const term = setTimeout(() => {
    state.isTimedOut = true
    send('SIGTERM')
  }, limit * 1000)
  const kill = setTimeout(() => send('SIGKILL'), (limit + KILL_DELAY) * 1000)
  const clear = () => {
    clearTimeout(term)
    clearTimeout(kill)
  }
  return { state, clear }
}

/** Runs `ip -batch` without execa, which loads slower than `ip` runs; the guarantees are the same. */
async function runIpBatch(batch: IpBatch, self: NodeProcess): Promise<CommandResult> {
  const { netns, output, force } = batch
  const format = output === 'json' ? ['-j', '-d'] : []
  const rest = [...format, ...(force ? ['-force'] : []), '-batch', '-']
  if (netns === undefined) return spawnIp(['ip', ...rest], batch, self)
  const result = await spawnIp(['ip', '-n', netns, ...rest], batch, self)
  // `ip -n` mounts /sys before it reads a line, which fails where another /sys of that namespace lies below ours.
  if (!result.stderr.includes('mount of /sys failed')) return result
  return spawnIp(['nsenter', `--net=/run/netns/${netns}`, 'ip', ...rest], batch, self)
}

async function spawnIp(
  [program, ...args]: readonly [string, ...string[]],
  { lines, output }: IpBatch,
  self: NodeProcess,
): Promise<CommandResult> {
  const { spawn } = await import('node:child_process')
  const child = spawn(program, args, {
    // Its own process group: Ctrl-C reaches only pipework, which finishes the step and rolls back.
    detached: true,
    stdio: ['pipe', output === undefined ? 'ignore' : 'pipe', 'pipe'],
    env: { ...self.env, LC_ALL: 'C' },
  })
  const [out, err]: [string[], string[]] = [[], []]
  child.stdout?.setEncoding('utf8').on('data', (text: string) => out.push(text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => err.push(text))
  // When `ip` stops at an early line, it closes its input; its exit status gives the reason.
  child.stdin?.on('error', () => {})
  const { state, clear } = limitGroup(child.pid, DEFAULT_LIMIT, self)
  const ended = new Promise<number>((resolve, reject) => {
    child.on('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' ? notInstalledError('ip') : notStartedError('ip', error.message)),
    )
    child.on('close', (code) => resolve(code ?? 1))
  })
  child.stdin?.end(formatBatch(lines))
  const code = await ended.finally(clear)
  if (state.isTimedOut) throw timeoutError(['ip', ...args], DEFAULT_LIMIT)
  return { code, stdout: out.join('').replaceAll(CONTROL_CHARS, '\ufffd'), stderr: err.join('') }
}

/** Options of a program that always finishes, in its own process group: Ctrl-C reaches only pipework. */
interface ProgramOptions extends Pick<Options, 'stdin' | 'stdout' | 'input' | 'env' | 'extendEnv'> {
  readonly limit?: number
}

async function runProgram(
  argv: readonly string[],
  { limit = DEFAULT_LIMIT, ...options }: ProgramOptions,
  self: NodeProcess,
): Promise<CommandResult> {
  const [file = '', ...args] = argv
  const { execa } = await import('execa')
  const child = execa(file, args, {
    detached: true,
    reject: false,
    stripFinalNewline: false,
    timeout: limit * 1000,
    forceKillAfterDelay: KILL_DELAY * 1000,
    ...options,
  })
  const { clear } = limitGroup(child.pid, limit, self)
  const result = await child.finally(clear)
  if (result.code === 'ENOENT') throw notInstalledError(file)
  if (result.timedOut) throw timeoutError(argv, limit)
  if (result.exitCode === undefined && result.signal === undefined)
    throw notStartedError(file, result.shortMessage ?? '')
  const toText = (output: unknown) => (typeof output === 'string' ? output : '')
  return { code: result.exitCode ?? 1, stdout: toText(result.stdout), stderr: toText(result.stderr) }
}

/** Runs a program in pipework's place; returns its exit status, or 128 plus the number of the signal that ended it. */
async function runForeground([file = '', ...args]: readonly string[], self: NodeProcess): Promise<number> {
  const [{ execa }, { constants }] = await Promise.all([import('execa'), import('node:os')])
  const child = execa(file, args, { stdio: 'inherit', reject: false, cleanup: false, forceKillAfterDelay: false })
  // Ctrl-C and Ctrl-\ reach the child from the terminal. Other signals may be sent to pipework only, so they are
  // forwarded.
  self.forwardSignals((signal) => {
    if (signal === 'SIGTERM' || signal === 'SIGHUP') child.kill(signal)
  })
  const { code, exitCode, signal, shortMessage } = await child
  if (code === 'ENOENT') throw notInstalledError(file)
  if (exitCode !== undefined) return exitCode
  if (signal === undefined) throw notStartedError(file, shortMessage ?? '')
  return 128 + constants.signals[signal as NodeJS.Signals]
}

/** Starts another pipework in a session of its own; resolves when it prints its first word. */
async function spawnPipework(words: readonly string[], { selfCommand: [node, script], env }: NodeProcess) {
  // The test settings that stop this process must not stop the one that restores.
  const { PIPEWORK_FAIL_AFTER, PIPEWORK_KILL_AFTER, ...rest } = env
  const { execa } = await import('execa')
  const child = execa(node, [script, ...words], {
    detached: true,
    reject: false,
    buffer: false,
    stdio: ['ignore', 'pipe', 'ignore'],
    env: rest,
    extendEnv: false,
    cwd: '/',
  })
  const fail = (reason: string) => {
    child.kill('SIGKILL')
    return new PipeworkError(`'pipework ${words.join(' ')}' could not be started: ${reason}`)
  }
  let timer: NodeJS.Timeout | undefined
  await new Promise<void>((resolve, reject) => {
    timer = setTimeout(() => reject(fail(`not ready within ${READY_LIMIT} s`)), READY_LIMIT * 1000)
    child.stdout.once('data', () => resolve())
    void child.then(({ exitCode, shortMessage }) =>
      reject(fail(exitCode === undefined ? (shortMessage ?? '') : `it ended with ${exitCode}`)),
    )
  }).finally(() => clearTimeout(timer))
  child.stdout.destroy()
  child.unref()
}

/**
 * Locks the file of a descriptor: flock(1) inherits it, and the lock lasts until the descriptor is closed. Without
 * execa, which cannot pass descriptors.
 */
export async function lockDescriptor(fd: number): Promise<void> {
  const { spawn } = await import('node:child_process')
  const child = spawn('flock', ['3'], {
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', fd],
    timeout: DEFAULT_LIMIT * 1000,
    killSignal: 'SIGKILL',
  })
  await new Promise<void>((resolve, reject) => {
    child.on('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' ? notInstalledError('flock') : notStartedError('flock', error.message)),
    )
    child.on('close', (code) => (code === 0 ? resolve() : reject(timeoutError(['flock', '3'], DEFAULT_LIMIT))))
  })
}

/** Follows the output of a program. Returns why it ended; empty when the signal ended it. */
export async function followProgram(
  [file = '', ...args]: readonly string[],
  follower: LineFollower,
  cancelSignal: AbortSignal,
): Promise<string> {
  const { execa } = await import('execa')
  const child = execa(file, args, {
    detached: true,
    reject: false,
    buffer: { stdout: false },
    // Only the end of standard error is needed.
    maxBuffer: { stderr: MAX_LINE_LENGTH },
    stdin: 'ignore',
    env: { LC_ALL: 'C' },
    cancelSignal,
    forceKillAfterDelay: KILL_DELAY * 1000,
  })
  child.once('spawn', () => follower.onOpen())
  for await (const line of splitLines(child.stdout.setEncoding('utf8'))) follower.onLine(line)
  const { code, exitCode, stderr } = await child
  if (cancelSignal.aborted) return ''
  return code ?? (stderr.trim().split('\n').at(-1) || `exit code ${exitCode}`)
}

export function createProgramRunner(
  self: NodeProcess,
): Pick<System, 'runIpBatch' | 'run' | 'runScript' | 'runForeground' | 'spawnDetached'> {
  return {
    runIpBatch: (batch) => runIpBatch(batch, self),
    run: (argv, limit, input) =>
      runProgram(
        argv,
        { limit, env: { LC_ALL: 'C' }, ...(input === undefined ? { stdin: 'ignore' } : { input: `${input}\n` }) },
        self,
      ),
    runScript: (argv) =>
      runProgram(argv, { stdin: 'ignore', stdout: 'ignore', env: SCRIPT_ENV, extendEnv: false }, self),
    runForeground: (argv) => runForeground(argv, self),
    spawnDetached: (words) => spawnPipework(words, self),
  }
}
