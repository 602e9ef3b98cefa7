import type { DiagramNode, DiagramPort } from './diagram'

/** A guest in a diagram: one box for all its interfaces. */
interface DiagramBox {
  readonly id: string
  readonly title: string
  readonly lines: readonly string[]
}

interface DiagramEdge {
  readonly from: string
  readonly to: string
  /** The line of the box at which the edge ends; 0 is its title. */
  readonly row: number
  readonly label: string
}

interface DiagramGraph {
  /** Columns from left to right: uplinks, bridges and NICs, guests. */
  readonly columns: readonly (readonly DiagramBox[])[]
  readonly edges: readonly DiagramEdge[]
}

const isAttachmentPort = (port: DiagramPort): port is DiagramPort & Required<Pick<DiagramPort, 'guest'>> =>
  port.guest !== undefined

function toDiagramGraph(hubs: readonly DiagramNode[]): DiagramGraph {
  const attached = hubs.flatMap(({ name, ports }) =>
    ports.filter(isAttachmentPort).map((port) => ({ hub: name, port })),
  )
  const guests = [...new Set(attached.map(({ port }) => port.guest.name))]
  const rowsOf = (guest: string) => attached.filter(({ port }) => port.guest.name === guest)
  const outside = hubs.flatMap(({ name, ports }) =>
    ports.filter((port) => !isAttachmentPort(port)).map((port) => ({ hub: name, port })),
  )
  return {
    columns: [
      outside.map(({ port }) => ({
        id: `port ${port.name}`,
        title: port.name,
        lines: [port.kind === 'uplink' ? 'uplink' : 'port', ...port.notes],
      })),
      hubs.map(({ name, kind, notes }) => {
        const [state, mtu, ...addresses] = notes
        const first = [kind, state, mtu].filter((it) => it !== undefined).join(', ')
        return { id: `hub ${name}`, title: name, lines: [first, ...addresses] }
      }),
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

/** Quotes a string for DOT: backslashes and quotes are escaped, a line break stays literal. */
const quoteDot = (text: string) => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`

/** The diagram as Graphviz DOT. */
export function formatDot(hubs: readonly DiagramNode[]): string {
  const { columns, edges } = toDiagramGraph(hubs)
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

const XML_ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
const escapeXml = (text: string) =>
  // XML does not allow control characters, even escaped.
  text.replaceAll(/\p{Cc}/gu, '\uFFFD').replaceAll(/[&<>"']/g, (char) => XML_ENTITIES[char] ?? char)

const [CHAR, LINE, PAD, GAP, LABEL] = [7.3, 18, 10, 24, 130]
/** The distance between vertical lines of two hubs. */
const EDGE_SPACING = 8
/** Colours that colour-blind readers can distinguish. */
const COLOURS = ['#1f6f9f', '#b3541e', '#3a7d44', '#7a4b94', '#8a6d00', '#a8324a'] as const

interface PlacedBox extends DiagramBox {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

const columnWidth = (column: readonly DiagramBox[]) =>
  Math.ceil(Math.max(...column.flatMap(({ title, lines }) => [title, ...lines]).map(({ length }) => length)) * CHAR) +
  2 * PAD

function placeColumn(column: readonly DiagramBox[], x: number): readonly PlacedBox[] {
  const width = columnWidth(column)
  const heights = column.map(({ lines }) => (lines.length + 1) * LINE + PAD)
  return column.map((box, index) => {
    const y = heights.slice(0, index).reduce((sum, height) => sum + height + GAP, PAD)
    return { ...box, x, y, width, height: heights[index] ?? 0 }
  })
}

/** Lines to uplinks have no label, so they need less room. */
function placeBoxes([uplinks = [], hubs = [], guests = []]: DiagramGraph['columns']): readonly PlacedBox[] {
  const [first, second] = [PAD, PAD + (uplinks.length === 0 ? 0 : columnWidth(uplinks) + 2 * GAP)]
  const third = second + (hubs.length === 0 ? 0 : columnWidth(hubs) + GAP + hubs.length * EDGE_SPACING + LABEL)
  return [
    ...(uplinks.length === 0 ? [] : placeColumn(uplinks, first)),
    ...(hubs.length === 0 ? [] : placeColumn(hubs, second)),
    ...(guests.length === 0 ? [] : placeColumn(guests, third)),
  ]
}

function drawBox({ x, y, width, height, title, lines }: PlacedBox): readonly string[] {
  const text = (line: string, index: number) =>
    `<text x="${x + PAD}" y="${y + (index + 1) * LINE}"${index === 0 ? ' class="title"' : ''}>${escapeXml(line)}</text>`
  return [`<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="4"/>`, ...[title, ...lines].map(text)]
}

/** The height at which a line ends at a row of a box: the middle of its text. All of these are even. */
const rowAnchorY = ({ y }: PlacedBox, row: number) => y + row * LINE + LINE - 4
/** The height at which lines leave a box or reach its title: odd, so that it differs from every row's. */
const titleAnchorY = (box: PlacedBox) => rowAnchorY(box, 0) + 3

function drawEdge({ from, to, row, label }: DiagramEdge, boxes: readonly PlacedBox[]): readonly string[] {
  const [a, b] = [boxes.find(({ id }) => id === from), boxes.find(({ id }) => id === to)]
  if (a === undefined || b === undefined) return []
  const [x1, y1, x2, y2] = [a.x + a.width, titleAnchorY(a), b.x, row === 0 ? titleAnchorY(b) : rowAnchorY(b, row)]
  // Each hub's lines turn at their own place and have their own colour.
  const hubs = boxes.filter(({ id }) => id.startsWith('hub '))
  const index = hubs.indexOf(label === '' && row === 0 ? b : a)
  const turn = row === 0 ? x1 + GAP : x1 + GAP / 2 + Math.max(index, 0) * EDGE_SPACING
  const colour = COLOURS[Math.max(index, 0) % COLOURS.length]
  const name = `<text class="edge" x="${x2 - 6}" y="${y2 - 4}" text-anchor="end">${escapeXml(label)}</text>`
  return [`<path d="M${x1} ${y1} H${turn} V${y2} H${x2}" stroke="${colour}"/>`, ...(label === '' ? [] : [name])]
}

const SVG_STYLE =
  'text{font-family:monospace;font-size:12px;fill:#222}.title{font-weight:bold}.edge{font-size:10px;fill:#555}' +
  'rect{fill:#f5f8fb;stroke:#456}.page{fill:#fff;stroke:none}path{fill:none;stroke-width:1.5}'

/** The diagram as SVG, which any browser shows. It has its own background, so that it is readable on a dark page. */
export function formatSvg(hubs: readonly DiagramNode[]): string {
  const { columns, edges } = toDiagramGraph(hubs)
  const boxes = placeBoxes(columns)
  const width = Math.max(0, ...boxes.map((it) => it.x + it.width)) + PAD
  const height = Math.max(0, ...boxes.map((it) => it.y + it.height)) + PAD
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    '<title>What hangs on which bridge of this host, drawn by pipework</title>',
    `<style>${SVG_STYLE}</style>`,
    `<rect class="page" width="${width}" height="${height}"/>`,
    ...edges.flatMap((edge) => drawEdge(edge, boxes)),
    ...boxes.flatMap(drawBox),
    '</svg>',
    '',
  ].join('\n')
}
