import type { Family } from '../model/address'
import type { System } from '../system/types'

/** A route of the main table as a file of /proc shows it, which saves a process; addresses in the file's own hexadecimal. */
export interface ProcRoute {
  readonly dev: string
  readonly dst: string
  /** Zeros where it is on the link. */
  readonly via: string
  /** Of IPv4 a mask, of IPv6 a length. */
  readonly mask: string
  readonly isDefault: boolean
}

/** Where each file has its columns. */
const PROC_FILES = {
  4: { file: 'route', dev: 0, dst: 1, via: 2, mask: 7 },
  6: { file: 'ipv6_route', dev: 9, dst: 0, via: 4, mask: 1 },
} as const

/** The routes in a `net` directory of /proc, but for those of lo; undefined where the kernel has no such file. */
export function readProcRoutes(family: Family, net: string, system: System): readonly ProcRoute[] | undefined {
  const { file, ...columns } = PROC_FILES[family]
  const lines = system.read(`${net}/${file}`)?.split('\n')
  return lines?.flatMap((line) => {
    const fields = line.trim().split(/\s+/)
    const [dev = '', dst = '', via = '', mask = ''] = [columns.dev, columns.dst, columns.via, columns.mask].map(
      (column) => fields[column],
    )
    // The first line of IPv4's has the titles; on lo the kernel keeps an unreachable default route of IPv6.
    if (!/^[\dA-F]+$/i.test(dst + mask) || dev === '' || dev === 'lo') return []
    return [{ dev, dst, via, mask, isDefault: /^0+$/.test(dst + mask) }]
  })
}

/** What IPv4's file has in the byte order of the machine, as the bytes that one writes. */
export function hexToBytes(hex: string): readonly number[] {
  return (hex.match(/../g) ?? []).reverse().map((byte) => Number.parseInt(byte, 16))
}
