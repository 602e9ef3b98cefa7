import { readVxlans } from '../../drivers/vxlan'
import type { Plan } from '../../plan/step'
import type { AttachContext } from '../../state/attach-facts'
import { findLinkRecord } from '../../state/attach-facts'
import {
  type ExistingAttachment,
  findOvsRemoval,
  hasGlobalAddress,
  readHostAttachments,
  readOtherNamespaces,
} from '../../state/attachments'
import type { GuestLink } from '../../state/guest'
import { findLinkByIndex, type HostLink, isOwnVxlan, listBridgePortNames, readHostLink } from '../../state/host-links'
import type { OvsDatabase } from '../../state/ovsdb'
import type { System } from '../../system/types'
import { type ParentDevice, planUnusedRemoval, type UnusedParents } from './plan'

/** A link that leaves what it hangs on: it ends, or hangs on something else then. */
interface LeavingLink {
  /** Its end in the host. */
  readonly hostEnd?: HostLink | undefined
  /** The NIC or VLAN device under a macvlan. */
  readonly parent?: HostLink | undefined
  readonly deadPort?: ExistingAttachment['deadPort'] | undefined
  readonly ovs?: OvsDatabase | undefined
  /** Where it goes. */
  readonly movesTo?: string
}

/** What a link of ours hangs on that nobody uses without it; `gone` are those that a dry run has taken away before. */
export async function findUnusedParents(
  leaving: LeavingLink,
  gone: readonly ExistingAttachment[],
  system: System,
): Promise<UnusedParents> {
  const { hostEnd, deadPort, ovs } = leaving
  const [unused, tunnels, unplugging] = await Promise.all([
    findUnusedParent(leaving, gone, system),
    findUnusedVxlans(hostEnd, gone, system),
    findOvsRemoval({ hostEnd, deadPort }, { ovs, gone }, system),
  ])
  return {
    unusedParent: unused,
    unusedVxlans: tunnels.length === 0 ? undefined : tunnels,
    ovsRemoval: unplugging,
    ...(await planFirewallCleanup(leaving, gone, system)),
  }
}

/** The last steps of a move with --force: what pipework made for the link where it was, and nobody uses without it. */
export async function planMovedLinkGc({ request, facts }: AttachContext, system: System): Promise<Plan> {
  const { hostEnd, parent, vlanDevice } = facts
  const ovs = facts.ovs?.kind === 'database' ? facts.ovs : undefined
  const next = vlanDevice?.name ?? request.hostif
  const vacancy = await findUnusedParents({ hostEnd, parent, ovs, movesTo: next }, [], system)
  const before = vacancy.ovsRemoval?.port?.bridge ?? parent?.name ?? hostEnd?.master
  return findLinkRecord(facts) === undefined || before === undefined || before === next
    ? []
    : planUnusedRemoval(vacancy)
}

/** The ends in the host that do not count any more. */
function listHostEndNames(
  hostEnd: HostLink | undefined,
  gone: readonly ExistingAttachment[],
): readonly (string | undefined)[] {
  return [hostEnd?.name, ...gone.map((it) => it.hostEnd?.name)]
}

/** The rules that let the frames of a bridge pass the firewall, when the last attachment there is the one that goes. */
async function planFirewallCleanup(
  { hostEnd, movesTo }: LeavingLink,
  gone: readonly ExistingAttachment[],
  system: System,
): Promise<Pick<UnusedParents, 'firewallCleanup'>> {
  const bridge = hostEnd?.master
  if (bridge === undefined || !system.isRoot || system.inode('/proc/sys/net/bridge') === undefined) return {}
  const ends = listHostEndNames(hostEnd, gone)
  const others = readHostAttachments(system).filter((it) => !ends.includes(it.hostEnd.name))
  const used = [...others.flatMap((it) => [it.hostEnd.master ?? '', it.record.hostif]), movesTo ?? '']
  if (used.includes(bridge)) return {}
  const { planAcceptRemoval } = await import('../../firewall/bridge-accept')
  return { firewallCleanup: await planAcceptRemoval(used, system) }
}

/** The VXLANs of ours on its bridge, when nobody else is left there. */
async function findUnusedVxlans(hostEnd: HostLink | undefined, gone: readonly ExistingAttachment[], system: System) {
  const ends = listHostEndNames(hostEnd, gone)
  const others =
    hostEnd?.master === undefined ? [] : listBridgePortNames(hostEnd.master, system).filter((it) => !ends.includes(it))
  if (others.length === 0 || !others.every((name) => isOwnVxlan(name, system))) return []
  return (await readVxlans(system)).filter(({ name }) => others.includes(name))
}

/** The bridge or VLAN device below, when pipework made it and nobody else uses it. */
async function findUnusedParent(
  { hostEnd, parent }: LeavingLink,
  gone: readonly ExistingAttachment[],
  system: System,
): Promise<ParentDevice | undefined> {
  const master = hostEnd?.master === undefined ? undefined : readHostLink(hostEnd.master, system)
  const below = parent ?? master
  if (below?.record?.kind !== 'made' || below.master !== undefined) return undefined
  const ends = listHostEndNames(hostEnd, gone)
  if (
    below.kind === 'bridge' &&
    listBridgePortNames(below.name, system).some((port) => !ends.includes(port) && !isOwnVxlan(port, system))
  )
    return undefined
  if (await hasGlobalAddress(below.name, system)) return undefined
  return below.kind === 'bridge' ? below : withVlanIfUnused(below, gone, system)
}

/** A VLAN device, when nobody on the host and no guest but the one that goes has a link on it. */
async function withVlanIfUnused(
  device: HostLink,
  gone: readonly ExistingAttachment[],
  system: System,
): Promise<ParentDevice | undefined> {
  const uppers = (system.list(`/sys/class/net/${device.name}`) ?? []).filter((it) => it.startsWith('upper_'))
  // Past one of ours the host reaches the guests that are left, if any.
  if (uppers.some((it) => readHostLink(it.slice('upper_'.length), system)?.record?.kind !== 'made')) return undefined
  const states = await readOtherNamespaces(system, 'all')
  const isUser = ({ kind, peerIndex }: GuestLink) => kind !== 'veth' && peerIndex === device.ifindex
  const users = states.flatMap(({ links }) => links.filter(isUser))
  const stillThere = gone.filter(({ inGuest }) => inGuest !== undefined && isUser(inGuest))
  if (users.length > 1 + stillThere.length) return undefined
  const nic = findLinkByIndex(device.peerIndex, system)?.name
  const id = /\bVID: (\d+)/.exec(system.read(`/proc/net/vlan/${device.name}`) ?? '')?.[1]
  return nic === undefined || id === undefined ? device : { ...device, vlan: { nic, id: Number(id) } }
}
