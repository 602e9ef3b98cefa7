import type { CommandTable, OptionSpec, Subcommand } from '../commands/call'
import { type Screen, wrap } from './screen'

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
/** What is left of a line for an explanation before it goes below what it explains. */
const LEAST = 32

/** Options under one heading. */
export interface Group {
  readonly title: string
  readonly options: readonly (readonly [string, OptionSpec])[]
}

/** How an option is written: `-n, --dry-run`, `-i <ifname>`. */
export function writeOption(name: string, { short, value }: OptionSpec): string {
  const long = name.length === 1 ? `-${name}` : `--${name}`
  return `${short === undefined ? '' : `-${short}, `}${long}${value === undefined ? '' : ` <${value}>`}`
}

/** The options of a command under the headings of the table; few need none. */
export function groupOptions({ options }: Subcommand, table: CommandTable): readonly Group[] {
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
  const forms = joined.split(' | ').flatMap((form) => wrap(`pipework ${form}`, width).map(indentRest))
  return forms.map((line) => line.replaceAll('\0', ' '))
}

const indentRest = (line: string, index: number) => (index === 0 ? line : `    ${line}`)

/** Terms with their explanations, side by side where there is room. */
function layOut(rows: readonly (readonly [string, string])[], width: number): readonly string[] {
  const widest = Math.max(0, ...rows.map(([term]) => term.length))
  const column = Math.min(widest, 26) + 4
  const isNarrow = width - column < LEAST
  return rows.flatMap(([term, text]) => {
    if (isNarrow || term.length + 4 > column)
      return [
        `  ${term}`,
        ...wrap(text, width - (isNarrow ? 6 : column)).map((line) => `${' '.repeat(isNarrow ? 6 : column)}${line}`),
      ]
    return wrap(text, width - column).map((line, index) => `${(index === 0 ? `  ${term}` : '').padEnd(column)}${line}`)
  })
}

/** Examples are for copying: a line is never broken, and its explanation goes below. */
function layOutExamples({ examples }: Subcommand, width: number): readonly string[] {
  return examples.flatMap(({ line, does }) => [`  ${line}`, ...wrap(does, width - 6).map((it) => `      ${it}`)])
}

/** What `--help` and `help <command>` print. */
export function formatHelp(command: Subcommand, table: CommandTable, screen: Screen): string {
  const width = Math.min(screen.columns ?? DEFAULT_WIDTH, MAX_WIDTH)
  const section = (title: string, lines: readonly string[]) =>
    lines.length === 0 ? [] : ['', screen.bold(`${title}:`), ...lines]
  const others = table.commands.filter(({ word, hidden }) => word !== '' && hidden !== true)
  const lines = [
    ...wrapSynopsis(command.synopsis, width - 4),
    '',
    ...wrap(sentence(command.summary), width),
    ...section('Words', layOut(Object.entries(command.words ?? {}), width)),
    ...groupOptions(command, table).flatMap(({ title, options }) => section(title, layOutOptions(options, width))),
    ...section('Examples', layOutExamples(command, width)),
    ...(command.word === ''
      ? [
          ...section(
            'Commands',
            layOut(
              others.map(({ word, summary }) => [word, summary] as const),
              width,
            ),
          ),
          '',
          ...wrap('pipework help <command> tells more of each.', width),
        ]
      : []),
  ]
  return lines.map((line) => `${line}\n`).join('')
}

function layOutOptions(options: Group['options'], width: number): readonly string[] {
  return layOut(
    options.map(([name, spec]) => [writeOption(name, spec), spec.summary] as const),
    width,
  )
}

/** A summary as a sentence of its own. */
export function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

/** The same for programs; with the commands there are, for the main form. */
export function toJson({ word, synopsis, summary, options, examples }: Subcommand, table: CommandTable): object {
  const commands = table.commands.filter(({ hidden }) => hidden !== true).map((it) => it.word)
  const own = { word, synopsis, summary, options: { ...options, ...table.options }, examples }
  return { ok: true, ...own, ...(word === '' ? { commands: commands.filter(Boolean) } : {}) }
}
