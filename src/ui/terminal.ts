import type { System } from '../system/types'

/** The terminal: its width, and the characters it can show. */
export interface Terminal {
  /** Columns of the terminal; undefined for a pipe or a file, where output is neither cut nor wrapped. */
  readonly columns: number | undefined
  /** Whether it shows characters beyond ASCII. */
  readonly isUnicode: boolean
  /** Formats a heading. */
  bold(text: string): string
}

/** Describes standard output. Colours only on a terminal without NO_COLOR (no-color.org). */
export function toTerminal({ env, terminalColumns }: Pick<System, 'env' | 'terminalColumns'>): Terminal {
  const width = terminalColumns()
  const isPlain = width === undefined || Boolean(env.NO_COLOR) || env.TERM === 'dumb'
  return {
    columns: width,
    isUnicode: isUnicode(env),
    bold: (text) => (isPlain ? text : `\x1b[1m${text}\x1b[0m`),
  }
}

/** Whether the locale uses UTF-8 (setlocale(3) gives the order of the variables). */
function isUnicode({ LC_ALL, LC_CTYPE, LANG }: System['env']): boolean {
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '')
}

/** ASCII replacements for the typography. */
const ASCII_FALLBACKS: Readonly<Record<string, string>> = {
  '…': '...',
  '’': "'",
  '→': '->',
  '×': 'x',
  '–': '-',
  '├': '|',
  '└': '`',
  '│': '|',
  '─': '-',
}

/** The text with characters that the locale can show. */
export function toLocaleText(text: string, env: System['env']): string {
  return isUnicode(env) ? text : text.replaceAll(/[…’→×–├└│─]/g, (char) => ASCII_FALLBACKS[char] ?? char)
}

/** Wraps text at blanks to that width; a longer word has a line of its own. */
export function wrapText(text: string, width: number): readonly string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + 1 + word.length > width) lines.push(word)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}

/** Lines with commands are never wrapped: they are for copying. */
const UNWRAPPED_LINE = /^ *(?:made by|undo|do:|fix:|pipework) /

/** Wraps lines to the terminal's width, between words; continuation lines are indented to the text, not the margin. */
export function wrapToTerminal(text: string, { columns }: Pick<Terminal, 'columns'>): string {
  if (columns === undefined) return text
  return text
    .split('\n')
    .flatMap((line) => (line.length <= columns || UNWRAPPED_LINE.test(line) ? [line] : wrapLine(line, columns)))
    .join('\n')
}

/** The margin before the text: a branch of a tree, a key before its value, or blanks. */
const MARGIN = /^(?:[├└|`][─-] | {2}\S+(?: \S+)? {2,}| *)/

function wrapLine(line: string, columns: number): readonly string[] {
  const [margin = ''] = MARGIN.exec(line) ?? []
  const under = /^[├└|`]/.test(margin) ? `${margin.startsWith('├') ? '│' : margin.startsWith('|') ? '|' : ' '}    ` : ''
  const hanging = margin.trim() === '' ? margin.length + 2 : margin.length
  const indent = under || ' '.repeat(hanging <= columns / 2 ? hanging : 2)
  const lines = wrapText(line.slice(margin.length), columns - Math.max(indent.length, margin.length))
  return lines.map((it, index) => `${index === 0 ? margin : indent}${it.trim()}`)
}
