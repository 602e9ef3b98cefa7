import { ExitCode, PipeworkError } from '../model/errors'
import { formatWarning } from '../model/report'
import { formatRequestWords } from '../model/request'
import { describeAttachment } from '../operations/attachment-report'
import type { UpSummary } from '../operations/up'
import type { LineResult } from '../operations/up/for-each-guest'
import type { PruneResult } from '../operations/up/prune'
import { formatLocation } from '../operations/up/read-files'
import { formatScript } from '../plan/script'
import { toShell } from '../plan/shell'
import type { Command } from '../plan/step'
import { formatGuest } from '../state/record'
import type { System } from '../system/types'
import { toDetachScript } from './detach-report'
import { type Output, toScriptOutput } from './output'
import { errorToJson, formatAttachment, formatError, toErrorMessage } from './report'

type LineState = 'made' | 'changed' | 'same' | 'absent' | 'failed'

function toLineState(result: LineResult): LineState {
  if (result.state !== 'planned') return result.state
  if (result.attachPlan.plan.length === 0) return 'same'
  return result.attachPlan.facts.inGuest === undefined ? 'made' : 'changed'
}

/** What `up` prints: one line for each change, and a summary. */
export function toUpOutput(summary: UpSummary, system: System): Output {
  const { results, pruned, warnings } = summary
  const failures = listUpFailures(summary)
  return {
    text: [
      ...results.flatMap((it) => formatChange(it, system)),
      ...pruned.flatMap(formatPruneResult),
      formatSummary(summary, system),
    ]
      .map((line) => `${line}\n`)
      .join(''),
    json: {
      ok: failures.length === 0,
      changed: results.some((it) => it.state === 'planned' && it.attachPlan.plan.length > 0) || pruned.length > 0,
      attachments: results.map((it) => lineResultToJson(it, system)),
      detached: pruned.map(pruneResultToJson),
      warnings: warnings.length === 0 ? undefined : warnings,
    },
    exitCode: toExitCode(failures, summary),
  }
}

/** What `up` prints on standard error. */
export function formatUpProblems(summary: UpSummary): readonly string[] {
  return [...summary.warnings.map(formatWarning), ...listUpFailures(summary).map(formatError)]
}

function listUpFailures({ results, pruned }: UpSummary): readonly unknown[] {
  return [...listFailures(results), ...pruned.flatMap((it) => (it.state === 'failed' ? [it.error] : []))]
}

function toExitCode(failures: readonly unknown[], { results, waitSeconds }: UpSummary): number {
  if (failures.some((it) => it instanceof PipeworkError && it.leftovers.length > 0)) return ExitCode.leftover
  if (failures.length > 0) return ExitCode.failed
  return results.some(({ state, line }) => state === 'absent' && waitSeconds + line.waitSeconds > 0)
    ? ExitCode.timeout
    : ExitCode.ok
}

/** Each failure once, with the places of all lines of its guest that share it. */
function listFailures(all: readonly LineResult[]): readonly unknown[] {
  const failed = all.flatMap((it) => (it.state === 'failed' ? [it] : []))
  return [...new Set(failed.map(({ error }) => error))].map((error) => {
    if (!(error instanceof PipeworkError)) return error
    const places = failed.filter((it) => it.error === error).map(({ line }) => formatLocation(line))
    const { message, hint, exitCode, leftovers } = error
    return new PipeworkError(`${places.join(', ')}: ${message}`, { hint, exitCode, leftovers })
  })
}

function formatChange(result: LineResult, system: System): readonly string[] {
  if (result.state === 'absent') return [`${formatLocation(result.line)}: ${result.error.message}`]
  if (result.state === 'failed' || result.attachPlan.plan.length === 0) return []
  return [formatAttachment(describeAttachment(result.attachPlan, system))]
}

function formatPruneResult(pruned: PruneResult): readonly string[] {
  const { guest, ifname, hostif } = pruned.record
  return pruned.state === 'failed' ? [] : [`${formatGuest(guest)} no longer has ${ifname} on ${hostif}`]
}

/** `12 created, 1 changed, 87 unchanged`, without the zeros. */
function formatSummary({ results, pruned }: UpSummary, system: System): string {
  const count = (state: LineState) => results.filter((it) => toLineState(it) === state).length
  const parts = [
    [count('made'), 'created'],
    [count('changed'), 'changed'],
    [count('same'), 'unchanged'],
    [count('absent'), 'without a running guest'],
    [pruned.filter(({ state }) => state === 'detached').length, 'removed'],
    [count('failed') + pruned.filter(({ state }) => state === 'failed').length, 'failed'],
  ] as const
  const counts = parts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`)
  return `${counts.join(', ') || 'nothing to do'} (${Math.round(system.elapsed())} ms)`
}

function lineResultToJson(result: LineResult, system: System): object {
  const { request } = result.line
  const { guest, ifname, hostif } = request
  const about = {
    where: formatLocation(result.line),
    guest: result.guest?.name ?? guest.name,
    ifname,
    hostif,
    state: toLineState(result),
  }
  if (result.state !== 'planned') return { ...about, ...errorToJson(result.error) }
  const { plan } = result.attachPlan
  return {
    ok: true,
    ...about,
    attachment: describeAttachment(result.attachPlan, system),
    steps: plan.map(({ description }) => description),
  }
}

function pruneResultToJson(pruned: PruneResult): object {
  const { guest, ifname, hostif } = pruned.record
  return {
    ...{ guest, ifname, hostif, state: pruned.state },
    ...(pruned.state === 'failed' ? errorToJson(pruned.error) : { ok: true }),
  }
}

/** Joins scripts, each in a subshell, so that each one's namespace name lasts only for its commands. */
export function joinScripts(scripts: readonly string[], notes: readonly string[]): string {
  const parts = scripts.filter((it) => it !== '').map((script) => `\n(\n${script})\n`)
  const remarks = notes.map((note) => `# ${note.replaceAll('\n', ' ')}\n`)
  return `#!/bin/sh\n${remarks.join('')}set -eu\n${parts.join('') || '# nothing to do\n'}`
}

/** The script of a dry run. The first line that needs a bridge creates it. */
export function toUpScriptOutput({ results: all, pruned }: UpSummary): Output {
  const before = pruned.flatMap(toPruneScripts)
  const seen = new Set<string>()
  const scripts = all.flatMap((result) => {
    if (result.state !== 'planned' || result.attachPlan.plan.length === 0) return []
    const { request, guest, plan } = result.attachPlan
    return [
      formatScript({
        plan: plan.filter((step) => !isDuplicateStep(step, seen)),
        guest,
        words: formatRequestWords(request),
      }),
    ]
  })
  const notes = all.flatMap((it) =>
    it.state === 'planned' ? [] : [`${formatLocation(it.line)}: ${toErrorMessage(it.error)}`],
  )
  const script = joinScripts([...before, ...scripts], notes)
  const steps = all.flatMap((it) =>
    it.state === 'planned' ? it.attachPlan.plan.map(({ description }) => description) : [],
  )
  return {
    ...toScriptOutput(script, steps),
    json: { ok: notes.length === 0, dryRun: true, steps, script },
    exitCode: all.some(({ state }) => state === 'failed') ? ExitCode.failed : undefined,
  }
}

function toPruneScripts(pruned: PruneResult): readonly string[] {
  if (pruned.state === 'failed') return []
  return [toDetachScript(pruned.result, ['disconnect', formatGuest(pruned.record.guest), pruned.record.ifname])]
}

function isDuplicateStep({ command }: { readonly command: Command }, seen: Set<string>): boolean {
  if (command.in !== 'host' || command.kind === 'ask') return false
  const line = toShell(command)
  const isSeen = seen.has(line) && !line.includes('$netns')
  seen.add(line)
  return isSeen
}
