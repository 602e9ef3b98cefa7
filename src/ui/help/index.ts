import type { CommandSpec, CommandTable, OptionSpec } from '../command'
import { type Terminal, wrapText } from '../terminal'

/** Five lines that get a newcomer going, for somebody who typed nothing. */
export const SHORT_USAGE = `pipework br1 web 192.168.1.10/24@192.168.1.1   the container web on the bridge br1
pipework --dry-run br1 web 192.168.1.10/24     the same as a shell script, to read first
pipework ls                                    who is attached where
pipework disconnect web                        away with it, and everything as it was
pipework --help                                all the rest; pipework help <command> tells more`

/** Where help is not read on a terminal. */
const DEFAULT_WIDTH = 80
/** Longer lines are hard to read. */
const MAX_WIDTH = 100

/** Options under one heading. */
export interface OptionGroup {
  readonly title: string
  readonly options: readonly (readonly [string, OptionSpec])[]
}

/** How an option is written: `-n, --dry-run`, `-i <ifname>`. */
export function formatOption(name: string, { short, value, optional }: OptionSpec): string {
  const long = name.length === 1 ? `-${name}` : `--${name}`
  const written = optional ? `[=<${value}>]` : ` <${value}>`
  return `${short === undefined ? '' : `-${short}, `}${long}${value === undefined ? '' : written}`
}

/** The options of a command under the headings of the table; few need none. */
export function groupOptions({ options }: CommandSpec, table: CommandTable): readonly OptionGroup[] {
  const all = Object.entries<OptionSpec>({ ...options, ...table.options })
  if (Object.keys(options).length <= 6) return [{ title: 'Options', options: all }]
  const titles = Object.keys(table.groups)
  const titleOf = (name: string) => titles.find((title) => table.groups[title]?.includes(name)) ?? titles[0]
  return titles.flatMap((title) => {
    const own = all.filter(([name]) => titleOf(name) === title)
    return own.length === 0 ? [] : [{ title, options: own }]
  })
}

/** The words of a synopsis, a bracket with all that is in it as one. */
function wrapSynopsis(synopsis: string, width: number): readonly string[] {
  const joined = synopsis.replaceAll(/\[[^\]]* [^\]]*\]/g, (option) => option.replaceAll(' ', '\0'))
  const forms = joined.split(' | ').flatMap((form) => wrapText(`pipework ${form}`, width).map(indentContinuation))
  return forms.map((line) => line.replaceAll('\0', ' '))
}

const indentContinuation = (line: string, index: number) => (index === 0 ? line : `    ${line}`)

/** Examples are for copying: a line is never broken, and its explanation goes below. */
function formatExamples({ examples }: CommandSpec, width: number): readonly string[] {
  return examples.flatMap(({ line, does }) => [`  ${line}`, ...wrapText(does, width - 6).map((it) => `      ${it}`)])
}

/** What `--help` and `help <command>` print: yargs lays it out, but for what must not be broken. */
export async function formatHelp(command: CommandSpec, table: CommandTable, screen: Terminal): Promise<string> {
  // Its CommonJS form: the one as an ES module breaks lines within words.
  const { default: yargs } = await import('yargs/yargs')
  const width = Math.min(screen.columns ?? DEFAULT_WIDTH, MAX_WIDTH)
  const help = yargs([]).scriptName('').locale('en').version(false).help(false).wrap(width)
  help.usage(toSentence(command.summary)).updateStrings({ 'Positionals:': 'Words:' })
  for (const [word, describe] of Object.entries(command.argumentHelp ?? {})) help.positional(word, { describe })
  for (const { title, options } of groupOptions(command, table))
    for (const [name, spec] of options)
      help.option(toYargsName(name, spec), { ...toYargsAlias(spec), ...toYargsText(title, spec) })
  const others = command.word === '' ? table.commands.filter(({ word, hidden }) => word !== '' && !hidden) : []
  for (const { word, summary } of others) help.command(word, summary)
  const examples = ['Examples:', ...formatExamples(command, width)]
  const end = others.length === 0 ? [] : ['', ...wrapText('pipework help <command> tells more of each.', width)]
  const synopsis = wrapSynopsis(command.synopsis, width - 4)
  const lines = [...synopsis, '', ...(await help.getHelp()).split('\n'), '', ...examples, ...end]
  return lines.map((line) => `${formatHeading(line, screen)}\n`).join('')
}

/** yargs shows the names of options and not what their values are called: here that belongs to the name. */
const toYargsName = (name: string, { value, optional }: OptionSpec) =>
  `${name}${value === undefined ? '' : optional ? `[=<${value}>]` : ` <${value}>`}`
const toYargsAlias = ({ short }: OptionSpec) => (short === undefined ? {} : { alias: short })
const toYargsText = (title: string, { summary }: OptionSpec) => ({ group: `${title}:`, describe: summary })

/** Headings as the terminal shows them; and of a letter with a value, which yargs takes for a long name, one dash, at the left. */
function formatHeading(line: string, { bold }: Terminal): string {
  return /^[A-Z][\w ]*:$/.test(line) ? bold(line) : line.replace(/^ {4}( +)--(\w <[^>]*> *)/, '$1-$2     ').trimEnd()
}

/** A summary as a sentence of its own. */
export function toSentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

/** The same for programs; with the commands there are, for the main form. */
export function helpToJson({ word, synopsis, summary, options, examples }: CommandSpec, table: CommandTable): object {
  const commands = table.commands.filter(({ hidden }) => hidden !== true).map((it) => it.word)
  const own = { word, synopsis, summary, options: { ...options, ...table.options }, examples }
  return { ok: true, ...own, commands: word === '' ? commands.filter(Boolean) : undefined }
}
