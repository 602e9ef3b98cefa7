import type { CommandSpec, CommandTable, OptionSpec, OptionTable } from '../command-spec'
import { listNextSlots, parseSynopsis, type SynopsisSlot } from './grammar'

/** What is completed at the cursor. */
export type CursorTarget =
  /** The first word: an interface, a keyword or a command. */
  | { readonly kind: 'first' }
  /** One of these words. */
  | { readonly kind: 'words'; readonly slots: readonly SynopsisSlot[] }
  /** The value of an option; after `--name=` it is part of the same word. */
  | { readonly kind: 'value'; readonly option: string; readonly spec: OptionSpec }
  | { readonly kind: 'options' }
  /** From this word on, completion belongs to another program, whose command line starts with `words`. */
  | { readonly kind: 'handover'; readonly from: number; readonly words: readonly string[] }

/** The place of the cursor in a command line. */
export interface CursorContext {
  readonly command: CommandSpec
  readonly target: CursorTarget
  /** The words before the cursor, without options and the command. */
  readonly words: readonly string[]
  /** The options before the cursor by their long name, with their last value. */
  readonly values: ReadonlyMap<string, string>
  /** The part of the cursor's word before the completed part: `--kind=`. */
  readonly prefix: string
  /** The part that is completed. */
  readonly current: string
}

/** The programs behind the pass-through commands: their own completion knows what follows the guest. */
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
  /** The option that still needs its value. */
  readonly pending?: string
  /** After `--` no word is an option. */
  readonly isPlain?: true
  /** The index of the word after the guest, for a pass-through command. */
  readonly from?: number
}

function findOption(typed: string, table: OptionTable): string | undefined {
  const name = typed.replace(/^--?/, '')
  if (Object.hasOwn(table, name) && (name.length === 1) === /^-[^-]/.test(typed)) return name
  return Object.keys(table).find((long) => table[long]?.alias === name)
}

/** All options that a line may have; before the command is known, those of every command. */
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

/** Parses the words up to the cursor: `before` are the words after `pipework`, `at` is the word at the cursor. */
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
