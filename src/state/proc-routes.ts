import type { Family } from '../model/address'
import type { System } from '../system/types'

/** A route of the main table as /proc shows it, without a process; addresses are in the file's own hexadecimal. */
export interface ProcRoute {
  readonly dev: string
  readonly dst: string
  /** Zeros for an on-link route. */
  readonly via: string
  /** For IPv4 a mask, for IPv6 a length. */
  readonly mask: string
  readonly isDefault: boolean
}

/** The columns of each file. */
const PROC_FILES = {
  4: { file: 'route', dev: 0, dst: 1, via: 2, mask: 7 },
  6: { file: 'ipv6_route', dev: 9, dst: 0, via: 4, mask: 1 },
} as const

/** The routes in a `net` directory of /proc, except those of lo; undefined when the kernel has no such file. */
export function readProcRoutes(family: Family, net: string, system: System): readonly ProcRoute[] | undefined {
  const { file, ...columns } = PROC_FILES[family]
  const lines = system.read(`${net}/${file}`)?.split('\n')
  return lines?.flatMap((line) => {
    const fields = line.trim().split(/\s+/)
    const [dev = '', dst = '', via = '', mask = ''] = [columns.dev, columns.dst, columns.via, columns.mask].map(
      (column) => fields[column],
    )
    // The first line of IPv4's file is a header; on lo the kernel keeps an unreachable IPv6 default route.
    if (!/^[\dA-F]+$/i.test(dst + mask) || dev === '' || dev === 'lo') return []
    return [{ dev, dst, via, mask, isDefault: /^0+$/.test(dst + mask) }]
  })
}

/** Converts IPv4's words from host byte order (little-endian) to the usual order of bytes. */
export function hexToBytes(hex: string): readonly number[] {
  return (hex.match(/../g) ?? []).reverse().map((byte) => Number.parseInt(byte, 16))
}
