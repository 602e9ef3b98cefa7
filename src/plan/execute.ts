import { ExitCode, type Leftover, PipeworkError } from '../model/errors'
import type { Guest } from '../runtimes/find'
import { createIpPrespawner, type IpPrespawner } from '../system/ahead'
import type { Interrupt, System } from '../system/types'
import {
  type BatchLine,
  batchLine,
  type Command,
  type CommandResult,
  formatBatch,
  type IpCommand,
  type Plan,
  type QueryCommand,
  type RunCommand,
  type Step,
  toBatchLine,
  toCommandArgv,
  toShell,
} from './step'

/** What a plan is run with. */
export interface ExecuteOptions {
  readonly system: System
  readonly guest: Guest
  /** The pinned namespace's name for `ip -n`. */
  readonly netns: string
  readonly interrupt: Interrupt
  /** Steps that the same change has done before this plan. */
  readonly stepsBefore?: number
  /** Told of each step before it runs. */
  readonly onStep?: (step: Step) => void
  /** Looks, after the last step, whether what the plan wanted has come true; throws when it has not. */
  readonly verify?: () => void
  /** Where an `ip` may wait for the first lines. */
  readonly prespawnedIp?: IpPrespawner
}

type ExecuteContext = ExecuteOptions & Required<Pick<ExecuteOptions, 'prespawnedIp'>>

/** Why a plan stopped: the step that failed, how, and how many steps before it were done. */
interface PlanFailure {
  readonly done: number
  /** Steps after the done ones of which nothing is known. */
  readonly uncertain: number
  readonly error: unknown
}

const SUCCESS: CommandResult = { code: 0, stdout: '', stderr: '' }
/** Seconds between two tries of a question that is asked again. */
const RETRY_INTERVAL = 0.05

/**
 * Runs the steps, neighbouring changes as one batch, neighbouring questions side by side.
 * On failure or a signal rolls back and throws; exit code 1 when the host is as it was, 3 when something is left.
 */
export async function executePlan(plan: Plan, run: ExecuteOptions): Promise<void> {
  const ahead = run.prespawnedIp ?? createIpPrespawner(run.system)
  const failure =
    (await executeSteps(injectTestFailure(plan, run), { ...run, prespawnedIp: ahead }).finally(ahead.dismiss)) ??
    verifyPlan(plan, run)
  if (failure === undefined) return
  const { done, uncertain, error } = failure
  throw withLeftovers(error, await rollBackSteps(plan.slice(0, done + uncertain), done, run))
}

/** Takes back a plan that was done. What cannot be taken back is left. */
export function undoPlan(plan: Plan, run: ExecuteOptions): Promise<readonly Leftover[]> {
  return rollBackSteps(plan, plan.length, run)
}

/** The failure as it is told: as it was, or with what is left of the change. */
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

/** For tests: PIPEWORK_FAIL_AFTER=n fails after step n, PIPEWORK_KILL_AFTER=n is kill -9 at the same place. */
function injectTestFailure(plan: Plan, { system: { env, killSelf }, stepsBefore = 0 }: ExecuteOptions): Plan {
  const limit = Number(env.PIPEWORK_FAIL_AFTER ?? env.PIPEWORK_KILL_AFTER ?? Number.NaN) - stepsBefore
  if (Number.isNaN(limit) || limit < 0 || limit >= plan.length) return plan
  const command: Command = { kind: 'ask', in: 'host', argv: ['false'], timeout: 0 }
  const explain = () => {
    if (env.PIPEWORK_KILL_AFTER !== undefined) killSelf()
    return {
      message: `stopped after step ${stepsBefore + limit} of ${stepsBefore + plan.length}, as PIPEWORK_FAIL_AFTER asks`,
    }
  }
  return [...plan.slice(0, limit), { description: 'fail', command, explainFailure: explain }]
}

async function executeSteps(plan: Plan, run: ExecuteContext): Promise<PlanFailure | undefined> {
  let done = 0
  const chunks = groupSteps(plan)
  for (const [index, chunk] of chunks.entries()) {
    if (run.interrupt.requested) return { done, uncertain: 0, error: interruptedError() }
    for (const step of chunk) run.onStep?.(step)
    try {
      const performed = executeGroup(chunk, run)
      prespawnNextIp(chunks[index + 1], run)
      const failure = await performed
      if (failure !== undefined) return { ...failure, done: done + failure.done }
    } catch (error) {
      return { done, uncertain: chunk.length, error }
    }
    done += chunk.length
  }
  return undefined
}

/** While one batch runs, the `ip` of the next one starts; while a client does, what waits for its lease is loaded. */
function prespawnNextIp(next: Plan | undefined, { prespawnedIp, netns, system }: ExecuteContext): void {
  const command = next?.[0]?.command
  if (command?.kind === 'ip') prespawnedIp.start(command.in === 'guest' ? netns : undefined)
  if (command?.kind === 'lease') void system.sleep(0).then(() => import('../network/dhcp/internal'))
}

function interruptedError(): PipeworkError {
  return new PipeworkError('interrupted')
}

/** Steps that go to the kernel together, or are asked side by side. */
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
  // Out of the host an `ip` gets into the guest, and not back.
  return a.kind === 'ip' && b.kind === 'ip' && (a.in === b.in || b.in === 'guest') && !a.onlyIfEmpty && !b.onlyIfEmpty
}

async function executeGroup(chunk: Plan, run: ExecuteContext): Promise<PlanFailure | undefined> {
  const [first] = chunk
  if (first?.command.kind === 'ip') return executeIpBatch(chunk, run)
  const results = await Promise.all(chunk.map(({ command }) => executeCommand(command, run)))
  const failed = results.findIndex(({ code }) => code !== 0)
  const [step, result] = [chunk[failed], results[failed]]
  if (step === undefined || result === undefined) return undefined
  // Of a program that failed we do not know what it did before; a question changes nothing.
  return { done: failed, uncertain: step.command.kind === 'run' ? 1 : 0, error: toStepError(step, result) }
}

async function executeIpBatch(chunk: Plan, run: ExecuteContext): Promise<PlanFailure | undefined> {
  const commands = chunk.flatMap(({ command }) => (command.kind === 'ip' ? [command] : []))
  const [first] = commands
  if (first === undefined || isSkipped(first, run.system)) return undefined
  const inHost = commands.filter((it) => it.in === 'host').length
  const result = await (inHost === 0 || inHost === commands.length
    ? run.prespawnedIp.send(inHost === 0 ? run.netns : undefined, toBatchLines(commands, run))
    : sendNestedBatch(commands.slice(0, inHost), commands.slice(inHost), run))
  if (result.code === 0) return undefined
  const { done, uncertain } = countCompleted(result, { inHost, all: commands.length })
  const failed = chunk[done] ?? chunk[0]
  return failed && { done, uncertain, error: toStepError(failed, result) }
}

/** An `ip` in the host whose last line is one in the guest: a fork of Node takes longer than most of what they do. */
async function sendNestedBatch(inHost: readonly IpCommand[], inGuest: readonly IpCommand[], run: ExecuteContext) {
  const lent = run.system.tempFile(formatBatch(toBatchLines(inGuest, run)))
  const inner = batchLine`netns exec ${run.netns} ip -batch ${lent.path}`
  return run.prespawnedIp.send(undefined, [...toBatchLines(inHost, run), inner]).finally(lent.release)
}

/** How many commands of a batch were done when it failed, and of how many after those nothing is known. */
function countCompleted(
  { stderr }: CommandResult,
  { inHost, all }: { readonly inHost: number; readonly all: number },
): Pick<PlanFailure, 'done' | 'uncertain'> {
  // It counts lines from 1, the inner one first; some errors (a word ip cannot parse) end it without that line.
  const [, file, number] = /Command failed (\S+):(\d+)/.exec(stderr) ?? []
  if (file === undefined) return { done: 0, uncertain: all }
  const done = Number(number) - 1
  if (file !== '-') return { done: inHost + done, uncertain: 0 }
  return { done, uncertain: inHost > 0 && done === inHost ? all - inHost : 0 }
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
    const { runInternalDhcp } = await import('../network/dhcp/internal')
    return runInternalDhcp(command.argv.slice(run.system.selfCommand.length), run)
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
    const result = await run.system.query(argv)
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
  const told = step.explainFailure?.(result)
  if (told !== undefined) return new PipeworkError(told.message, { hint: told.hint })
  const said = result.stderr.replaceAll(/^Command failed \S+:\d+\n?/gm, '').trim() || result.stdout.trim()
  return new PipeworkError(`could not ${step.description}${said === '' ? '' : `: ${said}`}`, {
    hint: `The command was: ${toShell(step.command)}`,
  })
}

/** Takes the steps back, last first, going on past what fails. What is uncertain may fail without being left. */
async function rollBackSteps(plan: Plan, certain: number, run: ExecuteOptions): Promise<readonly Leftover[]> {
  const leftovers: Leftover[] = []
  for (const [index, { description, undo = [] }] of [...plan.entries()].reverse()) {
    for (const command of [undo].flat()) {
      // A bridge that is left because a link on it is left comes to the list as well.
      const isHeld = leftovers.length > 0 && command.kind === 'ip' && isSkipped(command, run.system)
      const { code, stderr } = await executeCommand(command, run).catch(() => ({ code: 1, stderr: '' }))
      const isUndone = code === 0 ? !isHeld : stderr.includes('Cannot find device')
      if (!isUndone && index < certain)
        leftovers.push({ what: description, command: toCleanupCommand(command, run.guest) })
    }
  }
  return leftovers
}

/** The command as one types it afterwards, when the pinned name is gone. */
function toCleanupCommand(command: Command, { nsPath }: Guest): string {
  return toShell(command)
    .replaceAll('ip -n "$netns"', `nsenter --net=${nsPath} ip`)
    .replaceAll('ip netns exec "$netns"', `nsenter --net=${nsPath}`)
    .replaceAll('"/run/netns/$netns"', nsPath)
    .replaceAll('"$netns"', nsPath)
}
