import { findVxlan, planNoVxlan, planVxlan, surveyVxlan, type Vxlan } from '../../drivers/vxlan'
import { vlanNameOf } from '../../model/address'
import type { UplinkWish } from '../../model/uplink'
import type { Plan, Step } from '../../plan/step'
import { hasGlobalAddress } from '../../state/attachments'
import { readSnapshot } from '../../state/host'
import { type HostLink, listPorts, readHostLink } from '../../state/host-links'
import type { Keeper } from '../../state/network-managers'
import type { Host } from '../../system/types'
import { planLeftovers } from './move-config'
import { planDownlink, planForget, planUplink, toDownlinkJournal, toJournal } from './plan'
import {
  findUplink,
  readGateways,
  readSsh,
  resolveUplink,
  surveyUplink,
  type UplinkFacts,
  type UplinkRequest,
} from './read'
import type { Carrier } from './run-move'
import type { Journal } from './state-file'
import { refuseUplink, type UplinkOptions } from './validate'

/** A bridge, and what it is to be connected to. */
export interface Connection {
  readonly bridge: string
  readonly wish: UplinkWish
}

interface Planned {
  readonly facts: UplinkFacts
  readonly journal: Journal
  readonly plan: Plan
  readonly dropIns: readonly NonNullable<Keeper['dropIn']>[]
}

/** The move of a NIC into a bridge, refused if it cannot be; undefined where it is in it already. */
export async function planNic(
  request: UplinkRequest,
  { host }: Pick<Carrier, 'host'>,
  options: UplinkOptions & { readonly routers: 'ask' | 'trust' },
): Promise<Planned | undefined> {
  const { nic, vlan } = request.wish
  const name = vlan === undefined ? nic : vlanNameOf(nic, vlan)
  if (readHostLink(name, host)?.master === request.bridge) return undefined
  const facts = await surveyUplink(request, host, options.routers)
  refuseUplink(facts, options)
  const dropIns = options.writeUnmanaged ? facts.keepers.flatMap(({ dropIn }) => dropIn ?? []) : []
  const journal = toJournal(
    facts,
    dropIns.map(({ path }) => path),
  )
  const files = dropIns.map(
    ({ path, text }): Step => ({
      why: `write ${path}`,
      command: { kind: 'file', in: 'host', path, text, readers: 'everybody' },
    }),
  )
  return { facts, journal, dropIns, plan: [...files, ...planUplink(facts, journal)] }
}

/** What connecting would do, changing nothing: the steps, and the bridge as it would be when it is made. */
export async function foreseeConnection(
  { bridge, wish }: Connection,
  options: UplinkOptions,
  carrier: Pick<Carrier, 'host'>,
): Promise<Plan> {
  if (wish.kind === 'vxlan') return planVxlan(await surveyVxlan(bridge, wish, carrier.host))
  const request = resolveUplink({ bridge, wish }, carrier.host)
  return (await planNic(request, carrier, { ...options, routers: 'trust' }))?.plan ?? []
}

/** The same, and the bridge as it would be then, where it is not yet. */
export async function foreseeBridge(
  connection: Connection,
  options: UplinkOptions,
  carrier: Pick<Carrier, 'host'>,
): Promise<{ readonly plan: Plan; readonly bridge: HostLink }> {
  const { bridge: name } = connection
  const plan = await foreseeConnection(connection, options, carrier)
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
  return { plan, bridge: readHostLink(name, carrier.host) ?? bridge }
}

/** What taking it away would do. */
export async function foreseeDisconnection(bridge: string, { host }: Pick<Carrier, 'host'>): Promise<Plan> {
  const journal = findUplink(bridge, host)
  if (journal === undefined) {
    const vxlan = await findVxlan(bridge, host)
    return vxlan === undefined ? [] : planVxlanEnd(bridge, vxlan, host)
  }
  const now = await readSnapshot(host)
  const gateways = await readGateways(bridge, { now, routers: 'trust' }, host)
  const out = toDownlinkJournal(journal, now)
  const after = {
    ...now,
    links: new Map([...now.links].map(([name, link]) => [name, name === journal.nic ? { ...link, master: '' } : link])),
  }
  const plan = planDownlink({ now, gateways, journal: out, ...(await readSsh(bridge, host)) })
  return [...plan, ...planForget(out, planLeftovers(out, after))]
}

async function findUnused(bridge: string, port: string, host: Host): Promise<string | undefined> {
  if (readHostLink(bridge, host)?.record?.kind !== 'made') return undefined
  if (listPorts(bridge, host).some((name) => name !== port)) return undefined
  return (await hasGlobalAddress(bridge, host)) ? undefined : bridge
}

/** The steps that take a VXLAN away, and its bridge where pipework made it and nobody else is on it. */
export async function planVxlanEnd(bridge: string, vxlan: Vxlan, host: Host): Promise<Plan> {
  return planNoVxlan(vxlan, await findUnused(bridge, vxlan.name, host))
}
