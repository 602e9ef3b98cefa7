import { toAttached } from '../commands/attached'
import { ExitCode, PipeworkError } from '../model/errors'
import { toWords } from '../model/request'
import type { Told } from '../operations/up/for-each-guest'
import type { Pruned } from '../operations/up/prune'
import { placeOf } from '../operations/up/read-files'
import { type Command, toShell } from '../plan/step'
import { formatGuest } from '../state/record'
import type { Host } from '../system/types'
import type { Call, Outcome } from './command'
import { describe, errorToJson, formatError, formatWarning, toScript, type Warning } from './report'

/** What a run over several guests has come to. */
export interface Sum {
  readonly all: readonly Told[]
  readonly pruned: readonly Pruned[]
  /** Seconds that guests were waited for. */
  readonly patience: number
  /** Of the firewall. */
  readonly warnings: readonly Warning[]
}

type State = 'made' | 'changed' | 'same' | 'absent' | 'failed'

function stateOf(told: Told): State {
  if (told.state !== 'planned') return told.state
  if (told.planned.plan.length === 0) return 'same'
  return told.planned.facts.inGuest === undefined ? 'made' : 'changed'
}

/** What `up` tells: failures on standard error, one line for each change, and the sum. */
export function toUpOutcome(sum: Sum, { host, io, flag }: Call): Outcome {
  const { all, pruned, warnings } = sum
  const failures = [...listFailures(all), ...pruned.flatMap((it) => (it.state === 'failed' ? [it.why] : []))]
  if (!flag('json')) for (const text of [...warnings.map(formatWarning), ...failures.map(formatError)]) io.err(text)
  return {
    text: [...all.flatMap((it) => tellChange(it, host)), ...pruned.flatMap(tellPruned), tellSum(sum, host)]
      .map((line) => `${line}\n`)
      .join(''),
    json: {
      ok: failures.length === 0,
      changed: all.some((it) => it.state === 'planned' && it.planned.plan.length > 0) || pruned.length > 0,
      attachments: all.map((it) => toJson(it, host)),
      detached: pruned.map(prunedToJson),
      warnings: warnings.length === 0 ? undefined : warnings,
    },
    exitCode: exitCodeOf(failures, sum),
  }
}

function exitCodeOf(failures: readonly unknown[], { all, patience }: Sum): number {
  if (failures.some((it) => it instanceof PipeworkError && it.leftovers.length > 0)) return ExitCode.leftover
  if (failures.length > 0) return ExitCode.failed
  return all.some(({ state, wish }) => state === 'absent' && patience + wish.patience > 0)
    ? ExitCode.timeout
    : ExitCode.ok
}

/** Each failure once, though all the lines of its guest share it, and with the places of these lines. */
function listFailures(all: readonly Told[]): readonly unknown[] {
  const failed = all.flatMap((it) => (it.state === 'failed' ? [it] : []))
  return [...new Set(failed.map(({ why }) => why))].map((why) => {
    if (!(why instanceof PipeworkError)) return why
    const places = failed.filter((it) => it.why === why).map(({ wish }) => placeOf(wish))
    const { message, hint, exitCode, leftovers } = why
    return new PipeworkError(`${places.join(', ')}: ${message}`, { hint, exitCode, leftovers })
  })
}

function tellChange(told: Told, host: Host): readonly string[] {
  if (told.state === 'absent') return [`${placeOf(told.wish)}: ${told.why.message}`]
  if (told.state === 'failed' || told.planned.plan.length === 0) return []
  return [describe(toAttached(told.planned, host))]
}

function tellPruned(pruned: Pruned): readonly string[] {
  const { guest, ifname, hostif } = pruned.record
  return pruned.state === 'failed' ? [] : [`${formatGuest(guest)} no longer has ${ifname} on ${hostif}`]
}

/** `12 made, 1 changed, 87 as they were`: what there is none of is left out. */
function tellSum({ all, pruned }: Sum, host: Host): string {
  const count = (state: State) => all.filter((it) => stateOf(it) === state).length
  const parts = [
    [count('made'), 'made'],
    [count('changed'), 'changed'],
    [count('same'), 'as it was'],
    [count('absent'), 'without a running guest'],
    [pruned.filter(({ state }) => state === 'detached').length, 'taken away'],
    [count('failed') + pruned.filter(({ state }) => state === 'failed').length, 'failed'],
  ] as const
  const told = parts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`)
  return `${told.join(', ') || 'nothing to do'} (${Math.round(host.elapsed())} ms)`
}

function toJson(told: Told, host: Host): object {
  const { request } = told.wish
  const { guest, ifname, hostif } = request
  const about = {
    where: placeOf(told.wish),
    guest: told.guest?.name ?? guest.name,
    ifname,
    hostif,
    state: stateOf(told),
  }
  if (told.state !== 'planned') return { ...about, ...errorToJson(told.why) }
  const { plan } = told.planned
  return { ok: true, ...about, attachment: toAttached(told.planned, host), steps: plan.map(({ why }) => why) }
}

function prunedToJson(pruned: Pruned): object {
  const { guest, ifname, hostif } = pruned.record
  return {
    ...{ guest, ifname, hostif, state: pruned.state },
    ...(pruned.state === 'failed' ? errorToJson(pruned.why) : { ok: true }),
  }
}

/** One script of several, each in a subshell: a name for the namespace that it works in lasts as long. */
export function joinScripts(scripts: readonly string[], notes: readonly string[]): string {
  const parts = scripts.filter((it) => it !== '').map((script) => `\n(\n${script})\n`)
  const remarks = notes.map((note) => `# ${note.replaceAll('\n', ' ')}\n`)
  return `#!/bin/sh\n${remarks.join('')}set -eu\n${parts.join('') || '# nothing to do: it is so already\n'}`
}

/** The script of a dry run. A bridge that several lines need is made by the first of them. */
export function toScripts(all: readonly Told[], before: readonly string[]): Outcome {
  const seen = new Set<string>()
  const scripts = all.flatMap((told) => {
    if (told.state !== 'planned' || told.planned.plan.length === 0) return []
    const { request, guest, plan } = told.planned
    return [toScript({ plan: plan.filter((step) => !isTwice(step, seen)), guest, words: toWords(request) })]
  })
  const notes = all.flatMap((it) => (it.state === 'planned' ? [] : [`${placeOf(it.wish)}: ${messageOf(it.why)}`]))
  const script = joinScripts([...before, ...scripts], notes)
  const steps = all.flatMap((it) => (it.state === 'planned' ? it.planned.plan.map(({ why }) => why) : []))
  return {
    text: script,
    json: { ok: notes.length === 0, dryRun: true, steps, script },
    wanted: true,
    exitCode: all.some(({ state }) => state === 'failed') ? ExitCode.failed : undefined,
  }
}

function isTwice({ command }: { readonly command: Command }, seen: Set<string>): boolean {
  if (command.in !== 'host' || command.kind === 'ask') return false
  const line = toShell(command)
  const isSeen = seen.has(line) && !line.includes('$netns')
  seen.add(line)
  return isSeen
}

/** An error in a sentence. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
