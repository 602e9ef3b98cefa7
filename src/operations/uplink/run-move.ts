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
import { planMoveRestore } from './restore'
import {
  type ProcessId,
  readUplinkState,
  readUplinkStates,
  saveUplinkState,
  toKeptState,
  type UplinkState,
  uplinkStateFile,
} from './state-file'

/** The context of a move. */
export interface MoveContext {
  readonly system: System
  readonly interrupt: Interrupt
  readonly onStep?: (step: Step) => void
  /** Number of steps done earlier for the same change. */
  readonly stepsBefore?: number
}

const UPLINK_LOCK = 'uplink'
/** Seconds to wait for another run that moves an uplink: longer than a move can take. */
const LOCK_TIMEOUT = 150
/** Seconds after which a running move counts as hung. */
const MOVE_TIMEOUT = 120
/** A placeholder: these steps run on the host only. */
const NO_GUEST: Guest = { kind: 'docker', name: '', nsPath: '/proc/self/ns/net' }

/** Takes the lock for all uplink moves; undefined while another run holds it. */
export function tryUplinkLock(system: System): Promise<(() => void) | undefined> {
  return system.tryLock(UPLINK_LOCK)
}

/** Runs the action under the uplink lock, after restoring the moves of killed runs. */
export async function withUplinkLock<T>(context: MoveContext, action: () => Promise<T>): Promise<T> {
  const release = await acquireLock({ name: UPLINK_LOCK, subject: 'an uplink', limit: LOCK_TIMEOUT }, context)
  try {
    await recoverStaleMoves(context.system)
    return await action()
  } finally {
    release()
  }
}

/** Restores interrupted moves: while this run holds the lock, their processes are gone. */
async function recoverStaleMoves(system: System): Promise<void> {
  for (const state of readUplinkStates(system)) if (state.stage === 'moving') await restoreMove(state, system)
}

/**
 * Runs the move that the state describes. A watchdog starts before the first change: it restores everything when this
 * process dies or hangs. Returns when the move is done and verified.
 * @throws PipeworkError when it failed and everything was restored.
 */
export async function runMove(state: UplinkState, plan: Plan, context: MoveContext): Promise<void> {
  const { system } = context
  const moving: UplinkState = {
    ...{ ...state, stage: 'moving', previous: readUplinkState(state.bridge, system) },
    ...{ deadline: readUptime(system) + MOVE_TIMEOUT, mover: readProcessId(system.pid, system) },
  }
  saveUplinkState(moving, system)
  try {
    await system.spawnDetached(['uplink', 'guard', state.bridge])
    await executePlan(plan, toExecuteOptions(context))
    if (hasAnnouncedRoute(state))
      await dropStandInRoutes(state.direction === 'attach' ? state.bridge : state.nic, system)
  } catch (error) {
    throw toLeftoverError(error, await restoreMove(moving, system))
  }
}

/** Marks the verified move as kept or as pending. */
export function finishMove(bridge: string, { system }: MoveContext, confirm: number | undefined): UplinkState {
  const moving = readUplinkState(bridge, system)
  if (moving?.stage !== 'moving') throw new PipeworkError(`the move of the uplink of '${bridge}' took too long`)
  const state: UplinkState =
    confirm === undefined
      ? toKeptState(moving)
      : { ...moving, stage: 'pending', deadline: readUptime(system) + confirm }
  saveUplinkState(state, system)
  return state
}

/** An identifier that is unique until the next boot. */
export function readProcessId(pid: number, system: System): ProcessId | undefined {
  const stat = system.read(`/proc/${pid}/stat`)
  const startTime = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  return startTime === undefined ? undefined : { pid, startTime }
}

/** Restores the saved state, in up to three tries; returns what could not be restored. The caller holds the lock. */
export async function restoreMove(state: UplinkState, system: System, error?: string): Promise<readonly Leftover[]> {
  for (let tries = 3; ; tries -= 1) {
    await runBestEffort(planMoveRestore(state, await readHostState(system)), system)
    const now = await readHostState(system)
    const missing = listUnrestored(state, now)
    if (missing.length === 0) break
    if (tries === 1)
      return planMoveRestore(state, now).map(({ command }) => ({ what: missing.join(', '), command: toShell(command) }))
  }
  const isAttach = state.direction === 'attach'
  if (hasAnnouncedRoute(state)) await dropStandInRoutes(isAttach ? state.nic : state.bridge, system)
  const kept = state.previous?.files ?? []
  const written = isAttach ? state.files.filter((path) => !kept.includes(path)) : []
  for (const path of written) system.writeFile(path, undefined)
  restoreStateFile(state, system, error)
  return []
}

/** Restores the state file from before the move, or records why there is no uplink. */
function restoreStateFile(state: UplinkState, system: System, error: string | undefined): void {
  const { previous, deadline, mover, ...rest } = state
  if (previous?.stage === 'kept') saveUplinkState(previous, system)
  // The previous version did not save the state from before a move.
  else if (state.direction === 'detach') saveUplinkState({ ...rest, stage: 'kept' }, system)
  else if (error !== undefined) saveUplinkState({ ...rest, stage: 'restored', error }, system)
  else if (previous !== undefined) saveUplinkState(previous, system)
  else system.writeFile(uplinkStateFile(state.bridge), undefined)
}

/** Runs the steps of a restore in as few calls as possible, and continues after a failure. */
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

/** The items that were not restored, usually because another program changes the same links. */
function listUnrestored({ nic, bridge, direction, items, takenAt }: UplinkState, now: HostState): readonly string[] {
  const owner = now.links.get(direction === 'attach' ? nic : bridge)
  if (owner === undefined) return []
  const present = owner.configItems.map(configKeyOf)
  const age = now.takenAt - takenAt
  return items
    .filter((it) => !present.includes(configKeyOf(it)) && (it.lifetimes === undefined || it.lifetimes.valid > age))
    .map(({ description }) => description)
}

const hasAnnouncedRoute = ({ items }: UplinkState) => items.some(({ announced }) => announced !== undefined)

/**
 * Seconds: a router may answer a solicitation up to 3.5 s later (RFC 4861, 6.2.6), and the kernel repeats it after 4 s.
 */
const ROUTER_TIMEOUT = 5

/** Waits for the router advertisements of a link, then removes the temporary routes that replaced theirs. */
async function dropStandInRoutes(dev: string, system: System): Promise<void> {
  const deadline = system.elapsed() + ROUTER_TIMEOUT * 1000
  for (;;) {
    const routes = (await readHostState(system)).links.get(dev)?.configItems.filter(({ announced }) => announced) ?? []
    const standIns = routes.filter(({ announced }) => announced === 'stand-in')
    const isHeard = (gateway: string | undefined) =>
      routes.some((it) => it.gateway === gateway && it.announced === 'heard')
    const replaced = standIns.filter(({ gateway }) => isHeard(gateway))
    if (replaced.length > 0) await system.runIpBatch({ lines: replaced.map((it) => toDelArgs(it, dev)), force: true })
    // Without a new advertisement, a temporary route expires when the old advertisement would have.
    if (replaced.length === standIns.length || system.elapsed() >= deadline) return
    await system.sleep(0.1)
  }
}

/** Adds to the error what could not be restored. */
export function toLeftoverError(error: unknown, leftovers: readonly Leftover[]): unknown {
  if (leftovers.length === 0) return error
  return new PipeworkError(error instanceof Error ? error.message : String(error), {
    ...{ exitCode: ExitCode.leftover, leftovers, cause: error },
  })
}

/** Runs steps that need no watchdog: their inverses are enough, or nothing is left to restore. */
export function executeUplinkPlan(plan: Plan, context: MoveContext): Promise<void> {
  return executePlan(plan, toExecuteOptions(context))
}

function toExecuteOptions({ system, interrupt, onStep, stepsBefore = 0 }: MoveContext): ExecuteOptions {
  return { system, guest: NO_GUEST, netns: '', interrupt, stepsBefore, onStep }
}
