import { type Family, formatAddress, isOnLink } from '../model/address'
import { ExitCode, PipeworkError } from '../model/errors'
import { addressBits, isIP } from '../model/ip'
import { type Plan, shellQuote, toShell } from '../plan/step'
import type { Guest } from '../runtimes/find'
import { formatGuest, formatHostif, type LinkRecord } from '../state/record'

/** A lease as `ls` and the attach tell of it. */
export interface LeaseReport {
  readonly family: Family
  readonly client: string
  /** Null where the server has given nothing, or taken it back. */
  readonly address: string | null
  readonly router: string | null
  readonly server: string | null
  readonly dns: readonly string[]
  /** When it runs out, in UTC; null for never. */
  readonly expires: string | null
  /** `kept`: renewed in time. `once`: nobody renews it. `lost`: asked for again. `ended`: it has no client any more. */
  readonly state: 'kept' | 'once' | 'lost' | 'ended'
}

/** An attachment as it is now: what `ls` shows, and what an attach has made true. */
export interface AttachmentReport {
  readonly guest: { readonly kind: string; readonly name: string; readonly id?: string }
  /** The interface's name in the guest. */
  readonly ifname: string
  /** `ip/prefix[@gateway]`, or null when the record had no room for them. */
  readonly addresses: readonly string[] | null
  /** The host interface it hangs on. */
  readonly hostif: string
  /** What that was to be connected to: a NIC, a VXLAN. */
  readonly uplink?: string
  /** The other words that asked for it. */
  readonly words: readonly string[]
  /** The name of the link's end in the host, or null when it has none. */
  readonly hostEnd: string | null
  readonly mtu: number
  /** `stray`: a NIC that was moved into a guest, and fell back into the host when that ended. */
  readonly state: 'up' | 'down' | 'stray'
  /** The words that say where other addresses come from. */
  readonly sources?: readonly string[]
  /** What DHCP servers gave; present where they are asked. */
  readonly leases?: readonly LeaseReport[]
  /** What this host should have for it and has not: rules, addresses, routes, sysctls; the same command mends it. */
  readonly missing?: readonly string[]
  /** What a rule of somebody else's does to what this host is to forward for it. */
  readonly firewall?: Warning
}

/** A table with aligned columns, two spaces apart, in docker's manner. */
export function formatTable(header: readonly string[], lines: readonly (readonly string[])[]): string {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...lines.map((line) => line[column]?.length ?? 0)),
  )
  const format = (line: readonly string[]) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  return [header, ...lines].map((line) => `${format(line)}\n`).join('')
}

/** How an error reads: the message, the hint indented below, and what is left with the command that removes it. */
export function formatError(error: unknown): string {
  if (!(error instanceof PipeworkError)) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
    return `pipework: this is a bug, please report it\n${stack}\n`
  }
  const hint = error.hint === undefined ? [] : error.hint.split('\n').map((line) => `  ${line}`)
  const left = error.leftovers.flatMap(({ what, command }) => [`  left: ${what}; take it back with:`, `    ${command}`])
  return `${[`pipework: ${error.message}`, ...hint, ...left].join('\n').replaceAll(CONTROL_CHARS, escapeControl)}\n`
}

/** Something that is true and should not be, in one line: with the command that mends it. */
export interface Warning {
  readonly message: string
  readonly command?: string
}

/** How a warning reads: in one line. */
export function formatWarning({ message, command }: Warning): string {
  const line = `pipework: warning: ${message}${command === undefined ? '' : `; mend it: ${command}`}`
  return `${line.replaceAll(CONTROL_CHARS, escapeControl)}\n`
}

/** A text that a terminal shows and does not obey. */
export function escapeControls(text: string): string {
  return text.replaceAll(CONTROL_CHARS, escapeControl)
}

// A word that is quoted in a message may come from anywhere, and a terminal obeys what stands in it.
const CONTROL_CHARS = /(?!\n)\p{Cc}/gu
const escapeControl = (char: string) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`

/** The same as one JSON document. */
export function errorToJson(error: unknown): object {
  if (!(error instanceof PipeworkError))
    return { ok: false, exitCode: ExitCode.failed, error: { message: String(error), bug: true } }
  const { message, hint, exitCode, leftovers } = error
  return { ok: false, exitCode, error: { message, hint }, leftovers }
}

/** What a script is written from: the plan, its guest, the words that asked for it, and remarks for its head. */
export interface ScriptInput {
  readonly plan: Plan
  /** Absent when no step runs inside one. */
  readonly guest?: Guest
  readonly words: readonly string[]
  readonly notes?: readonly string[]
}

/** A plan as a POSIX shell script that does the same, runnable as it is. */
export function formatScript({ plan, guest, words, notes = [] }: ScriptInput): string {
  const lines = [
    '#!/bin/sh',
    // Behind a newline, as the text of U:TEXT may have, it would be a command.
    `# ${['pipework', ...words].map(shellQuote).join(' ').replaceAll('\n', '\n# ')}`,
    ...notes.map((note) => `# ${note}`),
    'set -eu',
    ...(plan.length === 0 ? ['# nothing to do: it is so already'] : formatScriptBody(plan, guest)),
  ]
  return `${lines.join('\n')}\n`
}

function formatScriptBody(plan: Plan, guest: Guest | undefined): readonly string[] {
  return [...(guest === undefined ? [] : formatNetnsPreamble(guest)), ...plan.flatMap(formatStepLines)]
}

/** The lines that give the guest's namespace the name by which a script's commands call it. */
export function formatNetnsPreamble({ kind, name, nsPath }: Guest): readonly string[] {
  return [
    '',
    `# give the network namespace of ${kind}:${name} a name for ip -n`,
    'netns=pipework-script-$$',
    'mkdir -p /run/netns',
    `ln -s ${shellQuote(nsPath)} "/run/netns/$netns"`,
    'trap \'rm -f "/run/netns/$netns"\' EXIT',
  ]
}

function formatStepLines({ description, command }: Plan[number]): readonly string[] {
  return ['', `# ${description}`, toShell(command)]
}

/** A step as --verbose shows it: the reason, then the command. */
export function formatStep(step: Plan[number]): string {
  return `${formatStepLines(step).slice(1).join('\n')}\n`
}

/** What an attachment is, in one line. */
export function formatAttachment(attachment: AttachmentReport): string {
  const { guest, ifname, addresses } = attachment
  return `${formatGuest(guest)} has ${ifname} on ${formatHostif(attachment)}${addresses === null || addresses.length === 0 ? ', without an address' : ` with ${addresses.map(formatWithGateway).join(' and ')}`}`
}

function formatWithGateway(address: string): string {
  const [cidr = '', gateway] = address.split('@')
  if (gateway === undefined) return cidr
  const [ip = '', bits] = cidr.split('/')
  const own = { family: isIP(ip) === 6 ? 6 : 4, ip, prefix: Number(bits) } as const
  // A single address has no subnet, and 169.254.1.1 is the host itself; any other may be a typing error.
  const isFar = !gateway.startsWith('169.254.') && own.prefix < addressBits(own.family) && !isOnLink(own, gateway)
  return `${cidr} (gateway ${gateway}${isFar ? ', outside that subnet' : ''})`
}

/** A record and the state of its link, joined. */
export function toAttachmentReport(
  record: LinkRecord,
  link: { mtu: number; up: boolean } | undefined,
  hostEnd?: string,
): AttachmentReport {
  return {
    guest: record.guest,
    ifname: record.ifname,
    addresses: record.addresses?.map(formatAddress) ?? null,
    hostif: record.hostif,
    uplink: record.uplink,
    sources: record.sources,
    words: record.words,
    hostEnd: hostEnd ?? null,
    mtu: link?.mtu ?? 0,
    state: record.nic !== undefined && hostEnd !== undefined ? 'stray' : link?.up ? 'up' : 'down',
  }
}
