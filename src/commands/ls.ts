import { ExitCode } from '../model/errors'
import { defineCommand, textOption } from './types'

/** `pipework ls`: list the attachments, from the records on their links. */
export const ls = defineCommand({
  command: 'ls [name]',
  describe: 'list the attachments of this host',
  otherNames: ['list', 'show', 'status', 'ps', 'links'],
  synopsis: 'ls [guest or bridge]',
  builder: {
    filter: {
      ...textOption('key=value'),
      array: true,
      describe: 'only guest=NAME, or bridge=NAME; may be repeated',
    },
    format: {
      ...textOption('template'),
      describe:
        'a line for each, as a Go template: {{.Guest}} .Kind .Name .ID .Interface .Addresses .Bridge .HostEnd .MTU .State .Leases .Words {{json .}}; with `table ` in front a table',
    },
  },
  examples: [
    { line: 'pipework ls', does: 'a table of all attachments' },
    { line: 'pipework ls web', does: 'the attachments of web, or on a bridge of that name' },
    { line: 'pipework ls --filter bridge=br1 --format {{.Guest}}', does: 'the guests on br1, for a script' },
    { line: 'pipework ls --json', does: 'everything, for programs' },
  ],
  handler: async ({ words: [name], filter = [], format, json }, { system, io }) => {
    const [{ listAttachments }, { matchesFilters, parseFilters }, list, { parseTemplate }] = await Promise.all([
      import('../operations/list'),
      import('../ui/format/filter'),
      import('../ui/format/list'),
      import('../ui/format/template'),
    ])
    const filters = parseFilters(name, filter)
    const template = format === undefined ? undefined : parseTemplate(format, Object.keys(list.LIST_FIELDS))
    const { attachments: all, error } = await listAttachments(system)
    const attachments = all.filter((it) => matchesFilters(it, filters))
    if (error !== undefined) io.err(`pipework: ${error.message}\n  ${error.hint}\n`)
    // An empty table may be the answer to a misspelled name.
    else if (attachments.length === 0 && name !== undefined && template === undefined && !json)
      io.err(`pipework: nothing is attached to a guest or bridge '${name}'\n`)
    const text =
      template === undefined
        ? list.formatAttachmentTable(attachments, system.terminalColumns())
        : template.format(attachments.map((whole) => ({ fields: list.toTemplateFields(whole), whole })))
    const isComplete = error === undefined
    return {
      text,
      json: { ok: isComplete, attachments, error: error?.message },
      exitCode: isComplete ? ExitCode.ok : ExitCode.failed,
      printWhenQuiet: true,
    }
  },
})
