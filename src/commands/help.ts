import type { CommandSpec } from '../ui/command-spec'
import type { Output } from '../ui/output'
import { type CommandContext, defineCommand } from './types'

declare const PIPEWORK_VERSION: string

/** `pipework help`: a command, or the manual page. */
export const help = defineCommand({
  command: 'help [command]',
  describe: 'show what a command does, with its options and with examples that run',
  otherNames: ['man', 'usage'],
  synopsis: 'help [command] | help --man',
  builder: { man: { type: 'boolean', describe: 'print the manual page instead' } },
  examples: [
    { line: 'pipework help', does: 'the main form, and a list of commands' },
    { line: 'pipework help disconnect', does: 'one command' },
    { line: 'pipework help --man', does: 'the manual page pipework(8): pipe it into man -l -' },
  ],
  handler: async ({ words: [word = ''], man }, context) => {
    const table = await context.loadTable()
    if (man) {
      const { formatManual } = await import('../ui/help/manual')
      const text = formatManual(table, PIPEWORK_VERSION)
      return { text, json: { ok: true, man: text }, printWhenQuiet: true }
    }
    const { findHelpCommand } = await import('../ui/help')
    return showHelp(findHelpCommand(word, table), context)
  },
})

/** The help of one command; `--help` prints the same. */
export async function showHelp(
  command: CommandSpec,
  { system, loadTable }: Pick<CommandContext, 'system' | 'loadTable'>,
): Promise<Output> {
  const [{ formatHelp, helpToJson }, { toLocaleText, toTerminal }] = await Promise.all([
    import('../ui/help'),
    import('../ui/terminal'),
  ])
  const table = await loadTable()
  return {
    text: toLocaleText(formatHelp(command, table, toTerminal(system)), system.env),
    json: helpToJson(command, table),
    printWhenQuiet: true,
  }
}
