import { type Leftover, PipeworkError } from '../../model/errors'
import { vlanDeviceName } from '../../model/ifname'
import { formatWarning } from '../../model/report'
import { formatUplinkSpec, type UplinkSpec } from '../../model/uplink'
import type { Plan } from '../../plan/step'
import { type HostState, readHostState } from '../../state/host'
import { type HostLink, readHostLink } from '../../state/host-links'
import { reloadCommandFor } from '../../state/network-managers'
import type { System } from '../../system/types'
import { awaitConfirmation, type UplinkRunOptions, validateNotPending } from './confirm'
import {
  type DropIn,
  planUplink,
  planUplinkCleanup,
  planUplinkRemoval,
  toUplinkRemovalState,
  toUplinkState,
} from './plan'
import {
  findUplink,
  type NicUplinkRequest,
  readGateways,
  readSshClient,
  readUplinkFacts,
  resolveUplinkNic,
  type UplinkFacts,
} from './read'
import { planMoveCleanup } from './restore'
import {
  executeUplinkPlan,
  finishMove,
  type MoveContext,
  restoreMove,
  runMove,
  toLeftoverError,
  withUplinkLock,
} from './run-move'
import { readUplinkState, type UplinkState } from './state-file'
import { formatRuleWarning, type UplinkOptions, validateUplink } from './validate'
import { connectVxlan, disconnectVxlan, planVxlanConnect, planVxlanDisconnect } from './vxlan'

/** A bridge and its requested uplink. */
export interface UplinkConnection {
  readonly bridge: string
  readonly spec: UplinkSpec
}

/** The result of a change to an uplink. */
export interface UplinkChange {
  readonly bridge: string
  /** The uplink as the user types it. */
  readonly uplink: string
  readonly plan: Plan
  /** Commands that the user may want to run now: network managers reload their configuration only on request. */
  readonly next: readonly string[]
  /** Removes what this run has created. */
  undo(): Promise<readonly Leftover[]>
}

const undoNothing = async () => []

/**
 * Connects the bridge to a NIC or VXLAN; the plan is empty when it is already connected.
 * @throws PipeworkError when refused or failed; the host is unchanged.
 */
export async function connectUplink(
  { bridge, spec }: UplinkConnection,
  options: UplinkOptions,
  run: UplinkRunOptions,
): Promise<UplinkChange> {
  const undo = () => tryDisconnect(bridge, run)
  if (spec.kind === 'vxlan') {
    const change = await connectVxlan(bridge, spec, run)
    return { bridge, ...change, next: [], undo: change.plan.length === 0 ? undoNothing : undo }
  }
  const request = resolveUplinkNic({ bridge, spec }, run.system)
  const uplink = formatUplinkSpec(request.spec)
  const move = await withUplinkLock(run, async () => {
    validateNotPending(bridge, run.system)
    if (isPortOf(request, run.system)) return undefined
    const facts = await readUplinkFacts(request, run.system, 'ask')
    validateUplink(facts, { ...options, confirm: run.confirm })
    const { state, plan, dropIns } = planMove(facts, options, run.system)
    if (facts.firewallRule !== undefined) run.notify(formatWarning({ message: formatRuleWarning(facts) }))
    await runMove(state, plan, run)
    return { plan, dropIns, state: finishMove(bridge, run, run.confirm) }
  })
  if (move === undefined) return { bridge, uplink, plan: [], next: [], undo: undoNothing }
  if (run.confirm !== undefined) await awaitConfirmation(move.state, run)
  return { bridge, uplink, plan: move.plan, next: move.dropIns.map(({ path }) => reloadCommandFor(path)), undo }
}

/** Whether the NIC, or the device of its VLAN, is already a port of the bridge. */
function isPortOf({ bridge, spec: { nic, vlan } }: NicUplinkRequest, system: System): boolean {
  return readHostLink(vlan === undefined ? nic : vlanDeviceName(nic, vlan), system)?.master === bridge
}

function planMove(facts: UplinkFacts, { writeUnmanaged }: UplinkOptions, system: System) {
  const dropIns: readonly DropIn[] = writeUnmanaged ? facts.managers.flatMap(({ dropIn }) => dropIn ?? []) : []
  const state = toUplinkState(facts, dropIns, system)
  return { state, plan: planUplink(facts, state, dropIns), dropIns }
}

async function tryDisconnect(bridge: string, run: UplinkRunOptions): Promise<readonly Leftover[]> {
  const { confirm, stepsBefore, ...rest } = run
  try {
    await disconnectUplink(bridge, rest)
    return []
  } catch (error) {
    return error instanceof PipeworkError && error.leftovers.length > 0
      ? error.leftovers
      : [{ what: `the uplink of ${bridge}`, command: `pipework uplink del ${bridge}` }]
  }
}

/**
 * Removes the uplink from the bridge; undefined when there is none.
 * @throws PipeworkError when that failed; the host is unchanged.
 */
export async function disconnectUplink(bridge: string, run: UplinkRunOptions): Promise<UplinkChange | undefined> {
  const { system } = run
  const move = await withUplinkLock(run, async () => {
    const pending = readUplinkState(bridge, system)
    if (pending?.stage === 'pending') return { uplink: pending, plan: await restorePending(pending, system) }
    const uplink = findUplink(bridge, system)
    if (uplink === undefined) return undefined
    if (uplink.stage === 'detached') return { uplink, plan: await cleanUpUplink(uplink, run) }
    const { state, plan } = await planDetachMove(uplink, await readHostState(system), { system, gateways: 'ask' })
    await runMove(state, plan, run)
    const moved = finishMove(bridge, run, run.confirm)
    if (run.confirm !== undefined) return { uplink, plan, pending: moved }
    return { uplink, plan: [...plan, ...(await cleanUpUplink(moved, run))] }
  })
  if (move === undefined) {
    const change = await disconnectVxlan(bridge, run)
    return change && { bridge, ...change, next: [], undo: undoNothing }
  }
  const { uplink, plan, pending } = move
  if (pending !== undefined) {
    await awaitConfirmation(pending, run)
    await withUplinkLock(run, async () => {
      const state = readUplinkState(bridge, system)
      if (state?.stage === 'detached') await cleanUpUplink(state, run)
    })
  }
  return { bridge, uplink: uplink.nic, plan, next: uplink.files.map(reloadCommandFor), undo: undoNothing }
}

async function planDetachMove(
  uplink: UplinkState,
  hostState: HostState,
  { system, gateways: routers }: { readonly system: System; readonly gateways: 'ask' | 'trust' },
) {
  const { bridge } = uplink
  const state = toUplinkRemovalState(uplink, hostState)
  const gateways = await readGateways(bridge, { now: hostState, routers }, system)
  return { state, plan: planUplinkRemoval({ hostState, gateways, state, ...(await readSshClient(bridge, system)) }) }
}

async function restorePending(state: UplinkState, system: System): Promise<Plan> {
  const leftovers = await restoreMove(state, system)
  if (leftovers.length > 0) throw toLeftoverError(new PipeworkError(`'${state.nic}' could not be restored`), leftovers)
  return [{ description: `restore ${state.nic}`, command: { kind: 'file', in: 'host', path: '' } }]
}

async function cleanUpUplink(state: UplinkState, context: MoveContext): Promise<Plan> {
  const plan = planUplinkCleanup(state, planMoveCleanup(state, await readHostState(context.system)))
  await executeUplinkPlan(plan, context)
  return plan
}

// --- dry runs: the same plans, without changes or probes ---

/** The steps of `connectUplink`. */
export async function planUplinkConnect(
  { bridge, spec }: UplinkConnection,
  options: UplinkOptions,
  system: System,
): Promise<Plan> {
  if (spec.kind === 'vxlan') return planVxlanConnect(bridge, spec, system)
  const request = resolveUplinkNic({ bridge, spec }, system)
  if (isPortOf(request, system)) return []
  const facts = await readUplinkFacts(request, system, 'trust')
  validateUplink(facts, options)
  return planMove(facts, options, system).plan
}

/** The steps of `connectUplink`, and the resulting bridge. */
export async function planUplinkBridge(
  connection: UplinkConnection,
  options: UplinkOptions,
  system: System,
): Promise<{ readonly plan: Plan; readonly bridge: HostLink }> {
  const { bridge: name } = connection
  const plan = await planUplinkConnect(connection, options, system)
  const words = plan.map(({ command }) => (command.kind === 'ip' ? command.words : []))
  const created = words.find(([, add, , it]) => add === 'add' && it === name) ?? []
  const after = (key: string) => String(created[created.indexOf(key) + 1] ?? '')
  const bridge: HostLink = {
    ...{ name, kind: 'bridge', ifindex: 0, peerIndex: 0, mtu: Number(after('mtu')), mac: after('address'), up: true },
    ...{ filtering: false, defaultPvid: 1, record: { kind: 'made' } },
  }
  return { plan, bridge: readHostLink(name, system) ?? bridge }
}

/** The steps of `disconnectUplink`. */
export async function planUplinkDisconnect(bridge: string, system: System): Promise<Plan> {
  const uplink = findUplink(bridge, system)
  if (uplink === undefined) return planVxlanDisconnect(bridge, system)
  const now = await readHostState(system)
  const { state, plan } = await planDetachMove(uplink, now, { system, gateways: 'trust' })
  const links = [...now.links].map(
    ([name, link]) => [name, name === uplink.nic ? { ...link, master: '' } : link] as const,
  )
  return [...plan, ...planUplinkCleanup(state, planMoveCleanup(state, { ...now, links: new Map(links) }))]
}
