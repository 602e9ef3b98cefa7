import { shellQuote } from './shell'

/** A word of a line and its column. Lines and columns count from 1. */
export interface FileWord {
  readonly text: string
  readonly column: number
}

/** A line of a file with at least one word in it. */
export interface ParsedLine {
  readonly number: number
  readonly words: readonly FileWord[]
}

/** A syntax error in a file. */
export interface LineError {
  readonly line: number
  readonly column: number
  readonly message: string
}

export interface ParsedLines {
  readonly lines: readonly ParsedLine[]
  readonly errors: readonly LineError[]
}

export type VariableEnv = Readonly<Record<string, string | undefined>>

class LineSyntaxError extends Error {
  constructor(
    readonly column: number,
    message: string,
  ) {
    super(message)
  }
}

/** Characters with a meaning in a shell, which they do not have here: refused outside quotes. */
const SHELL_CHARS = /[|&;<>()`]/
const VARIABLE_PATTERN = /^\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}/

/**
 * Splits the lines of a file into words as a shell would: quotes, backslash, `#` comments, and `${NAME}` or
 * `${NAME:-default}` from the environment. A value is never split or expanded again, and nothing is executed.
 */
export function parseLines(text: string, env: VariableEnv): ParsedLines {
  const lines: ParsedLine[] = []
  const errors: LineError[] = []
  for (const [index, line] of text.split('\n').entries()) {
    const number = index + 1
    try {
      const words = parseLineWords(line.replace(/\r$/, ''), env)
      if (words.length > 0) lines.push({ number, words })
    } catch (error) {
      if (!(error instanceof LineSyntaxError)) throw error
      errors.push({ line: number, column: error.column, message: error.message })
    }
  }
  return { lines, errors }
}

interface LineCursor {
  readonly line: string
  readonly env: VariableEnv
  position: number
}

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
      `'${char}' is shell syntax, which is not supported here: write '\\${char}' for the character itself`,
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
    if (char === '`') throw new LineSyntaxError(cursor.position + 1, "'`' is shell syntax, which is not supported here")
    if (char === '$') text += expandVariable(cursor)
    // In double quotes, a backslash before any other character is literal (POSIX, 2.2.3).
    else if (char === '\\' && /[$`"\\]/.test(cursor.line.charAt(cursor.position + 1))) text += parseEscaped(cursor)
    else text += consume(cursor, 1)
  }
}

function parseEscaped(cursor: LineCursor): string {
  if (cursor.position + 1 >= cursor.line.length)
    throw new LineSyntaxError(cursor.position + 1, "'\\' at the end: a line cannot continue on the next one")
  return consume(cursor, 2).slice(1)
}

function unclosedQuoteError({ line }: LineCursor, start: number): LineSyntaxError {
  return new LineSyntaxError(start + 1, `the quote of '${line.slice(start)}' is not closed in this line`)
}

/** An empty variable is an error: the word would change its meaning. */
function expandVariable(cursor: LineCursor): string {
  const rest = cursor.line.slice(cursor.position)
  const column = cursor.position + 1
  const [written, name, fallback] = VARIABLE_PATTERN.exec(rest) ?? []
  if (written === undefined || name === undefined)
    throw new LineSyntaxError(
      column,
      `'${/^\$(\{[^}]*\}?|\([^)]*\)?|\w*)/.exec(rest)?.[0] ?? '$'}' is not supported: write a variable as \${NAME} or \${NAME:-default}`,
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

/** The words as a line that parses to the same words; undefined when a word contains a line break. */
export function formatFileLine(words: readonly string[]): string | undefined {
  return words.some((word) => /[\n\r]/.test(word)) ? undefined : words.map(shellQuote).join(' ')
}

/** The column of the word that a message quotes; else of the first word. */
export function findErrorColumn(message: string, words: readonly FileWord[]): number {
  const quoted = [...message.matchAll(/'([^']+)'/g)].map(([, value = '']) => value)
  const found = quoted.flatMap((value) => words.find(({ text }) => text === value) ?? [])
  const within = quoted.flatMap((value) => words.find(({ text }) => text.includes(value)) ?? [])
  return (found[0] ?? within[0] ?? words[0])?.column ?? 1
}
