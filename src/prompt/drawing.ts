import type { Hub, Port } from './diagram'

/** A guest in a picture: one box, however many interfaces lead to it. */
interface Box {
  readonly id: string
  readonly title: string
  readonly lines: readonly string[]
}

interface Edge {
  readonly from: string
  readonly to: string
  /** The line of the box at which it ends; 0 is its title. */
  readonly row: number
  readonly label: string
}

interface Picture {
  /** Columns from left to right: uplinks, bridges and NICs, guests. */
  readonly columns: readonly (readonly Box[])[]
  readonly edges: readonly Edge[]
}

const isAttached = (port: Port): port is Port & Required<Pick<Port, 'guest'>> => port.guest !== undefined

function toPicture(hubs: readonly Hub[]): Picture {
  const attached = hubs.flatMap(({ name, ports }) => ports.filter(isAttached).map((port) => ({ hub: name, port })))
  const guests = [...new Set(attached.map(({ port }) => port.guest.name))]
  const rowsOf = (guest: string) => attached.filter(({ port }) => port.guest.name === guest)
  const outside = hubs.flatMap(({ name, ports }) =>
    ports.filter((port) => !isAttached(port)).map((port) => ({ hub: name, port })),
  )
  return {
    columns: [
      outside.map(({ port }) => ({
        id: `port ${port.name}`,
        title: port.name,
        lines: [port.kind === 'uplink' ? 'uplink' : 'port', ...port.notes],
      })),
      hubs.map(({ name, kind, notes }) => ({ id: `hub ${name}`, title: name, lines: [kind, ...notes] })),
      guests.map((guest) => ({
        id: `guest ${guest}`,
        title: guest,
        lines: rowsOf(guest).map(({ port }) => [port.guest.ifname, ...port.guest.addresses, ...port.notes].join('  ')),
      })),
    ],
    edges: [
      ...outside.map(({ hub, port }) => ({ from: `port ${port.name}`, to: `hub ${hub}`, row: 0, label: '' })),
      ...guests.flatMap((guest) =>
        rowsOf(guest).map(({ hub, port }, index) => ({
          from: `hub ${hub}`,
          to: `guest ${guest}`,
          row: index + 1,
          label: port.name,
        })),
      ),
    ],
  }
}

/** A quoted string of DOT: a backslash would begin an escape, and a line break is written as one. */
const quoteDot = (text: string) => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`

/** The picture in the language of Graphviz. */
export function formatDot(hubs: readonly Hub[]): string {
  const { columns, edges } = toPicture(hubs)
  const boxes = columns.flatMap((column) =>
    column.map(({ id, title, lines }) => {
      const label = [title, ...lines].map((line) => quoteDot(line).slice(1, -1)).join('\\n')
      return `  ${quoteDot(id)} [label="${label}"];`
    }),
  )
  const lines = edges.map(({ from, to, label }) => `  ${quoteDot(from)} -- ${quoteDot(to)} [label=${quoteDot(label)}];`)
  return [
    'graph pipework {',
    '  rankdir=LR;',
    '  node [shape=box, fontname=monospace];',
    '  edge [fontname=monospace, fontsize=10];',
    ...boxes,
    ...lines,
    '}',
    '',
  ].join('\n')
}

const XML: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escapeXml = (text: string) =>
  // Control characters are no part of XML, escaped or not.
  text.replaceAll(/\p{Cc}/gu, '\uFFFD').replaceAll(/[&<>"']/g, (char) => XML[char] ?? char)

const [CHAR, LINE, PAD, GAP, ACROSS] = [7.3, 18, 10, 24, 150]

interface Placed extends Box {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

function place(columns: Picture['columns']): readonly Placed[] {
  const placed: Placed[] = []
  let x = PAD
  for (const column of columns.filter(({ length }) => length > 0)) {
    const width =
      Math.ceil(
        Math.max(...column.flatMap(({ title, lines }) => [title, ...lines]).map(({ length }) => length)) * CHAR,
      ) +
      2 * PAD
    let y = PAD
    for (const box of column) {
      const height = (box.lines.length + 1) * LINE + PAD
      placed.push({ ...box, x, y, width, height })
      y += height + GAP
    }
    x += width + ACROSS
  }
  return placed
}

function drawBox({ x, y, width, height, title, lines }: Placed): readonly string[] {
  const text = (line: string, index: number) =>
    `<text x="${x + PAD}" y="${y + (index + 1) * LINE}"${index === 0 ? ' font-weight="bold"' : ''}>${escapeXml(line)}</text>`
  return [`<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="4"/>`, ...[title, ...lines].map(text)]
}

function drawEdge({ from, to, row, label }: Edge, boxes: readonly Placed[]): readonly string[] {
  const [a, b] = [boxes.find(({ id }) => id === from), boxes.find(({ id }) => id === to)]
  if (a === undefined || b === undefined) return []
  const [x1, y1, x2, y2] = [a.x + a.width, a.y + LINE, b.x, b.y + row * LINE + LINE - 5]
  const name =
    label === '' ? [] : [`<text class="edge" x="${x2 - 6}" y="${y2 - 4}" text-anchor="end">${escapeXml(label)}</text>`]
  return [`<path d="M${x1} ${y1} L${x1 + 20} ${y1} L${x2 - 130} ${y2} L${x2} ${y2}"/>`, ...name]
}

/** The picture as SVG, which needs nothing but a browser. */
export function formatSvg(hubs: readonly Hub[]): string {
  const { columns, edges } = toPicture(hubs)
  const boxes = place(columns)
  const width = Math.max(0, ...boxes.map((it) => it.x + it.width)) + PAD
  const height = Math.max(0, ...boxes.map((it) => it.y + it.height)) + PAD
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    '<style>text{font:12px monospace;fill:#222}.edge{font-size:10px;fill:#666}rect{fill:#f5f8fb;stroke:#456}path{fill:none;stroke:#789}</style>',
    ...edges.flatMap((edge) => drawEdge(edge, boxes)),
    ...boxes.flatMap(drawBox),
    '</svg>',
    '',
  ].join('\n')
}
