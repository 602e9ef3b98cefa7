import { type Family, parseIpAddress } from './address'
import { usageError } from './errors'

/** Host ports that are published to the guest. */
export interface PortMapping {
  readonly protocol: 'tcp' | 'udp'
  /** The host address to listen on; absent for all. */
  readonly listenAddress?: { readonly family: Family; readonly ip: string }
  readonly hostPorts: PortRange
  /** As many as `hostPorts`. */
  readonly guestPorts: PortRange
}

export interface PortRange {
  readonly first: number
  readonly last: number
}

function parsePortRange(text: string, typed: string): PortRange {
  const [, from = '', to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? []
  const [first, last] = [Number(from), Number(to)]
  if (from === '' || first < 1 || last > 65535 || first > last)
    throw usageError(
      `--publish '${typed}': '${text}' is not a port or a range of ports`,
      'Write HOSTPORT:GUESTPORT, like 8080:80, followed by /udp for UDP.',
    )
  return { first, last }
}

/** `[ip:]hostport:guestport[/tcp|udp]` as in Docker; a port may be a range `first-last`. Throws usage errors. */
export function parsePortMapping(typed: string): PortMapping {
  const [ports = '', protocol = 'tcp', ...rest] = typed.split('/')
  if (rest.length > 0 || (protocol !== 'tcp' && protocol !== 'udp'))
    throw usageError(
      `--publish '${typed}': '${[protocol, ...rest].join('/')}' is not tcp or udp`,
      'Append /udp, or nothing for TCP.',
    )
  const [, bracketed, plain, host, guest] = /^(?:\[([^\]]*)\]:|([\d.]+):)?([^:]*):([^:]*)$/.exec(ports) ?? []
  if (host === undefined || guest === undefined)
    throw usageError(
      `--publish '${typed}' does not say which host port leads to which guest port`,
      'Write [IP:]HOSTPORT:GUESTPORT, like 8080:80 or 192.168.1.10:8080:80 or [fd00::1]:8080:80/udp.',
    )
  const ip = bracketed ?? plain
  const listenAddress = ip === undefined || ip === '0.0.0.0' ? undefined : parseIpAddress(ip, `--publish '${typed}'`)
  if (listenAddress?.ip === '::1')
    throw usageError(
      `--publish '${typed}': the kernel does not forward packets sent to ::1`,
      'IPv6 has no route_localnet. Give another host address, or 127.0.0.1.',
    )
  const [from, to] = [parsePortRange(host, typed), parsePortRange(guest, typed)]
  if (from.last - from.first !== to.last - to.first)
    throw usageError(
      `--publish '${typed}': ${host} and ${guest} differ in their number of ports`,
      'Write as many ports on both sides, like 8000-8010:8000-8010.',
    )
  if (from.first !== from.last && from.first !== to.first)
    throw usageError(
      `--publish '${typed}': a range of ports must keep its numbers`,
      `Write ${host}:${host}, or give each port its own --publish.`,
    )
  return { protocol, listenAddress, hostPorts: from, guestPorts: to }
}

function portsOverlap(a: PortRange, b: PortRange): boolean {
  return a.first <= b.last && b.first <= a.last
}

/** Whether two mappings use the same host port. */
export function isPortConflict(a: PortMapping, b: PortMapping): boolean {
  const isSameAddress =
    a.listenAddress === undefined || b.listenAddress === undefined || a.listenAddress.ip === b.listenAddress.ip
  return a.protocol === b.protocol && isSameAddress && portsOverlap(a.hostPorts, b.hostPorts)
}
