import type { CommandTable, OptionSpec, OptionTable, Subcommand } from '../command'
import { nextSlots, parseSynopsis, type Slot } from './grammar'

/** What is asked for at the cursor. */
export type Wanted =
  /** The first word: an interface, a keyword or a command. */
  | { readonly kind: 'first' }
  /** One of these words may come. */
  | { readonly kind: 'words'; readonly slots: readonly Slot[] }
  /** The value of an option; behind `--name=` that is part of the word. */
  | { readonly kind: 'value'; readonly option: string; readonly spec: OptionSpec }
  | { readonly kind: 'options' }
  /** The words from there on belong to another program, whose command line begins with `words`. */
  | { readonly kind: 'handover'; readonly from: number; readonly words: readonly string[] }

/** Where the cursor stands in a command line. */
export interface Position {
  readonly command: Subcommand
  readonly wanted: Wanted
  /** The words before the cursor that are neither options nor the command. */
  readonly words: readonly string[]
  /** The options before it, by their long name, with their last value. */
  readonly values: ReadonlyMap<string, string>
  /** What stands in the word at the cursor before the part that is completed: `--kind=`. */
  readonly prefix: string
  /** That part. */
  readonly current: string
}

/** What the original's words are short for: the program whose own completion knows what follows the guest. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  route: ['ip', 'route'],
  rule: ['ip', 'rule'],
  tc: ['tc'],
  exec: [],
}

interface Walk {
  readonly command?: Subcommand
  readonly words: readonly string[]
  readonly values: ReadonlyMap<string, string>
  /** The option whose value comes next. */
  readonly pending?: string
  /** After `--` nothing is an option. */
  readonly isPlain?: true
  /** The number of the word that follows the guest of a command that passes on the rest. */
  readonly from?: number
}

function findOption(typed: string, table: OptionTable): string | undefined {
  const name = typed.replace(/^--?/, '')
  if (Object.hasOwn(table, name) && (name.length === 1) === /^-[^-]/.test(typed)) return name
  return Object.keys(table).find((long) => table[long]?.short === name)
}

/** All options that a line may have: before its command is known, those of every command. */
export function optionsOf({ commands, options }: CommandTable, command: Subcommand | undefined): OptionTable {
  const own = command === undefined ? commands.map((it) => it.options) : [command.options]
  return Object.assign({}, ...own, options) as OptionTable
}

function step(walk: Walk, typed: string, { table, index }: { table: CommandTable; index: number }): Walk {
  const { pending, ...rest } = walk
  if (walk.from !== undefined) return walk
  if (pending !== undefined) return { ...rest, values: new Map(walk.values).set(pending, typed) }
  if (walk.isPlain || !/^-./.test(typed)) return takeWord(walk, typed, { table, index })
  if (typed === '--') return { ...walk, isPlain: true }
  const [, written = '', value] = /^([^=]*)(?:=(.*))?$/s.exec(typed) ?? []
  const options = optionsOf(table, walk.command)
  const name = findOption(written, options)
  if (name === undefined) return walk
  const next = { ...walk, values: new Map(walk.values).set(name, value ?? '') }
  const { value: called, optional } = options[name] ?? {}
  return called !== undefined && optional !== true && value === undefined ? { ...next, pending: name } : next
}

function takeWord(walk: Walk, typed: string, { table, index }: { table: CommandTable; index: number }): Walk {
  if (walk.command === undefined) {
    const named = walk.isPlain ? undefined : table.commands.find(({ word }) => word !== '' && word === typed)
    const main = table.commands.find(({ word }) => word === '')
    if (named !== undefined) return { ...walk, command: named }
    return { ...walk, ...(main === undefined ? {} : { command: main }), words: [typed] }
  }
  return { ...walk, words: [...walk.words, typed], ...(walk.command.verbatim ? { from: index + 1 } : {}) }
}

/** What there is to say at the cursor: `before` are the words after `pipework`, `at` is the one being written. */
export function locate(before: readonly string[], at: string, table: CommandTable): Position {
  const walk = before.reduce<Walk>((so, typed, index) => step(so, typed, { table, index }), {
    words: [],
    values: new Map(),
  })
  const byOption = table.commands.find(({ word }) => word.startsWith('--') && walk.values.has(word.slice(2)))
  const command = walk.command ?? byOption ?? table.commands.find(({ word }) => word === '')
  if (command === undefined) throw new RangeError('the table has no main form')
  const position = { command, words: walk.words, values: walk.values, prefix: '', current: at }
  const options = optionsOf(table, walk.command ?? byOption)
  if (walk.from !== undefined)
    return { ...position, wanted: { kind: 'handover', from: walk.from, words: PROGRAMS[command.word] ?? [] } }
  if (walk.pending !== undefined) return { ...position, ...wantValue(walk.pending, options) }
  const [, written = '', value] = /^(--[^=]+=)(.*)$/s.exec(at) ?? []
  const name = walk.isPlain || value === undefined ? undefined : findOption(written.slice(0, -1), options)
  if (name !== undefined) return { ...position, prefix: written, current: value ?? '', ...wantValue(name, options) }
  if (!walk.isPlain && at.startsWith('-')) return { ...position, wanted: { kind: 'options' } }
  if (walk.command === undefined && byOption === undefined) return { ...position, wanted: { kind: 'first' } }
  const slots = nextSlots(parseSynopsis(command), walk.words)
  return { ...position, wanted: slots.length > 0 ? { kind: 'words', slots } : { kind: 'options' } }
}

function wantValue(option: string, options: OptionTable): Pick<Position, 'wanted'> {
  const spec = options[option] ?? { summary: '' }
  return { wanted: { kind: 'value', option, spec } }
}
