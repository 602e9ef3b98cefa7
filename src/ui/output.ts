/** What a command prints, for people and for programs, and how it exits. */
export interface Output {
  readonly text: string
  readonly json: object
  /** 0 when absent. */
  readonly exitCode?: number
  /** Printed even with --quiet: it is what was asked for, like a script or a table. */
  readonly printWhenQuiet?: boolean
}

/** A script in place of a change. */
export function toScriptOutput(script: string, steps: readonly string[]): Output {
  return { text: script, json: { ok: true, dryRun: true, steps, script }, printWhenQuiet: true }
}
