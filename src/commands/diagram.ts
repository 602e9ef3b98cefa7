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
export async function run({ host, positionals, hasFlag }: CommandContext): Promise<CommandOutcome> {
  validateNoExtraArgs(positionals, 'pipework diagram [--dot | --svg]')
  if (hasFlag('dot') && hasFlag('svg')) throw usageError('--dot and --svg are two pictures', 'Ask for one of them.')
  const hubs = listDiagramNodes(await readDiagramData(host))
  return { text: await renderDiagram(hubs, { host, hasFlag }), json: { ok: true, hubs }, printWhenQuiet: true }
}

async function renderDiagram(
  hubs: readonly DiagramNode[],
  { host, hasFlag }: Pick<CommandContext, 'host' | 'hasFlag'>,
): Promise<string> {
  if (!hasFlag('dot') && !hasFlag('svg')) return wrapToTerminal(formatDiagramTree(hubs, toTerminal(host)), toTerminal(host))
  const { formatDot, formatSvg } = await import('../ui/format/svg')
  return hasFlag('dot') ? formatDot(hubs) : formatSvg(hubs)
}

async function readDiagramData(host: System) {
  const [attachments, ovs] = await Promise.all([readAttachments(host), readOvsIfRunning(host).catch(() => undefined)])
  const links = (host.list('/sys/class/net') ?? []).flatMap((name) => readHostLink(name, host) ?? [])
  const ovsBridges = (ovs?.bridges ?? []).map(({ name }) => ({
    name,
    ports: (ovs?.ports ?? []).filter(({ bridge }) => bridge === name).map((port) => port.name),
  }))
  const uplinks = listUplinkBridges(host).flatMap((bridge) => readUplinkState(bridge, host)?.nic ?? [])
  return { attachments, links, ovsBridges, subnets: readSubnets(host), uplinks }
}
