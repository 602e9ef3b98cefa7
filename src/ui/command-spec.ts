/** An option as yargs takes it, with what help and completion need to know besides. */
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

/** A command line that runs, and what it does. */
export interface CommandExample {
  readonly line: string
  readonly does: string
}

/** One word that a user can type first; the main form has none, and `--wait` may stand anywhere. */
export interface CommandSpec {
  readonly word: string
  /** The word and its arguments, as yargs writes them. */
  readonly command: string
  readonly describe: string
  readonly builder: OptionTable
  /** Names that other tools have for it; they are suggested, not accepted. */
  readonly otherNames?: readonly string[]
  /** All forms of the command line, with ` | ` between. */
  readonly synopsis: string
  /** What the arguments mean. */
  readonly argumentHelp?: Readonly<Record<string, string>>
  readonly examples: readonly CommandExample[]
  /** Everything from the guest on belongs to the guest's program. */
  readonly passThrough?: true
  /** Typed by programs, not people: in no help and no completion. */
  readonly hidden?: true
}

/** Everything that can be typed. */
export interface CommandTable {
  readonly commands: readonly CommandSpec[]
  /** Options of every command. */
  readonly options: OptionTable
  /** Headings for the options of a command that has many; the first is for options that none names. */
  readonly groups: Readonly<Record<string, readonly string[]>>
}
