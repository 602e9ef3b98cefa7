import { ExitCode, type Leftover, PipeworkError } from '../model/errors'
import type { BatchLine } from '../system/batch'
import type { CommandResult, Interrupt, System } from '../system/types'
import { toShell } from './shell'
import {
  type Command,
  type IpCommand,
  type Plan,
  type QueryCommand,
  type RunCommand,
  type Step,
  toBatchLine,
  toCommandArgv,
} from './step'

/** The inputs of a run. */
export interface ExecuteOptions {
  readonly system: System
  /** The guest; `nsPath` names its namespace in cleanup commands. */
  readonly guest: { readonly nsPath: string }
  /** The held namespace's name for `ip -n`. */
  readonly netns: string
  readonly interrupt: Interrupt
  /** The number of steps that the same change ran before this plan. */
  readonly stepsBefore?: number
  /** Called before each step. */
  readonly onStep?: (step: Step) => void
  /** Checks after the last step whether the plan's goal is reached; throws when it is not. */
  readonly verify?: () => void
  /** Runs the steps of a DHCP lease; a plan without such steps needs none. */
  readonly runLease?: (argv: readonly string[], run: ExecuteOptions) => Promise<CommandResult>
}

/** Why a plan stopped: the failed step, its error, and the number of completed steps. */
interface PlanFailure {
  readonly done: number
  /** The number of steps after these whose effect is unknown. */
  readonly uncertain: number
  readonly error: unknown
}

const SUCCESS: CommandResult = { code: 0, stdout: '', stderr: '' }
/** Seconds between two tries of a query. */
const RETRY_INTERVAL = 0.05

/**
 * Runs the steps: adjacent changes as one batch, adjacent queries in parallel. On failure or a signal it rolls back and
 * throws: exit code 1 when the host is unchanged, 3 with leftovers.
 */
export async function executePlan(plan: Plan, run: ExecuteOptions): Promise<void> {
  const failure = (await executeSteps(injectTestFailure(plan, run), run)) ?? verifyPlan(plan, run)
  if (failure === undefined) return
  const { done, uncertain, error } = failure
  throw withLeftovers(error, await rollBackSteps(plan.slice(0, done + uncertain), done, run))
}

/** Undoes a completed plan. Returns what could not be undone. */
export function undoPlan(plan: Plan, run: ExecuteOptions): Promise<readonly Leftover[]> {
  return rollBackSteps(plan, plan.length, run)
}

/** The error with its leftovers, if there are any. */
export function withLeftovers(error: unknown, leftovers: readonly Leftover[]): unknown {
  if (leftovers.length === 0) return error
  return new PipeworkError(error instanceof Error ? error.message : String(error), {
    hint: error instanceof PipeworkError ? error.hint : undefined,
    exitCode: ExitCode.leftover,
    leftovers,
    cause: error,
  })
}

function verifyPlan(plan: Plan, run: ExecuteOptions): PlanFailure | undefined {
  try {
    run.verify?.()
    return undefined
  } catch (error) {
    return { done: plan.length, uncertain: 0, error }
  }
}

declare const PIPEWORK_TEST_HOOKS: boolean

/** In test builds PIPEWORK_FAIL_AFTER=n fails after step n, and PIPEWORK_KILL_AFTER=n kills pipework there. */
function injectTestFailure(plan: Plan, { system, stepsBefore = 0 }: ExecuteOptions): Plan {
  if (!PIPEWORK_TEST_HOOKS) return plan
  const { PIPEWORK_FAIL_AFTER, PIPEWORK_KILL_AFTER } = system.env
  const limit = Number(PIPEWORK_FAIL_AFTER ?? PIPEWORK_KILL_AFTER ?? Number.NaN) - stepsBefore
  if (Number.isNaN(limit) || limit < 0 || limit >= plan.length) return plan
  const command: Command = { kind: 'ask', in: 'host', argv: ['false'], timeout: 0 }
  const explainFailure = () => {
    if (PIPEWORK_KILL_AFTER !== undefined) system.kill(system.pid)
    return {
      message: `stopped after step ${stepsBefore + limit} of ${stepsBefore + plan.length}, as PIPEWORK_FAIL_AFTER asks`,
    }
  }
  return [...plan.slice(0, limit), { description: 'fail', command, explainFailure }]
}

async function executeSteps(plan: Plan, run: ExecuteOptions): Promise<PlanFailure | undefined> {
  let done = 0
  for (const chunk of groupSteps(plan)) {
    if (run.interrupt.requested) return { done, uncertain: 0, error: interruptedError() }
    for (const step of chunk) run.onStep?.(step)
    try {
      const failure = await executeGroup(chunk, run)
      if (failure !== undefined) return { ...failure, done: done + failure.done }
    } catch (error) {
      return { done, uncertain: chunk.length, error }
    }
    done += chunk.length
  }
  return undefined
}

function interruptedError(): PipeworkError {
  return new PipeworkError('interrupted')
}

/** Groups the steps that run as one batch or in parallel. */
function groupSteps(plan: Plan): readonly Plan[] {
  const chunks: Step[][] = []
  for (const step of plan) {
    const last = chunks.at(-1)
    const before = last?.at(-1)?.command
    if (last !== undefined && before !== undefined && canRunTogether(before, step.command)) last.push(step)
    else chunks.push([step])
  }
  return chunks
}

function canRunTogether(a: Command, b: Command): boolean {
  if (a.kind === 'ask' && b.kind === 'ask') return true
  return a.kind === 'ip' && b.kind === 'ip' && a.in === b.in && !a.onlyIfEmpty && !b.onlyIfEmpty
}

async function executeGroup(chunk: Plan, run: ExecuteOptions): Promise<PlanFailure | undefined> {
  const [first] = chunk
  if (first?.command.kind === 'ip') return executeIpBatch(chunk, run)
  const results = await Promise.all(chunk.map(({ command }) => executeCommand(command, run)))
  const failed = results.findIndex(({ code }) => code !== 0)
  const [step, result] = [chunk[failed], results[failed]]
  if (step === undefined || result === undefined) return undefined
  // A failed program may have changed something; a query changes nothing.
  return { done: failed, uncertain: step.command.kind === 'run' ? 1 : 0, error: toStepError(step, result) }
}

async function executeIpBatch(chunk: Plan, run: ExecuteOptions): Promise<PlanFailure | undefined> {
  const commands = chunk.flatMap(({ command }) => (command.kind === 'ip' ? [command] : []))
  const [first] = commands
  if (first === undefined || isSkipped(first, run.system)) return undefined
  const result = await runIpCommands(commands, run)
  if (result.code === 0) return undefined
  // `ip -batch` counts lines from 1. After some errors (a word that it cannot parse) it exits without that line.
  const number = /Command failed \S+:(\d+)/.exec(result.stderr)?.[1]
  const failed = chunk[number === undefined ? 0 : Number(number) - 1] ?? chunk[0]
  if (failed === undefined) return undefined
  const [done, uncertain] = number === undefined ? [0, commands.length] : [Number(number) - 1, 0]
  return { done, uncertain, error: toStepError(failed, result) }
}

function toBatchLines(commands: readonly IpCommand[], { system, netns }: ExecuteOptions): readonly BatchLine[] {
  return commands.map((command) => toBatchLine(command, { netns, pid: system.pid }))
}

function runIpCommands(commands: readonly IpCommand[], run: ExecuteOptions): Promise<CommandResult> {
  const lines = toBatchLines(commands, run)
  return run.system.runIpBatch(commands[0]?.in === 'guest' ? { netns: run.netns, lines } : { lines })
}

function isSkipped(command: IpCommand, system: System): boolean {
  return command.onlyIfEmpty !== undefined && (system.list(command.onlyIfEmpty) ?? []).length > 0
}

async function executeCommand(command: Command, run: ExecuteOptions): Promise<CommandResult> {
  if (command.kind === 'ip') return isSkipped(command, run.system) ? SUCCESS : runIpCommands([command], run)
  if (command.kind === 'file') {
    run.system.writeFile(command.path, command.text, command.isExecutable ? 'program' : command.readers)
    return SUCCESS
  }
  if (command.kind === 'lease') {
    if (run.runLease === undefined) throw new TypeError('a plan with a lease needs runLease')
    return run.runLease(command.argv.slice(run.system.selfCommand.length), run)
  }
  const argv = toCommandArgv(command, { netns: run.netns, pid: run.system.pid })
  return command.kind === 'run' ? executeRunCommand(command, argv, run) : executeQuery(command, argv, run)
}

async function executeRunCommand(
  { onlyIf, failIfStderr, input, cleanEnv }: RunCommand,
  argv: readonly string[],
  { system }: ExecuteOptions,
): Promise<CommandResult> {
  if (onlyIf !== undefined && (await system.run(onlyIf.argv)).stdout.trim() !== onlyIf.equals) return SUCCESS
  const result = await (cleanEnv ? system.runScript(argv) : system.run(argv, undefined, input))
  return failIfStderr !== undefined && result.stderr.includes(failIfStderr) ? { ...result, code: 1 } : result
}

async function executeQuery(
  command: QueryCommand,
  argv: readonly string[],
  run: ExecuteOptions,
): Promise<CommandResult> {
  const { retryWhile, retryUntil, failIf, retryOnExit, timeout } = command
  const deadline = run.system.elapsed() + timeout * 1000
  for (;;) {
    const result = await run.system.run(argv)
    const isUnasked = result.code !== 0 && result.code === retryOnExit
    if (result.code !== 0 && !isUnasked) return result
    if (failIf !== undefined && result.stdout.includes(failIf)) return { ...result, code: 1 }
    const isAgain =
      (retryWhile !== undefined && result.stdout.includes(retryWhile)) ||
      (retryUntil !== undefined && !result.stdout.includes(retryUntil))
    if (!isUnasked && !isAgain) return result
    if (run.interrupt.requested) throw interruptedError()
    if (run.system.elapsed() >= deadline) return { ...result, code: result.code || 1 }
    await run.system.sleep(RETRY_INTERVAL)
  }
}

function toStepError(step: Step, result: CommandResult): PipeworkError {
  const explained = step.explainFailure?.(result)
  if (explained !== undefined) return new PipeworkError(explained.message, { hint: explained.hint })
  const output = result.stderr.replaceAll(/^Command failed \S+:\d+\n?/gm, '').trim() || result.stdout.trim()
  return new PipeworkError(`could not ${step.description}${output === '' ? '' : `: ${output}`}`, {
    hint: `The command was: ${toShell(step.command)}`,
  })
}

/** Undoes the steps, last first, and continues after failures. An uncertain step whose undo fails is no leftover. */
async function rollBackSteps(plan: Plan, certain: number, run: ExecuteOptions): Promise<readonly Leftover[]> {
  const leftovers: Leftover[] = []
  for (const [index, { description, undo = [] }] of [...plan.entries()].reverse()) {
    for (const command of [undo].flat()) {
      // A bridge that remains because of a leftover link on it is a leftover too.
      const isHeld = leftovers.length > 0 && command.kind === 'ip' && isSkipped(command, run.system)
      const { code, stderr } = await executeCommand(command, run).catch(() => ({ code: 1, stderr: '' }))
      const isUndone = code === 0 ? !isHeld : stderr.includes('Cannot find device')
      if (!isUndone && index < certain)
        leftovers.push({ what: description, command: toCleanupCommand(command, run.guest) })
    }
  }
  return leftovers
}

/** The command for a user to run later, without the temporary namespace name. */
function toCleanupCommand(command: Command, { nsPath }: ExecuteOptions['guest']): string {
  return toShell(command)
    .replaceAll('ip -n "$netns"', `nsenter --net=${nsPath} ip`)
    .replaceAll('ip netns exec "$netns"', `nsenter --net=${nsPath}`)
    .replaceAll('"/run/netns/$netns"', nsPath)
    .replaceAll('"$netns"', nsPath)
}
