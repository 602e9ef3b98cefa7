import { type AttachmentReport, escapeControls, type LeaseReport } from '../../model/report'
import { formatGuest, formatHostif } from '../../state/record'
import { formatTable } from '../report'
import type { TemplateFields } from './template'

/** A column of `ls`: its title, and its lines for an attachment. */
interface ListColumn {
  readonly title: string
  cells(attachment: AttachmentReport): readonly string[]
}

const joinedAddressColumn: ListColumn = {
  title: 'ADDRESS',
  cells: ({ addresses }) => [addresses === null ? '?' : addresses.join(',') || '-'],
}
const stackedAddressColumn: ListColumn = {
  title: 'ADDRESS',
  cells: ({ addresses }) => (addresses === null ? ['?'] : addresses.length > 0 ? addresses : ['-']),
}
const hostEndColumn: ListColumn = { title: 'HOST END', cells: ({ hostEnd }) => [hostEnd ?? '-'] }
const stateColumn: ListColumn = { title: 'STATE', cells: ({ state }) => [state] }
const guestColumn: ListColumn = { title: 'GUEST', cells: ({ guest }) => [formatGuest(guest)] }
const ifnameColumn: ListColumn = { title: 'INTERFACE', cells: ({ ifname }) => [ifname] }
const hostifColumn: ListColumn = { title: 'ON', cells: (attachment) => [formatHostif(attachment)] }

const leaseColumn: ListColumn = { title: 'LEASE', cells: ({ leases = [] }) => leases.map(formatLease) }

/** A short description of a lease: its server, its end, and whether it is renewed. */
export function formatLease({ server, expires, state }: LeaseReport): string {
  const until = expires === null ? 'for ever' : `until ${expires.slice(0, 19).replace('T', ' ')} UTC`
  return `${state}${server === null || state === 'lost' ? '' : ` from ${server} ${until}`}`
}

/**
 * The layouts from the most detailed to the narrowest: first one address per line, then without the least important
 * columns.
 */
const LAYOUTS: readonly (readonly ListColumn[])[] = [
  [guestColumn, ifnameColumn, joinedAddressColumn, hostifColumn, hostEndColumn, stateColumn],
  [guestColumn, ifnameColumn, stackedAddressColumn, hostifColumn, hostEndColumn, stateColumn],
  [guestColumn, ifnameColumn, stackedAddressColumn, hostifColumn, stateColumn],
  [guestColumn, ifnameColumn, stackedAddressColumn, hostifColumn],
]

function formatColumns(attachments: readonly AttachmentReport[], columns: readonly ListColumn[]): string {
  const rows = attachments.flatMap((attachment) => {
    const cells = columns.map((column) => column.cells(attachment))
    const height = Math.max(1, ...cells.map(({ length }) => length))
    return Array.from({ length: height }, (_, line) => cells.map((cell) => cell[line] ?? ''))
  })
  return formatTable(
    columns.map(({ title }) => title),
    rows,
  )
}

/** An attachment as a paragraph, for terminals that are too narrow for a table. */
function toParagraph(attachment: AttachmentReport): string {
  const { guest, ifname, addresses, state, leases = [] } = attachment
  const lines = [...(addresses === null ? ['?'] : addresses), ...leases.map(formatLease)]
  return [
    `${formatGuest(guest)} ${ifname}`,
    `  on ${formatHostif(attachment)}, ${state}`,
    ...lines.map((it) => `  ${it}`),
  ]
    .map((it) => `${it}\n`)
    .join('')
}

const textWidth = (text: string) => Math.max(...text.split('\n').map(({ length }) => length))

/**
 * The attachments in the widest layout that fits, then what is missing of them; output to a pipe has no width limit.
 */
export function formatAttachmentTable(attachments: readonly AttachmentReport[], columns: number | undefined): string {
  const hasLeases = attachments.some(({ leases }) => leases !== undefined)
  const tables = LAYOUTS.map((layout) => formatColumns(attachments, hasLeases ? [...layout, leaseColumn] : layout))
  const fitting = tables.find((table) => columns === undefined || textWidth(table) <= columns)
  return (fitting ?? attachments.map(toParagraph).join('')) + attachments.map(formatProblems).join('')
}

function formatProblems({ guest, ifname, missing = [], firewall }: AttachmentReport): string {
  const name = `${guest.name} ${ifname}`
  const fix = firewall?.command === undefined ? '' : `; fix: ${firewall.command}`
  const barred = firewall === undefined ? '' : `${name}: ${firewall.message}${fix}\n`
  if (missing.length === 0) return barred
  return `${name}: missing on this host: ${missing.join(', ')}; run the same command again\n${barred}`
}

/** The fields of `--format`, spelled as in docker. */
export const LIST_FIELDS: Readonly<Record<string, (attachment: AttachmentReport) => string>> = {
  Guest: ({ guest }) => formatGuest(guest),
  Kind: ({ guest }) => guest.kind,
  Name: ({ guest }) => guest.name,
  ID: ({ guest }) => guest.id ?? '',
  Interface: ({ ifname }) => ifname,
  Addresses: ({ addresses }) => addresses?.join(',') ?? '?',
  Bridge: ({ hostif }) => hostif,
  HostEnd: ({ hostEnd }) => hostEnd ?? '',
  MTU: ({ mtu }) => `${mtu}`,
  State: ({ state }) => state,
  Leases: ({ leases = [] }) => leases.map(formatLease).join(', '),
  // The text of U: may have several lines.
  Words: ({ words }) => escapeControls(words.join(' ')).replaceAll('\n', '\\x0a'),
}

export function toTemplateFields(attachment: AttachmentReport): TemplateFields {
  return Object.fromEntries(Object.entries(LIST_FIELDS).map(([name, read]) => [name, read(attachment)]))
}
