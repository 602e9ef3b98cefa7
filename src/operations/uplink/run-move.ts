import { ExitCode, type Leftover, PipeworkError } from '../../model/errors'
import { type ExecuteOptions, executePlan } from '../../plan/execute'
import { toShell } from '../../plan/shell'
import { type Plan, type Step, toBatchLine, toCommandArgv } from '../../plan/step'
import type { Guest } from '../../runtimes/find'
import { type HostState, readHostState, readUptime } from '../../state/host'
import { configKeyOf, toDelArgs } from '../../state/link-config'
import type { BatchLine } from '../../system/batch'
import { acquireLock } from '../../system/locks'
import type { Interrupt, System } from '../../system/types'
import { planMoveRestore } from './move-config'
import { listUplinkBridges, readUplinkState, saveUplinkState, type UplinkState, uplinkStateFile } from './state-file'

/** What a move is made with. */
export interface MoveContext {
  readonly system: System
  readonly interrupt: Interrupt
  readonly onStep?: (step: Step) => void
  /** Steps that the same change has done before. */
  readonly stepsBefore?: number
}

export const UPLINK_LOCK = 'uplink'
/** Seconds that a run waits for another one that moves an uplink: longer than a move may take. */
const LOCK_TIMEOUT = 150
/** Seconds after which a move that goes on is taken for one that hangs. */
const MOVE_TIMEOUT = 120
/** Stands for a guest, where nothing runs inside one. */
const NO_GUEST: Guest = { kind: 'docker', name: '', nsPath: '/proc/self/ns/net' }

/** Runs the action while no other moves an uplink; what a killed run has left is restored before. */
export async function withUplinkLock<T>(context: MoveContext, action: () => Promise<T>): Promise<T> {
  const release = await acquireLock({ name: UPLINK_LOCK, subject: 'an uplink', limit: LOCK_TIMEOUT }, context)
  try {
    await recoverStaleMoves(context.system)
    return await action()
  } finally {
    release()
  }
}

/** With the lock held, whoever was moving is gone. */
async function recoverStaleMoves(system: System): Promise<void> {
  for (const bridge of listUplinkBridges(system)) {
    const journal = readUplinkState(bridge, system)
    if (journal?.stage === 'moving') await restoreMove(journal, system)
  }
}

/** The plan in as few calls as can be, whatever of it fails: the way back. */
async function runBestEffort(plan: Plan, system: System): Promise<void> {
  let lines: BatchLine[] = []
  const flush = async () => {
    if (lines.length > 0) await system.runIpBatch({ lines, force: true })
    lines = []
  }
  const names = { netns: '', pid: system.pid }
  for (const { command } of plan) {
    if (command.kind === 'ip') lines.push(toBatchLine(command, names))
    else if (command.kind !== 'file') {
      await flush()
      await system.run(toCommandArgv(command, names))
    }
  }
  await flush()
}

/** What is not where it was, in the end: nothing, unless somebody else is at the same links. */
function listUnrestored({ nic, bridge, way, holdings, takenAt }: UplinkState, now: HostState): readonly string[] {
  const home = now.links.get(way === 'in' ? nic : bridge)
  if (home === undefined) return []
  const ids = home.configItems.map(configKeyOf)
  const age = now.takenAt - takenAt
  return holdings
    .filter((it) => !ids.includes(configKeyOf(it)) && (it.lifetimes === undefined || it.lifetimes.valid > age))
    .map(({ what }) => what)
}

const hasAnnouncedRoute = ({ holdings }: UplinkState) => holdings.some(({ announced }) => announced !== undefined)

/**
 * Seconds in which a router that is asked for announces itself: half a second, three after it has done so last (RFC
 * 4861, 6.2.6), and the kernel asks again after four.
 */
const ROUTER_TIMEOUT = 5

/** Waits for the routers of a link to announce themselves, and takes away what stood in for them. */
async function dropStandInRoutes(dev: string, system: System): Promise<void> {
  const deadline = system.elapsed() + ROUTER_TIMEOUT * 1000
  for (;;) {
    const routes = (await readHostState(system)).links.get(dev)?.configItems.filter(({ announced }) => announced) ?? []
    const standing = routes.filter(({ announced }) => announced === 'standing in')
    const isHeard = (gateway: string | undefined) =>
      routes.some((it) => it.gateway === gateway && it.announced === 'heard')
    const done = standing.filter(({ gateway }) => isHeard(gateway))
    if (done.length > 0) await system.runIpBatch({ lines: done.map((it) => toDelArgs(it, dev)), force: true })
    // What nobody relieves is gone when the announcement would be that it stands for.
    if (done.length === standing.length || system.elapsed() >= deadline) return
    await system.sleep(0.1)
  }
}

/** Puts all back as the journal says it was; what cannot be put back is named. The lock is the caller's. */
export async function restoreMove(journal: UplinkState, system: System, why?: string): Promise<readonly Leftover[]> {
  for (let tries = 3; ; tries -= 1) {
    const plan = planMoveRestore(journal, await readHostState(system))
    await runBestEffort(plan, system)
    const now = await readHostState(system)
    const missing = listUnrestored(journal, now)
    if (missing.length === 0) break
    if (tries === 1)
      return planMoveRestore(journal, now).map(({ command }) => ({
        what: missing.join(', '),
        command: toShell(command),
      }))
  }
  if (hasAnnouncedRoute(journal)) await dropStandInRoutes(journal.way === 'in' ? journal.nic : journal.bridge, system)
  for (const path of journal.way === 'in' ? journal.files : []) system.writeFile(path, undefined)
  const { deadline, ...rest } = journal
  if (journal.way === 'out') saveUplinkState({ ...rest, stage: 'kept' }, system)
  else if (why !== undefined) saveUplinkState({ ...rest, stage: 'restored', why }, system)
  else system.writeFile(uplinkStateFile(journal.bridge), undefined)
  return []
}

/**
 * Moves what the journal names, with somebody ready to put it back: that one is there before the first change, and acts
 * when this process is gone. Comes back when the plan is done and proven; throws when all is as it was.
 */
export async function runMove(journal: UplinkState, plan: Plan, carrier: MoveContext): Promise<void> {
  const { system } = carrier
  saveUplinkState({ ...journal, deadline: readUptime(system) + MOVE_TIMEOUT }, system)
  try {
    await system.spawnDetached(['uplink', 'guard', journal.bridge])
    await executePlan(plan, toExecuteOptions(carrier))
    if (hasAnnouncedRoute(journal)) await dropStandInRoutes(journal.way === 'in' ? journal.bridge : journal.nic, system)
  } catch (error) {
    throw toLeftoverError(error, await restoreMove(journal, system))
  }
}

/** The failure, with what could not be put back after it. */
export function toLeftoverError(error: unknown, leftovers: readonly Leftover[]): unknown {
  if (leftovers.length === 0) return error
  return new PipeworkError(error instanceof Error ? error.message : String(error), {
    ...{ exitCode: ExitCode.leftover, leftovers, cause: error },
  })
}

/** Runs steps whose own inverses are enough, or that are never put back. */
export function executeUplinkPlan(plan: Plan, carrier: MoveContext): Promise<void> {
  return executePlan(plan, toExecuteOptions(carrier))
}

function toExecuteOptions({ system, interrupt, onStep, stepsBefore = 0 }: MoveContext): ExecuteOptions {
  return { system, guest: NO_GUEST, netns: '', interrupt, stepsBefore, onStep }
}
