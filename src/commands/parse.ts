import { parseArgs } from 'node:util'
import { type PipeworkError, usageError } from '../model/errors'
import type { CommandArgs, CommandLine, CommandTable } from '../ui/command'
import {
  ATTACH_COMMAND,
  COMMANDS,
  GLOBAL_OPTIONS,
  OPTION_GROUPS,
  type OptionSpec,
  type OptionTable,
  type Subcommand,
} from '.'

/** All that can be typed, for the commands that tell of it. */
export const COMMAND_TABLE: CommandTable = { commands: COMMANDS, options: GLOBAL_OPTIONS, groups: OPTION_GROUPS }

type OptionValue = string | boolean | readonly string[]

/** What was typed: the command, and its words and options. */
export interface ParsedCommand {
  readonly command: Subcommand
  readonly positionals: readonly string[]
  readonly values: ReadonlyMap<string, OptionValue>
}

/** What Node's parser found at one place: an option with its value, a word, or `--`. */
type ArgvToken = NonNullable<ReturnType<typeof parseArgs>['tokens']>[number]

/** Node's own parser, which changes no word and knows no option but those of the table: `007` and `1e3` are names. */
function tokenize(args: readonly string[], table: OptionTable): readonly ArgvToken[] {
  const options = Object.fromEntries(
    Object.entries(table).map(([name, { short, value, optional }]) => [
      name,
      {
        // A switch may have a value behind `=`, and never takes the next word for it.
        type: value === undefined || optional ? ('boolean' as const) : ('string' as const),
        ...(name.length === 1 ? { short: name } : short === undefined ? {} : { short }),
      },
    ]),
  )
  return parseArgs({ args: [...args], options, strict: false, tokens: true }).tokens
}

/** A command line taken apart: the command, what is ours to read, and the words that it passes on as they are. */
export interface SplitLine {
  readonly command: Subcommand
  readonly tokens: readonly ArgvToken[]
  readonly forwardedArgs: readonly string[]
  /** Whether programs are to read the answer, be it that of a wrong usage. */
  readonly json: boolean
}

/** The command that an option stands for: `--wait` is a word of its own. */
function findOptionCommand(tokens: readonly ArgvToken[]): Subcommand | undefined {
  const found = tokens.map((token) => COMMANDS.find(({ word }) => token.kind === 'option' && word === token.rawName))
  return found.find((it) => it !== undefined)
}

/** Finds the command that the first word names. After `--` a word is an interface's name, never a command's. */
export function splitArgv(argv: readonly string[]): SplitLine {
  const [head = '-', ...others] = argv
  if (head.startsWith('-')) return splitOptionsFirst(argv)
  // Where the very first word says it, nobody needs the options of all commands to find it.
  const command = COMMANDS.find(({ word }) => word !== '' && word === head)
  if (command !== undefined) return splitForCommand(command, others)
  const line = splitForCommand(ATTACH_COMMAND, argv)
  const other = findOptionCommand(line.tokens)
  return other === undefined ? line : splitForCommand(other, argv)
}

/** The same with options before the word: which of them take a value tells which word is the first. */
function splitOptionsFirst(argv: readonly string[]): SplitLine {
  const all = Object.assign({}, GLOBAL_OPTIONS, ...COMMANDS.map(({ options }) => options)) as OptionTable
  const tokens = tokenize(argv, all)
  const first = tokens.find(({ kind }) => kind !== 'option')
  const byWord =
    first?.kind !== 'positional' ? undefined : COMMANDS.find(({ word }) => word !== '' && word === first.value)
  const rest = byWord === undefined ? argv : argv.filter((_, index) => index !== first?.index)
  return splitForCommand(byWord ?? findOptionCommand(tokens) ?? ATTACH_COMMAND, rest)
}

function splitForCommand(command: Subcommand, rest: readonly string[]): SplitLine {
  const table = { ...GLOBAL_OPTIONS, ...command.options }
  const tokens = tokenize(rest, table)
  const isJson = (token: ArgvToken) => token.kind === 'option' && token.name === 'json'
  if (!command.passThrough) return { command, tokens, forwardedArgs: [], json: tokens.some(isJson) }
  const guest = tokens.find(({ kind }) => kind !== 'option')
  const [end, start] =
    guest === undefined
      ? [rest.length, rest.length]
      : [guest.index, guest.index + (guest.kind === 'positional' ? 0 : 1)]
  const ours = tokenize(rest.slice(0, end), table)
  return { command, tokens: ours, forwardedArgs: rest.slice(start), json: ours.some(isJson) }
}

/** The value of an option where it stands. */
function parseOptionValue(
  { name, value, inlineValue, rawName }: ArgvToken & { readonly kind: 'option' },
  spec: OptionSpec,
): string | true {
  const option = formatOptionName(name)
  if (spec.optional) return value ?? ''
  if (spec.value === undefined) {
    if (value !== undefined)
      throw usageError(`${option} takes no value, and is given '${value}'`, `Write ${option} alone.`)
    return true
  }
  // Of -i=eth2 Node's parser takes the = for a part of the name.
  const typed = inlineValue && !rawName.startsWith('--') ? value?.replace(/^=/, '') : value
  if (typed === undefined || typed === '' || (!inlineValue && /^-./.test(typed)))
    throw usageError(`${option} needs a value: ${option} <${spec.value}>`)
  return typed
}

function formatOptionName(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`
}

/** What other tools have an option for, and pipework a place among the words. */
const POSITIONAL_HINTS: Readonly<Record<string, string>> = {
  gateway: 'The gateway stands behind its address: 192.168.1.10/24@192.168.1.1',
  vlan: 'The VLAN stands last: pipework br1 web 192.168.1.10/24 @10',
  mac: 'The MAC address stands behind the addresses: pipework br1 web 192.168.1.10/24 26:2e:71:98:60:8f',
}

async function unknownOptionError(name: string, table: OptionTable): Promise<PipeworkError> {
  const { listClosest } = await import('../model/nearest')
  const names = Object.keys(table)
  const near = name.length === 1 ? names.filter((it) => it.startsWith(name)) : listClosest(name, names)
  const meant =
    near.length > 0 ? `Did you mean ${near.map(formatOptionName).join(' or ')}?` : 'See them all: pipework --help'
  const place = Object.hasOwn(POSITIONAL_HINTS, name) && 'policy-route' in table ? POSITIONAL_HINTS[name] : undefined
  return usageError(`there is no option '${formatOptionName(name)}'`, place ?? meant)
}

/** Finds the command and its options, in any order and place. Throws usage errors. */
export function parseArgv(argv: readonly string[]): Promise<ParsedCommand> {
  return parseSplitLine(splitArgv(argv))
}

/** Reads the options of a line. Throws usage errors. */
export async function parseSplitLine({ command, tokens, forwardedArgs }: SplitLine): Promise<ParsedCommand> {
  const table: OptionTable = { ...GLOBAL_OPTIONS, ...command.options }
  const given = new Map<string, (string | true)[]>()
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    // `--constructor` is no option, though every object has one.
    const spec = Object.hasOwn(table, token.name) ? table[token.name] : undefined
    if (spec === undefined) throw await unknownOptionError(token.name, table)
    given.set(token.name, [...(given.get(token.name) ?? []), parseOptionValue(token, spec)])
  }
  const values = [...given].map(([name, all]) => [name, combineValues(name, all, table[name])] as const)
  const words = tokens.flatMap((token) => (token.kind === 'positional' ? [token.value] : []))
  return { command, positionals: [...words, ...forwardedArgs], values: new Map(values) }
}

/** What an option comes to: a switch may be given twice, a value only where the table says so. */
function combineValues(name: string, values: readonly (string | true)[], spec: OptionSpec | undefined): OptionValue {
  const texts = values.filter((value) => value !== true)
  if (spec?.repeatable) return texts
  if (texts.length > 1) throw usageError(`${formatOptionName(name)} is given ${texts.length} times`, 'Give it once.')
  return texts[0] ?? true
}

/** The words and options as commands ask for them. */
export function toCommandArgs({ positionals, values }: ParsedCommand): CommandArgs {
  return {
    positionals,
    givenOptions: [...values.keys()],
    stringOption: (option) => {
      const value = values.get(option)
      return typeof value === 'string' ? value : undefined
    },
    stringOptions: (option) => [values.get(option) ?? []].flat().map(String),
    hasFlag: (option) => values.get(option) === true,
  }
}

/** Another line, read as the first one was. */
export async function parseCommandLine(argv: readonly string[]): Promise<CommandLine> {
  const parsed = await parseArgv(argv)
  return { ...toCommandArgs(parsed), command: parsed.command.word }
}
