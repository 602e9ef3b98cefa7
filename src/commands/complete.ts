import { completeCommandLine } from '../ui/completion/candidates'
import { type CommandContext, defineCommand } from './types'

/**
 * What a shell asks at each TAB: `pipework __complete -- <words before the cursor> <the word at it>`.
 * The first line of the answer is its kind; then come the words, each with a tab and a description.
 */
export const complete = defineCommand({
  command: '__complete [words..]',
  describe: 'list what can stand at the last of the words',
  synopsis: '__complete -- <words…>',
  builder: {},
  examples: [],
  passThrough: true,
  hidden: true,
  handler: async ({ words }, context) => ({
    text: await answerTab(words, context),
    json: {},
    printWhenQuiet: true,
  }),
})

type TabContext = Pick<CommandContext, 'system' | 'loadTable'>

/** The answer to a TAB; empty on any error, which would only disturb the prompt. */
export async function answerTab(words: readonly string[], context: TabContext): Promise<string> {
  return formatCompletion(words, context).catch(() => '')
}

async function formatCompletion(words: readonly string[], { system, loadTable }: TabContext): Promise<string> {
  const completion = await completeCommandLine({
    wordsBefore: words.slice(0, -1),
    currentWord: words.at(-1) ?? '',
    table: await loadTable(),
    system,
  })
  if (completion.kind === 'files') return 'files\n'
  if (completion.kind === 'handover') return `${['handover', completion.from, ...completion.words].join('\t')}\n`
  const lines = completion.candidates.map(({ value, text }) => `${value}\t${text}`.replaceAll(/[\n\r]/g, ' '))
  return ['words', ...lines].map((line) => `${line}\n`).join('')
}
