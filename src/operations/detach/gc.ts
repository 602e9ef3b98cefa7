import { recordOf } from '../../drivers/claim'
import type { Context } from '../../drivers/types'
import { readVxlans } from '../../drivers/vxlan'
import type { Plan } from '../../plan/step'
import { findUnplugging, hasGlobalAddress, readHostSide, readNamespaces } from '../../state/attachments'
import type { GuestLink } from '../../state/guest'
import { findByIndex, type HostLink, isTunnel, listPorts, readHostLink } from '../../state/host-links'
import type { OvsDatabase } from '../../state/ovsdb'
import type { Host } from '../../system/types'
import { type Attached, type Below, planVacancy, type Vacancy } from './plan'

/** A link that leaves what it hangs on: it ends, or hangs on something else then. */
interface Leaving {
  /** Its end in the host. */
  readonly hostEnd?: HostLink | undefined
  /** The NIC or VLAN device under a macvlan. */
  readonly parent?: HostLink | undefined
  readonly deadPort?: Attached['deadPort'] | undefined
  readonly ovs?: OvsDatabase | undefined
  /** Where it goes. */
  readonly next?: string
}

/** What a link of ours hangs on that nobody uses without it; `gone` are those that a dry run has taken away before. */
export async function findVacancy(leaving: Leaving, gone: readonly Attached[], host: Host): Promise<Vacancy> {
  const { hostEnd, deadPort, ovs } = leaving
  const [unused, tunnels, unplugging] = await Promise.all([
    findUnused(leaving, gone, host),
    findTunnels(hostEnd, gone, host),
    findUnplugging({ hostEnd, deadPort }, { ovs, gone }, host),
  ])
  return {
    unused,
    tunnels: tunnels.length === 0 ? undefined : tunnels,
    unplugging,
    ...(await gatherPassage(leaving, gone, host)),
  }
}

/** The last steps of a move with --force: what pipework made for the link where it was, and nobody uses without it. */
export async function planMoved({ request, facts }: Context, host: Host): Promise<Plan> {
  const { hostEnd, lower: parent, vlanDevice } = facts
  const ovs = facts.ovs?.kind === 'database' ? facts.ovs : undefined
  const next = vlanDevice?.name ?? request.hostif
  const vacancy = await findVacancy({ hostEnd, parent, ovs, next }, [], host)
  const before = vacancy.unplugging?.port?.bridge ?? parent?.name ?? hostEnd?.master
  return recordOf(facts) === undefined || before === undefined || before === next ? [] : planVacancy(vacancy)
}

/** The ends in the host that do not count any more. */
function endsOf(hostEnd: HostLink | undefined, gone: readonly Attached[]): readonly (string | undefined)[] {
  return [hostEnd?.name, ...gone.map((it) => it.hostEnd?.name)]
}

/** The rules that let the frames of a bridge pass the firewall, when the last attachment there is the one that goes. */
async function gatherPassage(
  { hostEnd, next }: Leaving,
  gone: readonly Attached[],
  host: Host,
): Promise<Pick<Vacancy, 'passage'>> {
  const bridge = hostEnd?.master
  if (bridge === undefined || !host.isRoot || host.inode('/proc/sys/net/bridge') === undefined) return {}
  const ends = endsOf(hostEnd, gone)
  const others = readHostSide(host).filter((it) => !ends.includes(it.hostEnd.name))
  const used = [...others.flatMap((it) => [it.hostEnd.master ?? '', it.record.hostif]), next ?? '']
  if (used.includes(bridge)) return {}
  const { planNoPassage } = await import('../../firewall/bridge-accept')
  return { passage: await planNoPassage(used, host) }
}

/** The VXLANs of ours on its bridge, when nobody else is left there. */
async function findTunnels(hostEnd: HostLink | undefined, gone: readonly Attached[], host: Host) {
  const ends = endsOf(hostEnd, gone)
  const others = hostEnd?.master === undefined ? [] : listPorts(hostEnd.master, host).filter((it) => !ends.includes(it))
  if (others.length === 0 || !others.every((name) => isTunnel(name, host))) return []
  return (await readVxlans(host)).filter(({ name }) => others.includes(name))
}

/** The bridge or VLAN device below, when pipework made it and nobody else uses it. */
async function findUnused(
  { hostEnd, parent }: Leaving,
  gone: readonly Attached[],
  host: Host,
): Promise<Below | undefined> {
  const master = hostEnd?.master === undefined ? undefined : readHostLink(hostEnd.master, host)
  const below = parent ?? master
  if (below?.record?.kind !== 'made' || below.master !== undefined) return undefined
  const ends = endsOf(hostEnd, gone)
  if (
    below.kind === 'bridge' &&
    listPorts(below.name, host).some((port) => !ends.includes(port) && !isTunnel(port, host))
  )
    return undefined
  if (await hasGlobalAddress(below.name, host)) return undefined
  return below.kind === 'bridge' ? below : findUnusedVlan(below, gone, host)
}

/** A VLAN device, when nobody on the host and no guest but the one that goes has a link on it. */
async function findUnusedVlan(device: HostLink, gone: readonly Attached[], host: Host): Promise<Below | undefined> {
  const uppers = (host.list(`/sys/class/net/${device.name}`) ?? []).filter((it) => it.startsWith('upper_'))
  // Past one of ours the host reaches the guests that are left, if any.
  if (uppers.some((it) => readHostLink(it.slice('upper_'.length), host)?.record?.kind !== 'made')) return undefined
  const states = await readNamespaces(host, 'all')
  const isUser = ({ kind, peerIndex }: GuestLink) => kind !== 'veth' && peerIndex === device.ifindex
  const users = states.flatMap(({ links }) => links.filter(isUser))
  const stillThere = gone.filter(({ inGuest }) => inGuest !== undefined && isUser(inGuest))
  if (users.length > 1 + stillThere.length) return undefined
  const nic = findByIndex(device.peerIndex, host)?.name
  const id = /\bVID: (\d+)/.exec(host.read(`/proc/net/vlan/${device.name}`) ?? '')?.[1]
  return nic === undefined || id === undefined ? device : { ...device, vlan: { nic, id: Number(id) } }
}
