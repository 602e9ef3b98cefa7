import { usageError } from './errors'

/** An MTU in bytes. 68 is the minimum of IPv4 (RFC 791). Throws a usage error. */
export function parseMtu(typed: string): number {
  const mtu = /^\d{1,5}$/.test(typed) ? Number(typed) : 0
  if (mtu < 68 || mtu > 65535)
    throw usageError(`--mtu '${typed}' is not an MTU`, 'It goes from 68 to 65535; IPv6 needs 1280.')
  return mtu
}

/** A time in seconds, fractions allowed. Throws a usage error. */
export function parseSeconds(typed: string, option: string): number {
  if (!/^\d+(\.\d+)?$/.test(typed))
    throw usageError(`${option} '${typed}' is not a number of seconds`, `Write it like ${option} 30`)
  return Number(typed)
}
