import { defineCommand, validateRoot } from './types'

/** `pipework diff`: what `up` would do. */
export const diff = defineCommand({
  command: 'diff <file..>',
  describe: 'print what `up` would do; exit code 0 for nothing, 1 for something',
  otherNames: ['plan', 'compare'],
  synopsis: 'diff <file>… [--prune]',
  builder: { prune: { type: 'boolean', describe: 'also what `up --prune` would remove' } },
  examples: [
    { line: 'pipework diff lan.pipework', does: 'the missing steps, line by line' },
    { line: 'pipework diff --prune lan.pipework', does: 'and what was deleted in the file, and is still attached' },
    { line: 'pipework diff lan.pipework --json', does: 'the same for programs' },
  ],
  handler: async (argv, context) => {
    const { system, io, parseLine } = context
    const paths = argv.words
    const [{ readAttachmentFiles }, { diffFileLines }, { toDiffOutput }] = await Promise.all([
      import('../operations/up/read-files'),
      import('../operations/up/diff'),
      import('../ui/diff-report'),
    ])
    const lines = await readAttachmentFiles(paths, { system, parseLine })
    validateRoot(context)
    const request = { lines, paths, prune: argv.prune === true }
    return toDiffOutput(await diffFileLines(request, { system, interrupt: io.interrupt }))
  },
})
