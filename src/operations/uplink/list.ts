import { readVxlans } from '../../drivers/vxlan'
import { readUptime } from '../../state/host'
import { readHostLink } from '../../state/host-links'
import type { System } from '../../system/types'
import { readUplinkStates, type UplinkStage, type UplinkState } from './state-file'

/** An uplink in the output of `ls`. */
export interface UplinkRow {
  readonly bridge: string
  readonly uplink: string
  /** `gone`: its NIC is no longer a port of the bridge. */
  readonly state: UplinkStage | 'gone'
  /** Seconds until the rollback of an unconfirmed uplink. */
  readonly left?: number
  /** Why it was rolled back. */
  readonly why?: string
}

function toUplinkRow({ bridge, nic, stage, deadline = 0, error }: UplinkState, system: System): UplinkRow {
  const isPort = readHostLink(nic, system)?.master === bridge
  return {
    ...{ bridge, uplink: nic },
    state: stage === 'kept' && !isPort ? 'gone' : stage,
    left: stage === 'pending' ? Math.max(0, Math.round(deadline - readUptime(system))) : undefined,
    why: error,
  }
}

/** The uplinks of all bridges. */
export async function listUplinkRows(system: System): Promise<readonly UplinkRow[]> {
  const vxlans = (await readVxlans(system)).flatMap(({ isOurs, master: bridge, id, remote }): readonly UplinkRow[] =>
    isOurs && bridge !== undefined ? [{ bridge, uplink: `vxlan:${id},${remote}`, state: 'kept' }] : [],
  )
  return [...readUplinkStates(system).map((state) => toUplinkRow(state, system)), ...vxlans]
}
