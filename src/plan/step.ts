import { type BatchLine, type TemplatePart, templateToWords } from '../system/batch'
import type { CommandResult } from '../system/types'

/** Where a command runs: in the network namespace pipework was started in, or in the guest's. */
export type CommandNamespace = 'host' | 'guest'

/** Placeholder for the name of the guest's held namespace, which is known at run time. */
export const guestNetns = Symbol('guestNetns')

/** Placeholder for pipework's own namespace, which its PID identifies. */
export const hostNetns = Symbol('hostNetns')

/** Placeholder for an empty word, which removes an alias. */
export const emptyWord = Symbol('nothing')

export type Placeholder = typeof guestNetns | typeof hostNetns | typeof emptyWord

export type CommandWord = string | Placeholder

/** One `ip` command line; adjacent ones in the same namespace run as one `ip -batch`. */
export interface IpCommand {
  readonly kind: 'ip'
  readonly in: CommandNamespace
  readonly words: readonly CommandWord[]
  /** Skips the command unless this directory is empty or absent: a bridge in use is not deleted. */
  readonly onlyIfEmpty?: string
}

/** A change made by a program other than `ip`. */
export interface RunCommand {
  readonly kind: 'run'
  readonly in: CommandNamespace
  readonly argv: readonly CommandWord[]
  /** True for pipework's own scripts: they get a clean environment, and their output is not read. */
  readonly cleanEnv?: true
  /** Its standard input, without the last newline. */
  readonly input?: string
  /** Skips the command unless this program prints exactly this text: nothing that others use by now is removed. */
  readonly onlyIf?: { readonly argv: readonly string[]; readonly equals: string }
  /** Standard error that means failure, even with exit status 0. */
  readonly failIfStderr?: string
}

/** A small host file, written or removed, for state that no link can hold. */
export interface FileCommand {
  readonly kind: 'file'
  readonly in: 'host'
  readonly path: string
  /** Absent to remove the file. */
  readonly text?: string
  /** The readers besides root. */
  readonly readers?: 'everybody'
  readonly isExecutable?: true
}

/** A query that changes nothing; adjacent queries run in parallel. */
export interface QueryCommand {
  readonly kind: 'ask'
  readonly in: CommandNamespace
  readonly argv: readonly string[]
  /** Repeats the query while the output contains this text. */
  readonly retryWhile?: string
  /** Repeats the query until the output contains this text. */
  readonly retryUntil?: string
  /** Fails when the output contains this text, or on a non-zero exit status. */
  readonly failIf?: string
  /** Repeats the query on this exit status: on a busy machine the program was stopped before it sent anything. */
  readonly retryOnExit?: number
  /** Seconds after which it stops repeating. */
  readonly timeout: number
}

/** A DHCP lease action that runs in this process; the words are the equivalent command in a script. */
export interface LeaseCommand {
  readonly kind: 'lease'
  readonly in: 'host'
  readonly argv: readonly string[]
}

export type Command = IpCommand | RunCommand | FileCommand | QueryCommand | LeaseCommand

/** One step of a plan: its description, the command, and the undo. */
export interface Step {
  readonly description: string
  readonly command: Command
  /** Absent when there is nothing to undo, or when it disappears with the link. */
  readonly undo?: Command | readonly Command[]
  /** Explains a failure to the user: a message and a hint. */
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
 * Sets sysctls in the guest's namespace. Keys have slashes, because an interface name may contain dots. `ip netns exec`
 * puts it into the same batch as the link's creation.
 */
export function sysctlInGuest(settings: Readonly<Record<string, string>>): IpCommand {
  const words = Object.entries(settings).map(([key, value]) => `${key}=${value}`)
  return ip`netns exec ${guestNetns} sysctl -qw ${words}`
}

/** The steps whose condition holds: rows read `condition && step`. */
export function planSteps(...table: readonly (Step | readonly Step[] | false | undefined)[]): Plan {
  return table.flatMap((row) => (row === false || row === undefined ? [] : row))
}

/** The values of placeholders: the guest's held namespace, and pipework's PID. */
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

/** The command as an argument vector. */
export function toCommandArgv(command: Exclude<Command, FileCommand>, names: PlaceholderValues): readonly string[] {
  if (command.kind !== 'ip') {
    const argv = fillPlaceholders(command.argv, names)
    return command.in === 'guest' ? ['nsenter', `--net=/run/netns/${names.netns}`, ...argv] : argv
  }
  return ['ip', ...(command.in === 'guest' ? ['-n', names.netns] : []), ...fillPlaceholders(command.words, names)]
}
