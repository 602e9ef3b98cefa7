import type { CommandSpec, CommandTable, OptionSpec, OptionTable } from '../command-spec'
import { listNextSlots, parseSynopsis, type SynopsisSlot } from './grammar'

/** What is asked for at the cursor. */
export type CursorTarget =
  /** The first word: an interface, a keyword or a command. */
  | { readonly kind: 'first' }
  /** One of these words may come. */
  | { readonly kind: 'words'; readonly slots: readonly SynopsisSlot[] }
  /** The value of an option; behind `--name=` that is part of the word. */
  | { readonly kind: 'value'; readonly option: string; readonly spec: OptionSpec }
  | { readonly kind: 'options' }
  /** The words from there on belong to another program, whose command line begins with `words`. */
  | { readonly kind: 'handover'; readonly from: number; readonly words: readonly string[] }

/** The place of the cursor in a command line. */
export interface CursorContext {
  readonly command: CommandSpec
  readonly target: CursorTarget
  /** The words before the cursor that are neither options nor the command. */
  readonly words: readonly string[]
  /** The options before it, by their long name, with their last value. */
  readonly values: ReadonlyMap<string, string>
  /** The beginning of the word at the cursor, before the part that is completed: `--kind=`. */
  readonly prefix: string
  /** That part. */
  readonly current: string
}

/** What the original's words are short for: the program whose own completion knows what follows the guest. */
const PASS_THROUGH_PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  route: ['ip', 'route'],
  rule: ['ip', 'rule'],
  tc: ['tc'],
  exec: [],
}

interface CursorState {
  readonly command?: CommandSpec
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
  return Object.keys(table).find((long) => table[long]?.alias === name)
}

/** All options that a line may have: before its command is known, those of every command. */
export function listAvailableOptions(
  { commands, options }: CommandTable,
  command: CommandSpec | undefined,
): OptionTable {
  const own = command === undefined ? commands.map((it) => it.builder) : [command.builder]
  return Object.assign({}, ...own, options) as OptionTable
}

function consumeArgument(
  walk: CursorState,
  typed: string,
  { table, index }: { table: CommandTable; index: number },
): CursorState {
  const { pending, ...rest } = walk
  if (walk.from !== undefined) return walk
  if (pending !== undefined) return { ...rest, values: new Map(walk.values).set(pending, typed) }
  if (walk.isPlain || !/^-./.test(typed)) return consumePositional(walk, typed, { table, index })
  if (typed === '--') return { ...walk, isPlain: true }
  const [, written = '', value] = /^([^=]*)(?:=(.*))?$/s.exec(typed) ?? []
  const options = listAvailableOptions(table, walk.command)
  const name = findOption(written, options)
  if (name === undefined) return walk
  const next = { ...walk, values: new Map(walk.values).set(name, value ?? '') }
  const { type, optionalValue } = options[name] ?? {}
  return type === 'string' && optionalValue !== true && value === undefined ? { ...next, pending: name } : next
}

function consumePositional(
  walk: CursorState,
  typed: string,
  { table, index }: { table: CommandTable; index: number },
): CursorState {
  if (walk.command === undefined) {
    const named = walk.isPlain ? undefined : table.commands.find(({ word }) => word !== '' && word === typed)
    const main = table.commands.find(({ word }) => word === '')
    if (named !== undefined) return { ...walk, command: named }
    return { ...walk, ...(main === undefined ? {} : { command: main }), words: [typed] }
  }
  return { ...walk, words: [...walk.words, typed], ...(walk.command.passThrough ? { from: index + 1 } : {}) }
}

/** Parses the words up to the cursor: `before` are the words after `pipework`, `at` is the one being written. */
export function parseCursor(before: readonly string[], at: string, table: CommandTable): CursorContext {
  const walk = before.reduce<CursorState>((so, typed, index) => consumeArgument(so, typed, { table, index }), {
    words: [],
    values: new Map(),
  })
  const byOption = table.commands.find(({ word }) => word.startsWith('--') && walk.values.has(word.slice(2)))
  const command = walk.command ?? byOption ?? table.commands.find(({ word }) => word === '')
  if (command === undefined) throw new RangeError('the table has no main form')
  const position = { command, words: walk.words, values: walk.values, prefix: '', current: at }
  const options = listAvailableOptions(table, walk.command ?? byOption)
  if (walk.from !== undefined)
    return {
      ...position,
      target: { kind: 'handover', from: walk.from, words: PASS_THROUGH_PROGRAMS[command.word] ?? [] },
    }
  if (walk.pending !== undefined) return { ...position, ...toValueTarget(walk.pending, options) }
  const [, written = '', value] = /^(--[^=]+=)(.*)$/s.exec(at) ?? []
  const name = walk.isPlain || value === undefined ? undefined : findOption(written.slice(0, -1), options)
  if (name !== undefined) return { ...position, prefix: written, current: value ?? '', ...toValueTarget(name, options) }
  if (!walk.isPlain && at.startsWith('-')) return { ...position, target: { kind: 'options' } }
  if (walk.command === undefined && byOption === undefined) return { ...position, target: { kind: 'first' } }
  const slots = listNextSlots(parseSynopsis(command), walk.words)
  return { ...position, target: slots.length > 0 ? { kind: 'words', slots } : { kind: 'options' } }
}

function toValueTarget(option: string, options: OptionTable): Pick<CursorContext, 'target'> {
  const spec = options[option] ?? { type: 'string', describe: '' }
  return { target: { kind: 'value', option, spec } }
}
