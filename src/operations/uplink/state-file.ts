import type { LinkConfigItem } from '../../state/link-config'
import type { System } from '../../system/types'

/**
 * Where an uplink is: `moving` while pipework is at it, `pending` until somebody confirms it, `kept` for as long as it
 * lasts, `left` when the NIC is out of the bridge again, `restored` when it was put back.
 */
export type UplinkStage = 'moving' | 'pending' | 'kept' | 'left' | 'restored'

/** How a link was before. */
export interface LinkSettings {
  readonly up: boolean
  readonly mtu: number
  readonly mac: string
  readonly genmode?: string
}

/**
 * What pipework knows of the NIC in a bridge: what it takes to put all back, at any moment, also for another process.
 * It is written before the first change, and is root's: neither a guest nor a link can say what the host shall have.
 */
export interface UplinkState {
  readonly bridge: string
  readonly nic: string
  /** Whether the NIC goes into the bridge, or out of it. */
  readonly way: 'in' | 'out'
  readonly stage: UplinkStage
  /** Seconds since boot, when the holdings were written down. */
  readonly takenAt: number
  /** Seconds since boot, when all is put back unless somebody confirms it. */
  readonly deadline?: number
  /** What moves from the one to the other. */
  readonly holdings: readonly LinkConfigItem[]
  readonly nicWas: LinkSettings
  /** Absent when pipework made the bridge. */
  readonly bridgeWas?: LinkSettings
  /** What the bridge had of its own, by the holdings' ids. */
  readonly bridgeHad: readonly string[]
  /** The VLAN device that pipework made for it on this NIC. */
  readonly vlan?: { readonly nic: string; readonly id: number }
  /** The NIC, where it has LRO on: a bridge turns it off. */
  readonly lro: readonly string[]
  /** Files that keep other programs off. */
  readonly files: readonly string[]
  /** Why it was put back. */
  readonly why?: string
}

const UPLINKS_DIR = '/run/pipework/uplinks'

/** The file in which the journal of that bridge's uplink stands. */
export function uplinkStateFile(bridge: string): string {
  return `${UPLINKS_DIR}/${bridge}`
}

/** The bridges whose uplink is written down. */
export function listUplinkBridges(system: System): readonly string[] {
  return (system.list(UPLINKS_DIR) ?? []).filter((name) => !name.endsWith('.new')).sort()
}

/** The journal of that bridge's uplink; undefined when there is none. */
export function readUplinkState(bridge: string, system: System): UplinkState | undefined {
  const text = system.read(uplinkStateFile(bridge))
  return text === undefined ? undefined : (JSON.parse(text) as UplinkState)
}

/** Writes it down, in one rename. */
export function saveUplinkState(journal: UplinkState, system: System): void {
  system.writeFile(uplinkStateFile(journal.bridge), JSON.stringify(journal))
}
