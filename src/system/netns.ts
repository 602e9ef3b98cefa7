import * as fs from 'node:fs'
import { tryOr } from './files'
import { createOwnerId, readStartTime } from './owner'
import type { NodeProcess, System } from './types'

const NETNS_DIR = '/run/netns'

/** The file system type of namespace files, for statfs(2). */
const NSFS_MAGIC = 0x6e736673

/** Removes the names that killed runs left: their process is gone, or its PID belongs to another process now. */
function removeStaleNetnsNames(): void {
  for (const name of tryOr(() => fs.readdirSync(NETNS_DIR)) ?? []) {
    const [, pid, start] = /^pipework-(\d+)-(\d+)-\d+$/.exec(name) ?? []
    if (pid !== undefined && readStartTime(Number(pid)) !== start) tryOr(() => fs.unlinkSync(`${NETNS_DIR}/${name}`))
  }
}

/** Creates the call that holds namespaces. Names that this process holds at its exit are released. */
export function createNetnsHolder(self: NodeProcess): System['holdNetns'] {
  const ownerId = createOwnerId(self)
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
    const netns = `pipework-${ownerId()}-${count}`
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
