import type { System } from '../system/types'
import { type HostLink, readHostLink } from './host-links'

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

/** What `bridge -j vlan show dev PORT` prints, as far as we read it (iproute2 6.1). */
interface BridgeVlanJson {
  readonly vlans?: readonly { readonly vlan: number; readonly vlanEnd?: number; readonly flags?: readonly string[] }[]
}

/** The VLANs out of `bridge -j vlan show dev PORT`; none of what is no answer. */
export function parsePortVlans(stdout: string): readonly PortVlan[] {
  const [port] = stdout.trim() === '' ? [] : (JSON.parse(stdout) as readonly BridgeVlanJson[])
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
