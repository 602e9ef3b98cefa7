import type { Host } from '../host'

/** Where text is read: how wide that is, and what it can show. */
export interface Screen {
  /** Columns of the terminal; undefined for a pipe or a file, where nothing is cut or wrapped to fit. */
  readonly columns: number | undefined
  /** Characters beyond ASCII are understood. */
  readonly isUnicode: boolean
  /** A heading. */
  bold(text: string): string
}

/** What standard output is. Colour is for a terminal, and for nobody who has set NO_COLOR (no-color.org). */
export function screenOf({ env, columns }: Pick<Host, 'env' | 'columns'>): Screen {
  const width = columns()
  const isPlain = width === undefined || Boolean(env.NO_COLOR) || env.TERM === 'dumb'
  return {
    columns: width,
    isUnicode: isUnicode(env),
    bold: (text) => (isPlain ? text : `\x1b[1m${text}\x1b[0m`),
  }
}

/** Whether the locale has UTF-8 (setlocale(3) says which variable goes first). */
function isUnicode({ LC_ALL, LC_CTYPE, LANG }: Host['env']): boolean {
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '')
}

/** What stands for our own typography where there is none. */
const ASCII: Readonly<Record<string, string>> = {
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

/** The text as the locale can show it. */
export function toLocale(text: string, env: Host['env']): string {
  return isUnicode(env) ? text : text.replaceAll(/[…’→×–├└│─]/g, (char) => ASCII[char] ?? char)
}

/** Breaks text at blanks into lines of that width at most; a word that is longer has a line of its own. */
export function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + 1 + word.length > width) lines.push(word)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}
