import { ipFamily } from './address'
import { usageError } from './errors'
import { parseIfname } from './ifname'
import { parseMac } from './mac'
import { parseVlanSet } from './vlan'

/** An uplink through a NIC of the host, or one of its VLANs. */
export interface NicUplinkSpec {
  readonly kind: 'nic'
  /** A name, or `mac:` and an address. */
  readonly nic: string
  readonly vlan?: number
}

/** An uplink through a VXLAN, to bridges on other hosts. */
export interface VxlanUplinkSpec {
  readonly kind: 'vxlan'
  readonly id: number
  /** Another host, or a multicast group. */
  readonly remote: string
  /** The NIC that reaches it. */
  readonly dev?: string
}

export type UplinkSpec = NicUplinkSpec | VxlanUplinkSpec

/** A VXLAN id has 24 bits. */
const MAX_VNI = 0xffffff

export function isMulticastAddress(ip: string): boolean {
  const first = Number.parseInt(ip, 10)
  return ipFamily(ip) === 4 ? first >= 224 && first < 240 : /^ff/i.test(ip)
}

function parseVxlanUplink(typed: string): VxlanUplinkSpec {
  const [id = '', remote, dev, ...rest] = typed.slice('vxlan:'.length).split(',')
  const number = Number(id)
  if (!/^(0|[1-9]\d*)$/.test(id) || number > MAX_VNI)
    throw usageError(`'${typed}': '${id}' is not a VXLAN id`, `It goes from 0 to ${MAX_VNI}.`)
  if (remote === undefined || rest.length > 0)
    throw usageError(`'${typed}' does not name another host`, 'Write vxlan:ID,ADDRESS[,NIC], like vxlan:42,192.0.2.7')
  if (ipFamily(remote) === undefined || /^(0\.0\.0\.0|255\.255\.255\.255|::)$/.test(remote))
    throw usageError(`'${typed}': '${remote}' is not a host address`, 'Give an IPv4 or IPv6 address.')
  if (isMulticastAddress(remote) && dev === undefined)
    throw usageError(`'${typed}': ${remote} is a multicast group and needs a NIC`, `Write vxlan:${id},${remote},eth0`)
  return {
    kind: 'vxlan',
    id: number,
    remote,
    dev: dev === undefined ? undefined : parseIfname(dev, 'NIC of the VXLAN'),
  }
}

/** Parses an uplink: `eth0`, `mac:…`, `vxlan:…`. Throws usage errors. */
export function parseUplinkSpec(typed: string): UplinkSpec {
  if (typed.startsWith('vxlan:')) return parseVxlanUplink(typed)
  if (/^mac:/i.test(typed)) return { kind: 'nic', nic: `mac:${parseMac(typed.slice(4))}` }
  return { kind: 'nic', nic: parseIfname(typed, 'uplink') }
}

/** Splits `<bridge>[@<uplink>]`. */
export function splitBridgeUplink(typed: string): { readonly hostif: string; readonly uplink?: UplinkSpec } {
  const at = typed.indexOf('@')
  if (at < 0) return { hostif: typed }
  return { hostif: typed.slice(0, at), uplink: parseUplinkSpec(typed.slice(at + 1)) }
}

/** The uplink with the VLAN of `@63`. */
export function withUplinkVlan(uplink: UplinkSpec, tag: string): UplinkSpec {
  const { native, tagged } = parseVlanSet(tag)
  if (uplink.kind === 'vxlan') throw usageError(`'@${tag}': a VXLAN has no VLANs`, `Leave @${tag} out.`)
  if (native === undefined || tagged.length > 0)
    throw usageError(`'@${tag}': an uplink uses one VLAN of a NIC`, 'Give one VLAN id, like @63.')
  return { ...uplink, vlan: native }
}

/** The uplink as typed, without its VLAN. */
export function formatUplinkSpec(uplink: UplinkSpec): string {
  if (uplink.kind === 'nic') return uplink.nic
  return `vxlan:${uplink.id},${uplink.remote}${uplink.dev === undefined ? '' : `,${uplink.dev}`}`
}
