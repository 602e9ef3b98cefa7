import { dirname } from 'node:path'

/** Where a command runs: in the network namespace pipework was started in, or in the guest's. */
export type Place = 'host' | 'guest'

/** Stands for the name of the guest's pinned namespace, which is not known before the run. */
export const guestNetns = Symbol('guestNetns')

/** Stands for the namespace that pipework was started in: its own process names it. */
export const hostNetns = Symbol('hostNetns')

/** Stands for an empty word, which takes an alias away. */
export const nothing = Symbol('nothing')

type Placeholder = typeof guestNetns | typeof hostNetns | typeof nothing

export type Word = string | Placeholder

/** One `ip` command line; neighbours in one place go to the kernel as one `ip -batch`. */
export interface IpCommand {
  readonly kind: 'ip'
  readonly in: Place
  readonly words: readonly Word[]
  /** A directory that must be empty or absent, else the command is skipped: a bridge in use is not deleted. */
  readonly onlyIfEmpty?: string
}

/** A change made by another program than `ip`. */
export interface RunCommand {
  readonly kind: 'run'
  readonly in: Place
  readonly argv: readonly Word[]
  /** True for a script of ours, which says next to nothing, and has an environment of its own. */
  readonly isOurs?: true
  /** What it reads on standard input, without the last newline. */
  readonly input?: string
  /** It is skipped unless this program answers exactly so: what others use by now is not taken away. */
  readonly onlyIf?: { readonly argv: readonly string[]; readonly says: string }
  /** What it says on standard error when it has failed with an exit status of 0. */
  readonly failsIf?: string
}

/** A small file of the host, written or removed: what no link can hold. */
export interface FileCommand {
  readonly kind: 'file'
  readonly in: 'host'
  readonly path: string
  /** Absent to remove the file. */
  readonly text?: string
  /** Who may read it beside root. */
  readonly readers?: 'everybody'
  /** Whether it is a program. */
  readonly isProgram?: true
}

/** A question that changes nothing; neighbouring questions are asked side by side. */
export interface AskCommand {
  readonly kind: 'ask'
  readonly in: Place
  readonly argv: readonly string[]
  /** While the answer contains this word, ask again. */
  readonly againWhile?: string
  /** Until the answer contains this word, ask again. */
  readonly againUntil?: string
  /** An answer that contains this word is a refusal; so is a non-zero exit status. */
  readonly refusedIf?: string
  /** The exit status of a program that was stopped before it had asked: on a busy machine. It is started again. */
  readonly unaskedIf?: number
  /** How long to go on asking, in seconds. */
  readonly limit: number
}

/** Something about a DHCP lease, done in this very process; the words are how a script calls pipework for the same. */
export interface LeaseCommand {
  readonly kind: 'lease'
  readonly in: 'host'
  readonly argv: readonly string[]
}

export type Command = IpCommand | RunCommand | FileCommand | AskCommand | LeaseCommand

/** What a command answered. */
export interface Result {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** One step of a plan: why, the command, and what takes it back. */
export interface Step {
  readonly why: string
  readonly command: Command
  /** Absent when there is nothing to take back, or when it goes with the link. */
  readonly undo?: Command | readonly Command[]
  /** What a failure means to the user: the message, and what to do about it. */
  readonly explain?: (result: Result) => { readonly message: string; readonly hint?: string } | undefined
}

export type Plan = readonly Step[]

type Part = string | number | Placeholder | readonly string[] | false | undefined

/**
 * White space would end a word, a newline the command; quotes, backslash and # mean something to `ip -batch`.
 * Values are validated long before; this is the last door, and reaching it is a bug.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: what they are not to be
const UNSAFE = /[\s"'#\\\x00-\x1f\x7f-\x9f]|^$/

/** Whether the text can be a word of a batch line: what stands in a guest may have been named so that it cannot. */
export function isWord(text: string): boolean {
  return !UNSAFE.test(text)
}

function checkWord(word: string): string {
  if (!isWord(word)) throw new TypeError(`unsafe word in an ip command: ${JSON.stringify(word)}`)
  return word
}

function toWords(strings: TemplateStringsArray, parts: readonly Part[]): readonly Word[] {
  const words: Word[] = []
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
        checkWord(word)
        if (Array.isArray(part)) words.push(word)
        else open += word
      }
  })
  close()
  return words
}

/** A line of `ip -batch` as its words, which only `writeBatch` puts together. */
export type BatchLine = readonly string[]

/** A line that asks: batchLine`link show dev ${name}`. Values become one word each, arrays several. */
export function batchLine(strings: TemplateStringsArray, ...parts: readonly Exclude<Part, Placeholder>[]): BatchLine {
  return toWords(strings, parts).filter((word) => typeof word === 'string')
}

/** What `ip -batch` reads: here every line is written, so no word of any becomes more than itself. */
export function writeBatch(lines: readonly BatchLine[]): string {
  return lines.map((words) => `${words.map((word) => (word === '' ? '""' : checkWord(word))).join(' ')}\n`).join('')
}

/** `ip` in the host's namespace: ip`link set dev ${name} up`. Values become one word each, arrays several. */
export function ip(strings: TemplateStringsArray, ...parts: readonly Part[]): IpCommand {
  return { kind: 'ip', in: 'host', words: toWords(strings, parts) }
}

/** `ip` in the guest's namespace. */
export function ipInGuest(strings: TemplateStringsArray, ...parts: readonly Part[]): IpCommand {
  return { kind: 'ip', in: 'guest', words: toWords(strings, parts) }
}

/**
 * Sets sysctls in the guest's namespace, the keys with slashes: a dot may belong to an interface's name.
 * `ip netns exec` makes it a line of the same batch as the link's creation.
 */
export function sysctlInGuest(settings: Readonly<Record<string, string>>): IpCommand {
  const words = Object.entries(settings).map(([key, value]) => `${key}=${value}`)
  return ip`netns exec ${guestNetns} sysctl -qw ${words}`
}

/** The steps whose condition holds: rows read `condition && step`. */
export function rows(...table: readonly (Step | readonly Step[] | false | undefined)[]): Plan {
  return table.flatMap((row) => (row === false || row === undefined ? [] : row))
}

/** The environment of our own scripts, and of what they start; the last one tells them so. */
export const OWN_ENVIRONMENT = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', PIPEWORK: 'alone' } as const

/** One word as a POSIX shell reads it back. */
export function quote(word: string): string {
  return /^[\w./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}

/** How the words that are known at the run only read in shell. */
const SHELL: Readonly<Record<Placeholder, string>> = { [guestNetns]: '"$netns"', [hostNetns]: '$$', [nothing]: '""' }

function toShellWord(word: Word): string {
  return typeof word === 'symbol' ? SHELL[word] : quote(word)
}

function toChmod({ path, readers, isProgram }: FileCommand): string {
  if (readers === undefined && isProgram === undefined) return ''
  return ` && chmod ${isProgram ? '700' : '644'} ${quote(path)}`
}

function lineOf(command: Command): string {
  if (command.kind === 'file')
    return command.text === undefined
      ? `rm -f ${quote(command.path)}`
      : `mkdir -p ${quote(dirname(command.path))} && printf '%s\\n' ${quote(command.text)} > ${quote(command.path)}${toChmod(command)}`
  if (command.kind !== 'ip') {
    const argv = command.argv.map(toShellWord).join(' ')
    const line = command.in === 'guest' ? `nsenter --net="/run/netns/$netns" ${argv}` : argv
    return command.kind === 'run' && command.input !== undefined ? `${line} <<'END'\n${command.input}\nEND` : line
  }
  const words = command.words.map(toShellWord)
  return ['ip', ...(command.in === 'guest' ? ['-n', '"$netns"'] : []), ...words].join(' ')
}

/** What the words that are known at the run only stand for: the guest's pinned namespace, and our own process. */
export interface Names {
  readonly netns: string
  readonly pid: number
}

function fillIn(words: readonly Word[], { netns, pid }: Names): readonly string[] {
  const names: Readonly<Record<Placeholder, string>> = { [guestNetns]: netns, [hostNetns]: `${pid}`, [nothing]: '' }
  return words.map((word) => (typeof word === 'symbol' ? names[word] : word))
}

/** An `ip` command as a line of its batch. */
export function toLine({ words }: IpCommand, names: Names): BatchLine {
  return fillIn(words, names)
}

/** The command as its words for the kernel. */
export function toArgv(command: Exclude<Command, FileCommand>, names: Names): readonly string[] {
  if (command.kind !== 'ip') {
    const argv = fillIn(command.argv, names)
    return command.in === 'guest' ? ['nsenter', `--net=/run/netns/${names.netns}`, ...argv] : argv
  }
  return ['ip', ...(command.in === 'guest' ? ['-n', names.netns] : []), ...fillIn(command.words, names)]
}

function guardRun({ onlyIf, failsIf }: RunCommand, line: string): string {
  if (onlyIf !== undefined)
    return `[ "$(${onlyIf.argv.map(quote).join(' ')} 2>/dev/null)" != ${quote(onlyIf.says)} ] || ${line}`
  if (failsIf === undefined) return line
  return [
    `said=$(${line} 2>&1) || { printf '%s\\n' "$said" >&2; exit 1; }`,
    `case $said in *${quote(failsIf)}*) printf '%s\\n' "$said" >&2; exit 1 ;; esac`,
  ].join('\n')
}

/** The command as a line of POSIX shell, in which $netns names the guest's namespace. */
export function toShell(command: Command): string {
  const line = lineOf(command)
  if (command.kind === 'ip' && command.onlyIfEmpty !== undefined)
    return `[ -n "$(ls -A ${quote(command.onlyIfEmpty)} 2>/dev/null)" ] || ${line}`
  if (command.kind === 'run') return guardRun(command, line)
  if (command.kind !== 'ask') return line
  const { againWhile, againUntil, refusedIf, unaskedIf, limit } = command
  if (unaskedIf !== undefined)
    return `tries=${limit}; until ${line}; do [ $? -eq ${unaskedIf} ] && [ "$((tries -= 1))" -gt 0 ] || exit 1; done`
  if (againWhile === undefined && againUntil === undefined && refusedIf === undefined) return line
  const again = '[ "$((tries -= 1))" -gt 0 ] || exit 1; sleep 0.1'
  return [
    `tries=${limit * 10}`,
    `while answer=$(${line}); do`,
    '  case $answer in',
    ...(refusedIf === undefined ? [] : [`    *${refusedIf}*) printf '%s\\n' "$answer" >&2; exit 1 ;;`]),
    ...(againWhile === undefined ? [] : [`    *${againWhile}*) ${again} ;;`]),
    ...(againUntil === undefined ? ['    *) break ;;'] : [`    *${againUntil}*) break ;;`, `    *) ${again} ;;`]),
    '  esac',
    'done',
  ].join('\n')
}
