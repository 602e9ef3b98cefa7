import { batchLine } from '../system/batch'
import type { System } from '../system/types'
import { type HostLink, readHostLink } from './host-links'
import { ipQuery, parseIpOutput } from './ip-json'

/** A VLAN that a port of a Linux bridge is in. */
export interface PortVlan {
  readonly id: number
  /** Frames that come in without a tag belong to it. */
  readonly pvid: boolean
  /** Its frames go out without a tag. */
  readonly untagged: boolean
}

/** The VLANs of a port of a Linux bridge. */
export interface PortVlans {
  readonly vlans: readonly PortVlan[]
  /** The VLAN that the bridge puts every new port into; 0 for none. */
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

/** The VLANs of a veth's host end: asked where its bridge has VLANs, or is to have them, for it costs a process. */
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
