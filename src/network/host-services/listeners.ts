import { type Family, parseIpAddress } from '../../model/address'
import type { PortMapping } from '../../model/port-mapping'
import type { System } from '../../system/types'

/** A host socket that accepts packets from any peer. */
interface SocketListener {
  readonly family: Family
  /** Canonical. */
  readonly ip: string
  readonly port: number
}

/** Socket states in /proc/net (include/net/tcp_states.h): a listening TCP socket, an unconnected UDP socket. */
const LISTENING_STATES = { tcp: '0A', udp: '07' } as const

/** Decodes an address of /proc/net: words of four bytes in the machine's byte order, which is little-endian. */
function parseProcIp(hex: string): string {
  const bytes = hex.match(/.{8}/g)?.flatMap((word) => (word.match(/../g) ?? []).reverse()) ?? []
  if (bytes.length === 4) return bytes.map((byte) => Number.parseInt(byte, 16)).join('.')
  const groups = bytes.flatMap((byte, index) => (index % 2 === 0 ? [byte + (bytes[index + 1] ?? '')] : []))
  return parseIpAddress(groups.join(':'), 'a socket').ip
}

/** The listening sockets in a file of /proc/net. */
function parseListeners(text: string, protocol: 'tcp' | 'udp'): readonly SocketListener[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [, local = '', remote = '', state] = line.trim().split(/\s+/)
      const [address = '', port = ''] = local.split(':')
      if (state !== LISTENING_STATES[protocol] || !remote.endsWith(':0000')) return []
      return [
        { family: address.length === 8 ? 4 : 6, ip: parseProcIp(address), port: Number.parseInt(port, 16) } as const,
      ]
    })
}

const ANY_ADDRESS = { 4: '0.0.0.0', 6: '::' } as const

function listensOn({ family, ip }: SocketListener, { listenAddress }: PortMapping): boolean {
  // A socket on :: also accepts IPv4, unless it sets IPV6_V6ONLY, which /proc/net does not show.
  if (listenAddress === undefined || ip === ANY_ADDRESS[6]) return true
  return listenAddress.family === family && (ip === ANY_ADDRESS[family] || ip === listenAddress.ip)
}

/** The listener on a host port that is to be published, as `address port`. */
export function findListener(wanted: PortMapping, system: System): string | undefined {
  const { protocol, hostPorts } = wanted
  const all = ['', '6'].flatMap((suffix) =>
    parseListeners(system.read(`/proc/net/${protocol}${suffix}`) ?? '', protocol),
  )
  const found = all.find((it) => it.port >= hostPorts.first && it.port <= hostPorts.last && listensOn(it, wanted))
  return found && `${found.ip} port ${found.port}`
}
