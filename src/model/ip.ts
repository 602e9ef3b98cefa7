/** Four bytes, each as a number is written. As a regular expression it takes V8 half a millisecond to compile. */
function isDottedQuad(text: string): boolean {
  const bytes = text.split('.')
  return (
    bytes.length === 4 && bytes.every((byte) => `${Number(byte)}` === byte && Number(byte) >= 0 && Number(byte) < 256)
  )
}

/**
 * 4 or 6 where the text is an IP address without a zone, else 0: as strict as node:net, which takes 3 ms to load, and
 * many commands need nothing else of it.
 */
export function isIP(text: string): 0 | 4 | 6 {
  if (isDottedQuad(text)) return 4
  const halves = text.split('::')
  const groups = halves.flatMap((half) => (half === '' ? [] : half.split(':')))
  // The last 32 bits may be written as an IPv4 address.
  const last = halves.at(-1) === '' ? '' : (groups.at(-1) ?? '')
  const isMixed = isDottedQuad(last)
  const words = isMixed ? groups.slice(0, -1) : groups
  if (halves.length > 2 || !words.every((word) => /^[\da-f]{1,4}$/i.test(word))) return 0
  const length = words.length + (isMixed ? 2 : 0)
  return (halves.length === 2 ? length < 8 : length === 8) ? 6 : 0
}

/** The families of addresses, in the order in which all is done. */
export const ADDRESS_FAMILIES = [4, 6] as const

/** How long an address of that family is: the prefix of a single one. */
export function addressBits(family: 4 | 6): 32 | 128 {
  return family === 4 ? 32 : 128
}

/** Whether an IPv6 address is of its link alone, fe80::/10 (RFC 4291). */
export function isLinkLocalAddress(ip: string): boolean {
  return /^fe[89ab].:/.test(ip)
}
