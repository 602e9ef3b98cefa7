/** An option for yargs, with what help and completion need besides. */
export interface OptionSpec {
  readonly type: 'string' | 'boolean'
  /** One letter, for the short form. */
  readonly alias?: string
  readonly describe: string
  readonly requiresArg?: true
  /** May be given several times. */
  readonly array?: true
  readonly choices?: readonly string[]
  /** Options that cannot be given with it. */
  readonly conflicts?: readonly string[]
  /** The name of the value in help; absent for a switch. */
  readonly placeholder?: string
  /** The value may be left out; then it follows `=` only, as in `--nat[=eth0]`. */
  readonly optionalValue?: true
}

/** Options by their long names; one of a single letter has no long form. */
export type OptionTable = Readonly<Record<string, OptionSpec>>

/** An example command line that can be run, and its effect. */
export interface CommandExample {
  readonly line: string
  readonly does: string
}

/** A command by its first word; the main form has none, and `--wait` may precede any. */
export interface CommandSpec {
  readonly word: string
  /** The word and its arguments, as yargs writes them. */
  readonly command: string
  readonly describe: string
  readonly builder: OptionTable
  /** Other tools' names for it; they are suggested, not accepted. */
  readonly otherNames?: readonly string[]
  /** All forms of the command line, with ` | ` between. */
  readonly synopsis: string
  /** What the arguments mean. */
  readonly argumentHelp?: Readonly<Record<string, string>>
  readonly examples: readonly CommandExample[]
  /** Every word after the guest belongs to the guest's program. */
  readonly passThrough?: true
  /** For programs, not people: absent from help and completion. */
  readonly hidden?: true
}

/** All commands and options. */
export interface CommandTable {
  readonly commands: readonly CommandSpec[]
  /** Options that every command accepts. */
  readonly options: OptionTable
  /** Headings for the options of a command with many options; the first takes those that no other heading lists. */
  readonly groups: Readonly<Record<string, readonly string[]>>
}
