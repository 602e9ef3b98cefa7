import type { System } from '../../system/types'
import { type ClientState, readClientState } from './state'

const BOOTREQUEST = 1
const ETHERNET = 1
/** Where the options begin (RFC 2131): four bytes that are always the same, behind 236 of BOOTP. */
const MAGIC_COOKIE = [236, 0x63, 0x82, 0x53, 0x63] as const
const OPTIONS_OFFSET = 240
const SERVER_PORT = 67
/** Seconds for the server's MAC address to be found: what waits for that in the kernel goes with the link. */
const ARP_TIMEOUT = 1
/** Seconds that duplicate address detection may take: a lease is given back as soon as it was given. */
const DAD_TIMEOUT = 4

/** What a release says, and to whom. */
interface DhcpRelease4 {
  readonly ip: string
  readonly server: string
  readonly mac: string
  readonly clientId: string
}

const parseHexBytes = (hex: string) => hex.split(':').map((byte) => Number.parseInt(byte, 16))

/** A DHCPRELEASE (RFC 2131, 4.4.6). Nobody answers it. */
export function encodeRelease4({ ip, server, mac, clientId }: DhcpRelease4): Uint8Array {
  const id = parseHexBytes(clientId)
  const options = [53, 1, 7, 54, 4, ...server.split('.').map(Number), 61, id.length, ...id, 255]
  const packet = new Uint8Array(Math.max(300, OPTIONS_OFFSET + options.length))
  packet.set([BOOTREQUEST, ETHERNET, 6, 0, ...parseHexBytes(mac).slice(0, 4)], 0)
  packet.set(ip.split('.').map(Number), 12)
  packet.set(parseHexBytes(mac), 28)
  packet.set(MAGIC_COOKIE.slice(1), MAGIC_COOKIE[0])
  packet.set(options, OPTIONS_OFFSET)
  return packet
}

// RFC 8415: a message, its options, the group of all servers on a link, their port.
const RELEASE6 = 8
const [CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS, ELAPSED_TIME] = [1, 2, 3, 5, 8] as const
const SERVERS6 = 'ff02::1:2'
const SERVER_PORT6 = 547

/** What a release of DHCPv6 says: the identifiers are in hexadecimal with colons. */
interface DhcpRelease6 {
  readonly ip: string
  readonly server: string
  readonly duid: string
  readonly iaid: string
}

const encodeUint16 = (value: number) => [value >> 8, value & 0xff]
const encodeOption6 = (code: number, data: readonly number[]) => [
  ...encodeUint16(code),
  ...encodeUint16(data.length),
  ...data,
]

/** The sixteen bytes of a canonical IPv6 address. */
function encodeIp6(ip: string): readonly number[] {
  const [head = [], tail = []] = ip.split('::').map((half) => half.split(':').filter(Boolean))
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => '0')
  return [...head, ...zeros, ...tail].flatMap((group) => encodeUint16(Number.parseInt(group, 16)))
}

/** A RELEASE of DHCPv6 (RFC 8415, 18.2.7); lifetimes are 0, and so is the time that was waited. */
export function encodeRelease6({ ip, server, duid, iaid }: DhcpRelease6): Uint8Array {
  const none = [0, 0, 0, 0]
  const address = encodeOption6(IA_ADDRESS, [...encodeIp6(ip), ...none, ...none])
  return Uint8Array.from([
    // What follows the type tells answers apart, and nobody waits for this one.
    ...[RELEASE6, ...parseHexBytes(iaid).slice(1)],
    ...encodeOption6(CLIENT_ID, parseHexBytes(duid)),
    ...encodeOption6(SERVER_ID, parseHexBytes(server)),
    ...encodeOption6(IA_NA, [...parseHexBytes(iaid), ...none, ...none, ...address]),
    ...encodeOption6(ELAPSED_TIME, [0, 0]),
  ])
}

/** Whether it is known what to tell the server. */
export function isReleasable({ lease, client }: ClientState): boolean {
  return (lease?.server ?? '') !== '' && (client.family === 4 || lease?.identity !== undefined)
}

/**
 * Tells the server that the lease is not needed any more; runs in a namespace that has its address. One packet for
 * all clients: a client that was killed cannot say it, and that of a guest that is gone has nowhere to say it from.
 */
export async function sendRelease(directory: string, system: System): Promise<void> {
  const tenant = readClientState(directory, system)
  if (tenant?.lease === undefined || !isReleasable(tenant)) return
  const { lease, client } = tenant
  const { ip, server, identity } = lease
  if (client.family === 6) {
    if (identity === undefined) return
    const to = `${SERVERS6}%${client.ifname}`
    await waitUntil(() => isAddressUsable(ip, system), DAD_TIMEOUT, system)
    await system.sendUdp(encodeRelease6({ ip, server, ...identity }), { from: ip, to, port: SERVER_PORT6 })
    return
  }
  await system.sendUdp(encodeRelease4({ ip, server, mac: client.mac, clientId: client.clientId }), {
    from: ip,
    to: server,
    port: SERVER_PORT,
  })
  await waitUntil(() => isArpResolved(system), ARP_TIMEOUT, system)
}

async function waitUntil(isSo: () => boolean, limit: number, system: System): Promise<void> {
  const deadline = system.elapsed() + limit * 1000
  while (!isSo() && system.elapsed() < deadline) await system.sleep(0.02)
}

/** Whether the kernel sends from the address: while it looks for duplicates (flag 0x40) it does not. */
function isAddressUsable(ip: string, system: System): boolean {
  const hex = encodeIp6(ip)
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('')
  const line = system
    .read('/proc/self/net/if_inet6')
    ?.split('\n')
    .find((it) => it.startsWith(hex))
  const flags = Number.parseInt(line?.trim().split(/\s+/)[4] ?? '0', 16)
  return (flags & 0x40) === 0
}

/** Whether no neighbour is still being looked for: flag 2 says found. */
function isArpResolved(system: System): boolean {
  const lines = system.read('/proc/self/net/arp')?.split('\n').slice(1) ?? []
  return lines.every((line) => line.trim().split(/\s+/)[2] !== '0x0')
}
