import { createHash } from 'node:crypto'
import { PipeworkError } from '../model/errors'
import type { BatchLine } from './batch'
import type { CommandResult, HeldNetns, HttpResponse, IpBatch, System } from './types'

/**
 * A fake answer of a program or Docker. An Error is thrown; a list is used answer by answer, and the last one repeats.
 */
type FakeAnswer = Partial<CommandResult> | HttpResponse | Error
type FakeAnswers = Readonly<Record<string, FakeAnswer | readonly FakeAnswer[]>>

interface FakeSystemOptions {
  /** File contents by path. The directories above them exist too. */
  readonly files?: Readonly<Record<string, string>>
  /** Targets of symbolic links by path. */
  readonly links?: Readonly<Record<string, string>>
  readonly inodes?: Readonly<Record<string, number>>
  readonly addresses?: Readonly<Record<string, readonly string[]>>
  readonly programs?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly isRoot?: boolean
  /** The width of the terminal; absent when output goes elsewhere. */
  readonly columns?: number
  /**
   * Answers by a part of the text in `calls`; the first match answers. Without a match, the call succeeds without
   * output.
   */
  readonly answers?: FakeAnswers
}

/** A host in memory that records every call. */
interface FakeSystem extends System {
  /**
   * In order: `ip [-n netns] | line | line…` for a batch, the words of a program, `attend words`,
   * `GET socket path`, `pin path`, `release path`, `sleep seconds`, `kill pid`.
   */
  readonly calls: readonly string[]
  /** The highest number of programs that ran in parallel. */
  readonly maxConcurrent: () => number
  /** The text written to standard output (1) and standard error (2). */
  readonly written: Readonly<Record<1 | 2, string>>
}

/** A system error as Node throws it. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: as the test wants it`), { code })
}

/** Runs the action and returns the PipeworkError that it throws. */
export function captureError(action: () => unknown): PipeworkError {
  try {
    action()
  } catch (error) {
    if (error instanceof PipeworkError) return error
    throw error
  }
  throw new Error('not refused')
}

/** Counts how many of its actions run in parallel. */
function createConcurrencyGauge() {
  const seen = { now: 0, most: 0 }
  return {
    most: () => seen.most,
    async run<T>(action: () => T): Promise<T> {
      seen.now += 1
      seen.most = Math.max(seen.most, seen.now)
      await Promise.resolve()
      seen.now -= 1
      return action()
    },
  }
}

/** Finds the answer to a call, and throws it when it is an error. */
function createResponder(answers: FakeAnswers) {
  const used = new Map<string, number>()
  return (text: string): Exclude<FakeAnswer, Error> | undefined => {
    const found = Object.entries(answers).find(([part]) => text.includes(part))
    if (found === undefined) return undefined
    const [key, value] = found
    const count = used.get(key) ?? 0
    used.set(key, count + 1)
    const answer = [value].flat()[Math.min(count, [value].flat().length - 1)]
    if (answer instanceof Error) throw answer
    return answer
  }
}

function listDirectory(path: string, paths: readonly string[]): readonly string[] | undefined {
  const below = paths
    .filter((it) => it.startsWith(`${path}/`))
    .map((it) => it.slice(path.length + 1).split('/')[0] ?? '')
  return below.length === 0 ? undefined : [...new Set(below)].filter(Boolean)
}

/** The calls that read files. A path that ends in `/` among the files is an empty directory. */
function createFakeFiles({ files = {}, links = {}, inodes = {} }: FakeSystemOptions) {
  const paths = Object.keys({ ...files, ...links, ...inodes })
  const read = (path: string) => files[path]?.trimEnd()
  return {
    read,
    list: (path: string) => listDirectory(path, paths),
    readLink: (path: string) => links[path],
    realPath: (path: string) => (path in files ? path : links[path]),
    inode: (path: string) => inodes[path],
    isDanglingLink: (path: string) => path in links && !(path in inodes),
  }
}

/** Calls that are the same in every test: no signals, no events, no terminal, no other run. */
const NO_OP_CALLS = {
  pid: 4711,
  isTerminal: async () => false,
  mtime: () => 0,
  selfCommand: ['/usr/bin/node', '/usr/local/bin/pipework'] as const,
  followLines: async () => 'ENOENT',
  limitHeapGrowth: async () => {},
  forwardSignals: () => {},
  onInputLine: async () => () => {},
  spawnDetached: async () => {},
  watchDirectory: () => ({ nextChange: async () => {}, close: () => {} }),
  tryLock: async () => () => {},
  findLockOwner: () => undefined,
}

/** Calls that are only recorded and return nothing. */
function createRecordedWrites(ran: string[]) {
  return {
    writeFile: (path: string, text: string | undefined) =>
      void ran.push(text === undefined ? `remove ${path}` : `save ${path} ${text}`),
    kill: (pid: number) => void ran.push(`kill ${pid}`),
    overwriteFile: (path: string, text: string) => void ran.push(`overwrite ${path} ${text}`),
    sendUdp: async (_: Uint8Array, way: { from: string; to: string; port: number }) =>
      void ran.push(`send ${way.from} ${way.to}:${way.port}`),
  }
}

/** `ip -j` answers every line; lines without a fake answer get an empty list. */
async function withEmptyLists(result: Promise<CommandResult>, lines: readonly BatchLine[]): Promise<CommandResult> {
  const { code, stdout, stderr } = await result
  const answers = stdout.split('\n').filter(Boolean)
  const missing = lines.slice(code === 0 ? answers.length : lines.length).map(() => '[]')
  return { code, stdout: missing.length === 0 ? stdout : [...answers, ...missing, ''].join('\n'), stderr }
}

function createFakeIp(perform: (text: string) => Promise<CommandResult>) {
  const ip = ({ netns, lines, output }: IpBatch) => {
    const place = `ip${netns === undefined ? '' : ` -n ${netns}`}`
    const result = perform([place, ...lines.map((words) => words.map((word) => word || '""').join(' '))].join(' | '))
    const isJson = output === 'json' || lines.every((words) => words.includes('-j'))
    return isJson ? withEmptyLists(result, lines) : result
  }
  return { runIpBatch: ip }
}

/** The one fake of the outside world. */
export function createFakeSystem(options: FakeSystemOptions = {}): FakeSystem {
  const { inodes = {}, programs = [], addresses = {}, env = {}, isRoot = true, answers = {} } = options
  const ran: string[] = []
  const [written, clock] = [{ 1: '', 2: '' }, { now: 0 }]
  const [gauge, answer] = [createConcurrencyGauge(), createResponder(answers)]
  const perform = (text: string) => {
    ran.push(text)
    return gauge.run(() => ({ code: 0, stdout: '', stderr: '', ...answer(text) }))
  }
  return {
    ...NO_OP_CALLS,
    calls: ran,
    written,
    maxConcurrent: gauge.most,
    isRoot,
    env,
    ...createFakeFiles(options),
    hasProgram: (program) => programs.includes(program),
    ...createFakeIp(perform),
    runScript: (argv) => perform(argv.join(' ')),
    run: (argv) => {
      const result = perform(argv.join(' '))
      return argv.includes('-j') ? withEmptyLists(result, [argv]) : result
    },
    runForeground: async (argv) => (await perform(`attend ${argv.join(' ')}`)).code,
    interfaceAddresses: async (ifname) => addresses[ifname] ?? [],
    async httpGet(socket, path) {
      const { status, body } = { status: undefined, body: '', ...(await perform(`GET ${socket} ${path}`)) }
      if (status === undefined) throw systemError('ENOENT')
      return { status, body }
    },
    holdNetns: (path): HeldNetns => {
      ran.push(`pin ${path}`)
      answer(`pin ${path}`)
      return { netns: 'pinned', inode: inodes[path] ?? 0, release: () => void ran.push(`release ${path}`) }
    },
    md5: async (text) => createHash('md5').update(text).digest('hex'),
    terminalColumns: () => options.columns,
    elapsed: () => clock.now,
    now: () => clock.now,
    async sleep(seconds) {
      if (seconds > 0) ran.push(`sleep ${seconds}`)
      clock.now += seconds * 1000
    },
    write(fd, text) {
      written[fd] += text
    },
    ...createRecordedWrites(ran),
  }
}
