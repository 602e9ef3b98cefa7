import { PipeworkError } from '../model/errors'
import type { GuestFinder } from './types'

/** A process, for guests that no runtime here can name, like a rootless container. */
export const pidFinder: GuestFinder = {
  kind: 'pid',
  noun: 'process',
  find(name, system) {
    const stat = system.read(`/proc/${name}/stat`)
    if (stat === undefined) return Promise.resolve({ state: 'unknown', names: [] })
    // The command name is in parentheses and may contain blanks: proc(5) counts the fields after it.
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (state === 'Z' || state === 'X') {
      const why = new PipeworkError(`process ${name} has ended and is in no network namespace any more`, {
        hint: 'Take another process of that guest, or its container by name.',
      })
      return Promise.resolve({ state: 'refused', candidate: { name }, error: why })
    }
    const started = fields[18] ?? ''
    const guest = { kind: 'pid', name, id: started, pid: Number(name), nsPath: `/proc/${name}/ns/net` } as const
    return Promise.resolve({ state: 'found', guest })
  },
}
