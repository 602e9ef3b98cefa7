import { usageError, validateNoExtraArgs } from '../model/errors'
import { listClosest } from '../model/nearest'
import type { AttachmentReport } from '../model/report'
import { listAttachments } from '../operations/list'
import type { CommandContext, CommandOutcome } from '../ui/command'
import { formatAttachmentTable, LIST_FIELDS, toTemplateFields } from '../ui/format/list'
import { parseTemplate } from '../ui/format/template'

/** Lists the attachments from the records on their links. */
export async function run({
  system,
  io,
  positionals,
  stringOption,
  stringOptions,
  hasFlag,
}: CommandContext): Promise<CommandOutcome> {
  const filters = parseFilters(positionals, stringOptions('filter'))
  const typed = stringOption('format')
  const template = typed === undefined ? undefined : parseTemplate(typed, Object.keys(LIST_FIELDS))
  const attachments = (await listAttachments(system)).filter((it) => matchesFilters(it, filters))
  // An empty table may be one of a name that nobody has.
  if (attachments.length === 0 && positionals[0] !== undefined && template === undefined && !hasFlag('json'))
    io.err(`pipework: nothing is attached to '${positionals[0]}', be it a guest or a bridge\n`)
  return {
    text:
      template === undefined
        ? formatAttachmentTable(attachments, system.terminalColumns())
        : template.format(attachments.map((whole) => ({ fields: toTemplateFields(whole), whole }))),
    json: { ok: true, attachments },
    printWhenQuiet: true,
  }
}

const matchesGuestFilter = ({ guest }: AttachmentReport, typed: string) =>
  guest.name === typed ||
  `${guest.kind}:${guest.name}` === typed ||
  (typed.length >= 4 && guest.id?.startsWith(typed.slice(0, 12)) === true)

/** How each kind of filter decides. */
const FILTERS: Readonly<Record<string, (attachment: AttachmentReport, typed: string) => boolean>> = {
  guest: matchesGuestFilter,
  bridge: ({ hostif }, typed) => hostif === typed,
  /** A word without a key means either. */
  any: (attachment, typed) => matchesGuestFilter(attachment, typed) || attachment.hostif === typed,
}

interface ListFilter {
  readonly key: string
  readonly value: string
}

function parseFilters([word, ...rest]: readonly string[], typed: readonly string[]): readonly ListFilter[] {
  validateNoExtraArgs(rest, 'pipework ls [guest or bridge] [--filter bridge=br1]')
  const filters = typed.map((it) => {
    const [, key = '', value = ''] = /^([^=]*)=(.*)$/s.exec(it) ?? []
    if (value === '' || key === 'any' || !Object.hasOwn(FILTERS, key)) {
      const near = listClosest(key || it, ['guest', 'bridge'])
      throw usageError(
        `--filter '${it}' is no filter`,
        near.length > 0 ? `Did you mean ${near[0]}=${value || 'NAME'}?` : 'Write guest=NAME or bridge=NAME.',
      )
    }
    return { key, value }
  })
  return word === undefined ? filters : [...filters, { key: 'any', value: word }]
}

/** As docker has it: one of several values of a key, and every key. */
function matchesFilters(attachment: AttachmentReport, filters: readonly ListFilter[]): boolean {
  return filters.every(({ key }) =>
    filters.some((it) => it.key === key && FILTERS[key]?.(attachment, it.value) === true),
  )
}
