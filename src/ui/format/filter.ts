import { usageError } from '../../model/errors'
import { listClosest } from '../../model/nearest'
import type { AttachmentReport } from '../../model/report'

const matchesGuestFilter = ({ guest }: AttachmentReport, typed: string) =>
  guest.name === typed ||
  `${guest.kind}:${guest.name}` === typed ||
  (typed.length >= 4 && guest.id?.startsWith(typed.slice(0, 12)) === true)

const FILTERS: Readonly<Record<string, (attachment: AttachmentReport, typed: string) => boolean>> = {
  guest: matchesGuestFilter,
  bridge: ({ hostif }, typed) => hostif === typed,
  // A name without a key matches guests and host interfaces.
  any: (attachment, typed) => matchesGuestFilter(attachment, typed) || attachment.hostif === typed,
}

/** One `--filter key=value`. */
export interface ListFilter {
  readonly key: string
  readonly value: string
}

/** The filters of `ls`. Throws usage errors. */
export function parseFilters(name: string | undefined, typed: readonly string[]): readonly ListFilter[] {
  const filters = typed.map((it) => {
    const [, key = '', value = ''] = /^([^=]*)=(.*)$/s.exec(it) ?? []
    if (value === '' || key === 'any' || !Object.hasOwn(FILTERS, key)) {
      const near = listClosest(key || it, ['guest', 'bridge'])
      throw usageError(
        `--filter '${it}' is not a filter`,
        near.length > 0 ? `Did you mean ${near[0]}=${value || 'NAME'}?` : 'Write guest=NAME or bridge=NAME.',
      )
    }
    return { key, value }
  })
  return name === undefined ? filters : [...filters, { key: 'any', value: name }]
}

/** As in docker: any value of a key must match, and every key must. */
export function matchesFilters(attachment: AttachmentReport, filters: readonly ListFilter[]): boolean {
  return filters.every(({ key }) =>
    filters.some((it) => it.key === key && FILTERS[key]?.(attachment, it.value) === true),
  )
}
