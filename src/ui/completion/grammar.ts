/** The possible words at one place of a command line. */
export type SynopsisSlot =
  /** One of these words. */
  | { readonly kind: 'literal'; readonly words: readonly string[] }
  /** A value, by its name in the synopsis: `guest`, `ifname`, `bridge`. */
  | { readonly kind: 'value'; readonly name: string }

/** One form of a command: its words in order; the last one may repeat. */
export interface SynopsisForm {
  readonly slots: readonly SynopsisSlot[]
  readonly isRepeatable: boolean
}

/** Words outside brackets: `[-i ifname]` is one. */
function splitTopLevel(text: string): readonly string[] {
  const words: string[] = []
  let [depth, word] = [0, '']
  for (const char of text) {
    if (char === '[' || char === '<') depth += 1
    if (char === ']' || char === '>') depth -= 1
    if (char !== ' ' || depth > 0) word += char
    else if (word !== '') {
      words.push(word)
      word = ''
    }
  }
  return word === '' ? words : [...words, word]
}

function parseSlot(word: string): SynopsisSlot {
  const name = /^[[<]+([\w:]+)/.exec(word)?.[1]
  return name === undefined ? { kind: 'literal', words: word.split('|') } : { kind: 'value', name }
}

function parseForm(text: string, word: string): SynopsisForm {
  const words = splitTopLevel(text)
  const after = words[0] === word ? words.slice(1) : words
  // The value of an option is in its brackets; an option without brackets has none.
  const positional = after.filter((it) => !/^\[?-/.test(it))
  return { slots: positional.map(parseSlot), isRepeatable: positional.at(-1)?.includes('…') === true }
}

/** Parses a synopsis, so that help and completion use the same text. */
export function parseSynopsis({
  word,
  synopsis,
}: {
  readonly word: string
  readonly synopsis: string
}): readonly SynopsisForm[] {
  return synopsis.split(' | ').map((text) => parseForm(text, word))
}

/** The possible next words, in every form that matches these words. */
export function listNextSlots(forms: readonly SynopsisForm[], words: readonly string[]): readonly SynopsisSlot[] {
  return forms.flatMap(({ slots, isRepeatable }) => {
    const at = (index: number) => slots[index] ?? (isRepeatable ? slots.at(-1) : undefined)
    const fits = words.every((word, index) => {
      const slot = at(index)
      return slot !== undefined && (slot.kind === 'value' || slot.words.includes(word))
    })
    const next = at(words.length)
    return fits && next !== undefined ? [next] : []
  })
}
