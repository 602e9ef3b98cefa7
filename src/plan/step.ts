import { dirname } from 'node:path'
import { shellQuote } from '../model/shell'

/** Where a command runs: in the network namespace pipework was started in, or in the guest's. */
export type CommandNamespace = 'host' | 'guest'

/** Stands for the name of the guest's pinned namespace, which is not known before the run. */
export const guestNetns = Symbol('guestNetns')

/** Stands for the namespace that pipework was started in: its own process names it. */
export const hostNetns = Symbol('hostNetns')

/** Stands for an empty word, which takes an alias away. */
export const emptyWord = Symbol('nothing')

type Placeholder = typeof guestNetns | typeof hostNetns | typeof emptyWord

export type CommandWord = string | Placeholder

/** One `ip` command line; neighbours in one place go to the kernel as one `ip -batch`. */
export interface IpCommand {
  readonly kind: 'ip'
  readonly in: CommandNamespace
  readonly words: readonly CommandWord[]
  /** A directory that must be empty or absent, else the command is skipped: a bridge in use is not deleted. */
  readonly onlyIfEmpty?: string
}

/** A change made by another program than `ip`. */
export interface RunCommand {
  readonly kind: 'run'
  readonly in: CommandNamespace
  readonly argv: readonly CommandWord[]
  /** True for a script of ours, which says next to nothing, and has an environment of its own. */
  readonly cleanEnv?: true
  /** What it reads on standard input, without the last newline. */
  readonly input?: string
  /** It is skipped unless this program answers exactly so: what others use by now is not taken away. */
  readonly onlyIf?: { readonly argv: readonly string[]; readonly equals: string }
  /** What it says on standard error when it has failed with an exit status of 0. */
  readonly failIfStderr?: string
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
  readonly isExecutable?: true
}

/** A question that changes nothing; neighbouring questions are asked side by side. */
export interface QueryCommand {
  readonly kind: 'ask'
  readonly in: CommandNamespace
  readonly argv: readonly string[]
  /** While the answer contains this word, ask again. */
  readonly retryWhile?: string
  /** Until the answer contains this word, ask again. */
  readonly retryUntil?: string
  /** An answer that contains this word is a refusal; so is a non-zero exit status. */
  readonly failIf?: string
  /** The exit status of a program that was stopped before it had asked: on a busy machine. It is started again. */
  readonly retryOnExit?: number
  /** How long to go on asking, in seconds. */
  readonly timeout: number
}

/** Something about a DHCP lease, done in this very process; the words are how a script calls pipework for the same. */
export interface LeaseCommand {
  readonly kind: 'lease'
  readonly in: 'host'
  readonly argv: readonly string[]
}

export type Command = IpCommand | RunCommand | FileCommand | QueryCommand | LeaseCommand

/** What a command answered. */
export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** One step of a plan: why, the command, and what takes it back. */
export interface Step {
  readonly description: string
  readonly command: Command
  /** Absent when there is nothing to take back, or when it goes with the link. */
  readonly undo?: Command | readonly Command[]
  /** What a failure means to the user: the message, and what to do about it. */
  readonly explainFailure?: (result: CommandResult) => { readonly message: string; readonly hint?: string } | undefined
}

export type Plan = readonly Step[]

type TemplatePart = string | number | Placeholder | readonly string[] | false | undefined

/**
 * White space would end a word, a newline the command; quotes, backslash and # mean something to `ip -batch`.
 * Values are validated long before; this is the last door, and reaching it is a bug.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: what they are not to be
const UNSAFE_WORD = /[\s"'#\\\x00-\x1f\x7f-\x9f]|^$/

/** Whether the text can be a word of a batch line: what stands in a guest may have been named so that it cannot. */
export function isSafeWord(text: string): boolean {
  return !UNSAFE_WORD.test(text)
}

function validateWord(word: string): string {
  if (!isSafeWord(word)) throw new TypeError(`unsafe word in an ip command: ${JSON.stringify(word)}`)
  return word
}

function templateToWords(strings: TemplateStringsArray, parts: readonly TemplatePart[]): readonly CommandWord[] {
  const words: CommandWord[] = []
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
        validateWord(word)
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
export function batchLine(
  strings: TemplateStringsArray,
  ...parts: readonly Exclude<TemplatePart, Placeholder>[]
): BatchLine {
  return templateToWords(strings, parts).filter((word) => typeof word === 'string')
}

/** What `ip -batch` reads: here every line is written, so no word of any becomes more than itself. */
export function formatBatch(lines: readonly BatchLine[]): string {
  return lines.map((words) => `${words.map((word) => (word === '' ? '""' : validateWord(word))).join(' ')}\n`).join('')
}

/** `ip` in the host's namespace: ip`link set dev ${name} up`. Values become one word each, arrays several. */
export function ip(strings: TemplateStringsArray, ...parts: readonly TemplatePart[]): IpCommand {
  return { kind: 'ip', in: 'host', words: templateToWords(strings, parts) }
}

/** `ip` in the guest's namespace. */
export function ipInGuest(strings: TemplateStringsArray, ...parts: readonly TemplatePart[]): IpCommand {
  return { kind: 'ip', in: 'guest', words: templateToWords(strings, parts) }
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
export function planSteps(...table: readonly (Step | readonly Step[] | false | undefined)[]): Plan {
  return table.flatMap((row) => (row === false || row === undefined ? [] : row))
}

/** The environment of our own scripts, and of what they start; the last one tells them so. */
export const SCRIPT_ENV = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', PIPEWORK: 'alone' } as const

/** How the words that are known at the run only read in shell. */
const SHELL_PLACEHOLDERS: Readonly<Record<Placeholder, string>> = {
  [guestNetns]: '"$netns"',
  [hostNetns]: '$$',
  [emptyWord]: '""',
}

function toShellWord(word: CommandWord): string {
  return typeof word === 'symbol' ? SHELL_PLACEHOLDERS[word] : shellQuote(word)
}

function formatChmod({ path, readers, isExecutable }: FileCommand): string {
  if (readers === undefined && isExecutable === undefined) return ''
  return ` && chmod ${isExecutable ? '700' : '644'} ${shellQuote(path)}`
}

function formatCommand(command: Command): string {
  if (command.kind === 'file')
    return command.text === undefined
      ? `rm -f ${shellQuote(command.path)}`
      : `mkdir -p ${shellQuote(dirname(command.path))} && printf '%s\\n' ${shellQuote(command.text)} > ${shellQuote(command.path)}${formatChmod(command)}`
  if (command.kind !== 'ip') {
    const argv = command.argv.map(toShellWord).join(' ')
    const line = command.in === 'guest' ? `nsenter --net="/run/netns/$netns" ${argv}` : argv
    return command.kind === 'run' && command.input !== undefined ? `${line} <<'END'\n${command.input}\nEND` : line
  }
  const words = command.words.map(toShellWord)
  return ['ip', ...(command.in === 'guest' ? ['-n', '"$netns"'] : []), ...words].join(' ')
}

/** What the words that are known at the run only stand for: the guest's pinned namespace, and our own process. */
export interface PlaceholderValues {
  readonly netns: string
  readonly pid: number
}

function fillPlaceholders(words: readonly CommandWord[], { netns, pid }: PlaceholderValues): readonly string[] {
  const names: Readonly<Record<Placeholder, string>> = { [guestNetns]: netns, [hostNetns]: `${pid}`, [emptyWord]: '' }
  return words.map((word) => (typeof word === 'symbol' ? names[word] : word))
}

/** An `ip` command as a line of its batch. */
export function toBatchLine({ words }: IpCommand, names: PlaceholderValues): BatchLine {
  return fillPlaceholders(words, names)
}

/** The command as its words for the kernel. */
export function toCommandArgv(command: Exclude<Command, FileCommand>, names: PlaceholderValues): readonly string[] {
  if (command.kind !== 'ip') {
    const argv = fillPlaceholders(command.argv, names)
    return command.in === 'guest' ? ['nsenter', `--net=/run/netns/${names.netns}`, ...argv] : argv
  }
  return ['ip', ...(command.in === 'guest' ? ['-n', names.netns] : []), ...fillPlaceholders(command.words, names)]
}

function formatRunConditions({ onlyIf, failIfStderr }: RunCommand, line: string): string {
  if (onlyIf !== undefined)
    return `[ "$(${onlyIf.argv.map(shellQuote).join(' ')} 2>/dev/null)" != ${shellQuote(onlyIf.equals)} ] || ${line}`
  if (failIfStderr === undefined) return line
  return [
    `said=$(${line} 2>&1) || { printf '%s\\n' "$said" >&2; exit 1; }`,
    `case $said in *${shellQuote(failIfStderr)}*) printf '%s\\n' "$said" >&2; exit 1 ;; esac`,
  ].join('\n')
}

/** The command as a line of POSIX shell, in which $netns names the guest's namespace. */
export function toShell(command: Command): string {
  const line = formatCommand(command)
  if (command.kind === 'ip' && command.onlyIfEmpty !== undefined)
    return `[ -n "$(ls -A ${shellQuote(command.onlyIfEmpty)} 2>/dev/null)" ] || ${line}`
  if (command.kind === 'run') return formatRunConditions(command, line)
  if (command.kind !== 'ask') return line
  const { retryWhile, retryUntil, failIf, retryOnExit, timeout } = command
  if (retryOnExit !== undefined)
    return `tries=${timeout}; until ${line}; do [ $? -eq ${retryOnExit} ] && [ "$((tries -= 1))" -gt 0 ] || exit 1; done`
  if (retryWhile === undefined && retryUntil === undefined && failIf === undefined) return line
  const again = '[ "$((tries -= 1))" -gt 0 ] || exit 1; sleep 0.1'
  return [
    `tries=${timeout * 10}`,
    `while answer=$(${line}); do`,
    '  case $answer in',
    ...(failIf === undefined ? [] : [`    *${failIf}*) printf '%s\\n' "$answer" >&2; exit 1 ;;`]),
    ...(retryWhile === undefined ? [] : [`    *${retryWhile}*) ${again} ;;`]),
    ...(retryUntil === undefined ? ['    *) break ;;'] : [`    *${retryUntil}*) break ;;`, `    *) ${again} ;;`]),
    '  esac',
    'done',
  ].join('\n')
}
