import { isChildOf, type ParentDevice } from '../../drivers/parent'
import { readVxlans } from '../../drivers/vxlan'
import type { Plan } from '../../plan/step'
import type { AttachContext } from '../../state/attach-facts'
import { findLinkRecord } from '../../state/attach-facts'
import {
  type ExistingAttachment,
  findOvsRemoval,
  hasGlobalAddress,
  readHostAttachments,
  scanNamespaces,
} from '../../state/attachments'
import type { GuestLink } from '../../state/guest'
import { findLinkByIndex, type HostLink, isOwnVxlan, listBridgePortNames, readHostLink } from '../../state/host-links'
import type { OvsDatabase } from '../../state/ovsdb'
import type { System } from '../../system/types'
import { planUnusedRemoval, type UnusedParents } from './plan'

/** A link that leaves its bridge or NIC because it is removed or moved. */
interface LeavingLink {
  readonly hostEnd?: HostLink | undefined
  /** The NIC or VLAN device under a macvlan. */
  readonly parent?: HostLink | undefined
  readonly deadPort?: ExistingAttachment['deadPort'] | undefined
  readonly ovs?: OvsDatabase | undefined
  /** The bridge, NIC or VLAN device it moves to. */
  readonly movesTo?: string
}

/** Finds what becomes unused without the link. `gone` lists the attachments that a dry run has already removed. */
export async function findUnusedParents(
  leaving: LeavingLink,
  gone: readonly ExistingAttachment[],
  system: System,
): Promise<UnusedParents> {
  const { hostEnd, deadPort, ovs } = leaving
  const [unusedParent, vxlans, ovsRemoval] = await Promise.all([
    findUnusedParent(leaving, gone, system),
    findUnusedVxlans(hostEnd, gone, system),
    findOvsRemoval({ hostEnd, deadPort }, { ovs, gone }, system),
  ])
  return {
    unusedParent,
    unusedVxlans: vxlans.length === 0 ? undefined : vxlans,
    ovsRemoval,
    ...(await planFirewallCleanup(leaving, gone, system)),
  }
}

/** The last steps of a move with --force: removes what pipework created for the link in its old place, if unused. */
export async function planMovedLinkGc({ request, facts }: AttachContext, system: System): Promise<Plan> {
  const { hostEnd, parent, vlanDevice } = facts
  const ovs = facts.ovs?.kind === 'database' ? facts.ovs : undefined
  const next = vlanDevice?.name ?? request.hostif
  const unused = await findUnusedParents({ hostEnd, parent, ovs, movesTo: next }, [], system)
  const before = unused.ovsRemoval?.port?.bridge ?? parent?.name ?? hostEnd?.master
  return findLinkRecord(facts) === undefined || before === undefined || before === next ? [] : planUnusedRemoval(unused)
}

/** The host ends that no longer count as users. */
function listHostEndNames(
  hostEnd: HostLink | undefined,
  gone: readonly ExistingAttachment[],
): readonly (string | undefined)[] {
  return [hostEnd?.name, ...gone.map((it) => it.hostEnd?.name)]
}

/** Removes the firewall rules for a bridge together with its last attachment. */
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

/** The VXLANs that pipework created, when they are the only remaining ports of the bridge. */
async function findUnusedVxlans(hostEnd: HostLink | undefined, gone: readonly ExistingAttachment[], system: System) {
  const ends = listHostEndNames(hostEnd, gone)
  const others =
    hostEnd?.master === undefined ? [] : listBridgePortNames(hostEnd.master, system).filter((it) => !ends.includes(it))
  if (others.length === 0 || !others.every((name) => isOwnVxlan(name, system))) return []
  return (await readVxlans(system)).filter(({ name }) => others.includes(name))
}

/** The bridge or VLAN device under the link, when pipework created it and nothing else uses it. */
async function findUnusedParent(
  { hostEnd, parent }: LeavingLink,
  gone: readonly ExistingAttachment[],
  system: System,
): Promise<ParentDevice | undefined> {
  const bridge = hostEnd?.master === undefined ? undefined : readHostLink(hostEnd.master, system)
  const device = parent ?? bridge
  if (device?.record?.kind !== 'made' || device.master !== undefined) return undefined
  const ends = listHostEndNames(hostEnd, gone)
  const otherPorts = listBridgePortNames(device.name, system).filter((port) => !ends.includes(port))
  if (otherPorts.some((port) => !isOwnVxlan(port, system))) return undefined
  if (await hasGlobalAddress(device.name, system)) return undefined
  return parent === undefined ? bridge : findUnusedVlanDevice(parent, gone, system)
}

/** A VLAN device, when no other link of the host or of a guest uses it. */
async function findUnusedVlanDevice(
  device: HostLink,
  gone: readonly ExistingAttachment[],
  system: System,
): Promise<ParentDevice | undefined> {
  const uppers = (system.list(`/sys/class/net/${device.name}`) ?? []).filter((it) => it.startsWith('upper_'))
  // A macvlan of pipework's own (--host-access) only serves the guests.
  if (uppers.some((it) => readHostLink(it.slice('upper_'.length), system)?.record?.kind !== 'made')) return undefined
  const { states, error } = await scanNamespaces(system)
  // A namespace that cannot be read may have a link on it.
  if (error !== undefined) return undefined
  const isUser = (link: GuestLink) => isChildOf(link, device)
  const users = states.flatMap(({ links }) => links.filter(isUser))
  const stillThere = gone.filter(({ inGuest }) => inGuest !== undefined && isUser(inGuest))
  if (users.length > 1 + stillThere.length) return undefined
  const nic = findLinkByIndex(device.peerIndex, system)?.name
  const id = /\bVID: (\d+)/.exec(system.read(`/proc/net/vlan/${device.name}`) ?? '')?.[1]
  return nic === undefined || id === undefined ? device : { ...device, vlan: { nic, id: Number(id) } }
}
