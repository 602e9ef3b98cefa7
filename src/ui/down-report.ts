import { ExitCode, PipeworkError } from '../model/errors'
import { type DownResult, formatGuestName } from '../operations/up/down'
import { toDetachedOutput, toDetachScript } from './detach-report'
import { type Output, toScriptOutput } from './output'
import { errorToJson } from './report'
import { joinScripts } from './up-report'

/** The errors among the results. */
export function listDownFailures(results: readonly DownResult[]): readonly unknown[] {
  return results.flatMap(({ error }) => (error === undefined ? [] : [error]))
}

/** The script of `down --dry-run`. */
export function toDownScriptOutput(results: readonly DownResult[]): Output {
  const failed = results.filter(({ error }) => error !== undefined)
  const scripts = results.flatMap(({ result, guest, ifnames }) =>
    result === undefined || result.detached.length === 0
      ? []
      : [toDetachScript(result, ['disconnect', formatGuestName(guest), ...ifnames])],
  )
  const notes = failed.map(({ guest, error }) => `${formatGuestName(guest)}: ${String(error)}`)
  const steps = results.flatMap(
    ({ result }) => result?.detached.flatMap(({ plan }) => plan.map(({ description }) => description)) ?? [],
  )
  const script = joinScripts(scripts, notes)
  return {
    ...toScriptOutput(script, steps),
    json: { ok: failed.length === 0, dryRun: true, steps, script },
    exitCode: failed.length > 0 ? ExitCode.failed : undefined,
  }
}

/** What `down` prints: a line for each interface, and a summary. */
export function toDownOutput(results: readonly DownResult[], elapsed: number): Output {
  const failures = listDownFailures(results)
  const detached = results.flatMap(({ result }) => result?.detached ?? [])
  const missing = results.reduce(
    (sum, { ifnames, result, error }) =>
      sum + (error === undefined ? ifnames.length - (result?.detached.length ?? 0) : 0),
    0,
  )
  const counts = [
    [detached.length, 'removed'],
    [missing, 'not there'],
    [failures.length, 'failed'],
  ] as const
  const sum = counts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`)
  const hasLeftovers = failures.some((it) => it instanceof PipeworkError && it.leftovers.length > 0)
  const { text, json } = toDetachedOutput(detached)
  return {
    text: `${text}${sum.join(', ') || 'nothing to do'} (${Math.round(elapsed)} ms)\n`,
    json: { ...json, ok: failures.length === 0, failed: failures.map(errorToJson) },
    exitCode: hasLeftovers ? ExitCode.leftover : failures.length > 0 ? ExitCode.failed : ExitCode.ok,
  }
}
