import { usageError } from '../model/errors'
import { defineCommand } from './types'

/** `pipework save`: everything attached now, as a file for `up`. */
export const save = defineCommand({
  command: 'save [file]',
  describe: 'print what is attached now, as a file for `up`',
  otherNames: ['export', 'dump', 'store'],
  synopsis: 'save',
  builder: {},
  examples: [
    { line: 'pipework save', does: 'one line for each attachment' },
    { line: 'pipework save > lan.pipework', does: 'as a file, for pipework up' },
    { line: 'pipework save --json', does: 'the lines for programs' },
  ],
  handler: async ({ words: [path] }, { system, parseLine }) => {
    if (path !== undefined)
      throw usageError(`save prints, and does not write '${path}'`, `Redirect it: pipework save > ${path}`)
    const { saveAttachments } = await import('../operations/save')
    const saved = await saveAttachments(system, parseLine)
    const notes = system.isRoot ? [] : ['not root: links without a host end (macvlan, ipvlan, dummy) could not be read']
    const comments = [...notes, ...saved.flatMap((it) => ('comment' in it ? [it.comment] : []))]
    const lines = saved.flatMap((it) => ('line' in it ? [it.line] : []))
    const remarks = ['what pipework had attached; to attach it again: pipework up <this file>', ...comments]
    return {
      text: [...remarks.map((it) => `# ${it.replaceAll(/\s+/g, ' ')}`), ...lines].map((line) => `${line}\n`).join(''),
      json: { ok: true, lines, comments },
      printWhenQuiet: true,
    }
  },
})
