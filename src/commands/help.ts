import { usageError, validateNoExtraArgs } from '../model/errors'
import { listClosest } from '../model/nearest'
import type { System } from '../system/types'
import type { CommandContext, CommandOutcome, CommandSpec, CommandTable } from '../ui/command'
import { formatHelp, helpToJson } from '../ui/help'
import { toLocaleText, toTerminal } from '../ui/terminal'

declare const PIPEWORK_VERSION: string

/** Tells of a command, or of the main form; or prints the manual page. */
export async function run({ positionals, system, table, hasFlag }: CommandContext): Promise<CommandOutcome> {
  const [word = '', ...rest] = positionals
  validateNoExtraArgs(rest, 'pipework help [command]')
  if (hasFlag('man')) {
    const { formatManual } = await import('../ui/help/manual')
    const text = formatManual(table, PIPEWORK_VERSION)
    return { text, json: { ok: true, man: text }, printWhenQuiet: true }
  }
  return createHelpResult(word, table, system)
}

/** Help for the command of that word, or for the main form. */
export async function createHelpResult(word: string, table: CommandTable, system: System): Promise<CommandOutcome> {
  const command = findHelpCommand(word, table)
  return {
    text: toLocaleText(await formatHelp(command, table, toTerminal(system)), system.env),
    json: helpToJson(command, table),
    printWhenQuiet: true,
  }
}

function findHelpCommand(typed: string, { commands }: CommandTable): CommandSpec {
  const shown = commands.filter(({ hidden }) => hidden !== true)
  const found = shown.find(({ word }) => word === typed || word === `--${typed}`)
  if (found !== undefined) return found
  const words = shown.map(({ word }) => word).filter(Boolean)
  const near = listClosest(typed, words)
  throw usageError(
    `there is no command '${typed}'`,
    near.length > 0 ? `Did you mean ${near.join(' or ')}?` : `The commands are ${words.join(', ')}.`,
  )
}
