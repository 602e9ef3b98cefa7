/** Exit codes of pipework; `route|rule|tc|exec` return their child's own code instead. */
export const ExitCode = {
  /** Done, or already so. */
  ok: 0,
  /** Refused or failed; the host is unchanged. */
  failed: 1,
  /** Wrong usage. */
  usage: 2,
  /** Failed and left something behind, which the error names. */
  leftover: 3,
  /** Timed out, as in timeout(1). */
  timeout: 124,
} as const

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode]

/** Something that a rollback could not remove, and the shell command that removes it. */
export interface Leftover {
  readonly what: string
  readonly command: string
}

export interface ErrorDetail {
  readonly hint?: string | undefined
  readonly exitCode?: ExitCode
  readonly leftovers?: readonly Leftover[]
  readonly cause?: unknown
}

/** An error for the user: printed as message and hint, without a stack. */
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

/** A wrong command line: exit code 2. */
export function usageError(message: string, hint?: string): PipeworkError {
  return new PipeworkError(message, { hint, exitCode: ExitCode.usage })
}

/** Refuses surplus arguments. */
export function validateNoExtraArgs([first]: readonly string[], hint: string): void {
  if (first !== undefined) throw usageError(`unexpected argument '${first}'`, hint)
}
