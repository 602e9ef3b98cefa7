import { PipeworkError } from '../../model/errors'
import type { Warning } from '../../model/report'
import { memoizeHost } from '../../state/together'
import type { System } from '../../system/types'
import { attachGuests, planAttachment } from '../attach'
import { createFirewallCheck, type FirewallCheck, wantsFirewallWarning } from '../attach/firewall-check'
import type { ChangeOptions } from '../types'
import { forEachGuest, type GuestAction, type LineResult, resolveGuests } from './for-each-guest'
import { type PruneResult, pruneAttachments } from './prune'
import type { AttachmentLine } from './read-files'

/** The request of `up`. */
export interface UpRequest {
  readonly lines: readonly AttachmentLine[]
  /** The files of the lines. */
  readonly paths: readonly string[]
  readonly prune: boolean
  /** Seconds to wait for guests that are not running yet. */
  readonly waitSeconds: number
}

export interface UpOptions extends ChangeOptions {
  /** Called with the number of lines that have just been done. */
  readonly onProgress?: (lines: number) => void
}

/** The results of `up`, line by line. */
export interface UpSummary {
  readonly results: readonly LineResult[]
  readonly pruned: readonly PruneResult[]
  readonly waitSeconds: number
  readonly warnings: readonly Warning[]
}

/** Applies the lines of attachment files; a failure of one guest does not stop the others. */
export async function applyFileLines(
  { lines, paths, prune, waitSeconds }: UpRequest,
  typed: UpOptions,
): Promise<UpSummary> {
  const options = { ...typed, system: memoizeHost(typed.system) }
  const { system, dryRun } = options
  const resolved = await resolveGuests(lines, options)
  // Prune first: an address may have moved from one guest to another.
  const known = { lines, guests: resolved.groups.map(({ guest }) => guest), paths }
  const pruned = prune ? await pruneAttachments(known, options) : []
  const requests = lines.map(({ request }) => request)
  const check = dryRun ? undefined : await createFirewallCheck(requests, system)
  const results = sortByLine(lines, await applyLines({ resolved, waitSeconds }, options))
  return { results, pruned, waitSeconds, warnings: check === undefined ? [] : await listWarnings(results, check) }
}

/** The firewall warnings, one for each bridge. */
async function listWarnings(results: readonly LineResult[], check: FirewallCheck): Promise<readonly Warning[]> {
  const bridges = new Map<string, Warning | undefined>()
  for (const result of results) {
    if (result.state !== 'planned') continue
    const { request } = result.attachPlan
    if (wantsFirewallWarning(request) && bridges.get(request.hostif) === undefined)
      bridges.set(request.hostif, await check(result.attachPlan))
  }
  return [...bridges.values()].filter((it) => it !== undefined)
}

/** Seconds between two checks for guests that are not running yet. */
const POLL_SECONDS = 0.5

interface ApplyInputs {
  readonly resolved: Awaited<ReturnType<typeof resolveGuests>>
  readonly waitSeconds: number
}

/** Applies the lines of running guests at once, and those of other guests when they start. */
async function applyLines({ resolved, waitSeconds }: ApplyInputs, options: UpOptions): Promise<readonly LineResult[]> {
  const { system, interrupt } = options
  const action = options.dryRun ? createPlanAction(system) : createApplyAction(options)
  const all: LineResult[] = []
  for (let now = resolved; ; ) {
    const done = await forEachGuest(now.groups, options, { action, onDone: options.onProgress })
    all.push(...done.flat(), ...now.results.filter(({ state }) => state !== 'absent'))
    const absent = now.results.filter(({ state }) => state === 'absent')
    const isAwaited = ({ line }: LineResult) => system.elapsed() < 1000 * Math.max(waitSeconds, line.waitSeconds)
    const awaited = interrupt.requested ? [] : absent.filter(isAwaited)
    all.push(...absent.filter((it) => !awaited.includes(it)))
    if (awaited.length === 0) return all
    await system.sleep(POLL_SECONDS)
    now = await resolveGuests(
      awaited.map(({ line }) => line),
      options,
    )
  }
}

/** Attaches all lines of one guest, or none of them. */
function createApplyAction({ system, interrupt, openTranscript }: ChangeOptions): GuestAction {
  return (requests, { guest, pin }) => {
    if (pin === undefined)
      throw new PipeworkError('only root can change network interfaces: run it with sudo, or look with --dry-run')
    const transcript = openTranscript?.(guest)
    return attachGuests(requests, { guest, pin }, { system, interrupt, ...transcript }).finally(() => transcript?.end())
  }
}

function createPlanAction(system: System): GuestAction {
  return (requests, held) => Promise.all(requests.map((request) => planAttachment(request, held, system)))
}

/** Sorts the results by the order of the lines. */
function sortByLine(lines: readonly AttachmentLine[], results: readonly LineResult[]): readonly LineResult[] {
  const byLine = new Map(results.map((it) => [it.line, it]))
  return lines.flatMap((line) => byLine.get(line) ?? [])
}
