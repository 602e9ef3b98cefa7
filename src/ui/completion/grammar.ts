/** What can stand at one place of a command line. */
export type Slot =
  /** One of these words. */
  | { readonly kind: 'literal'; readonly words: readonly string[] }
  /** Something of that name, as the synopsis calls it: `guest`, `ifname`, `bridge`. */
  | { readonly kind: 'value'; readonly name: string }

/** One way to write a command: its words in order; the last may go on for ever. */
export interface Form {
  readonly slots: readonly Slot[]
  readonly isOpen: boolean
}

/** Words at depth 0: `[-i ifname]` is one. */
function splitTop(text: string): readonly string[] {
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

function toSlot(word: string): Slot {
  const name = /^[[<]+([\w:]+)/.exec(word)?.[1]
  return name === undefined ? { kind: 'literal', words: word.split('|') } : { kind: 'value', name }
}

function toForm(text: string, word: string): Form {
  const words = splitTop(text)
  const after = words[0] === word ? words.slice(1) : words
  // An option's value stands in its brackets; one without brackets has none.
  const positional = after.filter((it) => !/^\[?-/.test(it))
  return { slots: positional.map(toSlot), isOpen: positional.at(-1)?.includes('…') === true }
}

/** Reads a synopsis, so that what help says of a command and what completion offers are the same text. */
export function parseSynopsis({
  word,
  synopsis,
}: {
  readonly word: string
  readonly synopsis: string
}): readonly Form[] {
  return synopsis.split(' | ').map((text) => toForm(text, word))
}

/** What may come after these words, in any of the forms that they fit. */
export function nextSlots(forms: readonly Form[], words: readonly string[]): readonly Slot[] {
  return forms.flatMap(({ slots, isOpen }) => {
    const at = (index: number) => slots[index] ?? (isOpen ? slots.at(-1) : undefined)
    const fits = words.every((word, index) => {
      const slot = at(index)
      return slot !== undefined && (slot.kind === 'value' || slot.words.includes(word))
    })
    const next = at(words.length)
    return fits && next !== undefined ? [next] : []
  })
}
