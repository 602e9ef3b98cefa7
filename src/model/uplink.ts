import { parseIfname, parseMac } from './address'
import { usageError } from './errors'
import { isIP } from './ip'
import { parseVlanSet } from './vlan'

/** What a bridge is to be connected to: a NIC of the host, or one of its VLANs. */
export interface NicUplinkSpec {
  readonly kind: 'nic'
  /** A name, or `mac:` and an address. */
  readonly nic: string
  readonly vlan?: number
}

/** What a bridge is to be connected to: the bridges of the same VXLAN on other hosts. */
export interface VxlanUplinkSpec {
  readonly kind: 'vxlan'
  readonly id: number
  /** Another host, or the multicast group of all. */
  readonly remote: string
  /** The NIC by which it is reached. */
  readonly dev?: string
}

export type UplinkSpec = NicUplinkSpec | VxlanUplinkSpec

/** The highest number of a VXLAN: 24 bits. */
const MAX_VNI = 0xffffff

/** Whether packets to the address go to a group. */
export function isMulticastAddress(ip: string): boolean {
  const first = Number.parseInt(ip, 10)
  return isIP(ip) === 4 ? first >= 224 && first < 240 : /^ff/i.test(ip)
}

function parseVxlanUplink(typed: string): VxlanUplinkSpec {
  const [id = '', remote, dev, ...rest] = typed.slice('vxlan:'.length).split(',')
  const number = Number(id)
  if (!/^(0|[1-9]\d*)$/.test(id) || number > MAX_VNI)
    throw usageError(`'${typed}': '${id}' is not the number of a VXLAN`, `It goes from 0 to ${MAX_VNI}.`)
  if (remote === undefined || rest.length > 0)
    throw usageError(
      `'${typed}' does not name another host`,
      'Write vxlan:NUMBER,ADDRESS[,NIC], like vxlan:42,192.0.2.7',
    )
  if (isIP(remote) === 0 || /^(0\.0\.0\.0|255\.255\.255\.255|::)$/.test(remote))
    throw usageError(`'${typed}': '${remote}' is not the address of a host`, 'Give an IPv4 or IPv6 address.')
  if (isMulticastAddress(remote) && dev === undefined)
    throw usageError(`'${typed}': ${remote} is a multicast group, and needs a NIC`, `Write vxlan:${id},${remote},eth0`)
  return {
    kind: 'vxlan',
    id: number,
    remote,
    dev: dev === undefined ? undefined : parseIfname(dev, 'NIC of the VXLAN'),
  }
}

/** What stands behind the bridge's @, or after it: `eth0`, `mac:…`, `vxlan:…`. Throws usage errors. */
export function parseUplinkSpec(typed: string): UplinkSpec {
  if (typed.startsWith('vxlan:')) return parseVxlanUplink(typed)
  if (/^mac:/i.test(typed)) return { kind: 'nic', nic: `mac:${parseMac(typed.slice(4))}` }
  return { kind: 'nic', nic: parseIfname(typed, 'uplink') }
}

/** The first word of the main form taken apart at its first @: the bridge, and what it is to be connected to. */
export function splitBridgeUplink(typed: string): { readonly hostif: string; readonly uplink?: UplinkSpec } {
  const at = typed.indexOf('@')
  if (at < 0) return { hostif: typed }
  return { hostif: typed.slice(0, at), uplink: parseUplinkSpec(typed.slice(at + 1)) }
}

/** The uplink on that VLAN, as `@63` asks. */
export function withUplinkVlan(wish: UplinkSpec, tag: string): UplinkSpec {
  const { native, tagged } = parseVlanSet(tag)
  if (wish.kind === 'vxlan') throw usageError(`'@${tag}': a VXLAN is no NIC, and has no VLANs`, `Leave @${tag} out.`)
  if (native === undefined || tagged.length > 0)
    throw usageError(`'@${tag}': an uplink is one VLAN of a NIC`, 'Give one id, like @63.')
  return { ...wish, vlan: native }
}

/** The uplink as it is typed, but for its VLAN. */
export function formatUplinkSpec(wish: UplinkSpec): string {
  if (wish.kind === 'nic') return wish.nic
  return `vxlan:${wish.id},${wish.remote}${wish.dev === undefined ? '' : `,${wish.dev}`}`
}
