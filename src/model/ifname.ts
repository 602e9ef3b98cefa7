import { usageError } from './errors'
import { fnv1aHash } from './hash'

/**
 * An interface name that the kernel accepts (dev_valid_name) and that `ip -batch` reads as one plain word.
 * Throws a usage error.
 */
export function parseIfname(typed: string, what: string): string {
  const bytes = Buffer.byteLength(typed)
  const reason =
    (typed === '' && 'it is empty') ||
    (bytes > 15 && `it has ${bytes} bytes, the kernel allows 15`) ||
    ((typed === '.' || typed === '..') && 'the kernel does not allow it') ||
    (typed.startsWith('-') && 'it starts with a dash') ||
    (/[^\x21-\x7e]/.test(typed) && 'it has white space, control or non-ASCII characters') ||
    (/[/:"'#\\%@;]/.test(typed) && `it has a '${/[/:"'#\\%@;]/.exec(typed)?.[0]}'`)
  if (reason)
    throw usageError(
      `${JSON.stringify(typed).replaceAll(/^"|"$/g, "'")} cannot be the name of the ${what}: ${reason}`,
      'Use a short name like eth1.',
    )
  return typed
}

/** `eth0.10`, or a stable name of ours where that is longer than 15 bytes. */
export function vlanDeviceName(nic: string, vlan: number): string {
  const name = `${nic}.${vlan}`
  return name.length <= 15 ? name : `vl${fnv1aHash(nic).slice(0, 8)}.${vlan}`
}
