import { isLinkLocalAddress } from '../model/address'
import { vlanDeviceName } from '../model/ifname'
import type { AttachRequest } from '../model/request'
import type { Guest } from '../runtimes/find'
import type { System } from '../system/types'
import type { GuestLink, GuestState } from './guest'
import { type HostState, readHostState, toSavedLink } from './host'
import { type HostLink, readHostLink, readRecordedLinks } from './host-links'
import { readNicDevice } from './nic-device'
import { PENDING_GROUP } from './record'
import { readSavedNic, type SavedNic } from './saved-link'
import { SYSFS_NET } from './sysfs'

/** The facts about a NIC that moves into a guest, and about a VLAN device on a NIC. */
export interface NicFacts {
  /** With --direct-phys: the NIC's host configuration, current or from before its move. */
  readonly savedNic?: SavedNic
  /** The content of its state file; absent without one. */
  readonly nicFile?: SavedNic
  /** The host's links, for a NIC that returns. */
  readonly hostState?: HostState
  /** Configuration of the NIC that could not be restored. */
  readonly nicUnsupported?: readonly string[]
  /** A wireless NIC needs `iw` for the move, and it is not installed. */
  readonly lacksIw?: true
  /** The VLAN device below the requested macvlan: its name, and the link if it exists. */
  readonly vlanDevice?: {
    readonly name: string
    readonly link?: HostLink
    readonly id?: number
    readonly unrecorded?: true
  }
  /** For a macvlan in passthru mode, which takes the whole NIC: an address of this host on that NIC. */
  readonly hostAddress?: string
}

/** The first such address with a scope beyond the link. */
export async function readHostAddress(
  { hostif, sharing }: AttachRequest,
  vlanDevice: NicFacts['vlanDevice'],
  system: System,
): Promise<string | undefined> {
  if (sharing.mode !== 'passthru') return undefined
  return (await system.interfaceAddresses(vlanDevice?.name ?? hostif)).find((ip) => !isLinkLocalAddress(ip))
}

/** The VLAN device that the request needs. */
export function readVlanDevice({ hostif, vlan }: AttachRequest, system: System): NicFacts['vlanDevice'] {
  // A NIC has no trunks: the request is refused elsewhere.
  if (vlan?.native === undefined) return undefined
  const name = vlanDeviceName(hostif, vlan.native)
  const link = readHostLink(name, system)
  const id = /\bVID: (\d+)/.exec(system.read(`/proc/net/vlan/${name}`) ?? '')?.[1]
  const unrecorded = system.read(`/sys/class/net/${name}/netdev_group`) === PENDING_GROUP
  return {
    name,
    link,
    id: id === undefined ? undefined : Number(id),
    unrecorded: unrecorded ? unrecorded : undefined,
  }
}

/** A NIC that returned to the host under another name, or that a killed run left half-moved. */
export function findOrphanedNic(nic: string, system: System): HostLink | undefined {
  return readRecordedLinks(system).find(({ record }) => record?.kind === 'link' && record.nic === nic)
}

/** The NIC's configuration: from its state file when it was moved, else from the kernel. */
async function readNicToSave(hostif: HostLink, target: NicTarget, system: System): Promise<NicFacts> {
  const { name, record } = hostif
  const { guest, state } = target
  const hostState = await readHostState(system)
  const live = hostState.links.get(name)
  const nicFile = record?.kind === 'link' && record.nic !== undefined ? readSavedNic(record.nic, system) : undefined
  if (live === undefined) return {}
  // The kernel changes the index when a link in the guest already has it.
  const ifindex = state.links.some((link) => link.ifindex === hostif.ifindex) ? undefined : hostif.ifindex
  const owner = { guest: `${guest.kind}:${guest.name}`, netns: system.inode(guest.nsPath) }
  const device = { ...readNicDevice(hostif, live, system), ifindex }
  if (nicFile !== undefined) return { savedNic: { ...nicFile, ...owner, device }, nicFile, hostState }
  const phy = system.read(`${SYSFS_NET}/${name}/phy80211/index`)
  const savedNic = {
    ...toSavedLink(live, hostState.takenAt, system),
    ...owner,
    device,
    phy: phy === undefined ? undefined : `phy#${phy}`,
    alias: hostif.alias,
  }
  return { savedNic, hostState, nicUnsupported: hostState.unsupported.get(name) }
}

interface NicTarget {
  readonly guest: Guest
  readonly state: GuestState
}

/** The facts of the NIC that is to move in, or else of the one in the guest under the requested name. */
export async function readNicFacts(
  { hostif, inGuest, ...target }: NicTarget & { hostif: HostLink | undefined; inGuest: GuestLink | undefined },
  system: System,
): Promise<NicFacts> {
  if (hostif !== undefined) {
    const facts = await readNicToSave(hostif, target, system)
    return { ...facts, lacksIw: facts.savedNic?.phy !== undefined && !system.hasProgram('iw') ? true : undefined }
  }
  const { record } = inGuest ?? {}
  const savedNic = record?.kind === 'link' && record.nic !== undefined ? readSavedNic(record.nic, system) : undefined
  return savedNic === undefined ? {} : { savedNic, nicFile: savedNic, hostState: await readHostState(system) }
}

/** The requested NIC when it is in the guest under another name. */
export function findNicOtherName({ hostif, ifname }: AttachRequest, { links }: GuestState): GuestLink | undefined {
  return links.find(
    ({ name, record }) =>
      name !== ifname && record?.kind === 'link' && record.nic !== undefined && record.nic === hostif,
  )
}
