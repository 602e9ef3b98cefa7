import { defineCommand } from './types'

/** `pipework diagram`: bridges and NICs with what is attached to them. */
export const diagram = defineCommand({
  command: 'diagram',
  describe: 'draw the bridges and NICs with what is attached to them, as a text tree or as a picture',
  otherNames: ['graph', 'draw', 'tree', 'topology', 'map'],
  synopsis: 'diagram [--dot|--svg]',
  builder: {
    dot: { type: 'boolean', conflicts: ['svg'], describe: 'in the language of Graphviz' },
    svg: { type: 'boolean', describe: 'as an SVG picture' },
  },
  examples: [
    { line: 'pipework diagram', does: 'a tree' },
    { line: 'pipework diagram --svg', does: 'a picture for a wiki: pipework diagram --svg > lan.svg' },
    { line: 'pipework diagram --dot', does: 'for dot -Tpng, or to change by hand' },
  ],
  handler: async ({ dot, svg }, { system }) => {
    const [{ readDiagramData }, { formatDiagramTree, listDiagramNodes }] = await Promise.all([
      import('../operations/diagram'),
      import('../ui/format/diagram'),
    ])
    const hubs = listDiagramNodes(await readDiagramData(system))
    const json = { ok: true, hubs }
    if (dot || svg) {
      const { formatDot, formatSvg } = await import('../ui/format/svg')
      return { text: dot ? formatDot(hubs) : formatSvg(hubs), json, printWhenQuiet: true }
    }
    const { toTerminal, wrapToTerminal } = await import('../ui/terminal')
    const screen = toTerminal(system)
    return { text: wrapToTerminal(formatDiagramTree(hubs, screen), screen), json, printWhenQuiet: true }
  },
})
