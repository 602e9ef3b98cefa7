import yargs from 'yargs/yargs'
import type { CommandLine } from '../model/command-line'
import { type PipeworkError, usageError } from '../model/errors'
import { listClosest } from '../model/nearest'
import { parseSeconds } from '../model/number'
import type { OptionSpec, OptionTable } from '../ui/command-spec'
import { loadCommand, loadCommands } from '.'
import { type Arguments, type CommandModule, GLOBAL_OPTIONS } from './types'

/** A command line: the command it names, and the arguments for that command. */
export interface CommandCall {
  readonly command: CommandModule
  readonly args: readonly string[]
}

/** Finds the command that a line names. After `--` the first word is an interface. */
export async function findCommand(argv: readonly string[]): Promise<CommandCall> {
  const [first = ''] = argv
  const named = first === '' ? undefined : await loadCommand(first)
  if (named !== undefined && first !== '--wait') return { command: named, args: argv.slice(1) }
  const options = first.startsWith('-') ? await loadAllOptions() : {}
  const index = first.startsWith('-') ? findFirstWord(argv, options) : 0
  const word = argv[index] ?? ''
  const later = index > 0 && word !== '' && argv[index - 1] !== '--' ? await loadCommand(word) : undefined
  if (later !== undefined) return { command: later, args: argv.filter((_, at) => at !== index) }
  const end = argv.indexOf('--')
  const isWait = argv.slice(0, end < 0 ? undefined : end).includes('--wait')
  return { command: await requireCommand(isWait ? '--wait' : ''), args: argv }
}

async function requireCommand(word: string): Promise<CommandModule> {
  const command = await loadCommand(word)
  if (command === undefined) throw new RangeError(`no command '${word}'`)
  return command
}

/** The options of all commands: an option takes a value with each command that has it, or with none. */
async function loadAllOptions(): Promise<OptionTable> {
  return Object.assign({}, GLOBAL_OPTIONS, ...(await loadCommands()).map(({ builder }) => builder)) as OptionTable
}

/** Whether the value of an option is the next argument. */
function takesNext(arg: string, options: OptionTable): boolean {
  if (arg.includes('=')) return false
  const letters = /^-([^-].*)$/.exec(arg)?.[1]
  const name = letters === undefined ? arg.replace(/^--/, '') : (letters.at(-1) ?? '')
  return findOption(name, options)?.requiresArg === true
}

function findOption(name: string, options: OptionTable): OptionSpec | undefined {
  return Object.hasOwn(options, name) ? options[name] : Object.values(options).find(({ alias }) => alias === name)
}

/** The index of the first argument that is neither an option nor its value. */
function findFirstWord(args: readonly string[], options: OptionTable): number {
  let index = 0
  while (/^-./.test(args[index] ?? '') && args[index] !== '--') index += takesNext(args[index] ?? '', options) ? 2 : 1
  return args[index] === '--' ? index + 1 : index
}

/**
 * What yargs cannot read, written so that it can: `-ieth2` as `-i=eth2`; `--nat`, whose value follows `=` only,
 * as `--nat=`. A switch with a value is refused, which yargs would take for `false`.
 */
function normalize(args: readonly string[], { builder, passThrough }: CommandModule): readonly string[] {
  const options = { ...GLOBAL_OPTIONS, ...builder }
  const result: string[] = []
  const rest = [...args]
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === '--' || (passThrough && !/^-./.test(arg))) return [...result, arg, ...rest]
    const [, name = '', value] = /^--([^=]+)(?:=(.*))?$/s.exec(arg) ?? []
    const spec = findOption(name, options)
    if (spec?.type === 'boolean' && value !== undefined)
      throw usageError(`--${name} takes no value, but '${value}' is given`, `Write --${name} alone.`)
    if (spec?.optionalValue && value === undefined) result.push(`${arg}=`)
    else result.push(...(/^-[^-]/.test(arg) ? splitLetters(arg, options) : [arg]))
    if (takesNext(arg, options)) result.push(...rest.splice(0, 1))
  }
  return result
}

/** `-nieth2` as `-n` and `-i=eth2`. */
function splitLetters(arg: string, options: OptionTable): readonly string[] {
  for (let at = 1; at < arg.length - 1; at += 1) {
    if (findOption(arg.charAt(at), options)?.requiresArg !== true) continue
    const value = arg.slice(at + 1)
    const before = at === 1 ? [] : [arg.slice(0, at)]
    return [...before, `-${arg.charAt(at)}=${value.replace(/^=/, '')}`]
  }
  return [arg]
}

const formatOptionName = (name: string) => (name.length === 1 ? `-${name}` : `--${name}`)

/** Options of other tools that are arguments here. */
const ARGUMENT_HINTS: Readonly<Record<string, string>> = {
  gateway: 'The gateway follows its address: 192.168.1.10/24@192.168.1.1',
  vlan: 'The VLAN comes last: pipework br1 web 192.168.1.10/24 @10',
  mac: 'The MAC address follows the addresses: pipework br1 web 192.168.1.10/24 26:2e:71:98:60:8f',
}

function unknownOptionError(name: string, { word, builder }: CommandModule): PipeworkError {
  const names = Object.keys({ ...builder, ...GLOBAL_OPTIONS })
  const near = name.length === 1 ? names.filter((it) => it.startsWith(name)) : listClosest(name, names)
  const place = word === '' && Object.hasOwn(ARGUMENT_HINTS, name) ? ARGUMENT_HINTS[name] : undefined
  const suggestion =
    near.length > 0 ? `Did you mean ${near.map(formatOptionName).join(' or ')}?` : 'All options: pipework --help'
  return usageError(`unknown option '${formatOptionName(name)}'`, place ?? suggestion)
}

/** The messages of yargs, shortened so that the first word says which it is. */
const YARGS_MESSAGES = {
  'Unknown argument: %s': { one: 'unknown %s', other: 'unknown %s' },
  'Not enough arguments following: %s': 'value %s',
  'Invalid values:': 'choice',
  'Argument: %s, Given: %s, Choices: %s': '%s %s',
  'Arguments %s and %s are mutually exclusive': 'conflict %s %s',
} as const

function toUsageError(message: string, command: CommandModule): PipeworkError {
  const options: OptionTable = { ...GLOBAL_OPTIONS, ...command.builder }
  const [kind, name = '', other = ''] = message.replaceAll(',', '').split(/\s+/)
  const option = formatOptionName(name)
  if (kind === 'unknown') return unknownOptionError(name, command)
  if (kind === 'value') return missingValueError(name, options)
  if (kind === 'conflict')
    return usageError(`${option} and ${formatOptionName(other)} exclude each other`, 'Leave one of them out.')
  const choices = options[name]?.choices ?? []
  const typed = /"(.*?)"/s.exec(message)?.[1] ?? ''
  const near = listClosest(typed, choices)[0]
  return usageError(
    `${option} '${typed}' is not ${formatChoices(choices)}`,
    near === undefined ? `For example: ${option} ${choices[0]}` : `Did you mean ${option} ${near}?`,
  )
}

const formatChoices = (choices: readonly string[]) => [choices.slice(0, -1).join(', '), choices.at(-1)].join(' or ')

function missingValueError(name: string, options: OptionTable): PipeworkError {
  const option = formatOptionName(name)
  return usageError(`${option} needs a value: ${option} <${options[name]?.placeholder}>`)
}

const toCamelCase = (name: string) => name.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase())

/** Reads the arguments of a command. Throws usage errors. */
export function parseArguments({ command, args }: CommandCall): Arguments {
  const options: OptionTable = { ...command.builder, ...GLOBAL_OPTIONS }
  const parsed = yargs([])
    .parserConfiguration({
      // `007` and `1e3` are names, `--no-probe` is an option of ours, and an option takes one value at a time.
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'boolean-negation': false,
      'dot-notation': false,
      'camel-case-expansion': false,
      'greedy-arrays': false,
      'halt-at-non-option': command.passThrough === true,
    })
    .locale('en')
    .updateStrings(YARGS_MESSAGES as unknown as Record<string, string>)
    .help(false)
    .version(false)
    .exitProcess(false)
    .strictOptions()
    .options(options as Record<string, object>)
    .fail((message) => {
      throw toUsageError(message, command)
    })
    .parseSync([...normalize(args, command)])
  const given = Object.keys(options).filter((name) => parsed[name] !== undefined)
  const values = given.map((name) => {
    validateValues(name, parsed[name], options)
    return [toCamelCase(name), parsed[name]] as const
  })
  const argv: unknown = { ...Object.fromEntries(values), words: parsed._.map(String), given }
  return argv as Arguments
}

/** yargs takes `--mtu=` for an empty value, and collects repeated values. */
function validateValues(name: string, value: unknown, options: OptionTable): void {
  const { array, optionalValue } = options[name] ?? {}
  if (Array.isArray(value) && array !== true)
    throw usageError(`${formatOptionName(name)} is given ${value.length} times`, 'Give it once.')
  if ([value].flat().includes('') && optionalValue !== true) throw missingValueError(name, options)
}

/** Refuses too few or too many words, by the arguments that the command names: `<guest> [ifname]`. */
export function validateWords({ command, synopsis, word, examples }: CommandModule, words: readonly string[]): void {
  const [, ...slots] = command.split(' ')
  const usage = synopsis.split(' | ').map((form) => `pipework ${form}`)
  const missing = slots.find((slot, index) => slot.startsWith('<') && words[index] === undefined)
  const example = examples.slice(0, 1).map(({ line }) => `For example: ${line}`)
  if (missing !== undefined)
    throw usageError(`${word}: missing argument ${missing.replace('..', '')}`, [...usage, ...example].join('\n'))
  const extra = slots.at(-1)?.includes('..') ? undefined : words[slots.length]
  if (extra !== undefined) throw usageError(`unexpected argument '${extra}'`, usage.join('\n'))
}

/** Reads a line of a file or label, as if it had been typed. */
export async function parseLine(argv: readonly string[]): Promise<CommandLine> {
  const call = await findCommand(argv)
  const typed = parseArguments(call)
  const { attach, toAttachRequest } = await import('./attach')
  const isAttach = call.command === attach
  const { waitGuest } = typed as { readonly waitGuest?: string }
  return {
    command: call.command.word,
    words: typed.words,
    options: typed.given,
    waitSeconds: isAttach ? parseSeconds(waitGuest ?? '0', '--wait-guest') : 0,
    toRequest: (words = typed.words) => toAttachRequest(typed, words),
  }
}
