import type { LinkRecord } from '../../state/record'
import type { ChangeOptions } from '../types'
import { applyFileLines, type UpRequest } from '.'
import type { LineResult } from './for-each-guest'
import { findStaleRecords } from './prune'

/** What `up` would change. */
export interface DiffResult {
  readonly results: readonly LineResult[]
  /** Attachments that are no longer in the files. */
  readonly stale: readonly LinkRecord[]
}

/** Compares the lines of attachment files with what is attached. Changes nothing. */
export async function diffFileLines(
  { lines, paths, prune }: Omit<UpRequest, 'waitSeconds'>,
  options: Pick<ChangeOptions, 'system' | 'interrupt'>,
): Promise<DiffResult> {
  const request = { lines: lines.map((line) => ({ ...line, waitSeconds: 0 })), paths, prune: false, waitSeconds: 0 }
  const { results } = await applyFileLines(request, { ...options, dryRun: true })
  const known = { lines, guests: results.flatMap(({ guest }) => guest ?? []), paths }
  return { results, stale: prune ? await findStaleRecords(known, options.system) : [] }
}

/** The steps that a line still needs. */
export function listMissingSteps(result: LineResult): readonly string[] {
  return result.state === 'planned' ? result.attachPlan.plan.map(({ description }) => description) : []
}
