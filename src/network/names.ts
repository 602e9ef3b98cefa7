import { fnv1aHash } from '../model/hash'
import type { AttachRequest } from '../model/request'
import type { Guest } from '../runtimes/find'
import type { DerivedNames } from '../state/attach-facts'
import type { LinkRecord } from '../state/record'
import type { System } from '../system/types'

/** A text that identifies this host. */
function machineId(system: System): string {
  return system.read('/etc/machine-id') || system.read('/proc/sys/kernel/random/boot_id') || ''
}

/** A locally administered address (02:…) derived from a hash. */
const macFromHash = (hash: string) => `02:${(hash.slice(0, 10).match(/../g) ?? []).join(':')}`

/** `v<ifname>pl<hash>` as in the original: stable, unique for guest and interface, at most 15 bytes. */
function formatHostEndName(ifname: string, hash: string): string {
  return (ifname.length <= 6 ? `v${ifname}pl${hash}` : `vpl${hash}`).slice(0, 15)
}

function attachmentHash(ifname: string, { kind, name, id }: LinkRecord['guest'], system: System): string {
  // The part that differs least comes first: a hash spreads early bytes best. A PID is reused, so its start time is
  // included: a new process must not take over an old one's links.
  return fnv1aHash(`${ifname} ${kind}:${name}${kind === 'pid' ? `@${id}` : ''} ${machineId(system)}`)
}

/** The default names of the host end: on a Linux bridge, and on an Open vSwitch bridge. */
export function deriveHostEndNames(
  ifname: string,
  guest: LinkRecord['guest'],
  system: System,
): Record<'bridge' | 'ovs', string> {
  const own = attachmentHash(ifname, guest, system)
  // Two names: a leftover row in the Open vSwitch database claims any device with its name.
  return { bridge: formatHostEndName(ifname, own), ovs: formatHostEndName(ifname, fnv1aHash(`${own} ovs`)) }
}

/** The MAC address of a new bridge: always the same on this host. */
export function deriveBridgeMac(bridge: string, system: System): string {
  return macFromHash(fnv1aHash(`${bridge} ${machineId(system)}`))
}

/** The names and addresses that a request leaves to pipework, and the MAC address, typed or derived. */
export async function deriveNames(
  { mac, ifname, hostif }: AttachRequest,
  { guest, system }: { readonly guest: Guest; readonly system: System },
  bridge: 'bridge' | 'ovs',
): Promise<DerivedNames> {
  const own = attachmentHash(ifname, guest, system)
  return {
    hostEndName: deriveHostEndNames(ifname, guest, system)[bridge],
    // The original hashes the output of `echo`, including the trailing newline.
    mac: mac === undefined ? macFromHash(own) : 'mac' in mac ? mac.mac : macFromHash(await system.md5(`${mac.seed}\n`)),
    bridgeMac: deriveBridgeMac(hostif, system),
  }
}
