/** What stands in a template of words; a list becomes several words, and nothing becomes none. */
export type TemplatePart = string | number | readonly string[] | false | undefined

/**
 * White space would end a word, a newline the command; quotes, backslash and # mean something to `ip -batch`.
 * Values are validated long before; this is the last door, and reaching it is a bug.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: what they are not to be
const UNSAFE_WORD = /[\s"'#\\\x00-\x1f\x7f-\x9f]|^$/

/** Whether the text can be a word of a batch line: what stands in a guest may have been named so that it cannot. */
export function isSafeWord(text: string): boolean {
  return !UNSAFE_WORD.test(text)
}

function validateWord(word: string): string {
  if (!isSafeWord(word)) throw new TypeError(`unsafe word in an ip command: ${JSON.stringify(word)}`)
  return word
}

/** The words of a template. A symbol stands for a word that is known later. */
export function templateToWords<Placeholder extends symbol>(
  strings: TemplateStringsArray,
  parts: readonly (TemplatePart | Placeholder)[],
): readonly (string | Placeholder)[] {
  const words: (string | Placeholder)[] = []
  let open = ''
  const close = () => {
    if (open !== '') words.push(open)
    open = ''
  }
  strings.forEach((text, index) => {
    for (const [place, piece] of text.split(/\s/).entries()) {
      if (place > 0) close()
      open += piece
    }
    const part = parts[index]
    if (part === undefined || part === false) return
    if (typeof part === 'symbol') words.push(part)
    else
      for (const word of Array.isArray(part) ? part : [`${part as string | number}`]) {
        validateWord(word)
        if (Array.isArray(part)) words.push(word)
        else open += word
      }
  })
  close()
  return words
}

/** A line of `ip -batch` as its words, which only `writeBatch` puts together. */
export type BatchLine = readonly string[]

/** A line that asks: batchLine`link show dev ${name}`. Values become one word each, arrays several. */
export function batchLine(strings: TemplateStringsArray, ...parts: readonly TemplatePart[]): BatchLine {
  return templateToWords<never>(strings, parts)
}

/** What `ip -batch` reads: here every line is written, so no word of any becomes more than itself. */
export function formatBatch(lines: readonly BatchLine[]): string {
  return lines.map((words) => `${words.map((word) => (word === '' ? '""' : validateWord(word))).join(' ')}\n`).join('')
}
