/** The output of a command, as text and JSON, and its exit code. */
export interface Output {
  readonly text: string
  readonly json: object
  /** 0 when absent. */
  readonly exitCode?: number
  /** Printed even with --quiet: the user asked for this output, like a script or a table. */
  readonly printWhenQuiet?: boolean
}

/** The output of a dry run: a script instead of a change. */
export function toScriptOutput(script: string, steps: readonly string[]): Output {
  return { text: script, json: { ok: true, dryRun: true, steps, script }, printWhenQuiet: true }
}
