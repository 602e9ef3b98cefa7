import { findBridgeVxlan, planVxlan, readVxlanFacts } from '../../drivers/vxlan'
import { type Leftover, PipeworkError } from '../../model/errors'
import { formatWarning } from '../../model/report'
import { formatUplinkSpec, type VxlanUplinkSpec } from '../../model/uplink'
import type { Plan } from '../../plan/step'
import { readHostState } from '../../state/host'
import { reloadCommandFor } from '../../state/network-managers'
import { awaitConfirmation, markKept, type UplinkRunOptions, validateNotPending } from './confirm'
import { planNicUplink, planVxlanDisconnect, type UplinkConnection } from './foresee'
import { planMoveCleanup } from './move-config'
import { planUplinkCleanup, planUplinkRemoval, toUplinkRemovalState } from './plan'
import { findUplink, readGateways, readSshClient, resolveUplinkNic } from './read'
import { executeUplinkPlan, type MoveContext, restoreMove, runMove, toLeftoverError, withUplinkLock } from './run-move'
import { readUplinkState, saveUplinkState, type UplinkState } from './state-file'
import { formatRuleWarning, type UplinkOptions } from './validate'

/** What was done for an uplink. */
export interface UplinkChange {
  readonly bridge: string
  /** As it is typed. */
  readonly uplink: string
  readonly plan: Plan
  /** What the user may want to run now: who was kept off must be told so. */
  readonly next: readonly string[]
  /** Takes it away again: what this run has made, and nothing where it was there before. */
  undo(): Promise<readonly Leftover[]>
}

const undoNothing = async () => []

/** Connects the bridge; nothing is done when it is connected so already. Throws, and all is as it was then. */
export async function connectUplink(
  { bridge, spec }: UplinkConnection,
  options: UplinkOptions,
  connector: UplinkRunOptions,
): Promise<UplinkChange> {
  if (spec.kind === 'vxlan') return connectVxlan(bridge, spec, connector)
  const request = resolveUplinkNic({ bridge, spec }, connector.system)
  const planned = await withUplinkLock(connector, async () => {
    validateNotPending(bridge, connector)
    const it = await planNicUplink(request, connector, { ...options, confirm: connector.confirm, routers: 'ask' })
    if (it === undefined) return undefined
    if (it.facts.firewallRule !== undefined) connector.notify(formatWarning({ message: formatRuleWarning(it.facts) }))
    await runMove(it.state, it.plan, connector)
    markKept(it.state, connector)
    return it
  })
  const uplink = formatUplinkSpec(request.spec)
  if (planned === undefined) return { bridge, uplink, plan: [], next: [], undo: undoNothing }
  if (connector.confirm !== undefined) await awaitConfirmation(bridge, connector)
  const { plan, dropIns } = planned
  const undo = () => tryDisconnect(bridge, connector)
  return { bridge, uplink, plan, next: dropIns.map(({ path }) => reloadCommandFor(path)), undo }
}

async function tryDisconnect(bridge: string, connector: UplinkRunOptions): Promise<readonly Leftover[]> {
  const { confirm, stepsBefore, ...rest } = connector
  try {
    await disconnectUplink(bridge, rest)
    return []
  } catch (error) {
    return error instanceof PipeworkError && error.leftovers.length > 0
      ? error.leftovers
      : [{ what: `the uplink of ${bridge}`, command: `pipework uplink del ${bridge}` }]
  }
}

/** The uplink taken away, or undefined when there was none. */
export async function disconnectUplink(bridge: string, connector: UplinkRunOptions): Promise<UplinkChange | undefined> {
  const { system } = connector
  const moved = await withUplinkLock(connector, async () => {
    const pending = readUplinkState(bridge, system)
    if (pending?.stage === 'pending') return { journal: pending, plan: await restorePending(pending, connector) }
    const journal = findUplink(bridge, system)
    if (journal === undefined) return undefined
    if (journal.stage === 'left') return { journal, plan: await cleanUpUplink(journal, connector) }
    const now = await readHostState(system)
    const gateways = await readGateways(bridge, { now, routers: 'ask' }, system)
    const out = toUplinkRemovalState(journal, now)
    const plan = planUplinkRemoval({ hostState: now, gateways, state: out, ...(await readSshClient(bridge, system)) })
    await runMove(out, plan, connector)
    if (connector.confirm !== undefined) markKept(out, connector)
    else {
      saveUplinkState({ ...out, stage: 'left' }, system)
      return { journal, plan: [...plan, ...(await cleanUpUplink(out, connector))] }
    }
    return { journal, plan, isPending: true }
  })
  if (moved === undefined) return disconnectVxlan(bridge, connector)
  const { journal, plan } = moved
  if ('isPending' in moved) {
    await awaitConfirmation(bridge, connector)
    await withUplinkLock(connector, async () => {
      const left = readUplinkState(bridge, system)
      if (left?.stage === 'left') await cleanUpUplink(left, connector)
    })
  }
  return { bridge, uplink: journal.nic, plan, next: journal.files.map(reloadCommandFor), undo: undoNothing }
}

async function restorePending(journal: UplinkState, { system }: MoveContext): Promise<Plan> {
  const plan = [{ description: `put back ${journal.nic}`, command: { kind: 'file', in: 'host', path: '' } } as const]
  const leftovers = await restoreMove(journal, system)
  if (leftovers.length > 0)
    throw toLeftoverError(new PipeworkError(`'${journal.nic}' could not be put back`), leftovers)
  return plan
}

async function cleanUpUplink(journal: UplinkState, carrier: MoveContext): Promise<Plan> {
  const now = await readHostState(carrier.system)
  const plan = planUplinkCleanup(journal, planMoveCleanup(journal, now))
  await executeUplinkPlan(plan, carrier)
  return plan
}

// --- VXLAN: no address moves, so that the steps' own inverses are enough ---

async function connectVxlan(bridge: string, wish: VxlanUplinkSpec, connector: UplinkRunOptions): Promise<UplinkChange> {
  const { system } = connector
  const plan = await withUplinkLock(connector, async () => {
    const it = planVxlan(await readVxlanFacts(bridge, wish, system))
    await executeUplinkPlan(it, connector)
    return it
  })
  const undo = plan.length === 0 ? undoNothing : () => tryDisconnect(bridge, connector)
  return { bridge, uplink: formatUplinkSpec(wish), plan, next: [], undo }
}

async function disconnectVxlan(bridge: string, connector: UplinkRunOptions): Promise<UplinkChange | undefined> {
  const { system } = connector
  return withUplinkLock(connector, async () => {
    const vxlan = await findBridgeVxlan(bridge, system)
    if (vxlan === undefined) return undefined
    const plan = await planVxlanDisconnect(bridge, vxlan, system)
    await executeUplinkPlan(plan, connector)
    return { bridge, uplink: `vxlan:${vxlan.id},${vxlan.remote}`, plan, next: [], undo: undoNothing }
  })
}
