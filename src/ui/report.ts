import { addressBits, ipFamily, isOnLink } from '../model/address'
import { ExitCode, PipeworkError } from '../model/errors'
import { type AttachmentReport, escapeControls } from '../model/report'
import { formatGuest, formatHostif } from '../state/record'

/** A table with aligned columns, two spaces apart, as in docker. */
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

/** Formats an error: the message, the hint indented below, and each leftover with the command that removes it. */
export function formatError(error: unknown): string {
  if (!(error instanceof PipeworkError)) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
    return `pipework: this is a bug, please report it\n${stack}\n`
  }
  const hint = error.hint === undefined ? [] : error.hint.split('\n').map((line) => `  ${line}`)
  const left = error.leftovers.flatMap(({ what, command }) => [`  left: ${what}; remove it with:`, `    ${command}`])
  return `${escapeControls([`pipework: ${error.message}`, ...hint, ...left].join('\n'))}\n`
}

/** The error as a JSON document. */
export function errorToJson(error: unknown): object {
  if (!(error instanceof PipeworkError))
    return { ok: false, exitCode: ExitCode.failed, error: { message: String(error), bug: true } }
  const { message, hint, exitCode, leftovers } = error
  return { ok: false, exitCode, error: { message, hint }, leftovers }
}

/** Describes an attachment in one line. */
export function formatAttachment(attachment: AttachmentReport): string {
  const { guest, ifname, addresses } = attachment
  return `${formatGuest(guest)} has ${ifname} on ${formatHostif(attachment)}${addresses === null || addresses.length === 0 ? ', without an address' : ` with ${addresses.map(formatWithGateway).join(' and ')}`}`
}

function formatWithGateway(address: string): string {
  const [cidr = '', gateway] = address.split('@')
  if (gateway === undefined) return cidr
  const [ip = '', bits] = cidr.split('/')
  const own = { family: ipFamily(ip) === 6 ? 6 : 4, ip, prefix: Number(bits) } as const
  // A single address has no subnet, and 169.254.1.1 is the host itself; any other gateway outside the subnet may be a
  // typing error.
  const isFar = !gateway.startsWith('169.254.') && own.prefix < addressBits(own.family) && !isOnLink(own, gateway)
  return `${cidr} (gateway ${gateway}${isFar ? ', outside that subnet' : ''})`
}

/** The message of any thrown value. */
export function toErrorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
