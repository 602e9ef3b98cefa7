import { PipeworkError } from '../model/errors'
import type { Guest } from '../runtimes/find'
import type { Interrupt, System } from '../system/types'
import type { Transcript } from './transcript'

/** Where results and messages go, and how a signal is heard. */
export interface Io {
  out(text: string): void
  err(text: string): void
  readonly interrupt: Interrupt
}

/** A command line, after parsing. */
export interface CommandArgs {
  readonly positionals: readonly string[]
  /** The options that were given, by their long names. */
  readonly givenOptions: readonly string[]
  /** The value of an option, or undefined. */
  stringOption(option: string): string | undefined
  /** The values of an option that may be given several times. */
  stringOptions(option: string): readonly string[]
  /** Whether a switch was given. */
  hasFlag(option: string): boolean
}

/** A command line that stands elsewhere than at a prompt: in a file, in a label. */
export interface CommandLine extends CommandArgs {
  /** The first word where it names a command; empty for the main form. */
  readonly command: string
}

/** What a command is given: what was typed, and the world. */
export interface CommandContext extends CommandArgs {
  readonly system: System
  readonly io: Io
  /** The command table: what explains or completes commands reads it. */
  readonly table: CommandTable
  /** Reads a line as if it had been typed after `pipework`. Rejects with usage errors. */
  parse(argv: readonly string[]): Promise<CommandLine>
}

/** What a command found or made true, for people and for programs. */
export interface CommandOutcome {
  readonly text: string
  readonly json: object
  /** 0 when absent; a child's own code may be any. */
  readonly exitCode?: number
  /** True for what was asked for as such (a script, a table) and is printed even with --quiet. */
  readonly printWhenQuiet?: boolean
}

/** What a file in commands/ provides. */
export interface CommandHandler {
  run(call: CommandContext): Promise<CommandOutcome>
}

/** Refuses a change to whoever cannot make it; a dry run is for everybody. */
export function validateRoot({ system, hasFlag }: CommandContext): void {
  if (!system.isRoot && !hasFlag('dry-run'))
    throw new PipeworkError('only root can change network interfaces: run it with sudo, or look with --dry-run')
}

/** Where the steps of guests are told, or undefined without --verbose. */
export async function openTranscripts(
  { io, hasFlag }: CommandContext,
  guests: 'one' | 'many',
): Promise<((guest: Guest) => Transcript) | undefined> {
  if (!hasFlag('verbose')) return undefined
  const { createTranscripts } = await import('./transcript')
  return createTranscripts(io.err, guests === 'one' ? 'live' : 'whole')
}

/** An option as help, completion and the parser know it. */
export interface OptionSpec {
  /** One letter, for the short form. */
  readonly short?: string
  /** How the value is called in help; absent for a switch. */
  readonly value?: string
  /** Whether it may be given several times. */
  readonly repeatable?: true
  /** Whether the value may be left out: it stands behind `=` only, and the next word is never taken for it. */
  readonly optional?: true
  readonly summary: string
}

/** Options by their long name; one of a single letter has no long form. */
export type OptionTable = Readonly<Record<string, OptionSpec>>

/** A command line that runs as it stands, and what it does. */
export interface CommandExample {
  readonly line: string
  readonly does: string
}

/** One word that a user can type first; the main form has none, and `--wait` may stand anywhere. */
export interface CommandSpec {
  readonly word: string
  /** What other tools call it: who types that is told the word. */
  readonly aliases?: readonly string[]
  readonly synopsis: string
  readonly summary: string
  /** What the words of the synopsis mean. */
  readonly argumentHelp?: Readonly<Record<string, string>>
  readonly options: OptionTable
  readonly examples: readonly CommandExample[]
  /** True when only options before the guest are ours, and everything from there on belongs to the guest's program. */
  readonly passThrough?: true
  /** True for what programs type and people do not: no help names it, no completion offers it. */
  readonly hidden?: true
  /** Loads what runs it: nobody waits for the commands that were not typed. */
  load(): Promise<CommandHandler>
}

/** All that can be typed. */
export interface CommandTable {
  readonly commands: readonly CommandSpec[]
  /** Options of every command. */
  readonly options: OptionTable
  /** Headings for the options of a command that has many; the first is for those that none names. */
  readonly groups: Readonly<Record<string, readonly string[]>>
}
