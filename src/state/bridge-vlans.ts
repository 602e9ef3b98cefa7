import { batchLine } from '../system/batch'
import type { System } from '../system/types'
import { type HostLink, readHostLink } from './host-links'
import { ipQuery, parseIpOutput } from './ip-json'

/** A VLAN of a port of a Linux bridge. */
export interface PortVlan {
  readonly id: number
  /** Untagged frames that arrive belong to it. */
  readonly pvid: boolean
  /** Its frames leave without a tag. */
  readonly untagged: boolean
}

export interface PortVlans {
  readonly vlans: readonly PortVlan[]
  /** The VLAN that the bridge gives every new port; 0 for none. */
  readonly defaultPvid: number
}

/** The VLANs in the output of `bridge -j vlan show dev PORT`: none for a port that is in no VLAN. */
export function parsePortVlans(stdout: string): readonly PortVlan[] {
  const query = ipQuery.bridgePorts(batchLine`vlan show`)
  const [[port] = []] = stdout.trim() === '' ? [] : parseIpOutput({ code: 0, stdout, stderr: '' }, [query], undefined)
  return (port?.vlans ?? []).flatMap(({ vlan, vlanEnd = vlan, flags = [] }) =>
    Array.from({ length: vlanEnd - vlan + 1 }, (_, index) => ({
      id: vlan + index,
      pvid: flags.includes('PVID'),
      untagged: flags.includes('Egress Untagged'),
    })),
  )
}

/**
 * The VLANs of a veth's host end, read only when its bridge has VLANs or will get them, because that takes a process.
 */
export async function readPortVlans(
  { name, master }: HostLink,
  asked: 'filtering' | 'always',
  system: System,
): Promise<PortVlans | undefined> {
  const { filtering, defaultPvid = 0 } = (master === undefined ? undefined : readHostLink(master, system)) ?? {}
  if (filtering === undefined || (asked === 'filtering' && !filtering)) return undefined
  const { stdout } = await system.run(['bridge', '-j', 'vlan', 'show', 'dev', name])
  return { vlans: parsePortVlans(stdout), defaultPvid }
}
