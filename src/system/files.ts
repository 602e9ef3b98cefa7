import * as fs from 'node:fs'
import { dirname } from 'node:path'
import { PipeworkError } from '../model/errors'
import type { DirectoryWatch } from './types'

/** The action's result; undefined when it throws. */
export function tryOr<T>(action: () => T): T | undefined {
  try {
    return action()
  } catch {
    return undefined
  }
}

/** Whether the path is that of a program. */
export function isExecutableFile(path: string): boolean {
  // Most directories of PATH lack the program: checking first is cheaper than throwing.
  return fs.existsSync(path) && (tryOr(() => fs.accessSync(path, fs.constants.X_OK) === undefined) ?? false)
}

/** Whether the path is a symbolic link without a target. */
export function isDangling(path: string): boolean {
  if (tryOr(() => fs.readlinkSync(path)) === undefined) return false
  try {
    fs.statSync(path)
    return false
  } catch (error) {
    // EACCES means that another user's process is alive.
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
  }
}

/** The major number of /dev/null and similar devices. */
const MEM_MAJOR = 1

/** Whether it could be a terminal; a pipe, a file or /dev/null is none. Cheaper than Node's own check. */
export function couldBeTerminal(fd: 1): boolean {
  const stat = tryOr(() => fs.fstatSync(fd))
  return stat?.isCharacterDevice() === true && stat.rdev >>> 8 !== MEM_MAJOR
}

/** Writes directly to the descriptor: setting up process.stdout would delay each start. */
export function writeAll(fd: 1 | 2, text: string): void {
  let rest = Buffer.from(text)
  while (rest.length > 0) {
    try {
      rest = rest.subarray(fs.writeSync(fd, rest))
    } catch (error) {
      // A non-blocking pipe is full: its reader needs a moment.
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN')
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
      // A reader that closes the pipe early (`pipework ls | head -1`) is no error.
      else if ((error as NodeJS.ErrnoException).code === 'EPIPE') return
      else throw error
    }
  }
}

/**
 * Whether pipework was started to ignore SIGHUP. Node resets inherited signal handlers. So this checks the effect of
 * nohup(1) on a terminal (standard input is /dev/null, open for writing only), and the parent process: `trap '' HUP` in
 * a script.
 */
export function isHangupIgnored(parent: number): boolean {
  const flags = /^flags:\s*(\d+)/m.exec(tryOr(() => fs.readFileSync('/proc/self/fdinfo/0', 'utf8')) ?? '')?.[1]
  const isWriteOnly = (Number.parseInt(flags ?? '0', 8) & 3) === fs.constants.O_WRONLY
  if (isWriteOnly && tryOr(() => fs.readlinkSync('/proc/self/fd/0')) === '/dev/null') return true
  const status = tryOr(() => fs.readFileSync(`/proc/${parent}/status`, 'utf8')) ?? ''
  const ignored = /^SigIgn:\s*([0-9a-f]+)/m.exec(status)?.[1]
  return ignored !== undefined && (Number.parseInt(ignored.slice(-1), 16) & 1) === 1
}

/** The modes of a new directory and of the file in it. */
const FILE_MODES = { root: [0o700, 0o600], program: [0o700, 0o700], everybody: [0o755, 0o644] } as const

/** Hints for file system errors. */
const FILE_HINTS: Readonly<Record<string, (directory: string) => string>> = {
  ENOSPC: (directory) => `Free some space there: df -h ${directory}`,
  EDQUOT: (directory) => `Free some space there: df -h ${directory}`,
  EROFS: (directory) => `Make it writable: mount -o remount,rw $(findmnt -n -o TARGET -T ${directory})`,
  EACCES: () => 'Run pipework as root: sudo pipework …',
  EPERM: () => 'Run pipework as root: sudo pipework …',
}

/** Converts a file system error for the user; returns any other error unchanged. */
export function toFileError(path: string, error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException
  if (!(error instanceof Error) || code === undefined || error instanceof PipeworkError) return error
  const reason = message.replace(/^[A-Z]+: /, '').replace(/, .*$/, '')
  return new PipeworkError(`could not write '${path}': ${reason}`, {
    hint: FILE_HINTS[code]?.(dirname(path)),
    cause: error,
  })
}

let temporaryFiles = 0

/** Writes a file atomically: a reader finds the old text or the new one, also after a power failure. */
function replaceFile(path: string, text: string, mode: number): void {
  temporaryFiles += 1
  const random = Math.random().toString(36).slice(2)
  const temporary = `${path}.${random}-${temporaryFiles}.new`
  const fd = fs.openSync(temporary, 'wx', mode)
  try {
    try {
      fs.writeFileSync(fd, text)
      fs.fsyncSync(fd)
    } finally {
      fs.closeSync(fd)
    }
    fs.renameSync(temporary, path)
  } finally {
    fs.rmSync(temporary, { force: true })
  }
}

/** Writes a file and its parent directories, or removes the file when there is no text. */
export function writeFileAtomic(path: string, text: string | undefined, use: keyof typeof FILE_MODES = 'root'): void {
  try {
    if (text === undefined) {
      fs.rmSync(path, { force: true })
      return
    }
    const [folder, file] = FILE_MODES[use]
    fs.mkdirSync(dirname(path), { recursive: true, mode: folder })
    replaceFile(path, `${text}\n`, file)
  } catch (error) {
    throw toFileError(path, error)
  }
}

/** Watches a directory by inotify. Changes between two waits are not lost. */
export function createDirectoryWatch(path: string): DirectoryWatch {
  const state = { hasNews: false, tell: () => {} }
  const watcher = tryOr(() =>
    fs.watch(path, () => {
      state.hasNews = true
      state.tell()
    }),
  )
  watcher?.on('error', () => {})
  return {
    nextChange: (seconds) =>
      new Promise((resolve) => {
        const end = () => {
          clearTimeout(timer)
          state.hasNews = false
          resolve()
        }
        const timer = setTimeout(end, seconds * 1000)
        state.tell = end
        if (state.hasNews) end()
      }),
    close: () => watcher?.close(),
  }
}
