import { readSubnets } from '../../state/subnets'
import { readSysfsLink, SYSFS_NET, type SysfsLink } from '../../state/sysfs'
import type { System } from '../../system/types'
import type { CommandTable } from '../command-spec'
import type { CompletionItem } from './candidate'

/** Seconds to wait for Open vSwitch to list its bridges. */
const OVS_LIMIT = 0.5

/** The host interfaces that an attachment can use, by kind. */
export interface HostInterfaces {
  readonly bridges: readonly CompletionItem[]
  readonly nics: readonly CompletionItem[]
  /** The NICs again, by MAC address. */
  readonly macs: readonly CompletionItem[]
}

function describeLink(link: SysfsLink, kind: string, addresses: readonly string[]): string {
  return [kind, link.up ? 'up' : 'down', `MTU ${link.mtu}`, ...addresses].join(', ')
}

async function listOvsBridges(system: System): Promise<readonly string[]> {
  // The reader of the database is loaded only when Open vSwitch runs.
  const runs = system.inode(system.env.OVS_RUNDIR ?? '/var/run/openvswitch') !== undefined
  if (!system.isRoot || !runs) return []
  try {
    const { isOvsRunning } = await import('../../state/ovsdb')
    if (!isOvsRunning(system)) return []
    const { code, stdout } = await system.run(['ovs-vsctl', '--timeout=1', 'list-br'], OVS_LIMIT)
    return code === 0 ? stdout.split('\n').filter(Boolean) : []
  } catch {
    return []
  }
}

/** A NIC that attach accepts: unused, not created by pipework, not the loopback. */
function isUsableNic({ kind, master, alias, name }: SysfsLink): boolean {
  const isOurs = alias?.startsWith('pipework') === true
  return (
    kind !== 'bridge' && kind !== 'loopback' && master === undefined && !isOurs && !/^ovs-(system|netdev)$/.test(name)
  )
}

/** Reads the interfaces. Open vSwitch is asked only when it runs, with a short timeout. */
export async function listHostInterfaces(system: System): Promise<HostInterfaces> {
  const links = (system.list(SYSFS_NET) ?? []).flatMap((name) => readSysfsLink(name, system) ?? [])
  const ovs = await listOvsBridges(system)
  const { addresses } = readSubnets(system)
  const of = (name: string) => addresses.filter(({ dev }) => dev === name).map(({ ip, prefix }) => `${ip}/${prefix}`)
  const toCandidate = (link: SysfsLink, kind: string) => ({
    value: link.name,
    text: describeLink(link, kind, of(link.name)),
  })
  const nics = links.filter((link) => isUsableNic(link) && !ovs.includes(link.name))
  const known = ovs.map((name) => links.find((link) => link.name === name) ?? name)
  return {
    bridges: [
      ...links.filter(({ kind }) => kind === 'bridge').map((link) => toCandidate(link, 'bridge')),
      ...known.map((it) =>
        typeof it === 'string' ? { value: it, text: 'Open vSwitch bridge' } : toCandidate(it, 'Open vSwitch bridge'),
      ),
    ],
    nics: nics.map((link) => toCandidate(link, link.kind === 'other' ? 'NIC' : link.kind)),
    macs: nics
      .filter(({ kind, mac }) => kind !== 'vlan' && mac.length === 17)
      .map((link) => ({ value: `mac:${link.mac}`, text: `the NIC ${link.name}` })),
  }
}

/** Keywords in place of an interface. */
const KEYWORDS: Readonly<Record<string, string>> = {
  ptp: 'no bridge: the host itself is the router',
  'routed:': 'an address of the LAN behind a NIC, without layer 2',
  dummy: 'an interface in the guest that leads nowhere',
}

/** The possible first words: interfaces, keywords, commands. */
export async function listFirstWords(
  current: string,
  { table, system }: { readonly table: CommandTable; readonly system: System },
): Promise<readonly CompletionItem[]> {
  const { bridges, nics, macs } = await listHostInterfaces(system)
  // A prefix before the NIC: the bridge of an uplink, or `routed:`.
  const before = /^([^@]+@|routed:)/.exec(current)?.[0]
  if (before !== undefined) return nics.map((nic) => ({ ...nic, value: `${before}${nic.value}` }))
  const keywords = Object.entries(KEYWORDS).map(([value, text]) => ({ value, text }))
  const commands = table.commands.filter(({ word, hidden }) => word !== '' && !word.startsWith('--') && !hidden)
  const words = commands.map(({ word, describe }) => ({ value: word, text: describe }))
  return [...bridges, ...nics, ...macs, ...keywords, ...words]
}
