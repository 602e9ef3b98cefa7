import { shellQuote } from '../plan/step'

/** A word of a line, and where it stands in the file. Lines and columns count from 1. */
export interface FileWord {
  readonly text: string
  readonly column: number
}

/** A line of a file with at least one word in it. */
export interface ParsedLine {
  readonly number: number
  readonly words: readonly FileWord[]
}

/** A mistake in a file: where, and what is wrong, with the value in quotes. */
export interface LineError {
  readonly line: number
  readonly column: number
  readonly message: string
}

export interface ParsedLines {
  readonly lines: readonly ParsedLine[]
  readonly errors: readonly LineError[]
}

/** Where variables come from. */
export type VariableEnv = Readonly<Record<string, string | undefined>>

/** What a mistake in a line throws. */
class LineSyntaxError extends Error {
  constructor(
    readonly column: number,
    message: string,
  ) {
    super(message)
  }
}

/** What else has a meaning to a shell outside quotes: nobody shall believe that it has it here. */
const SHELL_CHARS = /[|&;<>()`]/
const VARIABLE_PATTERN = /^\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}/

/**
 * The lines of a file as words, as a shell would split them: quotes, backslash, `#` comments, and `${NAME}` or
 * `${NAME:-default}` from the environment. A value is never split or read again, and nothing is ever run.
 */
export function parseLines(text: string, env: VariableEnv): ParsedLines {
  const [lines, mistakes]: [ParsedLine[], LineError[]] = [[], []]
  for (const [index, line] of text.split('\n').entries()) {
    const number = index + 1
    try {
      const words = parseLineWords(line.replace(/\r$/, ''), env)
      if (words.length > 0) lines.push({ number, words })
    } catch (error) {
      if (!(error instanceof LineSyntaxError)) throw error
      mistakes.push({ line: number, column: error.column, message: error.message })
    }
  }
  return { lines, errors: mistakes }
}

/** A text that ends a word, goes on in it, or is another way of writing: one at a time, from the left. */
interface LineCursor {
  readonly line: string
  readonly env: VariableEnv
  position: number
}

/** The words of one line. Throws a Slip. */
function parseLineWords(line: string, env: VariableEnv): readonly FileWord[] {
  const cursor: LineCursor = { line, env, position: 0 }
  const words: FileWord[] = []
  for (;;) {
    while (/\s/.test(line.charAt(cursor.position))) cursor.position += 1
    const char = line.charAt(cursor.position)
    if (char === '' || char === '#') return words
    const column = cursor.position + 1
    words.push({ text: parseWord(cursor), column })
  }
}

function parseWord(cursor: LineCursor): string {
  let text = ''
  for (;;) {
    const char = cursor.line.charAt(cursor.position)
    if (char === '' || /\s/.test(char)) return text
    text += parsePiece(cursor, char)
  }
}

function parsePiece(cursor: LineCursor, char: string): string {
  if (char === "'") return parseSingleQuoted(cursor)
  if (char === '"') return parseDoubleQuoted(cursor)
  if (char === '$') return expandVariable(cursor)
  if (char === '\\') return parseEscaped(cursor)
  if (SHELL_CHARS.test(char))
    throw new LineSyntaxError(
      cursor.position + 1,
      `'${char}' is for a shell, and this is none: write '\\${char}' if it belongs to the word`,
    )
  return consume(cursor, 1)
}

function consume(cursor: LineCursor, count: number): string {
  const text = cursor.line.slice(cursor.position, cursor.position + count)
  cursor.position += count
  return text
}

function parseSingleQuoted(cursor: LineCursor): string {
  const end = cursor.line.indexOf("'", cursor.position + 1)
  if (end < 0) throw unclosedQuoteError(cursor, cursor.position)
  return consume(cursor, end + 1 - cursor.position).slice(1, -1)
}

function parseDoubleQuoted(cursor: LineCursor): string {
  const start = cursor.position
  let text = ''
  cursor.position += 1
  for (;;) {
    const char = cursor.line.charAt(cursor.position)
    if (char === '') throw unclosedQuoteError(cursor, start)
    if (char === '"') {
      cursor.position += 1
      return text
    }
    if (char === '`') throw new LineSyntaxError(cursor.position + 1, "'`' is for a shell, and this is none")
    if (char === '$') text += expandVariable(cursor)
    // Before other characters a backslash between these quotes is a backslash (POSIX, 2.2.3).
    else if (char === '\\' && /[$`"\\]/.test(cursor.line.charAt(cursor.position + 1))) text += parseEscaped(cursor)
    else text += consume(cursor, 1)
  }
}

function parseEscaped(cursor: LineCursor): string {
  if (cursor.position + 1 >= cursor.line.length)
    throw new LineSyntaxError(cursor.position + 1, "'\\' at the end: a line does not go on in the next one")
  return consume(cursor, 2).slice(1)
}

function unclosedQuoteError({ line }: LineCursor, start: number): LineSyntaxError {
  return new LineSyntaxError(start + 1, `the quote of '${line.slice(start)}' is not closed in this line`)
}

/** An empty variable is taken for a mistake: the word would mean something else without it. */
function expandVariable(cursor: LineCursor): string {
  const rest = cursor.line.slice(cursor.position)
  const column = cursor.position + 1
  const [written, name, fallback] = VARIABLE_PATTERN.exec(rest) ?? []
  if (written === undefined || name === undefined)
    throw new LineSyntaxError(
      column,
      `'${/^\$(\{[^}]*\}?|\([^)]*\)?|\w*)/.exec(rest)?.[0] ?? '$'}' is not read: a variable is written \${NAME} or \${NAME:-default}, and nothing is run`,
    )
  consume(cursor, written.length)
  const value = cursor.env[name] || fallback
  if (!value)
    throw new LineSyntaxError(
      column,
      `'${written}' is empty: set ${name} in the environment, or write \${${name}:-default}`,
    )
  return value
}

/** Words as a line that is read back as these words; undefined when no line can hold them. */
export function formatFileLine(words: readonly string[]): string | undefined {
  return words.some((word) => /[\n\r]/.test(word)) ? undefined : words.map(shellQuote).join(' ')
}

/** The column of the word that a message speaks of, where it quotes one; else that of the first. */
export function findErrorColumn(message: string, words: readonly FileWord[]): number {
  const quoted = [...message.matchAll(/'([^']+)'/g)].map(([, value = '']) => value)
  const found = quoted.flatMap((value) => words.find(({ text }) => text === value) ?? [])
  const within = quoted.flatMap((value) => words.find(({ text }) => text.includes(value)) ?? [])
  return (found[0] ?? within[0] ?? words[0])?.column ?? 1
}
