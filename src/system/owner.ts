import * as fs from 'node:fs'
import { tryOr } from './files'
import type { NodeProcess } from './types'

/**
 * The start time of a process in clock ticks since boot (proc(5), field 22); undefined when it has ended or is a
 * zombie.
 */
export function readStartTime(pid: number): string | undefined {
  const stat = tryOr(() => fs.readFileSync(`/proc/${pid}/stat`, 'utf8'))
  const [state, ...fields] = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? []
  return state === 'Z' || state === 'X' ? undefined : fields[18]
}

/** A unique id of this process: a PID is reused, but not together with its start time. */
export function createOwnerId({ pid }: NodeProcess): () => string {
  const known: { id?: string } = {}
  return () => {
    known.id ??= `${pid}-${readStartTime(pid)}`
    return known.id
  }
}

/** Whether the process that `<pid>-<start>` names still runs. */
export function isOwnerAlive(owner: string): boolean {
  const [pid, start] = owner.split('-')
  return start !== undefined && readStartTime(Number(pid)) === start
}
