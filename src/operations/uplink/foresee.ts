import { findBridgeVxlan, planVxlan, planVxlanRemoval, readVxlanFacts, type VxlanLink } from '../../drivers/vxlan'
import { vlanDeviceName } from '../../model/ifname'
import type { UplinkSpec } from '../../model/uplink'
import type { Plan, Step } from '../../plan/step'
import { hasGlobalAddress } from '../../state/attachments'
import { readHostState } from '../../state/host'
import { type HostLink, listBridgePortNames, readHostLink } from '../../state/host-links'
import type { LinkManager } from '../../state/network-managers'
import type { System } from '../../system/types'
import { planMoveCleanup } from './move-config'
import { planUplink, planUplinkCleanup, planUplinkRemoval, toUplinkRemovalState, toUplinkState } from './plan'
import {
  findUplink,
  type NicUplinkRequest,
  readGateways,
  readSshClient,
  readUplinkFacts,
  resolveUplinkNic,
  type UplinkFacts,
} from './read'
import type { MoveContext } from './run-move'
import type { UplinkState } from './state-file'
import { type UplinkOptions, validateUplink } from './validate'

/** A bridge, and what it is to be connected to. */
export interface UplinkConnection {
  readonly bridge: string
  readonly spec: UplinkSpec
}

interface UplinkPlan {
  readonly facts: UplinkFacts
  readonly state: UplinkState
  readonly plan: Plan
  readonly dropIns: readonly NonNullable<LinkManager['dropIn']>[]
}

/** The move of a NIC into a bridge, refused if it cannot be; undefined where it is in it already. */
export async function planNicUplink(
  request: NicUplinkRequest,
  { system }: Pick<MoveContext, 'system'>,
  options: UplinkOptions & { readonly routers: 'ask' | 'trust' },
): Promise<UplinkPlan | undefined> {
  const { nic, vlan } = request.spec
  const name = vlan === undefined ? nic : vlanDeviceName(nic, vlan)
  if (readHostLink(name, system)?.master === request.bridge) return undefined
  const facts = await readUplinkFacts(request, system, options.routers)
  validateUplink(facts, options)
  const dropIns = options.writeUnmanaged ? facts.managers.flatMap(({ dropIn }) => dropIn ?? []) : []
  const journal = toUplinkState(
    facts,
    dropIns.map(({ path }) => path),
  )
  const files = dropIns.map(
    ({ path, text }): Step => ({
      description: `write ${path}`,
      command: { kind: 'file', in: 'host', path, text, readers: 'everybody' },
    }),
  )
  return { facts, state: journal, dropIns, plan: [...files, ...planUplink(facts, journal)] }
}

/** What connecting would do, changing nothing: the steps, and the bridge as it would be when it is made. */
export async function planUplinkConnect(
  { bridge, spec }: UplinkConnection,
  options: UplinkOptions,
  carrier: Pick<MoveContext, 'system'>,
): Promise<Plan> {
  if (spec.kind === 'vxlan') return planVxlan(await readVxlanFacts(bridge, spec, carrier.system))
  const request = resolveUplinkNic({ bridge, spec }, carrier.system)
  return (await planNicUplink(request, carrier, { ...options, routers: 'trust' }))?.plan ?? []
}

/** The same, and the bridge as it would be then, where it is not yet. */
export async function planUplinkBridge(
  connection: UplinkConnection,
  options: UplinkOptions,
  carrier: Pick<MoveContext, 'system'>,
): Promise<{ readonly plan: Plan; readonly bridge: HostLink }> {
  const { bridge: name } = connection
  const plan = await planUplinkConnect(connection, options, carrier)
  const words = plan.map(({ command }) => (command.kind === 'ip' ? command.words : []))
  const made = words.find(([, add, , it]) => add === 'add' && it === name) ?? []
  const after = (key: string) => String(made[made.indexOf(key) + 1] ?? '')
  const shape = { ifindex: 0, peerIndex: 0, mtu: Number(after('mtu')), mac: after('address'), up: true }
  const bridge: HostLink = {
    name,
    kind: 'bridge',
    ...shape,
    filtering: false,
    defaultPvid: 1,
    record: { kind: 'made' },
  }
  return { plan, bridge: readHostLink(name, carrier.system) ?? bridge }
}

/** What taking it away would do. */
export async function planUplinkDisconnect(bridge: string, { system }: Pick<MoveContext, 'system'>): Promise<Plan> {
  const journal = findUplink(bridge, system)
  if (journal === undefined) {
    const vxlan = await findBridgeVxlan(bridge, system)
    return vxlan === undefined ? [] : planVxlanDisconnect(bridge, vxlan, system)
  }
  const now = await readHostState(system)
  const gateways = await readGateways(bridge, { now, routers: 'trust' }, system)
  const out = toUplinkRemovalState(journal, now)
  const after = {
    ...now,
    links: new Map([...now.links].map(([name, link]) => [name, name === journal.nic ? { ...link, master: '' } : link])),
  }
  const plan = planUplinkRemoval({ hostState: now, gateways, state: out, ...(await readSshClient(bridge, system)) })
  return [...plan, ...planUplinkCleanup(out, planMoveCleanup(out, after))]
}

async function findUnusedBridge(bridge: string, port: string, system: System): Promise<string | undefined> {
  if (readHostLink(bridge, system)?.record?.kind !== 'made') return undefined
  if (listBridgePortNames(bridge, system).some((name) => name !== port)) return undefined
  return (await hasGlobalAddress(bridge, system)) ? undefined : bridge
}

/** The steps that take a VXLAN away, and its bridge where pipework made it and nobody else is on it. */
export async function planVxlanDisconnect(bridge: string, vxlan: VxlanLink, system: System): Promise<Plan> {
  return planVxlanRemoval(vxlan, await findUnusedBridge(bridge, vxlan.name, system))
}
