import {
  COMMAND_TABLE,
  type ParsedCommand,
  parseCommandLine,
  parseSplitLine,
  type SplitLine,
  splitArgv,
  toCommandArgs,
} from './commands/parse'
import { ExitCode, PipeworkError, usageError } from './model/errors'
import type { System } from './system/types'
import type { CommandOutcome, CommandSpec, Io } from './ui/command'

declare const PIPEWORK_VERSION: string

async function runCommand(
  { command, positionals, values }: ParsedCommand,
  system: System,
  io: Io,
): Promise<CommandOutcome> {
  if (values.get('version'))
    return { text: `${PIPEWORK_VERSION}\n`, json: { ok: true, version: PIPEWORK_VERSION }, printWhenQuiet: true }
  if (values.get('help')) return showCommandHelp(command, system)
  const { run } = await command.load()
  return run({
    ...toCommandArgs({ command, positionals, values }),
    system,
    io,
    table: COMMAND_TABLE,
    parse: parseCommandLine,
  })
}

/** `--help` of a command is `help` and its word. */
async function showCommandHelp({ word }: CommandSpec, system: System): Promise<CommandOutcome> {
  const { createHelpResult } = await import('./commands/help')
  return createHelpResult(word, COMMAND_TABLE, system)
}

/** A wrong usage whose first word is no interface is one of a command, with a typing error in it or by another name. */
async function suggestCommand(error: unknown, { tokens }: SplitLine, system: System): Promise<unknown> {
  // After `--` a word is an interface.
  const words = tokens.flatMap((it) => (it.kind === 'option' ? [] : it.kind === 'positional' ? [it.value] : ['--']))
  const [word = '', next = ''] = words
  const isUsage = error instanceof PipeworkError && error.exitCode === ExitCode.usage
  if (!isUsage || !/^[a-z]+$/.test(word) || system.inode(`/sys/class/net/${word}`) !== undefined) return error
  const { listSuggestedCommands } = await import('./ui/suggest')
  const meant = listSuggestedCommands(word, COMMAND_TABLE)
  if (meant.length > 0)
    return usageError(
      `'${word}' is neither a command nor an interface of this host`,
      `Did you mean ${meant.map((it) => `pipework ${it}`).join(' or ')}?`,
    )
  if (next !== '' || /^(br|ovs)/.test(word)) return error
  return usageError(
    `'${word}' is neither a command nor an interface of this host`,
    `If it is a guest, the bridge comes first: pipework br1 ${word} 192.168.1.10/24\nWhat it has already: pipework inspect ${word}`,
  )
}

/** Wrong usage always says where to read on. */
function addUsageHint(error: unknown, { command: { word } }: SplitLine): unknown {
  if (!(error instanceof PipeworkError) || error.hint !== undefined || error.exitCode !== ExitCode.usage) return error
  return usageError(error.message, `More: pipework ${word === '' ? '--help' : `help ${word.replace(/^-+/, '')}`}`)
}

/** Runs what argv asks. Results go to io.out, everything else to io.err; never throws. */
export async function main(argv: readonly string[], system: System, io: Io): Promise<number> {
  const line = splitArgv(argv)
  const { json } = line
  try {
    if (argv.length === 0) throw usageError('nothing to do', (await import('./ui/help')).SHORT_USAGE)
    const parsed = await parseSplitLine(line)
    const outcome = await runCommand(parsed, system, io)
    if (json) io.out(`${JSON.stringify(outcome.json)}\n`)
    else if (outcome.printWhenQuiet || !parsed.values.get('quiet')) io.out(outcome.text)
    return outcome.exitCode ?? ExitCode.ok
  } catch (thrown) {
    const error = addUsageHint(line.command.word === '' ? await suggestCommand(thrown, line, system) : thrown, line)
    const [{ errorToJson, formatError }, { toLocaleText }] = await Promise.all([
      import('./ui/report'),
      import('./ui/terminal'),
    ])
    if (json) io.out(`${JSON.stringify(errorToJson(error))}\n`)
    else io.err(toLocaleText(formatError(error), system.env))
    return error instanceof PipeworkError ? error.exitCode : ExitCode.failed
  }
}
