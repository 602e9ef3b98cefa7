import type { LineParser } from '../model/command-line'
import { PipeworkError } from '../model/errors'
import type { ChangeOptions } from '../operations/types'
import type { Interrupt, System } from '../system/types'
import type { CommandSpec, CommandTable, OptionSpec, OptionTable } from '../ui/command-spec'
import type { Output } from '../ui/output'

/** Where results and messages go, and how a signal is noticed. */
export interface Io {
  out(text: string): void
  err(text: string): void
  readonly interrupt: Interrupt
}

/** The world that a command runs in. */
export interface CommandContext {
  readonly system: System
  readonly io: Io
  readonly parseLine: LineParser
  /** Loads all commands, for help and completion. */
  readonly loadTable: () => Promise<CommandTable>
}

type CamelCase<Name extends string> = Name extends `${infer Head}-${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name

type ValueOf<Spec extends OptionSpec> = Spec['type'] extends 'boolean'
  ? boolean
  : Spec extends { readonly array: true }
    ? readonly string[]
    : string

/** Options of every command. */
export const GLOBAL_OPTIONS = {
  json: { type: 'boolean', describe: 'print one JSON document, for success and for failure' },
  help: { type: 'boolean', alias: 'h', describe: 'show this help' },
  version: { type: 'boolean', alias: 'V', describe: 'show the version' },
} as const satisfies OptionTable

type GlobalOptions = typeof GLOBAL_OPTIONS

/** What was typed: the words, and the options by their names in camel case. */
export type Arguments<Options extends OptionTable = OptionTable> = {
  readonly [Name in keyof (Options & GlobalOptions) & string as CamelCase<Name>]?: ValueOf<
    (Options & GlobalOptions)[Name]
  >
} & {
  readonly words: readonly string[]
  /** The options that were given, by their long names. */
  readonly given: readonly string[]
}

/** One word that a user can type: yargs' `command, describe, builder, handler`, and what help needs besides. */
export interface CommandModule<Options extends OptionTable = OptionTable> extends CommandSpec {
  readonly builder: Options
  handler(argv: Arguments<Options>, context: CommandContext): Promise<Output>
}

/** An option with a value. */
export const textOption = (placeholder: string) => ({ type: 'string', requiresArg: true, placeholder }) as const

/** Options of every command that changes something. */
export const CHANGE_OPTIONS = {
  'dry-run': { type: 'boolean', alias: 'n', describe: 'print a shell script that does the same, and change nothing' },
  verbose: { type: 'boolean', alias: 'v', describe: 'print each step before it runs, with its reason' },
  quiet: { type: 'boolean', alias: 'q', describe: 'print nothing on success' },
} as const satisfies OptionTable

/** Options of every command that a guest is needed for. */
export const WAIT_GUEST_OPTION = {
  'wait-guest': { ...textOption('seconds'), describe: 'wait up to that long for the guest to run' },
} as const satisfies OptionTable

/** A command, with its word and the types of its options. */
export function defineCommand<const Options extends OptionTable>(
  module: Omit<CommandModule<Options>, 'word'>,
): CommandModule {
  const [word = ''] = module.command.split(' ')
  return { ...module, word: word === '$0' ? '' : word } as unknown as CommandModule
}

/** Refuses a change without root; a dry run needs none. */
export function validateRoot({ system }: CommandContext, { dryRun }: { readonly dryRun?: boolean } = {}): void {
  if (!system.isRoot && dryRun !== true)
    throw new PipeworkError('only root can change network interfaces: run it with sudo, or look with --dry-run')
}

/** What an operation that changes something is given; `live` transcripts show each step before it runs. */
export async function toChangeOptions(
  { system, io }: CommandContext,
  { dryRun = false, verbose = false }: { readonly dryRun?: boolean; readonly verbose?: boolean },
  transcripts: 'live' | 'whole' = 'live',
): Promise<ChangeOptions> {
  if (!verbose) return { system, interrupt: io.interrupt, dryRun }
  const [{ createTranscripts }, { formatStep }] = await Promise.all([
    import('../ui/transcript'),
    import('../plan/script'),
  ])
  return {
    ...{ system, interrupt: io.interrupt, dryRun },
    openTranscript: createTranscripts(io.err, transcripts),
    onStep: (step) => io.err(formatStep(step)),
  }
}
