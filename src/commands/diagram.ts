import { refuseSurplus, usageError } from '../model/errors'
import { listJournals, readJournal } from '../operations/uplink/state-file'
import { readAttachments, readOvsIfThere } from '../state/attachments'
import { readHostLink } from '../state/host-links'
import type { Host } from '../system/types'
import type { Call, Outcome } from '../ui/command'
import { readSubnets } from '../ui/completion/subnets'
import { formatTree, type Hub, listHubs } from '../ui/format/diagram'
import { fitScreen, screenOf } from '../ui/terminal'

/** Draws what hangs on what. */
export async function run({ host, words, flag }: Call): Promise<Outcome> {
  refuseSurplus(words, 'pipework diagram [--dot | --svg]')
  if (flag('dot') && flag('svg')) throw usageError('--dot and --svg are two pictures', 'Ask for one of them.')
  const hubs = listHubs(await readScene(host))
  return { text: await draw(hubs, { host, flag }), json: { ok: true, hubs }, wanted: true }
}

async function draw(hubs: readonly Hub[], { host, flag }: Pick<Call, 'host' | 'flag'>): Promise<string> {
  if (!flag('dot') && !flag('svg')) return fitScreen(formatTree(hubs, screenOf(host)), screenOf(host))
  const { formatDot, formatSvg } = await import('../ui/format/svg')
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
