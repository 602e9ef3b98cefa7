import { readVxlans } from '../../drivers/vxlan'
import { readUptime } from '../../state/host'
import { readHostLink } from '../../state/host-links'
import type { System } from '../../system/types'
import { listUplinks } from './read'
import type { UplinkState } from './state-file'

/** An uplink of a bridge, as `uplink ls` shows it. */
export interface UplinkRow {
  readonly bridge: string
  readonly uplink: string
  /** `gone`: no longer a port of the bridge. */
  readonly state: 'kept' | 'pending' | 'moving' | 'restored' | 'gone' | 'left'
  /** Seconds until an unconfirmed uplink is rolled back. */
  readonly left?: number
  readonly why?: string
}

function toUplinkRow({ bridge, nic, stage, deadline, why }: UplinkState, system: System): UplinkRow {
  const isPort = readHostLink(nic, system)?.master === bridge
  return {
    bridge,
    uplink: nic,
    state: stage === 'kept' && !isPort ? 'gone' : stage,
    left: stage === 'pending' ? Math.max(0, Math.round((deadline ?? 0) - readUptime(system))) : undefined,
    why,
  }
}

/** The uplinks that pipework made: NICs and VXLANs. */
export async function listUplinkRows(system: System): Promise<readonly UplinkRow[]> {
  const vxlans = (await readVxlans(system)).flatMap(({ isOurs, master, id, remote }): readonly UplinkRow[] =>
    isOurs && master !== undefined ? [{ bridge: master, uplink: `vxlan:${id},${remote}`, state: 'kept' }] : [],
  )
  return [...listUplinks(system).map((it) => toUplinkRow(it, system)), ...vxlans]
}
