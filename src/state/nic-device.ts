import type { System } from '../system/types'
import type { GuestLink, GuestState } from './guest'
import type { HostLinkState } from './host'
import { readParentDevice, toNicRecord } from './returned-nic'
import { type NicDevice, readSavedNics, type SavedNic } from './saved-link'
import { SYSFS_NET, type SysfsLink } from './sysfs'

// Identifies the NIC of a link. The guest can write an alias; the kernel knows the device.

/** The kernel's description of a host NIC's device. The caller that moves the NIC adds its index in the guest. */
export function readNicDevice(
  { name, mac, peerIndex }: SysfsLink,
  { kind, permanentMac }: Pick<HostLinkState, 'kind' | 'permanentMac'>,
  system: System,
): NicDevice {
  const isPermanent = kind === undefined && system.read(`${SYSFS_NET}/${name}/addr_assign_type`) === NET_ADDR_PERM
  return {
    kind: kind ?? 'NIC',
    parent: readParentDevice(name, system),
    port: system.read(`${SYSFS_NET}/${name}/dev_port`),
    permanentMac: permanentMac ?? (isPermanent ? mac : undefined),
    peerIndex: kind === 'veth' ? peerIndex : undefined,
  }
}

/** The link has its driver's MAC address. */
const NET_ADDR_PERM = '0'

/** Whether the link in a guest is the NIC. */
export function isSameNic({ device, name }: SavedNic, link: GuestLink): boolean {
  if (device.kind !== link.kind) return false
  const { parent, permanentMac, ifindex, peerIndex } = device
  // Older kernels and versions of `ip` do not report a link's device.
  const isKnown = parent !== undefined && link.parent !== undefined
  if (isKnown && parent !== link.parent) return false
  const hasMac = permanentMac !== undefined && link.permanentMac !== undefined
  if (hasMac && permanentMac !== link.permanentMac) return false
  if (isKnown || hasMac) return true
  const isPeer = peerIndex !== undefined && peerIndex === link.peerIndex
  if (ifindex !== undefined) return ifindex === link.ifindex && (peerIndex === undefined || isPeer)
  // The previous version saved only the kind.
  const isBefore = device.parent === undefined && peerIndex === undefined
  return isPeer || (isBefore && link.record?.kind === 'link' && link.record.nic === name)
}

/** The guest's links; each host NIC among them has the record from its state file. */
export function withNicRecords(state: GuestState, netns: number, system: System): GuestState {
  const here = readSavedNics(system).filter((nic) => nic.netns === netns)
  if (here.length === 0) return { ...state, netns }
  const links = state.links.map((link) => {
    const nic = here.find((it) => isSameNic(it, link))
    if (nic === undefined) return link
    const claimed = link.record?.kind === 'link' ? link.record : undefined
    return { ...link, record: toNicRecord(nic, claimed, link.name) }
  })
  return { ...state, netns, links }
}
