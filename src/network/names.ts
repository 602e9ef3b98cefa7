import { fnv1aHash } from '../model/hash'
import type { AttachRequest } from '../model/request'
import type { Guest } from '../runtimes/find'
import type { DerivedNames } from '../state/attach-facts'
import type { LinkRecord } from '../state/record'
import type { System } from '../system/types'

/** A text that is the same on this host as long as it lives, and another on every other. */
function machineId(system: System): string {
  return system.read('/etc/machine-id') || system.read('/proc/sys/kernel/random/boot_id') || ''
}

/** A locally administered address (02:…) out of a hash. */
const macFromHash = (hash: string) => `02:${(hash.slice(0, 10).match(/../g) ?? []).join(':')}`

/** `v<ifname>pl<hash>` in the original's manner: stable, told apart by guest and interface, 15 bytes at most. */
function formatHostEndName(ifname: string, hash: string): string {
  return (ifname.length <= 6 ? `v${ifname}pl${hash}` : `vpl${hash}`).slice(0, 15)
}

function attachmentHash(ifname: string, { kind, name, id }: LinkRecord['guest'], system: System): string {
  // What differs least stands first: a hash spreads early bytes best.
  // A process number comes again, and must not take over what an earlier process left.
  return fnv1aHash(`${ifname} ${kind}:${name}${kind === 'pid' ? `@${id}` : ''} ${machineId(system)}`)
}

/** The names of a link's end in the host when nobody gives it one: on a Linux bridge, and on one of Open vSwitch. */
export function deriveHostEndNames(
  ifname: string,
  guest: LinkRecord['guest'],
  system: System,
): Record<'bridge' | 'ovs', string> {
  const own = attachmentHash(ifname, guest, system)
  // Two: a row that is left in the database of Open vSwitch claims whatever bears its name.
  return { bridge: formatHostEndName(ifname, own), ovs: formatHostEndName(ifname, fnv1aHash(`${own} ovs`)) }
}

/** The MAC address of a bridge that is to be made: always the same on this host. */
export function deriveBridgeMac(bridge: string, system: System): string {
  return macFromHash(fnv1aHash(`${bridge} ${machineId(system)}`))
}

/** The names and addresses that a request leaves to us, and its MAC address where it does not. */
export async function deriveNames(
  { mac, ifname, hostif }: AttachRequest,
  { guest, system }: { readonly guest: Guest; readonly system: System },
  bridge: 'bridge' | 'ovs',
): Promise<DerivedNames> {
  const own = attachmentHash(ifname, guest, system)
  return {
    hostEndName: deriveHostEndNames(ifname, guest, system)[bridge],
    // The original hashes what `echo` prints, trailing newline and all.
    mac: mac === undefined ? macFromHash(own) : 'mac' in mac ? mac.mac : macFromHash(await system.md5(`${mac.seed}\n`)),
    bridgeMac: deriveBridgeMac(hostif, system),
  }
}
