import type { Io, Outcome } from './commands/call'
import { ExitCode, PipeworkError, usageError } from './errors'
import type { Host } from './host'
import type { Parsed } from './parse'

declare const PIPEWORK_VERSION: string

/** The shortest of questions, which needs neither parser nor table. */
function asksVersion([first, ...others]: readonly string[]): boolean {
  return others.length === 0 && (first === '--version' || first === '-V')
}

async function answer({ command, words, values }: Parsed, host: Host, io: Io): Promise<Outcome> {
  if (values.get('version'))
    return { text: `${PIPEWORK_VERSION}\n`, json: { ok: true, version: PIPEWORK_VERSION }, wanted: true }
  if (values.get('help'))
    return { text: await (await import('./help')).formatHelp(command), json: { ok: true }, wanted: true }
  const [{ run }, { readLine, TABLE, toTyped }] = await Promise.all([command.load(), import('./parse')])
  return run({ ...toTyped({ command, words, values }), host, io, table: TABLE, parse: readLine })
}

/** Runs what argv asks. Results go to io.out, everything else to io.err; never throws. */
export async function main(argv: readonly string[], host: Host, io: Io): Promise<number> {
  if (asksVersion(argv)) {
    io.out(`${PIPEWORK_VERSION}\n`)
    return ExitCode.ok
  }
  const { parseLine, splitArgv } = await import('./parse')
  const line = splitArgv(argv)
  const { json } = line
  try {
    if (argv.length === 0) throw usageError('nothing to do', (await import('./help')).formatShortUsage())
    const parsed = await parseLine(line)
    const outcome = await answer(parsed, host, io)
    if (json) io.out(`${JSON.stringify(outcome.json)}\n`)
    else if (outcome.wanted || !parsed.values.get('quiet')) io.out(outcome.text)
    return outcome.exitCode ?? ExitCode.ok
  } catch (error) {
    const { errorToJson, formatError } = await import('./report')
    if (json) io.out(`${JSON.stringify(errorToJson(error))}\n`)
    else io.err(formatError(error))
    return error instanceof PipeworkError ? error.exitCode : ExitCode.failed
  }
}
