import type { System } from '../../system/types'

/** The priorities of syslog(3) that the log uses. */
const SYSLOG_PRIORITY = { error: 3, warning: 4, notice: 5, info: 6 } as const

export type LogLevel = keyof typeof SYSLOG_PRIORITY

/** One line of the log. */
export interface LogEntry {
  readonly level: LogLevel
  /** The container as the user types it, or the engine, or the file. */
  readonly about?: string
  readonly text: string
  /** What the user can do about it. */
  readonly hint?: string | undefined
  /** Additional fields for programs. */
  readonly details?: Readonly<Record<string, unknown>>
}

export type Logger = (entry: LogEntry) => void

/** Text of labels and programs must neither start a new log line nor send terminal escapes. */
function toOneLine(text: string): string {
  return text
    .trim()
    .replaceAll(/\s*\n\s*/g, '; ')
    .replaceAll(/\p{Cc}/gu, '?')
}

/**
 * Writes one line for each entry: JSON with --json, else text. Text has a timestamp; in systemd's journal, which adds
 * its own, it has a priority prefix instead (sd-daemon(3)).
 */
export function createLogger(system: System, form: 'json' | 'text', write: (line: string) => void): Logger {
  // Child processes of a service inherit the variable, so the inode of stdout must match as well (systemd.exec(5)).
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
