import type { CommandModule, Io } from './commands/types'
import { ExitCode, PipeworkError, usageError } from './model/errors'
import type { System } from './system/types'
import type { Output } from './ui/output'

declare const PIPEWORK_VERSION: string

const loadTable = async () => (await import('./commands')).loadCommandTable()

/** Runs a command line. Results go to io.out, everything else to io.err; never throws. */
export async function main(argv: readonly string[], system: System, io: Io): Promise<number> {
  // A TAB waits for neither yargs nor the commands.
  if (argv[0] === '__complete') return completeWords(argv.slice(1), system, io)
  let command: CommandModule | undefined
  try {
    if (argv.length === 0) throw usageError('nothing to do', (await import('./ui/help')).SHORT_USAGE)
    const { findCommand, parseArguments, parseLine, validateWords } = await import('./commands/parser')
    const call = await findCommand(argv)
    command = call.command
    const typed = parseArguments(call)
    const { json, quiet, version, help } = typed as Readonly<Record<string, unknown>>
    if (!version && !help) validateWords(command, typed.words)
    const output = version
      ? toVersionOutput()
      : help
        ? await (await import('./commands/help')).showHelp(command, { system, loadTable })
        : await command.handler(typed, { system, io, parseLine, loadTable })
    if (json) io.out(`${JSON.stringify(output.json)}\n`)
    else if (output.printWhenQuiet || !quiet) io.out(output.text)
    return output.exitCode ?? ExitCode.ok
  } catch (thrown) {
    const error = addUsageHint(command?.word === '' ? await suggestCommand(thrown, argv, system) : thrown, command)
    const [{ errorToJson, formatError }, { toLocaleText }] = await Promise.all([
      import('./ui/report'),
      import('./ui/terminal'),
    ])
    if (asksForJson(argv, command)) io.out(`${JSON.stringify(errorToJson(error))}\n`)
    else io.err(toLocaleText(formatError(error), system.env))
    return error instanceof PipeworkError ? error.exitCode : ExitCode.failed
  }
}

async function completeWords(argv: readonly string[], system: System, io: Io): Promise<number> {
  const { answerTab } = await import('./commands/complete')
  io.out(await answerTab(argv[0] === '--' ? argv.slice(1) : argv, { system, loadTable }))
  return ExitCode.ok
}

function toVersionOutput(): Output {
  return { text: `${PIPEWORK_VERSION}\n`, json: { ok: true, version: PIPEWORK_VERSION }, printWhenQuiet: true }
}

/** Whether programs read the answer; behind the guest of `exec` the option is the program's. */
function asksForJson(argv: readonly string[], command: CommandModule | undefined): boolean {
  const words = argv.slice(0, argv.includes('--') ? argv.indexOf('--') : undefined)
  if (!command?.passThrough) return words.includes('--json')
  const guest = words.findIndex((word, index) => index > words.indexOf(command.word) && !word.startsWith('-'))
  return words.slice(0, guest < 0 ? undefined : guest).includes('--json')
}

/** When the first word is no interface, it may be a misspelled command, or another tool's name for one. */
async function suggestCommand(error: unknown, argv: readonly string[], system: System): Promise<unknown> {
  const [word = '', next = ''] = argv.filter((it) => it === '--' || !it.startsWith('-'))
  const isUsage = error instanceof PipeworkError && error.exitCode === ExitCode.usage
  if (!isUsage || !/^[a-z]+$/.test(word) || system.inode(`/sys/class/net/${word}`) !== undefined) return error
  const { listSuggestedCommands } = await import('./ui/suggest')
  const commands = listSuggestedCommands(word, await loadTable())
  if (commands.length > 0)
    return usageError(
      `'${word}' is neither a command nor an interface of this host`,
      `Did you mean ${commands.map((it) => `pipework ${it}`).join(' or ')}?`,
    )
  if (next !== '' || /^(br|ovs)/.test(word)) return error
  return usageError(
    `'${word}' is neither a command nor an interface of this host`,
    `If it is a guest, the bridge comes first: pipework br1 ${word} 192.168.1.10/24\nIts attachments: pipework inspect ${word}`,
  )
}

/** Wrong usage always says where to read on. */
function addUsageHint(error: unknown, command: CommandModule | undefined): unknown {
  if (!(error instanceof PipeworkError) || error.hint !== undefined || error.exitCode !== ExitCode.usage) return error
  const word = command?.word.replace(/^-+/, '') ?? ''
  return usageError(error.message, `More: pipework ${word === '' ? '--help' : `help ${word}`}`)
}
