import * as fs from 'node:fs'
import { dirname } from 'node:path'
import type { DirectoryWatch } from './types'

/** What the action answers, or undefined where it throws. */
export function tryOr<T>(action: () => T): T | undefined {
  try {
    return action()
  } catch {
    return undefined
  }
}

/** Whether the path is that of a program. */
export function isExecutableFile(path: string): boolean {
  // Most folders of a PATH have it not: to throw and catch takes longer than to look first.
  return fs.existsSync(path) && (tryOr(() => fs.accessSync(path, fs.constants.X_OK) === undefined) ?? false)
}

/** Whether a symbolic link leads nowhere. */
export function isDangling(path: string): boolean {
  if (tryOr(() => fs.readlinkSync(path)) === undefined) return false
  try {
    fs.statSync(path)
    return false
  } catch (error) {
    // EACCES is what a living process of somebody else answers.
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
  }
}

/** The major number of /dev/null and its kin. */
const MEM_MAJOR = 1

/** Whether it could be a terminal; a pipe, a file or /dev/null is none. Node takes 3 ms to tell. */
export function couldBeTerminal(fd: 1): boolean {
  const stat = tryOr(() => fs.fstatSync(fd))
  return stat?.isCharacterDevice() === true && stat.rdev >>> 8 !== MEM_MAJOR
}

/** Straight to the descriptor: setting up process.stdout costs each start 3 ms. */
export function writeAll(fd: 1 | 2, text: string): void {
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

/** The modes of a new folder and of the file in it. */
const FILE_MODES = { root: [0o700, 0o600], program: [0o700, 0o700], everybody: [0o755, 0o644] } as const

/** In one rename, so that nobody ever reads half of it. */
export function writeFileAtomic(path: string, text: string | undefined, use: keyof typeof FILE_MODES = 'root'): void {
  if (text === undefined) {
    fs.rmSync(path, { force: true })
    return
  }
  const [folder, file] = FILE_MODES[use]
  fs.mkdirSync(dirname(path), { recursive: true, mode: folder })
  fs.writeFileSync(`${path}.new`, `${text}\n`, { mode: file })
  fs.renameSync(`${path}.new`, path)
}

/** inotify, and what it tells between two waits is not lost. */
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
