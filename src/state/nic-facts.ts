import { isLinkLocalAddress } from '../model/address'
import { vlanDeviceName } from '../model/ifname'
import type { AttachRequest } from '../model/request'
import type { Guest } from '../runtimes/find'
import type { System } from '../system/types'
import { type GuestLink, type GuestState, readGuestState, toAddrAddArgs } from './guest'
import { type HostLink, readHostLink, readRecordedLinks } from './host-links'
import { PENDING_GROUP } from './record'
import { readSavedLink, type SavedLink } from './saved-link'

/** What is known of a NIC that goes in itself, and of the VLAN device on one. */
export interface NicFacts {
  /** With --direct-phys: how the NIC is, or was before it went into a guest that has ended. */
  readonly savedNic?: SavedLink
  /** Whether that is written down already. */
  readonly isNicSaved?: boolean
  /** A wireless one changes sides with `iw` only, which is not there. */
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

/** How the NIC is: as it is written down when it has been away, else as the kernel shows it. */
async function readNicToSave(
  { name, up, mtu, mac, alias, record }: HostLink,
  guest: Guest,
  system: System,
): Promise<Pick<NicFacts, 'savedNic' | 'isNicSaved'>> {
  const kept = record?.kind === 'link' && record.nic !== undefined ? readSavedLink(record.nic, system) : undefined
  if (kept !== undefined) return { savedNic: kept, isNicSaved: true }
  const { links, routes } = await readGuestState(undefined, system)
  const live = links.find((link) => link.name === name)
  const phy = system.read(`/sys/class/net/${name}/phy80211/index`)
  const addresses = live?.addresses.filter(({ automatic }) => !automatic) ?? []
  const nic = {
    name,
    guest: `${guest.kind}:${guest.name}`,
    kind: live?.kind ?? 'NIC',
    phy: phy === undefined ? undefined : `phy#${phy}`,
    ...{ up, mtu, mac },
    alias,
    addresses: addresses.map(toAddrAddArgs),
    routes: routes
      .filter(({ dev, protocol }) => dev === name && protocol !== 'kernel')
      .sort((a, b) => Number(a.gateway !== undefined) - Number(b.gateway !== undefined))
      .map(({ family, dst, words }) => ({ family, dst, words })),
  }
  return { savedNic: nic, isNicSaved: false }
}

/** Of the NIC that is to go in, or else of the one that is there under the name asked for. */
export async function readNicFacts(
  { hostif, inGuest, guest }: { hostif: HostLink | undefined; inGuest: GuestLink | undefined; guest: Guest },
  system: System,
): Promise<Pick<NicFacts, 'savedNic' | 'isNicSaved' | 'lacksIw'>> {
  if (hostif !== undefined) {
    const state = await readNicToSave(hostif, guest, system)
    return { ...state, lacksIw: state.savedNic?.phy !== undefined && !system.hasProgram('iw') ? true : undefined }
  }
  const { record } = inGuest ?? {}
  const nic = record?.kind === 'link' && record.nic !== undefined ? readSavedLink(record.nic, system) : undefined
  return nic === undefined ? {} : { savedNic: nic, isNicSaved: true }
}

/** The NIC of the request in the guest, under another name than the one asked for. */
export function findNicOtherName({ hostif, ifname }: AttachRequest, { links }: GuestState): GuestLink | undefined {
  return links.find(
    ({ name, record }) =>
      name !== ifname && record?.kind === 'link' && record.nic !== undefined && record.nic === hostif,
  )
}
