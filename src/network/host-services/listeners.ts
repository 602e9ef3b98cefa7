import { type Family, parseIp } from '../../model/address'
import type { Published } from '../../model/host-services'
import type { Host } from '../../system/types'

/** A socket of the host that waits for whoever comes. */
interface Listener {
  readonly family: Family
  /** Canonical. */
  readonly ip: string
  readonly port: number
}

/** States of a socket in /proc/net (include/net/tcp_states.h): a TCP socket that listens, a UDP one that nobody is connected to. */
const WAITING = { tcp: '0A', udp: '07' } as const

/** An address as /proc/net has it: words of four bytes, each in the order of the machine, which is little-endian. */
function toIp(hex: string): string {
  const bytes = hex.match(/.{8}/g)?.flatMap((word) => (word.match(/../g) ?? []).reverse()) ?? []
  if (bytes.length === 4) return bytes.map((byte) => Number.parseInt(byte, 16)).join('.')
  const groups = bytes.flatMap((byte, index) => (index % 2 === 0 ? [byte + (bytes[index + 1] ?? '')] : []))
  return parseIp(groups.join(':'), 'a socket').ip
}

/** The sockets in a file of /proc/net that wait for whoever comes. */
function parseSockets(text: string, protocol: 'tcp' | 'udp'): readonly Listener[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [, local = '', remote = '', state] = line.trim().split(/\s+/)
      const [address = '', port = ''] = local.split(':')
      if (state !== WAITING[protocol] || !remote.endsWith(':0000')) return []
      return [{ family: address.length === 8 ? 4 : 6, ip: toIp(address), port: Number.parseInt(port, 16) } as const]
    })
}

const ANY = { 4: '0.0.0.0', 6: '::' } as const

function hears({ family, ip }: Listener, { at }: Published): boolean {
  // One on :: hears IPv4 as well, unless it says otherwise, which cannot be seen here.
  if (at === undefined || ip === ANY[6]) return true
  return at.family === family && (ip === ANY[family] || ip === at.ip)
}

/** What listens on a port of the host that is to be published, as `address port`. */
export function findListener(wanted: Published, host: Host): string | undefined {
  const { protocol, ports } = wanted
  const all = ['', '6'].flatMap((suffix) => parseSockets(host.read(`/proc/net/${protocol}${suffix}`) ?? '', protocol))
  const found = all.find((it) => it.port >= ports.first && it.port <= ports.last && hears(it, wanted))
  return found && `${found.ip} port ${found.port}`
}
