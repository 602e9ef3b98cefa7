import type { Host } from '../host'
import { type HostLink, readHostLink } from '../hostlinks'
import { isOvsThere } from '../ovsdb'
import type { Candidate } from './candidate'
import { readSubnets } from './subnets'

/** Seconds that Open vSwitch may take to list its bridges; one that is healthy takes a hundredth. */
const OVS_LIMIT = 0.5

/** The host interfaces that an attachment can hang on, sorted by what they are. */
export interface HostIfs {
  readonly bridges: readonly Candidate[]
  readonly nics: readonly Candidate[]
  /** The NICs once more, by address. */
  readonly macs: readonly Candidate[]
}

function describe(link: HostLink, kind: string, addresses: readonly string[]): string {
  return [kind, link.up ? 'up' : 'down', `MTU ${link.mtu}`, ...addresses].join(', ')
}

async function listOvsBridges(host: Host): Promise<readonly string[]> {
  if (!host.isRoot || !isOvsThere(host)) return []
  try {
    const { code, stdout } = await host.run(['ovs-vsctl', '--timeout=1', 'list-br'], OVS_LIMIT)
    return code === 0 ? stdout.split('\n').filter(Boolean) : []
  } catch {
    return []
  }
}

/** A link that somebody else has, or that is no way out, is not offered: it would be refused. */
function isNic({ kind, master, record, name }: HostLink): boolean {
  return (
    kind !== 'bridge' && kind !== 'loopback' && master === undefined && record === undefined && name !== 'ovs-system'
  )
}

/** Reads them. Open vSwitch is asked only where it runs, and not for long. */
export async function listHostIfs(host: Host): Promise<HostIfs> {
  const links = (host.list('/sys/class/net') ?? []).flatMap((name) => readHostLink(name, host) ?? [])
  const ovs = await listOvsBridges(host)
  const { addresses } = readSubnets(host)
  const of = (name: string) => addresses.filter(({ dev }) => dev === name).map(({ ip, prefix }) => `${ip}/${prefix}`)
  const toCandidate = (link: HostLink, kind: string) => ({
    value: link.name,
    text: describe(link, kind, of(link.name)),
  })
  const nics = links.filter((link) => isNic(link) && !ovs.includes(link.name))
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
