import { findBridgeVxlan, planVxlan, planVxlanRemoval, readVxlanFacts, type VxlanLink } from '../../drivers/vxlan'
import { formatUplinkSpec, type VxlanUplinkSpec } from '../../model/uplink'
import type { Plan } from '../../plan/step'
import { hasGlobalAddress } from '../../state/attachments'
import { listBridgePortNames, readHostLink } from '../../state/host-links'
import type { System } from '../../system/types'
import { executeUplinkPlan, type MoveContext, withUplinkLock } from './run-move'

// A VXLAN as uplink: no address of the host moves, so the inverses of the steps are enough for a rollback.

export interface VxlanChange {
  readonly uplink: string
  readonly plan: Plan
}

/** The steps that connect the bridge to a VXLAN. */
export async function planVxlanConnect(bridge: string, spec: VxlanUplinkSpec, system: System): Promise<Plan> {
  return planVxlan(await readVxlanFacts(bridge, spec, system))
}

/** Connects the bridge to a VXLAN. */
export async function connectVxlan(bridge: string, spec: VxlanUplinkSpec, context: MoveContext): Promise<VxlanChange> {
  return withUplinkLock(context, async () => {
    const plan = await planVxlanConnect(bridge, spec, context.system)
    await executeUplinkPlan(plan, context)
    return { uplink: formatUplinkSpec(spec), plan }
  })
}

/** The steps that remove the VXLAN of a bridge; empty when it has none. */
export async function planVxlanDisconnect(bridge: string, system: System): Promise<Plan> {
  const vxlan = await findBridgeVxlan(bridge, system)
  return vxlan === undefined ? [] : planBridgeVxlanRemoval(bridge, vxlan, system)
}

/** Removes the VXLAN of a bridge; undefined when it has none. */
export async function disconnectVxlan(bridge: string, context: MoveContext): Promise<VxlanChange | undefined> {
  return withUplinkLock(context, async () => {
    const vxlan = await findBridgeVxlan(bridge, context.system)
    if (vxlan === undefined) return undefined
    const plan = await planBridgeVxlanRemoval(bridge, vxlan, context.system)
    await executeUplinkPlan(plan, context)
    return { uplink: `vxlan:${vxlan.id},${vxlan.remote}`, plan }
  })
}

/** Removes the VXLAN, and the bridge too when pipework created it and nothing else uses it. */
async function planBridgeVxlanRemoval(bridge: string, vxlan: VxlanLink, system: System): Promise<Plan> {
  const isUsed =
    readHostLink(bridge, system)?.record?.kind !== 'made' ||
    listBridgePortNames(bridge, system).some((name) => name !== vxlan.name) ||
    (await hasGlobalAddress(bridge, system))
  return planVxlanRemoval(vxlan, isUsed ? undefined : bridge)
}
