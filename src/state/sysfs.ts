import type { System } from '../system/types'

/** A link's kind; `other` is a NIC, or whatever behaves like one. */
type SysfsKind = 'bridge' | 'infiniband' | 'wireless' | 'loopback' | 'vlan' | 'other'

/** A link in the host's namespace, as sysfs shows it. */
export interface SysfsLink {
  readonly name: string
  readonly kind: SysfsKind
  readonly ifindex: number
  /** The index of a veth's other end in its own namespace; else the link's own index. */
  readonly peerIndex: number
  readonly mtu: number
  readonly mac: string
  /** Administratively up. */
  readonly up: boolean
  readonly master?: string
  /** For a bridge: whether VLAN filtering is on; absent when the kernel does not support it. */
  readonly filtering?: boolean
  /** For a bridge: the VLAN of new ports; 0 for none. */
  readonly defaultPvid?: number
  readonly alias?: string
}

/** The directory of the namespace's links in sysfs. */
export const SYSFS_NET = '/sys/class/net'

const IFF_UP = 1

/** The device types in uevent. */
const DEVTYPES: Readonly<Record<string, SysfsKind>> = { bridge: 'bridge', wlan: 'wireless', vlan: 'vlan' }
/** ARP hardware types of <linux/if_arp.h>, as sysfs shows them. */
const ARP_TYPES: Readonly<Record<string, SysfsKind>> = { '32': 'infiniband', '772': 'loopback' }

export function readLinkKind(name: string, system: System): SysfsKind {
  const devtype = /^DEVTYPE=(.+)$/m.exec(system.read(`${SYSFS_NET}/${name}/uevent`) ?? '')?.[1] ?? ''
  return DEVTYPES[devtype] ?? ARP_TYPES[system.read(`${SYSFS_NET}/${name}/type`) ?? ''] ?? 'other'
}

/** Whether it is an InfiniBand interface; reads one file. */
export function isInfiniband(name: string, system: System): boolean {
  return ARP_TYPES[system.read(`${SYSFS_NET}/${name}/type`) ?? ''] === 'infiniband'
}

function readVlanFiltering(name: string, system: System): Pick<SysfsLink, 'filtering' | 'defaultPvid'> {
  const filtering = system.read(`${SYSFS_NET}/${name}/bridge/vlan_filtering`)
  if (filtering === undefined) return {}
  return { filtering: filtering === '1', defaultPvid: Number(system.read(`${SYSFS_NET}/${name}/bridge/default_pvid`)) }
}

/** One host link; undefined when it does not exist. `known` is its alias, if already read. */
export function readSysfsLink(name: string, system: System, known?: string): SysfsLink | undefined {
  const of = (file: string) => system.read(`${SYSFS_NET}/${name}/${file}`)
  const ifindex = of('ifindex')
  if (ifindex === undefined) return undefined
  const alias = known ?? of('ifalias')
  const master = system.readLink(`${SYSFS_NET}/${name}/master`)
  const kind = readLinkKind(name, system)
  return {
    name,
    kind,
    ifindex: Number(ifindex),
    peerIndex: Number(of('iflink')),
    mtu: Number(of('mtu')),
    mac: of('address') ?? '',
    up: (Number(of('flags')) & IFF_UP) !== 0,
    master: master === undefined ? undefined : master.slice(master.lastIndexOf('/') + 1),
    ...(kind === 'bridge' ? readVlanFiltering(name, system) : {}),
    alias: alias ? alias : undefined,
  }
}
