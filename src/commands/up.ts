import { parseSeconds } from '../model/number'
import {
  CHANGE_OPTIONS,
  type CommandContext,
  defineCommand,
  toChangeOptions,
  validateRoot,
  WAIT_GUEST_OPTION,
} from './types'

/** `pipework up`: apply attachment files. */
export const up = defineCommand({
  command: 'up <file..>',
  describe: 'apply attachment files: one attachment a line, as typed after pipework',
  otherNames: ['apply', 'sync', 'load', 'restore'],
  synopsis: 'up <file>… [--prune] [--wait-guest seconds]',
  builder: {
    prune: { type: 'boolean', describe: 'remove what these files made and no longer contain' },
    ...WAIT_GUEST_OPTION,
    ...CHANGE_OPTIONS,
  },
  examples: [
    { line: 'pipework up lan.pipework', does: 'attach what is missing, change what differs' },
    { line: 'pipework up --prune lan.pipework', does: 'and remove what was deleted in the file' },
    { line: 'pipework up --dry-run lan.pipework', does: 'what that would do, as a shell script' },
  ],
  handler: async (argv, context) => {
    const { system, io, parseLine } = context
    const paths = argv.words
    const [{ readAttachmentFiles }, { applyFileLines }, report] = await Promise.all([
      import('../operations/up/read-files'),
      import('../operations/up'),
      import('../ui/up-report'),
    ])
    const lines = await readAttachmentFiles(paths, { system, parseLine })
    validateRoot(context, argv)
    const waitSeconds = parseSeconds(argv.waitGuest ?? '0', '--wait-guest')
    const options = await toChangeOptions(context, argv, lines.length > 1 ? 'whole' : 'live')
    const isSilent = argv.quiet || argv.verbose || argv.json || argv.dryRun || !(await system.isTerminal(2))
    const progress = isSilent ? undefined : createProgress(context, lines.length)
    const request = { lines, paths, prune: argv.prune === true, waitSeconds }
    const summary = await applyFileLines(request, { ...options, onProgress: progress?.step })
    progress?.end()
    if (argv.dryRun) return report.toUpScriptOutput(summary)
    if (!argv.json) for (const text of report.formatUpProblems(summary)) io.err(text)
    return report.toUpOutput(summary, system)
  },
})

/** How many lines are done, on a terminal. */
function createProgress({ io }: CommandContext, total: number) {
  let count = 0
  return {
    step: (lines: number) => {
      count += lines
      io.err(`\r${count} of ${total}`)
    },
    end: () => io.err('\r\u001b[K'),
  }
}
