import type { System } from '../../system/types'

/** How much an entry matters: the priorities of syslog(3) that are used. */
const SYSLOG_PRIORITY = { error: 3, warning: 4, notice: 5, info: 6 } as const

export type LogLevel = keyof typeof SYSLOG_PRIORITY

/** One line of the log. */
export interface LogEntry {
  readonly level: LogLevel
  /** The container it is about, as one types it; or the engine, or the file. */
  readonly about?: string
  readonly text: string
  /** What to do about it. */
  readonly hint?: string | undefined
  /** What programs read beside that. */
  readonly details?: Readonly<Record<string, unknown>>
}

export type Logger = (entry: LogEntry) => void

/** Nothing that comes from a label or from a program may begin a line of its own, or speak to the terminal. */
function toOneLine(text: string): string {
  return text
    .trim()
    .replaceAll(/\s*\n\s*/g, '; ')
    .replaceAll(/\p{Cc}/gu, '?')
}

/**
 * A line for each entry: JSON with --json, else words. With a time in front, but in systemd's journal, which has its
 * own, and where a number in front says how much the line matters (sd-daemon(3)).
 */
export function createLogger(system: System, form: 'json' | 'text', write: (line: string) => void): Logger {
  // Whoever is started from a service inherits the variable; the stream itself is told by its number (systemd.exec(5)).
  const journal = system.env.JOURNAL_STREAM?.split(':')[1]
  const isJournal = journal !== undefined && `${system.inode('/proc/self/fd/1')}` === journal
  return ({ level, about, text, hint, details }) => {
    const time = new Date(system.now()).toISOString()
    if (form === 'json') {
      const entry = { time, level, about, text: toOneLine(text), hint, ...details }
      write(`${JSON.stringify(entry)}\n`)
      return
    }
    const line = toOneLine([about === undefined ? text : `${about}: ${text}`, hint ?? ''].join('\n'))
    write(isJournal ? `<${SYSLOG_PRIORITY[level]}>${line}\n` : `${time} ${line}\n`)
  }
}
