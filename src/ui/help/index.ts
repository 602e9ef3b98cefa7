import { usageError } from '../../model/errors'
import { listClosest } from '../../model/nearest'
import type { CommandSpec, CommandTable, OptionSpec } from '../command-spec'
import { type Terminal, wrapText } from '../terminal'

/** The first five lines of help. */
export const SHORT_USAGE = `pipework br1 web 192.168.1.10/24@192.168.1.1   attach the container web to the bridge br1
pipework --dry-run br1 web 192.168.1.10/24     print the same as a shell script
pipework ls                                    list all attachments
pipework disconnect web                        remove the interfaces, restore what they replaced
pipework --help                                everything else; pipework help <command>`

/** The width of help when standard output is not a terminal. */
const DEFAULT_WIDTH = 80
/** Longer lines are hard to read. */
const MAX_WIDTH = 100

/** Options under one heading. */
export interface OptionGroup {
  readonly title: string
  readonly options: readonly (readonly [string, OptionSpec])[]
}

/** The form of an option in help: `-n, --dry-run`, `-i <ifname>`. */
export function formatOption(name: string, { alias, placeholder, optionalValue }: OptionSpec): string {
  const long = name.length === 1 ? `-${name}` : `--${name}`
  const value = optionalValue ? `[=<${placeholder}>]` : ` <${placeholder}>`
  return `${alias === undefined ? '' : `-${alias}, `}${long}${placeholder === undefined ? '' : value}`
}

/** The options of a command under the table's headings; most commands need no headings. */
export function groupOptions({ builder }: CommandSpec, table: CommandTable): readonly OptionGroup[] {
  const all = Object.entries<OptionSpec>({ ...builder, ...table.options })
  if (Object.keys(builder).length <= 6) return [{ title: 'Options', options: all }]
  const titles = Object.keys(table.groups)
  const titleOf = (name: string) => titles.find((title) => table.groups[title]?.includes(name)) ?? titles[0]
  return titles.flatMap((title) => {
    const own = all.filter(([name]) => titleOf(name) === title)
    return own.length === 0 ? [] : [{ title, options: own }]
  })
}

/** The words of a synopsis; a bracket and its content count as one word. */
function wrapSynopsis(synopsis: string, width: number): readonly string[] {
  const joined = synopsis.replaceAll(/\[[^\]]* [^\]]*\]/g, (option) => option.replaceAll(' ', '\0'))
  const forms = joined.split(' | ').flatMap((form) => wrapText(`pipework ${form}`, width).map(indentContinuation))
  return forms.map((line) => line.replaceAll('\0', ' '))
}

const indentContinuation = (line: string, index: number) => (index === 0 ? line : `    ${line}`)

/** Examples are for copying: a line is never broken, and its explanation goes on the next line. */
function formatExamples({ examples }: CommandSpec, width: number): readonly string[] {
  return examples.flatMap(({ line, does }) => [`  ${line}`, ...wrapText(does, width - 6).map((it) => `      ${it}`)])
}

/** A term and its description, in two columns. */
type HelpEntry = readonly [string, string]

/** The share of the width for terms; a longer term has its description on the next line. */
const TERM_SHARE = 0.4

function formatEntries(title: string, entries: readonly HelpEntry[], width: number): readonly string[] {
  if (entries.length === 0) return []
  const limit = Math.floor(width * TERM_SHARE)
  const column = Math.max(...entries.map(([term]) => term.length).filter((it) => it <= limit), 0) + 2
  const lines = entries.flatMap(([term, text]) => {
    const [first = '', ...rest] = wrapText(text, width - column)
    const below = rest.map((line) => `${''.padEnd(column)}${line}`)
    return term.length + 2 <= column
      ? [`${term.padEnd(column)}${first}`, ...below]
      : [term, `${''.padEnd(column)}${first}`, ...below]
  })
  return ['', `${title}:`, ...lines]
}

/** Long names are aligned, with or without a short form. */
function toOptionEntry([name, spec]: OptionGroup['options'][number]): HelpEntry {
  const indent = spec.alias === undefined && name.length > 1 ? '      ' : '  '
  return [`${indent}${formatOption(name, spec)}`, spec.describe]
}

/** The output of `--help` and `help <command>`. */
export function formatHelp(command: CommandSpec, table: CommandTable, screen: Terminal): string {
  const width = Math.min(screen.columns ?? DEFAULT_WIDTH, MAX_WIDTH)
  const others = command.word === '' ? table.commands.filter(({ word, hidden }) => word !== '' && !hidden) : []
  const toEntry = ([term, text]: HelpEntry): HelpEntry => [`  ${term}`, text]
  const lines = [
    ...wrapSynopsis(command.synopsis, width - 4),
    '',
    ...wrapText(toSentence(command.describe), width),
    ...formatEntries(
      'Commands',
      others.map(({ word, describe }): HelpEntry => [`  ${word}`, describe]),
      width,
    ),
    ...formatEntries('Arguments', Object.entries(command.argumentHelp ?? {}).map(toEntry), width),
    ...groupOptions(command, table).flatMap(({ title, options }) =>
      formatEntries(title, options.map(toOptionEntry), width),
    ),
    '',
    'Examples:',
    ...formatExamples(command, width),
    ...(others.length === 0 ? [] : ['', ...wrapText('More about a command: pipework help <command>', width)]),
  ]
  return lines.map((line) => `${/^[A-Z][\w ]*:$/.test(line) ? screen.bold(line) : line}\n`).join('')
}

/** The summary as a full sentence. */
export function toSentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

/** The help as JSON; for the main form it includes the list of commands. */
export function helpToJson({ word, synopsis, describe, builder, examples }: CommandSpec, table: CommandTable): object {
  const commands = table.commands.filter(({ hidden }) => hidden !== true).map((it) => it.word)
  const own = { word, synopsis, summary: describe, options: { ...builder, ...table.options }, examples }
  return { ok: true, ...own, commands: word === '' ? commands.filter(Boolean) : undefined }
}

/** The command of that word, or the main form for an empty word. Throws a usage error with a suggestion. */
export function findHelpCommand(typed: string, { commands }: CommandTable): CommandSpec {
  const shown = commands.filter(({ hidden }) => hidden !== true)
  const found = shown.find(({ word }) => word === typed || word === `--${typed}`)
  if (found !== undefined) return found
  const words = shown.map(({ word }) => word).filter(Boolean)
  const near = listClosest(typed, words)
  throw usageError(
    `unknown command '${typed}'`,
    near.length > 0 ? `Did you mean ${near.join(' or ')}?` : `The commands are ${words.join(', ')}.`,
  )
}
