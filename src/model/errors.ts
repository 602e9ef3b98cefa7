/** Exit codes of pipework; `route|rule|tc|exec` return their child's own code instead. */
export const ExitCode = {
  /** Done, or already so. */
  ok: 0,
  /** Refused or failed, and the host is as it was. */
  failed: 1,
  /** Wrong usage. */
  usage: 2,
  /** Failed, and something is left: each leftover is named. */
  leftover: 3,
  /** A wait ran out of time; the code of coreutils' timeout(1). */
  timeout: 124,
} as const

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode]

/** Something that a failed run could not take back, and the shell command that removes it. */
export interface Leftover {
  readonly what: string
  readonly command: string
}

/** What is told beside the message: what to do about it, the exit code, and what is left. */
export interface ErrorDetail {
  readonly hint?: string | undefined
  readonly exitCode?: ExitCode
  readonly leftovers?: readonly Leftover[]
  readonly cause?: unknown
}

/** An error that its reader can mend: printed as message and hint, never with a stack. */
export class PipeworkError extends Error {
  readonly hint: string | undefined
  readonly exitCode: ExitCode
  readonly leftovers: readonly Leftover[]

  constructor(message: string, detail: ErrorDetail = {}) {
    super(message, { cause: detail.cause })
    this.name = 'PipeworkError'
    this.hint = detail.hint
    this.exitCode = detail.exitCode ?? ExitCode.failed
    this.leftovers = detail.leftovers ?? []
  }
}

/** An error in the words typed: exit code 2. */
export function usageError(message: string, hint?: string): PipeworkError {
  return new PipeworkError(message, { hint, exitCode: ExitCode.usage })
}

/** Refuses the words that follow those which a command takes. */
export function validateNoExtraArgs([first]: readonly string[], hint: string): void {
  if (first !== undefined) throw usageError(`'${first}' is a word too many`, hint)
}
