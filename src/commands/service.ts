import { usageError, validateNoExtraArgs } from '../model/errors'
import type { Output } from '../ui/output'
import {
  type Arguments,
  CHANGE_OPTIONS,
  type CommandContext,
  defineCommand,
  toChangeOptions,
  validateRoot,
} from './types'
import { toLabelRules, WATCH_OPTIONS } from './watch'

const OPTIONS = {
  ...WATCH_OPTIONS,
  now: { type: 'boolean', describe: 'start or restart it at once' },
  ...CHANGE_OPTIONS,
} as const

type ServiceArguments = Arguments<typeof OPTIONS>

const SYNOPSIS =
  'service install [file …] [--labels] [--allow glob]… [--env-compat] [--now] | service remove | service status'
const USAGE = SYNOPSIS.split(' | ')
  .map((form) => `pipework ${form}`)
  .join('\n')

const ACTIONS: Readonly<Record<string, (argv: ServiceArguments, context: CommandContext) => Promise<Output>>> = {
  install,
  remove,
  status,
}

/** `pipework service`: the systemd unit that runs a watch. */
export const service = defineCommand({
  command: 'service <action> [words..]',
  describe: 'let systemd run a watch at boot',
  synopsis: SYNOPSIS,
  builder: OPTIONS,
  examples: [
    { line: 'pipework service install --now', does: 'apply /etc/pipework/*.pipework, from now on and at boot' },
    { line: "pipework service install --labels --allow 'br*'", does: 'and labels of containers' },
    { line: 'pipework service status', does: 'whether it runs' },
    { line: 'pipework service remove', does: 'stop it and remove the unit; attachments stay' },
  ],
  handler: async (argv, context) => {
    const [action = '', ...words] = argv.words
    const act = Object.hasOwn(ACTIONS, action) ? ACTIONS[action] : undefined
    if (act === undefined) throw usageError(`service: unknown action '${action}'`, USAGE)
    const { validateSystemdRunning } = await import('../operations/service')
    validateSystemdRunning(context.system)
    return act({ ...argv, words }, context)
  },
})

async function install(argv: ServiceArguments, context: CommandContext): Promise<Output> {
  const { system, parseLine } = context
  const [operation, { toServiceOutput }] = await Promise.all([
    import('../operations/service'),
    import('../ui/service-report'),
  ])
  const rules = toLabelRules(argv)
  const args = await operation.toWatchArgs({ files: argv.words, rules }, { system, parseLine })
  operation.validateVisiblePaths([...system.selfCommand, ...args])
  validateRoot(context, argv)
  const request = { args, now: argv.now === true }
  const change = await operation.installService(request, await toChangeOptions(context, argv))
  return toServiceOutput('install', change, { dryRun: argv.dryRun, words: argv.words })
}

async function remove(argv: ServiceArguments, context: CommandContext): Promise<Output> {
  validateNoExtraArgs(argv.words, USAGE)
  validateRoot(context, argv)
  const [{ removeService }, { toServiceOutput }] = await Promise.all([
    import('../operations/service'),
    import('../ui/service-report'),
  ])
  const change = await removeService(await toChangeOptions(context, argv))
  return toServiceOutput('remove', change, { dryRun: argv.dryRun, words: [] })
}

async function status({ words }: ServiceArguments, { system }: CommandContext): Promise<Output> {
  validateNoExtraArgs(words, USAGE)
  const [{ readUnitState }, { toStatusOutput }] = await Promise.all([
    import('../operations/service'),
    import('../ui/service-report'),
  ])
  return toStatusOutput(await readUnitState(system))
}
