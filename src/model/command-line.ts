import type { AttachRequest } from './request'

/** A line of a file or label, read as if it had been typed after `pipework`. */
export interface CommandLine {
  /** The command it names; empty for an attachment. */
  readonly command: string
  readonly words: readonly string[]
  /** The options in it, by their names. */
  readonly options: readonly string[]
  /** Seconds that it would wait for its guest. */
  readonly waitSeconds: number
  /** The attachment that it asks for, with these words in place of its own. Throws usage errors. */
  toRequest(words?: readonly string[]): AttachRequest
}

/** Reads such a line. Rejects with usage errors. */
export type LineParser = (argv: readonly string[]) => Promise<CommandLine>
