import { PipeworkError } from '../errors'
import type { Host, Interrupt } from '../host'

/** Where results and messages go, and how a signal is heard. */
export interface Io {
  out(text: string): void
  err(text: string): void
  readonly interrupt: Interrupt
}

/** A command line, after parsing. */
export interface Typed {
  readonly words: readonly string[]
  /** The options that were given, by their long names. */
  readonly options: readonly string[]
  /** The value of an option, or undefined. */
  text(option: string): string | undefined
  /** The values of an option that may be given several times. */
  texts(option: string): readonly string[]
  /** Whether a switch was given. */
  flag(option: string): boolean
}

/** A command line that stands elsewhere than at a prompt: in a file, in a label. */
export interface Line extends Typed {
  /** The first word where it names a command; empty for the main form. */
  readonly command: string
}

/** What a command is given: what was typed, and the world. */
export interface Call extends Typed {
  readonly host: Host
  readonly io: Io
  /** Reads a line as if it had been typed after `pipework`. Rejects with usage errors. */
  parse(argv: readonly string[]): Promise<Line>
}

/** What a command found or made true, for people and for programs. */
export interface Outcome {
  readonly text: string
  readonly json: object
  /** 0 when absent; a child's own code may be any. */
  readonly exitCode?: number
  /** True for what was asked for as such (a script, a table) and is printed even with --quiet. */
  readonly wanted?: boolean
}

/** What a file in commands/ provides. */
export interface Runner {
  run(call: Call): Promise<Outcome>
}

/** Refuses a change to whoever cannot make it; a dry run is for everybody. */
export function refuseUnlessRoot({ host, flag }: Call): void {
  if (!host.isRoot && !flag('dry-run'))
    throw new PipeworkError('only root can change network interfaces: run it with sudo, or look with --dry-run')
}
