import parse from 'yargs-parser'
import type { Io, Line, Outcome, Typed } from './commands/call'
import { ExitCode, PipeworkError, usageError } from './errors'
import type { Host } from './host'
import { ATTACH, COMMANDS, GLOBAL_OPTIONS, type OptionSpec, type OptionTable, type Subcommand } from './table'

declare const PIPEWORK_VERSION: string

type Value = string | boolean | readonly string[]

interface Parsed {
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
function splitArgv(argv: readonly string[]): Split {
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

async function parseLine({ command, ours, theirs }: Split): Promise<Parsed> {
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

async function answer({ command, words, values }: Parsed, host: Host, io: Io): Promise<Outcome> {
  if (values.get('version'))
    return { text: `${PIPEWORK_VERSION}\n`, json: { ok: true, version: PIPEWORK_VERSION }, wanted: true }
  if (values.get('help')) return { text: await formatHelp(command), json: { ok: true }, wanted: true }
  const { run } = await command.load()
  return run({ ...toTyped({ command, words, values }), host, io, parse: readLine })
}

function toTyped({ words, values }: Parsed): Typed {
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

async function readLine(argv: readonly string[]): Promise<Line> {
  const parsed = await parseArgv(argv)
  return { ...toTyped(parsed), command: parsed.command.word }
}

/** Runs what argv asks. Results go to io.out, everything else to io.err; never throws. */
export async function main(argv: readonly string[], host: Host, io: Io): Promise<number> {
  const line = splitArgv(argv)
  const json = line.ours.includes('--json')
  try {
    if (argv.length === 0) throw usageError('nothing to do', formatShortUsage())
    const parsed = await parseLine(line)
    const outcome = await answer(parsed, host, io)
    if (json) io.out(`${JSON.stringify(outcome.json)}\n`)
    else if (outcome.wanted || !parsed.values.get('quiet')) io.out(outcome.text)
    return outcome.exitCode ?? ExitCode.ok
  } catch (error) {
    const { errorToJson, formatError } = await import('./report')
    if (json) io.out(`${JSON.stringify(errorToJson(error))}\n`)
    else io.err(formatError(error))
    return error instanceof PipeworkError ? error.exitCode : ExitCode.failed
  }
}

function formatShortUsage(): string {
  const lines = COMMANDS.map(({ synopsis }) => `pipework ${synopsis}`)
  return [...lines, 'pipework --help', '', 'For example: pipework br1 web 192.168.1.10/24@192.168.1.1'].join('\n')
}

/** Help costs yargs, which costs its loading: only who asks for it waits for it. */
async function formatHelp(command: Subcommand): Promise<string> {
  const { default: yargs } = await import('yargs')
  const help = yargs([])
    .scriptName('pipework')
    .locale('en')
    .version(false)
    .help(false)
    .wrap(null)
    .usage(`pipework ${command.synopsis}\n\n${sentence(command.summary)}`)
  for (const [name, { short, value, summary }] of Object.entries({ ...command.options, ...GLOBAL_OPTIONS }))
    help.option(name, {
      ...(short === undefined ? {} : { alias: short }),
      ...(value === undefined ? { type: 'boolean' as const } : { type: 'string' as const, requiresArg: true }),
      describe: summary,
    })
  for (const { line, does } of command.examples) help.example(line, does)
  const others = COMMANDS.filter(({ word }) => word !== '' && command.word === '').map(
    ({ synopsis, summary }) => `  pipework ${synopsis}\n      ${summary}`,
  )
  if (others.length > 0)
    help.epilogue(`Commands:\n${others.join('\n')}\n\npipework <command> --help tells more of each.`)
  return `${await help.getHelp()}\n`
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}
