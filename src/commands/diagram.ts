import { usageError, validateNoExtraArgs } from '../model/errors'
import { listUplinkBridges, readUplinkState } from '../operations/uplink/state-file'
import { readAttachments, readOvsIfRunning } from '../state/attachments'
import { readHostLink } from '../state/host-links'
import type { System } from '../system/types'
import type { CommandContext, CommandOutcome } from '../ui/command'
import { readSubnets } from '../ui/completion/subnets'
import { type DiagramNode, formatDiagramTree, listDiagramNodes } from '../ui/format/diagram'
import { toTerminal, wrapToTerminal } from '../ui/terminal'

/** Draws what hangs on what. */
export async function run({ system, positionals, hasFlag }: CommandContext): Promise<CommandOutcome> {
  validateNoExtraArgs(positionals, 'pipework diagram [--dot | --svg]')
  if (hasFlag('dot') && hasFlag('svg')) throw usageError('--dot and --svg are two pictures', 'Ask for one of them.')
  const hubs = listDiagramNodes(await readDiagramData(system))
  return { text: await renderDiagram(hubs, { system, hasFlag }), json: { ok: true, hubs }, printWhenQuiet: true }
}

async function renderDiagram(
  hubs: readonly DiagramNode[],
  { system, hasFlag }: Pick<CommandContext, 'system' | 'hasFlag'>,
): Promise<string> {
  if (!hasFlag('dot') && !hasFlag('svg'))
    return wrapToTerminal(formatDiagramTree(hubs, toTerminal(system)), toTerminal(system))
  const { formatDot, formatSvg } = await import('../ui/format/svg')
  return hasFlag('dot') ? formatDot(hubs) : formatSvg(hubs)
}

async function readDiagramData(system: System) {
  const [attachments, ovs] = await Promise.all([
    readAttachments(system),
    readOvsIfRunning(system).catch(() => undefined),
  ])
  const links = (system.list('/sys/class/net') ?? []).flatMap((name) => readHostLink(name, system) ?? [])
  const ovsBridges = (ovs?.bridges ?? []).map(({ name }) => ({
    name,
    ports: (ovs?.ports ?? []).filter(({ bridge }) => bridge === name).map((port) => port.name),
  }))
  const uplinks = listUplinkBridges(system).flatMap((bridge) => readUplinkState(bridge, system)?.nic ?? [])
  return { attachments, links, ovsBridges, subnets: readSubnets(system), uplinks }
}
