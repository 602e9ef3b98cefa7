import { COMMANDS, GLOBAL_OPTIONS, type Subcommand } from './table'

/** What is said to somebody who typed nothing. */
export function formatShortUsage(): string {
  const lines = COMMANDS.map(({ synopsis }) => `pipework ${synopsis}`)
  return [...lines, 'pipework --help', '', 'For example: pipework br1 web 192.168.1.10/24@192.168.1.1'].join('\n')
}

/** Help as yargs lays it out. */
export async function formatHelp(command: Subcommand): Promise<string> {
  const { default: yargs } = await import('yargs')
  const help = yargs([])
    .scriptName('pipework')
    .locale('en')
    .version(false)
    .help(false)
    .wrap(null)
    .usage(`pipework ${command.synopsis}\n\n${sentence(command.summary)}`)
  for (const [name, { short, value, summary }] of Object.entries({ ...command.options, ...GLOBAL_OPTIONS }))
    help.option(name, {
      ...(short === undefined ? {} : { alias: short }),
      ...(value === undefined ? { type: 'boolean' as const } : { type: 'string' as const, requiresArg: true }),
      describe: summary,
    })
  for (const { line, does } of command.examples) help.example(line, does)
  const others = COMMANDS.filter(({ word }) => word !== '' && command.word === '').map(
    ({ synopsis, summary }) => `  pipework ${synopsis}\n      ${summary}`,
  )
  if (others.length > 0)
    help.epilogue(`Commands:\n${others.join('\n')}\n\npipework <command> --help tells more of each.`)
  return `${await help.getHelp()}\n`
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}
