import type { AttachRequest } from './request'

/** A line of a file or label, read as if it had been typed after `pipework`. */
export interface CommandLine {
  /** The command it names; empty for an attachment. */
  readonly command: string
  readonly words: readonly string[]
  /** The options in it, by their names. */
  readonly options: readonly string[]
  /** Seconds to wait for the guest. */
  readonly waitSeconds: number
  /** Parses its attachment; `words` replace its own arguments. Throws usage errors. */
  toRequest(words?: readonly string[]): AttachRequest
}

/** Reads such a line. Rejects with usage errors. */
export type LineParser = (argv: readonly string[]) => Promise<CommandLine>
