import { ExitCode, type Leftover, PipeworkError } from '../model/errors'
import type { Guest } from '../runtimes/find'
import { type Ahead, createAhead } from '../system/ahead'
import type { Host, Interrupt } from '../system/types'
import {
  type AskCommand,
  type BatchLine,
  batchLine,
  type Command,
  type IpCommand,
  type Plan,
  type Result,
  type RunCommand,
  type Step,
  toArgv,
  toLine,
  toShell,
  writeBatch,
} from './step'

/** What a plan is run with. */
export interface Run {
  readonly host: Host
  readonly guest: Guest
  /** The pinned namespace's name for `ip -n`. */
  readonly netns: string
  readonly interrupt: Interrupt
  /** Steps that the same change has done before this plan. */
  readonly before?: number
  /** Told of each step before it runs. */
  readonly onStep?: (step: Step) => void
  /** Looks, after the last step, whether what the plan wanted has come true; throws when it has not. */
  readonly verify?: () => void
  /** Where an `ip` may wait for the first lines. */
  readonly ahead?: Ahead
}

type Performing = Run & Required<Pick<Run, 'ahead'>>

/** Why a plan stopped: the step that failed, how, and how many steps before it were done. */
interface Failure {
  readonly done: number
  /** Steps after the done ones of which nothing is known. */
  readonly uncertain: number
  readonly error: unknown
}

const OK: Result = { code: 0, stdout: '', stderr: '' }
/** Seconds between two tries of a question that is asked again. */
const ASK_AGAIN = 0.05

/**
 * Runs the steps, neighbouring changes as one batch, neighbouring questions side by side.
 * On failure or a signal rolls back and throws; exit code 1 when the host is as it was, 3 when something is left.
 */
export async function execute(plan: Plan, run: Run): Promise<void> {
  const ahead = run.ahead ?? createAhead(run.host)
  const failure = (await perform(cut(plan, run), { ...run, ahead }).finally(ahead.dismiss)) ?? verify(plan, run)
  if (failure === undefined) return
  const { done, uncertain, error } = failure
  throw failWith(error, await rollBack(plan.slice(0, done + uncertain), done, run))
}

/** Takes back a plan that was done. What cannot be taken back is left. */
export function takeBack(plan: Plan, run: Run): Promise<readonly Leftover[]> {
  return rollBack(plan, plan.length, run)
}

/** The failure as it is told: as it was, or with what is left of the change. */
export function failWith(error: unknown, leftovers: readonly Leftover[]): unknown {
  if (leftovers.length === 0) return error
  return new PipeworkError(error instanceof Error ? error.message : String(error), {
    hint: error instanceof PipeworkError ? error.hint : undefined,
    exitCode: ExitCode.leftover,
    leftovers,
    cause: error,
  })
}

function verify(plan: Plan, run: Run): Failure | undefined {
  try {
    run.verify?.()
    return undefined
  } catch (error) {
    return { done: plan.length, uncertain: 0, error }
  }
}

/** For tests: PIPEWORK_FAIL_AFTER=n fails after step n, PIPEWORK_KILL_AFTER=n is kill -9 at the same place. */
function cut(plan: Plan, { host: { env, die }, before = 0 }: Run): Plan {
  const limit = Number(env.PIPEWORK_FAIL_AFTER ?? env.PIPEWORK_KILL_AFTER ?? Number.NaN) - before
  if (Number.isNaN(limit) || limit < 0 || limit >= plan.length) return plan
  const command: Command = { kind: 'ask', in: 'host', argv: ['false'], limit: 0 }
  const explain = () => {
    if (env.PIPEWORK_KILL_AFTER !== undefined) die()
    return { message: `stopped after step ${before + limit} of ${before + plan.length}, as PIPEWORK_FAIL_AFTER asks` }
  }
  return [...plan.slice(0, limit), { why: 'fail', command, explain }]
}

async function perform(plan: Plan, run: Performing): Promise<Failure | undefined> {
  let done = 0
  const chunks = toChunks(plan)
  for (const [index, chunk] of chunks.entries()) {
    if (run.interrupt.heard) return { done, uncertain: 0, error: interrupted() }
    for (const step of chunk) run.onStep?.(step)
    try {
      const performed = performChunk(chunk, run)
      startAhead(chunks[index + 1], run)
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
function startAhead(next: Plan | undefined, { ahead, netns, host }: Performing): void {
  const command = next?.[0]?.command
  if (command?.kind === 'ip') ahead.start(command.in === 'guest' ? netns : undefined)
  if (command?.kind === 'lease') void host.sleep(0).then(() => import('../network/dhcp/internal'))
}

function interrupted(): PipeworkError {
  return new PipeworkError('interrupted')
}

/** Steps that go to the kernel together, or are asked side by side. */
function toChunks(plan: Plan): readonly Plan[] {
  const chunks: Step[][] = []
  for (const step of plan) {
    const last = chunks.at(-1)
    const before = last?.at(-1)?.command
    if (last !== undefined && before !== undefined && areNeighbours(before, step.command)) last.push(step)
    else chunks.push([step])
  }
  return chunks
}

function areNeighbours(a: Command, b: Command): boolean {
  if (a.kind === 'ask' && b.kind === 'ask') return true
  // Out of the host an `ip` gets into the guest, and not back.
  return a.kind === 'ip' && b.kind === 'ip' && (a.in === b.in || b.in === 'guest') && !a.onlyIfEmpty && !b.onlyIfEmpty
}

async function performChunk(chunk: Plan, run: Performing): Promise<Failure | undefined> {
  const [first] = chunk
  if (first?.command.kind === 'ip') return performBatch(chunk, run)
  const results = await Promise.all(chunk.map(({ command }) => performOne(command, run)))
  const failed = results.findIndex(({ code }) => code !== 0)
  const [step, result] = [chunk[failed], results[failed]]
  if (step === undefined || result === undefined) return undefined
  // Of a program that failed we do not know what it did before; a question changes nothing.
  return { done: failed, uncertain: step.command.kind === 'run' ? 1 : 0, error: explain(step, result) }
}

async function performBatch(chunk: Plan, run: Performing): Promise<Failure | undefined> {
  const commands = chunk.flatMap(({ command }) => (command.kind === 'ip' ? [command] : []))
  const [first] = commands
  if (first === undefined || skips(first, run.host)) return undefined
  const inHost = commands.filter((it) => it.in === 'host').length
  const result = await (inHost === 0 || inHost === commands.length
    ? run.ahead.send(inHost === 0 ? run.netns : undefined, toLines(commands, run))
    : sendNested(commands.slice(0, inHost), commands.slice(inHost), run))
  if (result.code === 0) return undefined
  const { done, uncertain } = countDone(result, { inHost, all: commands.length })
  const failed = chunk[done] ?? chunk[0]
  return failed && { done, uncertain, error: explain(failed, result) }
}

/** An `ip` in the host whose last line is one in the guest: a fork of Node takes longer than most of what they do. */
async function sendNested(inHost: readonly IpCommand[], inGuest: readonly IpCommand[], run: Performing) {
  const lent = run.host.lend(writeBatch(toLines(inGuest, run)))
  const inner = batchLine`netns exec ${run.netns} ip -batch ${lent.path}`
  return run.ahead.send(undefined, [...toLines(inHost, run), inner]).finally(lent.release)
}

/** How many commands of a batch were done when it failed, and of how many after those nothing is known. */
function countDone(
  { stderr }: Result,
  { inHost, all }: { readonly inHost: number; readonly all: number },
): Pick<Failure, 'done' | 'uncertain'> {
  // It counts lines from 1, the inner one first; some errors (a word ip cannot parse) end it without that line.
  const [, file, number] = /Command failed (\S+):(\d+)/.exec(stderr) ?? []
  if (file === undefined) return { done: 0, uncertain: all }
  const done = Number(number) - 1
  if (file !== '-') return { done: inHost + done, uncertain: 0 }
  return { done, uncertain: inHost > 0 && done === inHost ? all - inHost : 0 }
}

function toLines(commands: readonly IpCommand[], { host, netns }: Run): readonly BatchLine[] {
  return commands.map((command) => toLine(command, { netns, pid: host.pid }))
}

function runBatch(commands: readonly IpCommand[], run: Run): Promise<Result> {
  const lines = toLines(commands, run)
  return run.host.ip(commands[0]?.in === 'guest' ? { netns: run.netns, lines } : { lines })
}

function skips(command: IpCommand, host: Host): boolean {
  return command.onlyIfEmpty !== undefined && (host.list(command.onlyIfEmpty) ?? []).length > 0
}

async function performOne(command: Command, run: Run): Promise<Result> {
  if (command.kind === 'ip') return skips(command, run.host) ? OK : runBatch([command], run)
  if (command.kind === 'file') {
    run.host.save(command.path, command.text, command.isProgram ? 'program' : command.readers)
    return OK
  }
  if (command.kind === 'lease') {
    const { perform } = await import('../network/dhcp/internal')
    return perform(command.argv.slice(run.host.program.length), run)
  }
  const argv = toArgv(command, { netns: run.netns, pid: run.host.pid })
  return command.kind === 'run' ? runProgram(command, argv, run) : ask(command, argv, run)
}

async function runProgram(
  { onlyIf, failsIf, input, isOurs }: RunCommand,
  argv: readonly string[],
  { host }: Run,
): Promise<Result> {
  if (onlyIf !== undefined && (await host.run(onlyIf.argv)).stdout.trim() !== onlyIf.says) return OK
  const result = await (isOurs ? host.launch(argv) : host.run(argv, undefined, input))
  return failsIf !== undefined && result.stderr.includes(failsIf) ? { ...result, code: 1 } : result
}

async function ask(command: AskCommand, argv: readonly string[], run: Run): Promise<Result> {
  const { againWhile, againUntil, refusedIf, unaskedIf, limit } = command
  const deadline = run.host.elapsed() + limit * 1000
  for (;;) {
    const result = await run.host.query(argv)
    const isUnasked = result.code !== 0 && result.code === unaskedIf
    if (result.code !== 0 && !isUnasked) return result
    if (refusedIf !== undefined && result.stdout.includes(refusedIf)) return { ...result, code: 1 }
    const isAgain =
      (againWhile !== undefined && result.stdout.includes(againWhile)) ||
      (againUntil !== undefined && !result.stdout.includes(againUntil))
    if (!isUnasked && !isAgain) return result
    if (run.interrupt.heard) throw interrupted()
    if (run.host.elapsed() >= deadline) return { ...result, code: result.code || 1 }
    await run.host.sleep(ASK_AGAIN)
  }
}

function explain(step: Step, result: Result): PipeworkError {
  const told = step.explain?.(result)
  if (told !== undefined) return new PipeworkError(told.message, { hint: told.hint })
  const said = result.stderr.replaceAll(/^Command failed \S+:\d+\n?/gm, '').trim() || result.stdout.trim()
  return new PipeworkError(`could not ${step.why}${said === '' ? '' : `: ${said}`}`, {
    hint: `The command was: ${toShell(step.command)}`,
  })
}

/** Takes the steps back, last first, going on past what fails. What is uncertain may fail without being left. */
async function rollBack(plan: Plan, certain: number, run: Run): Promise<readonly Leftover[]> {
  const leftovers: Leftover[] = []
  for (const [index, { why, undo = [] }] of [...plan.entries()].reverse()) {
    for (const command of [undo].flat()) {
      // A bridge that is left because a link on it is left comes to the list as well.
      const isHeld = leftovers.length > 0 && command.kind === 'ip' && skips(command, run.host)
      const { code, stderr } = await performOne(command, run).catch(() => ({ code: 1, stderr: '' }))
      const isUndone = code === 0 ? !isHeld : stderr.includes('Cannot find device')
      if (!isUndone && index < certain) leftovers.push({ what: why, command: toCleanUp(command, run.guest) })
    }
  }
  return leftovers
}

/** The command as one types it afterwards, when the pinned name is gone. */
function toCleanUp(command: Command, { nsPath }: Guest): string {
  return toShell(command)
    .replaceAll('ip -n "$netns"', `nsenter --net=${nsPath} ip`)
    .replaceAll('ip netns exec "$netns"', `nsenter --net=${nsPath}`)
    .replaceAll('"/run/netns/$netns"', nsPath)
    .replaceAll('"$netns"', nsPath)
}
