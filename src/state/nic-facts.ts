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

/** What is known of a NIC that is moved into a guest, and of a VLAN device on a NIC. */
export interface NicFacts {
  /** With --direct-phys: what the NIC has in the host, or had before it was moved into a guest. */
  readonly savedNic?: SavedNic
  /** What its state file says now; absent where there is none. */
  readonly nicFile?: SavedNic
  /** The host's links, for a NIC that is to come back. */
  readonly hostState?: HostState
  /** What of its configuration could not be given back. */
  readonly nicUnsupported?: readonly string[]
  /** A wireless NIC is moved by `iw`, and that is not installed. */
  readonly lacksIw?: true
  /** The VLAN device under a macvlan of the request: its name, and the link when it is there. */
  readonly vlanDevice?: {
    readonly name: string
    readonly link?: HostLink
    readonly id?: number
    readonly unrecorded?: true
  }
  /** Of a NIC that is asked for as a whole, by a macvlan in the mode passthru: an address that this host has on it. */
  readonly hostAddress?: string
}

/** That address, where there is one that counts beyond the link. */
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
  // A NIC has no trunks: that is refused.
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

/** A NIC that fell back into the host under a foreign name, or that a killed run left half-way. */
export function findOrphanedNic(nic: string, system: System): HostLink | undefined {
  return readRecordedLinks(system).find(({ record }) => record?.kind === 'link' && record.nic === nic)
}

/** What the NIC has: by its state file when it has been away, else as the kernel says. */
async function readNicToSave(hostif: HostLink, target: NicTarget, system: System): Promise<NicFacts> {
  const { name, record } = hostif
  const { guest, state } = target
  const hostState = await readHostState(system)
  const live = hostState.links.get(name)
  const nicFile = record?.kind === 'link' && record.nic !== undefined ? readSavedNic(record.nic, system) : undefined
  if (live === undefined) return {}
  // An index that a link in the guest has already is not kept.
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

/** Of the NIC that is to go in, or else of the one that is there under the name asked for. */
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

/** The NIC of the request in the guest, under another name than the one asked for. */
export function findNicOtherName({ hostif, ifname }: AttachRequest, { links }: GuestState): GuestLink | undefined {
  return links.find(
    ({ name, record }) =>
      name !== ifname && record?.kind === 'link' && record.nic !== undefined && record.nic === hostif,
  )
}
