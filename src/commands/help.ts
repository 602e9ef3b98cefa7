import { refuseSurplus, usageError } from '../model/errors'
import { listNearest } from '../model/nearest'
import type { Host } from '../system/types'
import type { Call, CommandTable, Outcome, Subcommand } from '../ui/command'
import { formatHelp, toJson } from '../ui/help'
import { screenOf, toLocale } from '../ui/terminal'

declare const PIPEWORK_VERSION: string

/** Tells of a command, or of the main form; or prints the manual page. */
export async function run({ words, host, table, flag }: Call): Promise<Outcome> {
  const [word = '', ...rest] = words
  refuseSurplus(rest, 'pipework help [command]')
  if (flag('man')) {
    const { formatManual } = await import('../ui/help/manual')
    const text = formatManual(table, PIPEWORK_VERSION)
    return { text, json: { ok: true, man: text }, wanted: true }
  }
  return help(word, table, host)
}

/** Help for the command of that word, or for the main form. */
export async function help(word: string, table: CommandTable, host: Host): Promise<Outcome> {
  const command = findCommand(word, table)
  return {
    text: toLocale(await formatHelp(command, table, screenOf(host)), host.env),
    json: toJson(command, table),
    wanted: true,
  }
}

function findCommand(typed: string, { commands }: CommandTable): Subcommand {
  const shown = commands.filter(({ hidden }) => hidden !== true)
  const found = shown.find(({ word }) => word === typed || word === `--${typed}`)
  if (found !== undefined) return found
  const words = shown.map(({ word }) => word).filter(Boolean)
  const near = listNearest(typed, words)
  throw usageError(
    `there is no command '${typed}'`,
    near.length > 0 ? `Did you mean ${near.join(' or ')}?` : `The commands are ${words.join(', ')}.`,
  )
}
