import { PipeworkError } from '../model/errors'
import type { AttachRequest } from '../model/request'
import { parseRouted, withDefaultGateways } from '../model/routed'
import { parseVlanSet } from '../model/vlan'
import type { System } from '../system/types'
import { decodeRecord, type PipeworkRecord } from './record'
import { findReturnedNic, toNicRecord } from './returned-nic'
import { listSavedNics, readSavedNic, readSavedNics } from './saved-link'
import { isInfiniband, readLinkKind, readSysfsLink, SYSFS_NET, type SysfsLink } from './sysfs'

/** A host link with pipework's record on it. */
export interface HostLink extends SysfsLink {
  readonly record?: PipeworkRecord
}

/** The MTU of a link or bridge unless it was changed: the kernel's default. */
export const DEFAULT_MTU = 1500

/** One host link from sysfs; undefined when it does not exist. `known` is its alias, if already read. */
export function readHostLink(name: string, system: System, known?: string): HostLink | undefined {
  const link = readSysfsLink(name, system, known)
  if (link === undefined) return undefined
  const record = readHostRecord(link, system)
  return record === undefined ? link : { ...link, record }
}

/** The record of a link. A real NIC that returns from a guest has an alias that the guest may have written. */
function readHostRecord(link: SysfsLink, system: System): PipeworkRecord | undefined {
  const claimed = decodeRecord(link.alias)
  if (system.inode(`${SYSFS_NET}/${link.name}/device`) === undefined) return claimed
  const nic = findReturnedNic(link.name, system)
  const own = claimed?.kind === 'link' && claimed.nic !== undefined ? claimed : undefined
  if (nic !== undefined) {
    // The guest can remove the alias as well. A NIC returns down; one that is up was left so by a killed run.
    if (own === undefined && link.up) return undefined
    const { ifname = link.name, addresses = [], file } = own ?? {}
    return { ...toNicRecord(nic, undefined, ifname), addresses, file }
  }
  // Files of the previous version do not identify the device.
  const saved = own?.nic === undefined ? undefined : readSavedNic(own.nic, system)
  return saved !== undefined && saved.device.parent === undefined ? own : undefined
}

/**
 * The NIC with that MAC address; `everywhere` includes NICs in guests. Bridges and VLAN devices copy a NIC's address
 * and are skipped. Throws when there is none, or more than one.
 */
function findNicByMac(mac: string, where: 'host' | 'everywhere', system: System): string {
  const names = (system.list(SYSFS_NET) ?? []).filter((name) => system.read(`${SYSFS_NET}/${name}/address`) === mac)
  const nics = names.filter((name) => !['bridge', 'vlan'].includes(readLinkKind(name, system)))
  const away = where === 'everywhere' ? readSavedNics(system).find((nic) => nic.mac === mac)?.name : undefined
  const [hostif = away] = nics
  if (hostif === undefined)
    throw new PipeworkError(`no NIC of this host has the MAC address '${mac}'`, {
      hint: 'See what there is: ip -br link',
    })
  if (nics.length > 1)
    throw new PipeworkError(`more than one NIC has the MAC address '${mac}': ${nics.join(', ')}`, {
      hint: 'Give its name.',
    })
  return hostif
}

/** The name of a NIC that was typed by name, or as `mac:` and its address. */
export function resolveNicName(typed: string, system: System): string {
  const mac = /^mac:(.*)$/.exec(typed)?.[1]
  return mac === undefined ? typed : findNicByMac(mac, 'host', system)
}

/** Resolves what depends on the host: the NIC of `mac:`, the tag and interface name on InfiniBand, default gateways. */
export function resolveHostif(request: AttachRequest, system: System): AttachRequest {
  const { tag, vlan, isIfnameGiven, ifname } = request
  const mac = /^mac:(.*)$/.exec(request.hostif)?.[1]
  const hostif = mac === undefined ? request.hostif : findNicByMac(mac, request.direct ? 'everywhere' : 'host', system)
  const isPartitioned = isInfiniband(hostif, system)
  // An invalid VLAN may be a partition key; on other links it is refused here.
  if (!isPartitioned && tag !== undefined && vlan === undefined) parseVlanSet(tag)
  // A guest whose link leads only to the host has its gateway there, typed or not.
  const isAlone = parseRouted(hostif) !== undefined && readHostLink(hostif, system) === undefined
  const addresses = isAlone ? withDefaultGateways(request.addresses) : request.addresses
  return { ...request, hostif, addresses, ifname: isPartitioned && !isIfnameGiven ? 'ib0' : ifname }
}

/** The host end of a link: what an attach checks again at its end. */
export interface HostEnd {
  readonly name: string
  readonly master?: string
}

/** Where a link of that name is attached; undefined when it does not exist. Reads less than readHostLink. */
export function readHostEnd(name: string, system: System): HostEnd | undefined {
  if (system.inode(`${SYSFS_NET}/${name}`) === undefined) return undefined
  const master = system.readLink(`${SYSFS_NET}/${name}/master`)
  return { name, master: master === undefined ? undefined : master.slice(master.lastIndexOf('/') + 1) }
}

/** The host links with a record of ours. */
export function readRecordedLinks(system: System): readonly HostLink[] {
  const isAnyAway = listSavedNics(system).length > 0
  return (system.list(SYSFS_NET) ?? []).flatMap((name) => {
    const alias = system.read(`${SYSFS_NET}/${name}/ifalias`)
    const mayHave =
      alias?.startsWith('pipework') || (isAnyAway && system.inode(`${SYSFS_NET}/${name}/device`) !== undefined)
    const link = mayHave ? readHostLink(name, system, alias) : undefined
    return link?.record === undefined ? [] : [link]
  })
}

export function listBridgePortNames(bridge: string, system: System): readonly string[] {
  return system.list(bridgePortsDir(bridge)) ?? []
}

/** Whether it is a VXLAN that pipework created as a bridge's uplink: such a port does not keep the bridge in use. */
export function isOwnVxlan(name: string, system: System): boolean {
  return (
    /^DEVTYPE=vxlan$/m.test(system.read(`${SYSFS_NET}/${name}/uevent`) ?? '') &&
    decodeRecord(system.read(`${SYSFS_NET}/${name}/ifalias`))?.kind === 'made'
  )
}

/** The directory in sysfs with an entry for each port of the bridge. */
export function bridgePortsDir(bridge: string): string {
  return `${SYSFS_NET}/${bridge}/brif`
}

export function findLinkByIndex(index: number | undefined, system: System): HostLink | undefined {
  if (index === undefined) return undefined
  const name = (system.list(SYSFS_NET) ?? []).find((it) => system.read(`${SYSFS_NET}/${it}/ifindex`) === `${index}`)
  return name === undefined ? undefined : readHostLink(name, system)
}
