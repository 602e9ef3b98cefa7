import { describeAttachment } from '../commands/attached'
import { ExitCode, PipeworkError } from '../model/errors'
import { formatWarning, type Warning } from '../model/report'
import { formatRequestWords } from '../model/request'
import type { LineResult } from '../operations/up/for-each-guest'
import type { PruneResult } from '../operations/up/prune'
import { formatLocation } from '../operations/up/read-files'
import { formatScript } from '../plan/script'
import { toShell } from '../plan/shell'
import type { Command } from '../plan/step'
import { formatGuest } from '../state/record'
import type { System } from '../system/types'
import type { CommandContext, CommandOutcome } from './command'
import { errorToJson, formatAttachment, formatError } from './report'

/** What a run over several guests has come to. */
export interface Summary {
  readonly results: readonly LineResult[]
  readonly pruned: readonly PruneResult[]
  /** Seconds that guests were waited for. */
  readonly waitSeconds: number
  /** Of the firewall. */
  readonly warnings: readonly Warning[]
}

type LineState = 'made' | 'changed' | 'same' | 'absent' | 'failed'

function toLineState(told: LineResult): LineState {
  if (told.state !== 'planned') return told.state
  if (told.attachPlan.plan.length === 0) return 'same'
  return told.attachPlan.facts.inGuest === undefined ? 'made' : 'changed'
}

/** What `up` tells: failures on standard error, one line for each change, and the sum. */
export function toUpResult(sum: Summary, { system, io, hasFlag }: CommandContext): CommandOutcome {
  const { results, pruned, warnings } = sum
  const failures = [...listFailures(results), ...pruned.flatMap((it) => (it.state === 'failed' ? [it.error] : []))]
  if (!hasFlag('json')) for (const text of [...warnings.map(formatWarning), ...failures.map(formatError)]) io.err(text)
  return {
    text: [
      ...results.flatMap((it) => formatChange(it, system)),
      ...pruned.flatMap(formatPruneResult),
      formatSummary(sum, system),
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
    exitCode: toExitCode(failures, sum),
  }
}

function toExitCode(failures: readonly unknown[], { results, waitSeconds }: Summary): number {
  if (failures.some((it) => it instanceof PipeworkError && it.leftovers.length > 0)) return ExitCode.leftover
  if (failures.length > 0) return ExitCode.failed
  return results.some(({ state, line }) => state === 'absent' && waitSeconds + line.waitSeconds > 0)
    ? ExitCode.timeout
    : ExitCode.ok
}

/** Each failure once, though all the lines of its guest share it, and with the places of these lines. */
function listFailures(all: readonly LineResult[]): readonly unknown[] {
  const failed = all.flatMap((it) => (it.state === 'failed' ? [it] : []))
  return [...new Set(failed.map(({ error }) => error))].map((why) => {
    if (!(why instanceof PipeworkError)) return why
    const places = failed.filter((it) => it.error === why).map(({ line }) => formatLocation(line))
    const { message, hint, exitCode, leftovers } = why
    return new PipeworkError(`${places.join(', ')}: ${message}`, { hint, exitCode, leftovers })
  })
}

function formatChange(told: LineResult, system: System): readonly string[] {
  if (told.state === 'absent') return [`${formatLocation(told.line)}: ${told.error.message}`]
  if (told.state === 'failed' || told.attachPlan.plan.length === 0) return []
  return [formatAttachment(describeAttachment(told.attachPlan, system))]
}

function formatPruneResult(pruned: PruneResult): readonly string[] {
  const { guest, ifname, hostif } = pruned.record
  return pruned.state === 'failed' ? [] : [`${formatGuest(guest)} no longer has ${ifname} on ${hostif}`]
}

/** `12 made, 1 changed, 87 as they were`: what there is none of is left out. */
function formatSummary({ results, pruned }: Summary, system: System): string {
  const count = (state: LineState) => results.filter((it) => toLineState(it) === state).length
  const parts = [
    [count('made'), 'made'],
    [count('changed'), 'changed'],
    [count('same'), 'as it was'],
    [count('absent'), 'without a running guest'],
    [pruned.filter(({ state }) => state === 'detached').length, 'taken away'],
    [count('failed') + pruned.filter(({ state }) => state === 'failed').length, 'failed'],
  ] as const
  const told = parts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`)
  return `${told.join(', ') || 'nothing to do'} (${Math.round(system.elapsed())} ms)`
}

function lineResultToJson(told: LineResult, system: System): object {
  const { request } = told.line
  const { guest, ifname, hostif } = request
  const about = {
    where: formatLocation(told.line),
    guest: told.guest?.name ?? guest.name,
    ifname,
    hostif,
    state: toLineState(told),
  }
  if (told.state !== 'planned') return { ...about, ...errorToJson(told.error) }
  const { plan } = told.attachPlan
  return {
    ok: true,
    ...about,
    attachment: describeAttachment(told.attachPlan, system),
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

/** One script of several, each in a subshell: a name for the namespace that it works in lasts as long. */
export function joinScripts(scripts: readonly string[], notes: readonly string[]): string {
  const parts = scripts.filter((it) => it !== '').map((script) => `\n(\n${script})\n`)
  const remarks = notes.map((note) => `# ${note.replaceAll('\n', ' ')}\n`)
  return `#!/bin/sh\n${remarks.join('')}set -eu\n${parts.join('') || '# nothing to do: it is so already\n'}`
}

/** The script of a dry run. A bridge that several lines need is made by the first of them. */
export function toUpScriptResult(all: readonly LineResult[], before: readonly string[]): CommandOutcome {
  const seen = new Set<string>()
  const scripts = all.flatMap((told) => {
    if (told.state !== 'planned' || told.attachPlan.plan.length === 0) return []
    const { request, guest, plan } = told.attachPlan
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
    text: script,
    json: { ok: notes.length === 0, dryRun: true, steps, script },
    printWhenQuiet: true,
    exitCode: all.some(({ state }) => state === 'failed') ? ExitCode.failed : undefined,
  }
}

function isDuplicateStep({ command }: { readonly command: Command }, seen: Set<string>): boolean {
  if (command.in !== 'host' || command.kind === 'ask') return false
  const line = toShell(command)
  const isSeen = seen.has(line) && !line.includes('$netns')
  seen.add(line)
  return isSeen
}

/** An error in a sentence. */
export function toErrorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
