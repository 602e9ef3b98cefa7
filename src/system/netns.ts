import * as fs from 'node:fs'
import { tryOr } from './files'
import type { NodeProcess, System } from './types'

const NETNS_DIR = '/run/netns'

const RUN_DIR = '/run/pipework'

/** The type of the file system that namespaces are files of, for statfs(2). */
const NSFS_MAGIC = 0x6e736673

/** When a process began, in clock ticks since boot: with its PID it names a process for ever (proc(5), field 22). */
function readStartTime(pid: number): string | undefined {
  const stat = tryOr(() => fs.readFileSync(`/proc/${pid}/stat`, 'utf8'))
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
}

/** What names our own process for ever. The kernel takes its time to tell when it began, and that does not change. */
function createOwnerId(self: NodeProcess): () => string {
  const known: { name?: string } = {}
  return () => {
    known.name ??= `${self.pid}-${readStartTime(self.pid)}`
    return known.name
  }
}

/** Removes the names of runs that were killed: their process is gone, so the name leads nowhere or to a stranger. */
function removeStaleNetnsNames(): void {
  for (const name of tryOr(() => fs.readdirSync(NETNS_DIR)) ?? []) {
    const [, pid, start] = /^pipework-(\d+)-(\d+)-\d+$/.exec(name) ?? []
    if (pid !== undefined && readStartTime(Number(pid)) !== start) tryOr(() => fs.unlinkSync(`${NETNS_DIR}/${name}`))
  }
}

/** Whether the process that `<pid>-<start>` names still runs; a zombie does not. */
function isOwnerAlive(owner: string): boolean {
  const [pid, start] = owner.split('-')
  const stat = tryOr(() => fs.readFileSync(`/proc/${pid}/stat`, 'utf8'))
  return stat !== undefined && !stat.includes(') Z ') && readStartTime(Number(pid)) === start
}

/**
 * Takes a dead run's lock away. Only in turn: of two who have seen it, the slower one would take away what the quicker
 * has put there since. Who finds the turn taken finds the lock taken, too, and asks again.
 */
function removeStaleLock(path: string, owner: string, me: string): void {
  const turn = `${path}.turn`
  const before = tryOr(() => fs.readlinkSync(turn))
  if (before !== undefined && !isOwnerAlive(before)) tryOr(() => fs.unlinkSync(turn))
  try {
    fs.symlinkSync(me, turn)
  } catch {
    return
  }
  try {
    if (tryOr(() => fs.readlinkSync(path)) === owner) fs.unlinkSync(path)
  } finally {
    fs.unlinkSync(turn)
  }
}

/** Makes locks: links that say whose they are, so that one of a killed run binds nobody. */
function createTryLock(self: NodeProcess, nameOfSelf: () => string): System['tryLock'] {
  const locks = new Set<string>()
  self.onExit(() => {
    for (const path of locks) tryOr(() => fs.unlinkSync(path))
  })

  return (name) => {
    const path = `${RUN_DIR}/${name}.lock`
    const me = nameOfSelf()
    const owner = tryOr(() => fs.readlinkSync(path))
    if (owner !== undefined && isOwnerAlive(owner)) return undefined
    if (owner !== undefined) removeStaleLock(path, owner, me)
    fs.mkdirSync(RUN_DIR, { recursive: true, mode: 0o700 })
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
function createNetnsHolder(self: NodeProcess, nameOfSelf: () => string): System['holdNetns'] {
  const pins = new Set<() => void>()
  let count = 0
  self.onExit(() => {
    for (const release of pins) release()
  })

  return (path) => {
    if (count === 0) removeStaleNetnsNames()
    const fd = fs.openSync(path, 'r')
    if (fs.statfsSync(`/proc/self/fd/${fd}`).type !== NSFS_MAGIC) {
      fs.closeSync(fd)
      throw Object.assign(new Error(`EINVAL: not a namespace, '${path}'`), { code: 'EINVAL' })
    }
    count += 1
    const netns = `pipework-${nameOfSelf()}-${count}`
    const link = `${NETNS_DIR}/${netns}`
    const release = () => {
      if (!pins.delete(release)) return
      tryOr(() => fs.unlinkSync(link))
      fs.closeSync(fd)
    }
    pins.add(release)
    fs.mkdirSync(NETNS_DIR, { recursive: true })
    fs.symlinkSync(`/proc/${self.pid}/fd/${fd}`, link)
    return { netns, inode: fs.fstatSync(fd).ino, release }
  }
}

/** What a run holds, and lets go when it ends. */
export function createProcessResources(self: NodeProcess): Pick<System, 'holdNetns' | 'tryLock'> {
  const nameOfSelf = createOwnerId(self)
  return {
    holdNetns: createNetnsHolder(self, nameOfSelf),
    tryLock: createTryLock(self, nameOfSelf),
  }
}
