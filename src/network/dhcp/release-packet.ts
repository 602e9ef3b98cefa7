const BOOTREQUEST = 1
const ETHERNET = 1
/** The offset and the bytes of the magic cookie (RFC 2131). */
const MAGIC_COOKIE = [236, 0x63, 0x82, 0x53, 0x63] as const
const OPTIONS_OFFSET = 240

interface DhcpRelease4 {
  readonly ip: string
  readonly server: string
  readonly mac: string
  readonly clientId: string
}

const parseHexBytes = (hex: string) => hex.split(':').map((byte) => Number.parseInt(byte, 16))

/** A DHCPRELEASE (RFC 2131, 4.4.6), which has no answer. */
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

// RFC 8415: the message and its options.
const RELEASE6 = 8
const [CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS, ELAPSED_TIME] = [1, 2, 3, 5, 8] as const

/** `server`, `duid` and `iaid` are hexadecimal with colons. */
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
export function encodeIp6(ip: string): readonly number[] {
  const [head = [], tail = []] = ip.split('::').map((half) => half.split(':').filter(Boolean))
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => '0')
  return [...head, ...zeros, ...tail].flatMap((group) => encodeUint16(Number.parseInt(group, 16)))
}

/** A RELEASE of DHCPv6 (RFC 8415, 18.2.7); lifetimes and elapsed time are 0. */
export function encodeRelease6({ ip, server, duid, iaid }: DhcpRelease6): Uint8Array {
  const zero = [0, 0, 0, 0]
  const address = encodeOption6(IA_ADDRESS, [...encodeIp6(ip), ...zero, ...zero])
  return Uint8Array.from([
    // The transaction id: the answer is not awaited.
    ...[RELEASE6, ...parseHexBytes(iaid).slice(1)],
    ...encodeOption6(CLIENT_ID, parseHexBytes(duid)),
    ...encodeOption6(SERVER_ID, parseHexBytes(server)),
    ...encodeOption6(IA_NA, [...parseHexBytes(iaid), ...zero, ...zero, ...address]),
    ...encodeOption6(ELAPSED_TIME, [0, 0]),
  ])
}
