import { quote } from '../plan/step'

/** A word of a line, and where it stands in the file. Lines and columns count from 1. */
export interface Word {
  readonly text: string
  readonly column: number
}

/** A line of a file with at least one word in it. */
export interface Line {
  readonly number: number
  readonly words: readonly Word[]
}

/** A mistake in a file: where, and what is wrong, with the value in quotes. */
export interface Mistake {
  readonly line: number
  readonly column: number
  readonly message: string
}

export interface Lines {
  readonly lines: readonly Line[]
  readonly mistakes: readonly Mistake[]
}

/** Where variables come from. */
export type Environment = Readonly<Record<string, string | undefined>>

/** What a mistake in a line throws. */
class Slip extends Error {
  constructor(
    readonly column: number,
    message: string,
  ) {
    super(message)
  }
}

/** What else has a meaning to a shell outside quotes: nobody shall believe that it has it here. */
const SHELLISH = /[|&;<>()`]/
const VARIABLE = /^\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}/

/**
 * The lines of a file as words, as a shell would split them: quotes, backslash, `#` comments, and `${NAME}` or
 * `${NAME:-default}` from the environment. A value is never split or read again, and nothing is ever run.
 */
export function readLines(text: string, env: Environment): Lines {
  const [lines, mistakes]: [Line[], Mistake[]] = [[], []]
  for (const [index, line] of text.split('\n').entries()) {
    const number = index + 1
    try {
      const words = splitWords(line.replace(/\r$/, ''), env)
      if (words.length > 0) lines.push({ number, words })
    } catch (error) {
      if (!(error instanceof Slip)) throw error
      mistakes.push({ line: number, column: error.column, message: error.message })
    }
  }
  return { lines, mistakes }
}

/** A text that ends a word, goes on in it, or is another way of writing: one at a time, from the left. */
interface Cursor {
  readonly line: string
  readonly env: Environment
  at: number
}

/** The words of one line. Throws a Slip. */
function splitWords(line: string, env: Environment): readonly Word[] {
  const cursor: Cursor = { line, env, at: 0 }
  const words: Word[] = []
  for (;;) {
    while (/\s/.test(line.charAt(cursor.at))) cursor.at += 1
    const char = line.charAt(cursor.at)
    if (char === '' || char === '#') return words
    const column = cursor.at + 1
    words.push({ text: readWord(cursor), column })
  }
}

function readWord(cursor: Cursor): string {
  let text = ''
  for (;;) {
    const char = cursor.line.charAt(cursor.at)
    if (char === '' || /\s/.test(char)) return text
    text += readPiece(cursor, char)
  }
}

function readPiece(cursor: Cursor, char: string): string {
  if (char === "'") return readSingle(cursor)
  if (char === '"') return readDouble(cursor)
  if (char === '$') return readVariable(cursor)
  if (char === '\\') return readEscaped(cursor)
  if (SHELLISH.test(char))
    throw new Slip(
      cursor.at + 1,
      `'${char}' is for a shell, and this is none: write '\\${char}' if it belongs to the word`,
    )
  return take(cursor, 1)
}

function take(cursor: Cursor, count: number): string {
  const text = cursor.line.slice(cursor.at, cursor.at + count)
  cursor.at += count
  return text
}

function readSingle(cursor: Cursor): string {
  const end = cursor.line.indexOf("'", cursor.at + 1)
  if (end < 0) throw unclosed(cursor, cursor.at)
  return take(cursor, end + 1 - cursor.at).slice(1, -1)
}

function readDouble(cursor: Cursor): string {
  const start = cursor.at
  let text = ''
  cursor.at += 1
  for (;;) {
    const char = cursor.line.charAt(cursor.at)
    if (char === '') throw unclosed(cursor, start)
    if (char === '"') {
      cursor.at += 1
      return text
    }
    if (char === '`') throw new Slip(cursor.at + 1, "'`' is for a shell, and this is none")
    if (char === '$') text += readVariable(cursor)
    // Before other characters a backslash between these quotes is a backslash (POSIX, 2.2.3).
    else if (char === '\\' && /[$`"\\]/.test(cursor.line.charAt(cursor.at + 1))) text += readEscaped(cursor)
    else text += take(cursor, 1)
  }
}

function readEscaped(cursor: Cursor): string {
  if (cursor.at + 1 >= cursor.line.length)
    throw new Slip(cursor.at + 1, "'\\' at the end: a line does not go on in the next one")
  return take(cursor, 2).slice(1)
}

function unclosed({ line }: Cursor, start: number): Slip {
  return new Slip(start + 1, `the quote of '${line.slice(start)}' is not closed in this line`)
}

/** An empty variable is taken for a mistake: the word would mean something else without it. */
function readVariable(cursor: Cursor): string {
  const rest = cursor.line.slice(cursor.at)
  const column = cursor.at + 1
  const [written, name, fallback] = VARIABLE.exec(rest) ?? []
  if (written === undefined || name === undefined)
    throw new Slip(
      column,
      `'${/^\$(\{[^}]*\}?|\([^)]*\)?|\w*)/.exec(rest)?.[0] ?? '$'}' is not read: a variable is written \${NAME} or \${NAME:-default}, and nothing is run`,
    )
  take(cursor, written.length)
  const value = cursor.env[name] || fallback
  if (!value)
    throw new Slip(column, `'${written}' is empty: set ${name} in the environment, or write \${${name}:-default}`)
  return value
}

/** Words as a line that is read back as these words; undefined when no line can hold them. */
export function formatLine(words: readonly string[]): string | undefined {
  return words.some((word) => /[\n\r]/.test(word)) ? undefined : words.map(quote).join(' ')
}

/** The column of the word that a message speaks of, where it quotes one; else that of the first. */
export function columnOf(message: string, words: readonly Word[]): number {
  const quoted = [...message.matchAll(/'([^']+)'/g)].map(([, value = '']) => value)
  const found = quoted.flatMap((value) => words.find(({ text }) => text === value) ?? [])
  const within = quoted.flatMap((value) => words.find(({ text }) => text.includes(value)) ?? [])
  return (found[0] ?? within[0] ?? words[0])?.column ?? 1
}
