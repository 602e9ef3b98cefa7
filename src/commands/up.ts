import { PipeworkError } from '../model/errors'
import { parseSeconds } from '../model/number'
import type { Warning } from '../model/report'
import { applyAttachments as attachAll, planAttachment } from '../operations/attach'
import { forEachGuest, type GuestAction, type LineResult, resolveGuests } from '../operations/up/for-each-guest'
import { type PruneResult, pruneAttachments } from '../operations/up/prune'
import { type AttachmentLine, readAttachmentFiles } from '../operations/up/read-files'
import { formatGuest } from '../state/record'
import { memoizeHost } from '../state/together'
import { type CommandContext, type CommandOutcome, openTranscripts, validateRoot } from '../ui/command'
import { toUpResult, toUpScriptResult } from '../ui/up-report'
import { createFirewallCheck, toApplyOptions } from './attached'
import { toDetachScript } from './disconnect'

/** Makes true what files ask for: what is right is left alone, what one guest cannot have does not stop the others. */
export async function run(typed: CommandContext): Promise<CommandOutcome> {
  const wishes = await readAttachmentFiles(typed)
  validateRoot(typed)
  const call = { ...typed, system: memoizeHost(typed.system) }
  const isDry = call.hasFlag('dry-run')
  const patience = parseSeconds(call.stringOption('wait-guest') ?? '0', '--wait-guest')
  const first = await resolveGuests(wishes, call)
  // First, so that an address that has moved from one guest to another is free.
  const known = { lines: wishes, guests: first.groups.map(({ guest }) => guest) }
  const pruned = call.hasFlag('prune') ? await pruneAttachments(known, call) : []
  const requests = wishes.map(({ request }) => request)
  const warn = isDry ? undefined : await createFirewallCheck(requests, call.system)
  const all = sortByLine(wishes, await applyLines({ lines: wishes, resolved: first, waitSeconds: patience }, call))
  if (isDry) return toUpScriptResult(all, pruned.flatMap(toPruneScripts))
  const warnings = warn === undefined ? [] : await listWarnings(all, warn)
  return toUpResult({ results: all, pruned, waitSeconds: patience, warnings }, call)
}

type FirewallCheck = NonNullable<Awaited<ReturnType<typeof createFirewallCheck>>>

/** What the firewall does on these bridges, once for each of them. */
async function listWarnings(all: readonly LineResult[], warn: FirewallCheck): Promise<readonly Warning[]> {
  const bridges = new Map<string, Warning | undefined>()
  for (const told of all) {
    if (told.state !== 'planned') continue
    const { hostif, firewall, strict } = told.attachPlan.request
    if (firewall === 'warn' && !strict && bridges.get(hostif) === undefined)
      bridges.set(hostif, await warn(told.attachPlan))
  }
  return [...bridges.values()].filter((it) => it !== undefined)
}

/** Seconds between two looks at guests that are awaited. */
const POLL_SECONDS = 0.5

interface UpInputs {
  readonly lines: readonly AttachmentLine[]
  readonly resolved: Awaited<ReturnType<typeof resolveGuests>>
  /** Seconds. */
  readonly waitSeconds: number
}

/** Those who run at once, and those who are awaited as they come. */
async function applyLines(
  { lines, resolved, waitSeconds }: UpInputs,
  call: CommandContext,
): Promise<readonly LineResult[]> {
  const { system, io } = call
  const progress = await createProgress(call, lines.length)
  const action = call.hasFlag('dry-run')
    ? createPlanAction(call)
    : createApplyAction(call, await openTranscripts(call, lines.length > 1 ? 'many' : 'one'))
  const all: LineResult[] = []
  for (let now = resolved; ; ) {
    const done = await forEachGuest(now.groups, call, { action, onDone: progress.step })
    all.push(...done.flat(), ...now.told.filter(({ state }) => state !== 'absent'))
    const absent = now.told.filter(({ state }) => state === 'absent')
    const isAwaited = ({ line }: LineResult) => system.elapsed() < 1000 * Math.max(waitSeconds, line.waitSeconds)
    const awaited = io.interrupt.requested ? [] : absent.filter(isAwaited)
    all.push(...absent.filter((it) => !awaited.includes(it)))
    if (awaited.length === 0) break
    await system.sleep(POLL_SECONDS)
    now = await resolveGuests(
      awaited.map(({ line }) => line),
      call,
    )
  }
  progress.end()
  return all
}

function toPruneScripts(pruned: PruneResult): readonly string[] {
  if (pruned.state === 'failed') return []
  return [toDetachScript(pruned.result, ['disconnect', formatGuest(pruned.record.guest), pruned.record.ifname])]
}

/** Makes all that the lines of one guest ask for true, or nothing of it. */
function createApplyAction(
  call: CommandContext,
  transcripts: Awaited<ReturnType<typeof openTranscripts>>,
): GuestAction {
  return (requests, { guest, pin }) => {
    if (pin === undefined)
      throw new PipeworkError('only root can change network interfaces: run it with sudo, or look with --dry-run')
    const transcript = transcripts?.(guest)
    return attachAll(requests, { guest, pin }, toApplyOptions(call, transcript)).finally(() => transcript?.end())
  }
}

/** What that would be. */
export function createPlanAction({ system }: Pick<CommandContext, 'system'>): GuestAction {
  return (requests, held) => Promise.all(requests.map((request) => planAttachment(request, held, system)))
}

/** What was told, in the order of the lines. */
export function sortByLine(wishes: readonly AttachmentLine[], told: readonly LineResult[]): readonly LineResult[] {
  const byWish = new Map(told.map((it) => [it.line, it]))
  return wishes.flatMap((wish) => byWish.get(wish) ?? [])
}

interface Progress {
  step(lines: number): void
  end(): void
}

/** How many lines are done, where somebody watches. */
async function createProgress({ system, io, hasFlag }: CommandContext, count: number): Promise<Progress> {
  const isSilent =
    hasFlag('quiet') || hasFlag('verbose') || hasFlag('json') || hasFlag('dry-run') || !(await system.isTerminal(2))
  if (isSilent) return { step: () => {}, end: () => {} }
  const done = { count: 0 }
  return {
    step: (lines) => {
      done.count += lines
      io.err(`\r${done.count} of ${count}`)
    },
    end: () => io.err('\r\u001b[K'),
  }
}
