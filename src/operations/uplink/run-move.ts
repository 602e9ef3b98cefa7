import { ExitCode, type Leftover, PipeworkError } from '../../model/errors'
import { execute, type Run } from '../../plan/execute'
import { type BatchLine, type Plan, type Step, toArgv, toLine, toShell } from '../../plan/step'
import type { Guest } from '../../runtimes/find'
import { readSnapshot, type Snapshot, uptime } from '../../state/host'
import { delWordsFor, idOf } from '../../state/link-config'
import type { Host, Interrupt } from '../../system/types'
import { planRestore } from './move-config'
import { type Journal, journalFile, listJournals, readJournal, saveJournal } from './state-file'

/** What a move is made with. */
export interface Carrier {
  readonly host: Host
  readonly interrupt: Interrupt
  readonly onStep?: (step: Step) => void
  /** Steps that the same change has done before. */
  readonly before?: number
}

const LOCK = 'uplink'
/** Seconds that a run waits for another one that moves an uplink: longer than a move may take. */
const LOCK_LIMIT = 150
const LOCK_POLL = 0.05
/** Seconds after which a move that goes on is taken for one that hangs. */
const MOVE_LIMIT = 120
/** Stands for a guest, where nothing runs inside one. */
const NO_GUEST: Guest = { kind: 'docker', name: '', nsPath: '/proc/self/ns/net' }

/** Takes the lock that all moves of uplinks share; undefined while another run has it. */
export function tryLock(host: Host): (() => void) | undefined {
  return host.lock(LOCK)
}

/** The PID of the run that has the lock. */
export function findOwner(host: Host): number | undefined {
  const owner = host.target(`/run/pipework/${LOCK}.lock`)?.split('-')[0]
  return owner === undefined ? undefined : Number(owner)
}

/** Runs the action while no other moves an uplink; what a killed run has left is put back before. */
export async function withLock<T>({ host, interrupt }: Carrier, action: () => Promise<T>): Promise<T> {
  const deadline = host.elapsed() + LOCK_LIMIT * 1000
  for (;;) {
    const release = tryLock(host)
    if (release !== undefined)
      try {
        await heal(host)
        return await action()
      } finally {
        release()
      }
    if (interrupt.heard) throw new PipeworkError('interrupted')
    if (host.elapsed() >= deadline)
      throw new PipeworkError(`another pipework has been moving an uplink for ${LOCK_LIMIT} s`, {
        hint: 'Look what it is waiting for: pgrep -a -f pipework',
      })
    await host.sleep(LOCK_POLL)
  }
}

/** With the lock held, whoever was moving is gone. */
async function heal(host: Host): Promise<void> {
  for (const bridge of listJournals(host)) {
    const journal = readJournal(bridge, host)
    if (journal?.stage === 'moving') await putBack(journal, host)
  }
}

/** The plan in as few calls as can be, whatever of it fails: the way back. */
async function force(plan: Plan, host: Host): Promise<void> {
  let lines: BatchLine[] = []
  const flush = async () => {
    if (lines.length > 0) await host.ip({ lines, force: true })
    lines = []
  }
  const names = { netns: '', pid: host.pid }
  for (const { command } of plan) {
    if (command.kind === 'ip') lines.push(toLine(command, names))
    else if (command.kind !== 'file') {
      await flush()
      await host.run(toArgv(command, names))
    }
  }
  await flush()
}

/** What is not where it was, in the end: nothing, unless somebody else is at the same links. */
function findMissing({ nic, bridge, way, holdings, takenAt }: Journal, now: Snapshot): readonly string[] {
  const home = now.links.get(way === 'in' ? nic : bridge)
  if (home === undefined) return []
  const ids = home.holdings.map(idOf)
  const age = now.takenAt - takenAt
  return holdings
    .filter((it) => !ids.includes(idOf(it)) && (it.lifetimes === undefined || it.lifetimes.valid > age))
    .map(({ what }) => what)
}

const hasAnnounced = ({ holdings }: Journal) => holdings.some(({ announced }) => announced !== undefined)

/**
 * Seconds in which a router that is asked for announces itself: half a second, three after it has done so last (RFC
 * 4861, 6.2.6), and the kernel asks again after four.
 */
const ROUTER_LIMIT = 5

/** Waits for the routers of a link to announce themselves, and takes away what stood in for them. */
async function relieve(dev: string, host: Host): Promise<void> {
  const deadline = host.elapsed() + ROUTER_LIMIT * 1000
  for (;;) {
    const routes = (await readSnapshot(host)).links.get(dev)?.holdings.filter(({ announced }) => announced) ?? []
    const standing = routes.filter(({ announced }) => announced === 'standing in')
    const isHeard = (gateway: string | undefined) =>
      routes.some((it) => it.gateway === gateway && it.announced === 'heard')
    const done = standing.filter(({ gateway }) => isHeard(gateway))
    if (done.length > 0) await host.ip({ lines: done.map((it) => delWordsFor(it, dev)), force: true })
    // What nobody relieves is gone when the announcement would be that it stands for.
    if (done.length === standing.length || host.elapsed() >= deadline) return
    await host.sleep(0.1)
  }
}

/** Puts all back as the journal says it was; what cannot be put back is named. The lock is the caller's. */
export async function putBack(journal: Journal, host: Host, why?: string): Promise<readonly Leftover[]> {
  for (let tries = 3; ; tries -= 1) {
    const plan = planRestore(journal, await readSnapshot(host))
    await force(plan, host)
    const now = await readSnapshot(host)
    const missing = findMissing(journal, now)
    if (missing.length === 0) break
    if (tries === 1)
      return planRestore(journal, now).map(({ command }) => ({ what: missing.join(', '), command: toShell(command) }))
  }
  if (hasAnnounced(journal)) await relieve(journal.way === 'in' ? journal.nic : journal.bridge, host)
  for (const path of journal.way === 'in' ? journal.files : []) host.save(path, undefined)
  const { deadline, ...rest } = journal
  if (journal.way === 'out') saveJournal({ ...rest, stage: 'kept' }, host)
  else if (why !== undefined) saveJournal({ ...rest, stage: 'restored', why }, host)
  else host.save(journalFile(journal.bridge), undefined)
  return []
}

/**
 * Moves what the journal names, with somebody ready to put it back: that one is there before the first change, and acts
 * when this process is gone. Comes back when the plan is done and proven; throws when all is as it was.
 */
export async function carry(journal: Journal, plan: Plan, carrier: Carrier): Promise<void> {
  const { host } = carrier
  saveJournal({ ...journal, deadline: uptime(host) + MOVE_LIMIT }, host)
  try {
    await host.arm(['uplink', 'guard', journal.bridge])
    await execute(plan, toRun(carrier))
    if (hasAnnounced(journal)) await relieve(journal.way === 'in' ? journal.bridge : journal.nic, host)
  } catch (error) {
    throw fail(error, await putBack(journal, host))
  }
}

/** The failure, with what could not be put back after it. */
export function fail(error: unknown, leftovers: readonly Leftover[]): unknown {
  if (leftovers.length === 0) return error
  return new PipeworkError(error instanceof Error ? error.message : String(error), {
    ...{ exitCode: ExitCode.leftover, leftovers, cause: error },
  })
}

/** Runs steps whose own inverses are enough, or that are never put back. */
export function finish(plan: Plan, carrier: Carrier): Promise<void> {
  return execute(plan, toRun(carrier))
}

function toRun({ host, interrupt, onStep, before = 0 }: Carrier): Run {
  return { host, guest: NO_GUEST, netns: '', interrupt, before, onStep }
}
