import type { System } from '../system/types'
import type { LinkRecord } from './record'
import { listSavedNics, readSavedNics, type SavedNic } from './saved-link'
import { SYSFS_NET } from './sysfs'

/** The device of a real NIC on the bus, like the PCI address 0000:00:1f.6. */
export function readParentDevice(name: string, system: System): string | undefined {
  const path = system.realPath(`${SYSFS_NET}/${name}/device`)
  return path?.slice(path.lastIndexOf('/') + 1)
}

/** The saved NIC that this host link is, when it has returned from its guest. */
export function findReturnedNic(name: string, system: System): SavedNic | undefined {
  if (listSavedNics(system).length === 0) return undefined
  const parent = readParentDevice(name, system)
  if (parent === undefined) return undefined
  const port = system.read(`${SYSFS_NET}/${name}/dev_port`)
  return readSavedNics(system).find(
    ({ device }) => device.parent === parent && (device.port === undefined || device.port === port),
  )
}

/**
 * The record of a moved NIC, from its state file; the alias on the link is trusted only about the inside of the guest.
 */
export function toNicRecord(nic: SavedNic, claimed: LinkRecord | undefined, ifname: string): LinkRecord {
  const [kind = '', ...name] = nic.guest.split(':')
  const guest = { kind, name: name.join(':') }
  const isSame = claimed?.guest.kind === guest.kind && claimed.guest.name === guest.name
  return {
    ...{ kind: 'link', ifname, addresses: [], words: ['--direct-phys'], previous: [] },
    ...claimed,
    ...{ guest: isSame ? claimed.guest : guest, hostif: nic.name, nic: nic.name },
  }
}
