/** A value in a template of words: a list becomes several words, undefined or false becomes none. */
export type TemplatePart = string | number | readonly string[] | false | undefined

/**
 * White space would end a word, a newline the command; `ip -batch` interprets quotes, backslash and #. Values are
 * validated earlier; this is the last check, and a failure here is a bug.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: what they are not to be
const UNSAFE_WORD = /[\s"'#\\\x00-\x1f\x7f-\x9f]|^$/

/** Whether the text can be a word of a batch line: a guest may have chosen a name that cannot. */
export function isSafeWord(text: string): boolean {
  return !UNSAFE_WORD.test(text)
}

function validateWord(word: string): string {
  if (!isSafeWord(word)) throw new TypeError(`unsafe word in an ip command: ${JSON.stringify(word)}`)
  return word
}

/** Converts a template to words. A symbol is a placeholder for a word that is known later. */
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

/** A line of `ip -batch` as its words; only `formatBatch` joins them. */
export type BatchLine = readonly string[]

/** A query line: batchLine`link show dev ${name}`. Values become one word each, arrays several. */
export function batchLine(strings: TemplateStringsArray, ...parts: readonly TemplatePart[]): BatchLine {
  return templateToWords<never>(strings, parts)
}

/** Formats the input of `ip -batch`. Every line goes through here, so no word can become more than one. */
export function formatBatch(lines: readonly BatchLine[]): string {
  return lines.map((words) => `${words.map((word) => (word === '' ? '""' : validateWord(word))).join(' ')}\n`).join('')
}
