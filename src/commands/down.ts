import { CHANGE_OPTIONS, defineCommand, toChangeOptions, validateRoot } from './types'

/** `pipework down`: detach what attachment files contain. */
export const down = defineCommand({
  command: 'down <file..>',
  describe: 'remove what attachment files contain',
  synopsis: 'down <file>…',
  builder: CHANGE_OPTIONS,
  examples: [
    { line: 'pipework down lan.pipework', does: 'everything in the file is detached' },
    { line: 'pipework down --dry-run lan.pipework', does: 'what that would do, as a shell script' },
    { line: 'pipework down --quiet lan.pipework', does: 'for a script: no output on success' },
  ],
  handler: async (argv, context) => {
    const { system, io, parseLine } = context
    const [{ readAttachmentFiles }, { detachFileLines }, report, { formatError }] = await Promise.all([
      import('../operations/up/read-files'),
      import('../operations/up/down'),
      import('../ui/down-report'),
      import('../ui/report'),
    ])
    const lines = await readAttachmentFiles(argv.words, { system, parseLine })
    validateRoot(context, argv)
    const results = await detachFileLines(lines, await toChangeOptions(context, argv))
    if (argv.dryRun) return report.toDownScriptOutput(results)
    if (!argv.json) for (const failure of report.listDownFailures(results)) io.err(formatError(failure))
    return report.toDownOutput(results, system.elapsed())
  },
})
