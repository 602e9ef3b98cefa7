import { usageError } from './errors'

/** The VLANs of a port (IEEE 802.1Q). */
export interface VlanSet {
  /** The VLAN of untagged frames. */
  readonly native?: number
  /** The VLANs of tagged frames: ranges in rising order, with gaps between them. */
  readonly tagged: readonly (readonly [from: number, to: number])[]
}

function parseVlanId(text: string, typed: string): number {
  const vlan = /^[1-9]\d{0,3}$/.test(text) ? Number(text) : 0
  if (vlan < 1 || vlan > 4094)
    throw usageError(
      text === typed ? `'${text}' is not a VLAN id` : `'${typed}': '${text}' is not a VLAN id`,
      'It goes from 1 to 4094; write a trunk like 10,20-22.',
    )
  return vlan
}

/**
 * `10`: untagged in VLAN 10. `10,20-22`: the same, and tagged in 20 to 22. `20-22`, starting with a range: only tagged.
 * Throws a usage error.
 */
export function parseVlanSet(typed: string): VlanSet {
  const ranges = typed.split(',').map((item) => {
    const [first = '', last = first, ...rest] = item.split('-')
    if (rest.length > 0) throw usageError(`'${typed}': '${item}' is not a range of VLANs`, 'Write it like 20-22.')
    const [from, to] = [parseVlanId(first, typed), parseVlanId(last, typed)]
    if (from > to) throw usageError(`'${typed}': the range '${item}' runs backwards`, `Did you mean ${to}-${from}?`)
    return [from, to] as const
  })
  const sorted = [...ranges].sort(([a], [b]) => a - b)
  const twice = sorted.find(([from], index) => index > 0 && from <= (sorted[index - 1]?.[1] ?? 0))
  if (twice !== undefined) throw usageError(`'${typed}': VLAN ${twice[0]} is given twice`, 'Give it once.')
  const native = typed.split(',', 1)[0]?.includes('-') ? undefined : ranges[0]
  return {
    native: native === undefined ? undefined : native[0],
    tagged: mergeVlanRanges(sorted.filter((range) => range !== native)),
  }
}

/** Merges adjacent ranges: 20,21-22 is 20-22. */
function mergeVlanRanges(sorted: VlanSet['tagged']): VlanSet['tagged'] {
  const merged: [number, number][] = []
  for (const [from, to] of sorted) {
    const last = merged.at(-1)
    if (last?.[1] === from - 1) last[1] = to
    else merged.push([from, to])
  }
  return merged
}

/** The VLANs as typed: `10,20-22`. */
export function formatVlanSet({ native, tagged }: VlanSet): string {
  const format = ([from, to]: readonly [number, number], index: number) =>
    // A single id in first place would be read as the native VLAN.
    from === to && (native !== undefined || index > 0) ? `${from}` : `${from}-${to}`
  return [...(native === undefined ? [] : [`${native}`]), ...tagged.map(format)].join(',')
}

/** Whether the text can be an InfiniBand partition key: up to four hexadecimal digits. */
export function isPartitionKey(text: string): boolean {
  return /^[0-9a-f]{1,4}$/i.test(text)
}
