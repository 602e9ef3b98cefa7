import type { CommandContext, CommandOutcome } from '../ui/command'
import { completeCommandLine } from '../ui/completion/candidates'

/**
 * What a shell's completion asks at each TAB: `pipework __complete <words before the cursor> <the word at it>`.
 * The answer's first line says what it is, then come the words with a tab before what is said of them.
 * Whatever goes wrong, nothing is said: an error at the prompt helps nobody.
 */
export async function run({ positionals, system, table }: CommandContext): Promise<CommandOutcome> {
  const text = await formatCompletion(positionals, { system, table }).catch(() => '')
  return { text, json: {}, printWhenQuiet: true }
}

async function formatCompletion(
  words: readonly string[],
  { system, table }: Pick<CommandContext, 'system' | 'table'>,
): Promise<string> {
  const completion = await completeCommandLine({
    wordsBefore: words.slice(0, -1),
    currentWord: words.at(-1) ?? '',
    table,
    system,
  })
  if (completion.kind === 'files') return 'files\n'
  if (completion.kind === 'handover') return `${['handover', completion.from, ...completion.words].join('\t')}\n`
  const lines = completion.candidates.map(({ value, text }) => `${value}\t${text}`.replaceAll(/[\n\r]/g, ' '))
  return ['words', ...lines].map((line) => `${line}\n`).join('')
}
