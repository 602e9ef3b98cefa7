import type { Host } from '../../system/types'
import { readTenant, type Tenant } from './state'

const BOOTREQUEST = 1
const ETHERNET = 1
/** Where the options begin (RFC 2131): four bytes that are always the same, behind 236 of BOOTP. */
const COOKIE = [236, 0x63, 0x82, 0x53, 0x63] as const
const OPTIONS = 240
const SERVER_PORT = 67
/** Seconds for the server's MAC address to be found: what waits for that in the kernel goes with the link. */
const ARP_LIMIT = 1
/** Seconds that duplicate address detection may take: a lease is given back as soon as it was given. */
const DAD_LIMIT = 4

/** What a release says, and to whom. */
interface Release {
  readonly ip: string
  readonly server: string
  readonly mac: string
  readonly clientId: string
}

const bytesOf = (hex: string) => hex.split(':').map((byte) => Number.parseInt(byte, 16))

/** A DHCPRELEASE (RFC 2131, 4.4.6). Nobody answers it. */
export function toPacket({ ip, server, mac, clientId }: Release): Uint8Array {
  const id = bytesOf(clientId)
  const options = [53, 1, 7, 54, 4, ...server.split('.').map(Number), 61, id.length, ...id, 255]
  const packet = new Uint8Array(Math.max(300, OPTIONS + options.length))
  packet.set([BOOTREQUEST, ETHERNET, 6, 0, ...bytesOf(mac).slice(0, 4)], 0)
  packet.set(ip.split('.').map(Number), 12)
  packet.set(bytesOf(mac), 28)
  packet.set(COOKIE.slice(1), COOKIE[0])
  packet.set(options, OPTIONS)
  return packet
}

// RFC 8415: a message, its options, the group of all servers on a link, their port.
const RELEASE6 = 8
const [CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS, ELAPSED_TIME] = [1, 2, 3, 5, 8] as const
const SERVERS6 = 'ff02::1:2'
const SERVER_PORT6 = 547

/** What a release of DHCPv6 says: the identifiers are in hexadecimal with colons. */
interface Release6 {
  readonly ip: string
  readonly server: string
  readonly duid: string
  readonly iaid: string
}

const toShort = (value: number) => [value >> 8, value & 0xff]
const toOption = (code: number, data: readonly number[]) => [...toShort(code), ...toShort(data.length), ...data]

/** The sixteen bytes of a canonical IPv6 address. */
function bytesOfIp(ip: string): readonly number[] {
  const [head = [], tail = []] = ip.split('::').map((half) => half.split(':').filter(Boolean))
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => '0')
  return [...head, ...zeros, ...tail].flatMap((group) => toShort(Number.parseInt(group, 16)))
}

/** A RELEASE of DHCPv6 (RFC 8415, 18.2.7); lifetimes are 0, and so is the time that was waited. */
export function toPacket6({ ip, server, duid, iaid }: Release6): Uint8Array {
  const none = [0, 0, 0, 0]
  const address = toOption(IA_ADDRESS, [...bytesOfIp(ip), ...none, ...none])
  return Uint8Array.from([
    // What follows the type tells answers apart, and nobody waits for this one.
    ...[RELEASE6, ...bytesOf(iaid).slice(1)],
    ...toOption(CLIENT_ID, bytesOf(duid)),
    ...toOption(SERVER_ID, bytesOf(server)),
    ...toOption(IA_NA, [...bytesOf(iaid), ...none, ...none, ...address]),
    ...toOption(ELAPSED_TIME, [0, 0]),
  ])
}

/** Whether it is known what to tell the server. */
export function isReleasable({ lease, client }: Tenant): boolean {
  return (lease?.server ?? '') !== '' && (client.family === 4 || lease?.identity !== undefined)
}

/**
 * Tells the server that the lease is not needed any more; runs in a namespace that has its address. One packet for
 * all clients: a client that was killed cannot say it, and that of a guest that is gone has nowhere to say it from.
 */
export async function release(directory: string, host: Host): Promise<void> {
  const tenant = readTenant(directory, host)
  if (tenant?.lease === undefined || !isReleasable(tenant)) return
  const { lease, client } = tenant
  const { ip, server, identity } = lease
  if (client.family === 6) {
    if (identity === undefined) return
    const to = `${SERVERS6}%${client.ifname}`
    await until(() => isUsable(ip, host), DAD_LIMIT, host)
    await host.send(toPacket6({ ip, server, ...identity }), { from: ip, to, port: SERVER_PORT6 })
    return
  }
  await host.send(toPacket({ ip, server, mac: client.mac, clientId: client.clientId }), {
    from: ip,
    to: server,
    port: SERVER_PORT,
  })
  await until(() => isResolved(host), ARP_LIMIT, host)
}

async function until(isSo: () => boolean, limit: number, host: Host): Promise<void> {
  const deadline = host.elapsed() + limit * 1000
  while (!isSo() && host.elapsed() < deadline) await host.sleep(0.02)
}

/** Whether the kernel sends from the address: while it looks for duplicates (flag 0x40) it does not. */
function isUsable(ip: string, host: Host): boolean {
  const hex = bytesOfIp(ip)
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('')
  const line = host
    .read('/proc/self/net/if_inet6')
    ?.split('\n')
    .find((it) => it.startsWith(hex))
  const flags = Number.parseInt(line?.trim().split(/\s+/)[4] ?? '0', 16)
  return (flags & 0x40) === 0
}

/** Whether no neighbour is still being looked for: flag 2 says found. */
function isResolved(host: Host): boolean {
  const lines = host.read('/proc/self/net/arp')?.split('\n').slice(1) ?? []
  return lines.every((line) => line.trim().split(/\s+/)[2] !== '0x0')
}
