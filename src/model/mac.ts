import { usageError } from './errors'

/** A unicast MAC address in lower case. Throws a usage error. */
export function parseMac(typed: string): string {
  const mac = typed.toLowerCase()
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac))
    throw usageError(
      `'${typed}' is not a MAC address`,
      'Write six bytes like 26:2e:71:98:60:8f, or U:TEXT to derive one from a text.',
    )
  if (mac === '00:00:00:00:00:00')
    throw usageError(
      `'${typed}' cannot be the MAC address of an interface`,
      'Use one like 26:2e:71:98:60:8f, or U:TEXT to derive one from a text.',
    )
  const first = Number.parseInt(mac.slice(0, 2), 16)
  if (first & 1) {
    const unicast = ((first & 0xfe) | 2).toString(16).padStart(2, '0') + mac.slice(2)
    throw usageError(`'${typed}' is a multicast MAC address`, `The first byte must be even: ${unicast}, for example.`)
  }
  return mac
}
