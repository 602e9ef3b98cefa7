import * as fs from 'node:fs'
import { dirname } from 'node:path'
import { PipeworkError } from './errors'
import type { Result } from './step'

/** One run of `ip -batch`. */
export interface IpBatch {
  /** The namespace, as `ip -n` takes it; the host's own when absent. */
  readonly netns?: string
  readonly lines: readonly string[]
  /** What is wanted of its output: with `json`, a document with all details for each line. Nothing when absent. */
  readonly answer?: 'json' | 'text'
}

/** An answer over HTTP. */
export interface HttpAnswer {
  readonly status: number
  readonly body: string
}

/** A network namespace held open, and its name for `ip -n` while it is. */
export interface Pin {
  readonly netns: string
  readonly inode: number
  release(): void
}

/** The outside world. Reads are plain calls: they ask the kernel's files and nothing else. */
export interface Host {
  /** Our own process, which names our own namespace to `ip link set … netns`. */
  readonly pid: number
  readonly isRoot: boolean
  readonly env: Readonly<Record<string, string | undefined>>
  /** The file's text without the white space at its end, or undefined when it cannot be read. */
  read(path: string): string | undefined
  /** The names in a directory, or undefined when there is none. */
  list(path: string): readonly string[] | undefined
  /** Where a symbolic link points, or undefined. */
  target(path: string): string | undefined
  /** The inode of what the path leads to, or undefined. */
  inode(path: string): number | undefined
  /** True when the path is a symbolic link that leads nowhere; false also where that cannot be told. */
  dangles(path: string): boolean
  /** True when a program of that name is on the PATH. */
  has(program: string): boolean
  /** Sends lines to the kernel through one `ip -batch`. Throws when ip is not installed or does not end. */
  ip(batch: IpBatch): Promise<Result>
  /**
   * Runs another program, never a shell, for 30 seconds at most unless another limit is given.
   * Throws when it is not installed or does not end; an exit status is an answer.
   */
  run(argv: readonly string[], limit?: number): Promise<Result>
  /**
   * Runs a program in our place: with our terminal, streams and process group, for as long as it likes.
   * Its exit status, or 128 and the number of the signal that ended it.
   */
  attend(argv: readonly string[]): Promise<number>
  /** GET over a Unix socket. Rejects with the system's error, whose `code` says why. */
  get(socket: string, path: string, limit: number): Promise<HttpAnswer>
  /** The IPv4 and IPv6 addresses of an interface of our own namespace that is up and running; no process is started. */
  addresses(ifname: string): Promise<readonly string[]>
  /** Writes a file and the directories above it, or removes it when there is no text. Throws the system's error. */
  save(path: string, text: string | undefined): void
  /** Opens a namespace's file and gives it a name in /run/netns that lasts as long as the pin. */
  pin(path: string): Pin
  /** Takes the lock of that name until it is released or the process ends; undefined while another run has it. */
  lock(name: string): (() => void) | undefined
  /** MD5 in hexadecimal: how the original derives an address from U:TEXT. */
  md5(text: string): Promise<string>
  /** Milliseconds since the process started. */
  elapsed(): number
  sleep(seconds: number): Promise<void>
  /** Writes to standard output (1) or standard error (2). */
  write(fd: 1 | 2, text: string): void
  /** Ends this very process at once, as kill -9 would: only for tests. */
  die(): void
}

/** Whether a signal asked to stop: the running step is finished, then all is rolled back. */
export interface Interrupt {
  readonly heard: boolean
}

/** What main.ts lends of `process`. */
export interface HostProcess {
  readonly pid: number
  readonly uid: number
  readonly env: Readonly<Record<string, string | undefined>>
  /** Seconds since it started. */
  uptime(): number
  kill(): void
  /** From now on signals are told to `tell` and do nothing else. */
  relay(tell: (signal: NodeJS.Signals) => void): void
  onExit(action: () => void): void
}

const NETNS_DIR = '/run/netns'
const LOCK_DIR = '/run/pipework'
/** The type of the file system that namespaces are files of, for statfs(2). */
const NSFS = 0x6e736673
/** Seconds a program may take. */
const DEFAULT_LIMIT = 30
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

function attempt<T>(action: () => T): T | undefined {
  try {
    return action()
  } catch {
    return undefined
  }
}

function isExecutable(path: string): boolean {
  return attempt(() => fs.accessSync(path, fs.constants.X_OK) === undefined) ?? false
}

/** When a process began, in clock ticks since boot: with its PID it names a process for ever (proc(5), field 22). */
function startTime(pid: number): string | undefined {
  const stat = attempt(() => fs.readFileSync(`/proc/${pid}/stat`, 'latin1'))
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
}

/** Removes the names of runs that were killed: their process is gone, so the name leads nowhere or to a stranger. */
function sweepPins(): void {
  for (const name of attempt(() => fs.readdirSync(NETNS_DIR)) ?? []) {
    const [, pid, start] = /^pipework-(\d+)-(\d+)-\d+$/.exec(name) ?? []
    if (pid !== undefined && startTime(Number(pid)) !== start) attempt(() => fs.unlinkSync(`${NETNS_DIR}/${name}`))
  }
}

function notInstalled(program: string): PipeworkError {
  const from = PACKAGES[program]
  return new PipeworkError(`'${program}' is not installed`, {
    hint: from === undefined ? undefined : `Install it: apt install ${from}`,
  })
}

/**
 * Every attach runs `ip`, so it goes straight to node:child_process: loading execa and its first call cost as much as
 * all the rest of an attach (18 ms beside 20 of bare node).
 */
async function runIp({ netns, lines, answer }: IpBatch): Promise<Result> {
  const { spawn } = await import('node:child_process')
  const args = [
    ...(netns === undefined ? [] : ['-n', netns]),
    ...(answer === 'json' ? ['-j', '-d'] : []),
    '-batch',
    '-',
  ]
  return new Promise((resolve, reject) => {
    const child = spawn('ip', args, {
      ...CHILD,
      stdio: ['pipe', answer === undefined ? 'ignore' : 'pipe', 'pipe'],
    })
    const [out, err]: [string[], string[]] = [[], []]
    child.stdout?.setEncoding('utf8').on('data', (text: string) => out.push(text))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => err.push(text))
    // spawn's own timeout goes on where there is no such program: the error would be followed by 30 seconds of nothing.
    const timer = setTimeout(() => child.kill(), DEFAULT_LIMIT * 1000)
    child.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer)
      reject(error.code === 'ENOENT' ? notInstalled('ip') : notStarted('ip', error.message))
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      if (signal === 'SIGTERM') reject(tooSlow(['ip', ...args], DEFAULT_LIMIT))
      else resolve({ code: code ?? 1, stdout: out.join(''), stderr: err.join('') })
    })
    // An ip that stops at an early line closes its end; what it said of that line comes with its exit.
    child.stdin?.on('error', () => {})
    child.stdin?.end(lines.map((line) => `${line}\n`).join(''))
  })
}

async function runProgram(argv: readonly string[], limit = DEFAULT_LIMIT): Promise<Result> {
  const [file = '', ...args] = argv
  const { execa } = await import('execa')
  const result = await execa(file, args, {
    ...CHILD,
    reject: false,
    env: { LC_ALL: 'C' },
    stdin: 'ignore',
    stripFinalNewline: false,
    timeout: limit * 1000,
  })
  if (result.code === 'ENOENT') throw notInstalled(file)
  if (result.timedOut) throw tooSlow(argv, limit)
  if (result.exitCode === undefined && result.signal === undefined) throw notStarted(file, result.shortMessage ?? '')
  return { code: result.exitCode ?? 1, stdout: result.stdout, stderr: result.stderr }
}

/** Straight to node:child_process, as runIp: execa has nothing to add, and this way `exec` starts 20 ms sooner. */
function createAttendant(self: HostProcess): Host['attend'] {
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

async function readAddresses(ifname: string): Promise<readonly string[]> {
  const { networkInterfaces } = await import('node:os')
  // An address with a label is listed under that: eth1:2.
  return Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
    name === ifname || name.startsWith(`${ifname}:`) ? addresses.map(({ address }) => address) : [],
  )
}

function dangles(path: string): boolean {
  if (attempt(() => fs.readlinkSync(path)) === undefined) return false
  try {
    fs.statSync(path)
    return false
  } catch (error) {
    // EACCES is what a living process of somebody else answers.
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
  }
}

function notStarted(program: string, reason: string): PipeworkError {
  return new PipeworkError(`'${program}' could not be started: ${reason}`)
}

function tooSlow(argv: readonly string[], limit: number): PipeworkError {
  return new PipeworkError(`'${argv.join(' ')}' did not end within ${limit} s`)
}

/**
 * HTTP/1.0, in which the server ends the answer by closing: nothing to parse but the status. node:http takes 4 ms to
 * load and 10 to ask (of 20 for bare node), which every attach to a container would wait for.
 */
async function getOverSocket(path: string, url: string, limit: number): Promise<HttpAnswer> {
  const { connect } = await import('node:net')
  return new Promise((resolve, reject) => {
    const socket = connect({ path })
    const parts: string[] = []
    socket.setEncoding('utf8').on('data', (text: string) => parts.push(text))
    socket.on('error', reject)
    socket.setTimeout(limit * 1000, () => {
      socket.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }))
    })
    socket.on('end', () => {
      const answer = parts.join('')
      const body = answer.indexOf('\r\n\r\n')
      resolve({ status: Number(answer.split(' ', 2)[1]), body: body < 0 ? '' : answer.slice(body + 4) })
    })
    socket.write(`GET ${url} HTTP/1.0\r\n\r\n`)
  })
}

/** Straight to the descriptor: setting up process.stdout costs each start 3 ms. */
function writeAll(fd: 1 | 2, text: string): void {
  let rest = Buffer.from(text)
  while (rest.length > 0) {
    try {
      rest = rest.subarray(fs.writeSync(fd, rest))
    } catch (error) {
      // A pipe that somebody made non-blocking is full: its reader needs a moment.
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN')
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
      // A reader that has seen enough (`pipework ls | head -1`) is no error.
      else return
    }
  }
}

/** In one rename, so that nobody ever reads half of it; for root's eyes alone. */
function saveFile(path: string, text: string | undefined): void {
  if (text === undefined) {
    fs.rmSync(path, { force: true })
    return
  }
  fs.mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  fs.writeFileSync(`${path}.new`, `${text}\n`, { mode: 0o600 })
  fs.renameSync(`${path}.new`, path)
}

/** Whether the process that `<pid>-<start>` names still runs; a zombie does not. */
function isAlive(owner: string): boolean {
  const [pid, start] = owner.split('-')
  const stat = attempt(() => fs.readFileSync(`/proc/${pid}/stat`, 'latin1'))
  return stat !== undefined && !stat.includes(') Z ') && startTime(Number(pid)) === start
}

/** Takes a dead run's lock away. Somebody quicker may have done so, and have its own there by now: that is put back. */
function removeStale(path: string, owner: string, me: string): void {
  const aside = `${path}.${me}`
  attempt(() => fs.renameSync(path, aside))
  if (attempt(() => fs.readlinkSync(aside)) === owner) fs.unlinkSync(aside)
  else attempt(() => fs.renameSync(aside, path))
}

/** Makes locks: links that say whose they are, so that one of a killed run binds nobody. */
function createLocker(self: HostProcess): Host['lock'] {
  const locks = new Set<string>()
  self.onExit(() => {
    for (const path of locks) attempt(() => fs.unlinkSync(path))
  })

  return (name) => {
    const path = `${LOCK_DIR}/${name}.lock`
    const me = `${self.pid}-${startTime(self.pid)}`
    const owner = attempt(() => fs.readlinkSync(path))
    if (owner !== undefined && isAlive(owner)) return undefined
    if (owner !== undefined) removeStale(path, owner, me)
    fs.mkdirSync(LOCK_DIR, { recursive: true, mode: 0o700 })
    try {
      fs.symlinkSync(me, path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined
      throw error
    }
    locks.add(path)
    return () => {
      if (locks.delete(path)) fs.unlinkSync(path)
    }
  }
}

/** Makes pins; those that are still held when the process ends go with it. */
function createPinner(self: HostProcess): Host['pin'] {
  const pins = new Set<() => void>()
  let count = 0
  self.onExit(() => {
    for (const release of pins) release()
  })

  return (path) => {
    sweepPins()
    const fd = fs.openSync(path, 'r')
    if (fs.statfsSync(`/proc/self/fd/${fd}`).type !== NSFS) {
      fs.closeSync(fd)
      throw Object.assign(new Error(`EINVAL: not a namespace, '${path}'`), { code: 'EINVAL' })
    }
    count += 1
    const netns = `pipework-${self.pid}-${startTime(self.pid)}-${count}`
    const link = `${NETNS_DIR}/${netns}`
    const release = () => {
      if (!pins.delete(release)) return
      attempt(() => fs.unlinkSync(link))
      fs.closeSync(fd)
    }
    pins.add(release)
    fs.mkdirSync(NETNS_DIR, { recursive: true })
    fs.symlinkSync(`/proc/${self.pid}/fd/${fd}`, link)
    return { netns, inode: fs.fstatSync(fd).ino, release }
  }
}

/** The host as it really is. */
export function createHost(self: HostProcess): Host {
  return {
    pid: self.pid,
    isRoot: self.uid === 0,
    env: self.env,
    read: (path) => attempt(() => fs.readFileSync(path, 'utf8').trimEnd()),
    list: (path) => attempt(() => fs.readdirSync(path)),
    target: (path) => attempt(() => fs.readlinkSync(path)),
    inode: (path) => attempt(() => fs.statSync(path).ino),
    dangles,
    has: (program) => (self.env.PATH ?? '').split(':').some((dir) => isExecutable(`${dir}/${program}`)),

    ip: runIp,
    run: runProgram,
    attend: createAttendant(self),
    addresses: readAddresses,
    get: getOverSocket,

    save: saveFile,
    pin: createPinner(self),
    lock: createLocker(self),
    async md5(text) {
      const { createHash } = await import('node:crypto')
      return createHash('md5').update(text).digest('hex')
    },

    elapsed: () => self.uptime() * 1000,
    sleep: (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000)),
    write: writeAll,
    die: () => self.kill(),
  }
}
