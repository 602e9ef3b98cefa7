import { type BatchLine, type TemplatePart, templateToWords } from '../system/batch'
import type { CommandResult } from '../system/types'

/** Where a command runs: in the network namespace pipework was started in, or in the guest's. */
export type CommandNamespace = 'host' | 'guest'

/** Stands for the name of the guest's pinned namespace, which is not known before the run. */
export const guestNetns = Symbol('guestNetns')

/** Stands for the namespace that pipework was started in: its own process names it. */
export const hostNetns = Symbol('hostNetns')

/** Stands for an empty word, which takes an alias away. */
export const emptyWord = Symbol('nothing')

export type Placeholder = typeof guestNetns | typeof hostNetns | typeof emptyWord

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

/** `ip` in the host's namespace: ip`link set dev ${name} up`. Values become one word each, arrays several. */
export function ip(strings: TemplateStringsArray, ...parts: readonly (TemplatePart | Placeholder)[]): IpCommand {
  return { kind: 'ip', in: 'host', words: templateToWords(strings, parts) }
}

/** `ip` in the guest's namespace. */
export function ipInGuest(strings: TemplateStringsArray, ...parts: readonly (TemplatePart | Placeholder)[]): IpCommand {
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
