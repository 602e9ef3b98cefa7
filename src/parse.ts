import parse from 'yargs-parser'
import type { CommandTable, Line, Typed } from './commands/call'
import { type PipeworkError, usageError } from './errors'
import { ATTACH, COMMANDS, GLOBAL_OPTIONS, type OptionSpec, type OptionTable, type Subcommand } from './table'

/** All that can be typed, for the commands that tell of it. */
export const TABLE: CommandTable = { commands: COMMANDS, options: GLOBAL_OPTIONS }

type Value = string | boolean | readonly string[]

/** What was typed: the command, and its words and options. */
export interface Parsed {
  readonly command: Subcommand
  readonly words: readonly string[]
  readonly values: ReadonlyMap<string, Value>
}

type Arguments = Readonly<Record<string, unknown>> & {
  readonly _: readonly (string | number)[]
  readonly '--'?: readonly string[]
}

/** yargs' own parser, told to change no word: `007` and `1e3` are names. */
function parseWith(argv: readonly string[], table: OptionTable, extra: Readonly<Record<string, boolean>>): Arguments {
  const names = Object.entries(table)
  return parse([...argv], {
    string: names.filter(([, { value }]) => value !== undefined).map(([name]) => name),
    boolean: names.filter(([, { value }]) => value === undefined).map(([name]) => name),
    alias: Object.fromEntries(names.flatMap(([name, { short }]) => (short === undefined ? [] : [[name, short]]))),
    configuration: {
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'populate--': true,
      'strip-aliased': true,
      ...extra,
    },
  }) as Arguments
}

/** Where the options end and the first word stands. */
function findFirstWord(argv: readonly string[], table: OptionTable): number {
  const [first = ''] = argv
  if (!first.startsWith('-')) return 0
  return argv.length - (parseWith(argv, table, { 'halt-at-non-option': true })['--'] ?? []).length
}

/** A command line taken apart: the command, what is ours to parse, and the words that it passes on as they are. */
interface Split {
  readonly command: Subcommand
  readonly ours: readonly string[]
  readonly theirs: readonly string[]
}

/** Finds the command that the first word names. After `--` a word is an interface's name, never a command's. */
export function splitArgv(argv: readonly string[]): Split {
  const all = Object.assign({}, GLOBAL_OPTIONS, ...COMMANDS.map(({ options }) => options)) as OptionTable
  const at = findFirstWord(argv, all)
  const word = argv[at - 1] === '--' ? undefined : argv[at]
  const command = COMMANDS.find((it) => it.word !== '' && it.word === word)
  if (command === undefined) {
    const end = argv.includes('--') ? argv.indexOf('--') : argv.length
    const byOption = COMMANDS.find((it) => it.word.startsWith('--') && argv.slice(0, end).includes(it.word))
    return { command: byOption ?? ATTACH, ours: argv, theirs: [] }
  }
  const ours = argv.filter((_, index) => index !== at)
  if (!command.verbatim) return { command, ours, theirs: [] }
  const guest = findFirstWord(ours, { ...GLOBAL_OPTIONS, ...command.options })
  return { command, ours: ours.slice(0, guest), theirs: ours.slice(guest) }
}

function readValue(name: string, spec: OptionSpec, value: unknown): Value {
  const option = optionName(name)
  const { repeatable, ...single } = spec
  if (repeatable) return [value].flat().map((one) => String(readValue(name, single, one)))
  if (Array.isArray(value)) throw usageError(`${option} is given ${value.length} times`, 'Give it once.')
  if (spec.value === undefined) return value === true
  if (value === '' || typeof value !== 'string') throw usageError(`${option} needs a value: ${option} <${spec.value}>`)
  return value
}

function optionName(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`
}

async function unknownOption(name: string, table: OptionTable): Promise<PipeworkError> {
  const { listNearest } = await import('./nearest')
  const near = listNearest(name, Object.keys(table))
  return usageError(
    `there is no option '${optionName(name)}'`,
    near.length > 0 ? `Did you mean ${near.map(optionName).join(' or ')}?` : 'See them all: pipework --help',
  )
}

/** Finds the command and its options, in any order and place. Throws usage errors. */
export function parseArgv(argv: readonly string[]): Promise<Parsed> {
  return parseLine(splitArgv(argv))
}

/** Reads the options of a line. Throws usage errors. */
export async function parseLine({ command, ours, theirs }: Split): Promise<Parsed> {
  const table: OptionTable = { ...GLOBAL_OPTIONS, ...command.options }
  const { _, '--': rest = [], ...options } = parseWith(ours, table, {})
  const words = [..._, ...rest, ...theirs].map(String)
  const values = new Map<string, Value>()
  for (const [name, value] of Object.entries(options)) {
    // `--constructor` is no option, though every object has one.
    const spec = Object.hasOwn(table, name) ? table[name] : undefined
    if (spec === undefined) throw await unknownOption(name, table)
    values.set(name, readValue(name, spec, value))
  }
  return { command, words, values }
}

/** The words and options as commands ask for them. */
export function toTyped({ words, values }: Parsed): Typed {
  return {
    words,
    options: [...values.keys()],
    text: (option) => {
      const value = values.get(option)
      return typeof value === 'string' ? value : undefined
    },
    texts: (option) => [values.get(option) ?? []].flat().map(String),
    flag: (option) => values.get(option) === true,
  }
}

/** Another line, read as the first one was. */
export async function readLine(argv: readonly string[]): Promise<Line> {
  const parsed = await parseArgv(argv)
  return { ...toTyped(parsed), command: parsed.command.word }
}
