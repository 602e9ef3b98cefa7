import type { Host } from '../host'
import { readTenant } from './client'

const BOOTREQUEST = 1
const ETHERNET = 1
/** Where the options begin (RFC 2131): four bytes that are always the same, behind 236 of BOOTP. */
const COOKIE = [236, 0x63, 0x82, 0x53, 0x63] as const
const OPTIONS = 240
const SERVER_PORT = 67
/** Seconds for the server's MAC address to be found: what waits for that in the kernel goes with the link. */
const ARP_LIMIT = 1

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

/**
 * Tells the server that the lease is not needed any more; runs in a namespace that has its address. One packet for
 * all clients: a client that was killed cannot say it, and that of a guest that is gone has nowhere to say it from.
 */
export async function release(directory: string, host: Host): Promise<void> {
  const tenant = readTenant(directory, host)
  if (tenant?.lease === undefined || tenant.client.family !== 4 || tenant.lease.server === '') return
  const { lease, client } = tenant
  const { ip, server } = lease
  await host.send(toPacket({ ip, server, mac: client.mac, clientId: client.clientId }), {
    from: ip,
    to: server,
    port: SERVER_PORT,
  })
  const deadline = host.elapsed() + ARP_LIMIT * 1000
  while (!isResolved(host) && host.elapsed() < deadline) await host.sleep(0.02)
}

/** Whether no neighbour is still being looked for: flag 2 says found. */
function isResolved(host: Host): boolean {
  const lines = host.read('/proc/self/net/arp')?.split('\n').slice(1) ?? []
  return lines.every((line) => line.trim().split(/\s+/)[2] !== '0x0')
}
