import { readAttachments, readOvsIfThere } from '../attachments'
import { refuseSurplus, usageError } from '../errors'
import type { Host } from '../host'
import { readHostLink } from '../hostlinks'
import { listJournals, readJournal } from '../journal'
import { formatTree, type Hub, listHubs } from '../prompt/diagram'
import { fitScreen, screenOf } from '../prompt/screen'
import { readSubnets } from '../prompt/subnets'
import type { Call, Outcome } from './call'

/** Draws what hangs on what. */
export async function run({ host, words, flag }: Call): Promise<Outcome> {
  refuseSurplus(words, 'pipework diagram [--dot | --svg]')
  if (flag('dot') && flag('svg')) throw usageError('--dot and --svg are two pictures', 'Ask for one of them.')
  const hubs = listHubs(await readScene(host))
  return { text: await draw(hubs, { host, flag }), json: { ok: true, hubs }, wanted: true }
}

async function draw(hubs: readonly Hub[], { host, flag }: Pick<Call, 'host' | 'flag'>): Promise<string> {
  if (!flag('dot') && !flag('svg')) return fitScreen(formatTree(hubs, screenOf(host)), screenOf(host))
  const { formatDot, formatSvg } = await import('../prompt/drawing')
  return flag('dot') ? formatDot(hubs) : formatSvg(hubs)
}

async function readScene(host: Host) {
  const [attachments, ovs] = await Promise.all([readAttachments(host), readOvsIfThere(host).catch(() => undefined)])
  const links = (host.list('/sys/class/net') ?? []).flatMap((name) => readHostLink(name, host) ?? [])
  const switches = (ovs?.bridges ?? []).map(({ name }) => ({
    name,
    ports: (ovs?.ports ?? []).filter(({ bridge }) => bridge === name).map((port) => port.name),
  }))
  const uplinks = listJournals(host).flatMap((bridge) => readJournal(bridge, host)?.nic ?? [])
  return { attachments, links, switches, subnets: readSubnets(host), uplinks }
}
