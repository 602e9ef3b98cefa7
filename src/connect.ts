import { hasGlobalAddress } from './attachments'
import { type Carrier, carry, fail, finish, putBack, withLock } from './carry'
import { type Leftover, PipeworkError } from './errors'
import { type HostLink, listPorts, readHostLink } from './hostlinks'
import { type Journal, readJournal, saveJournal } from './journal'
import { type Keeper, reloadOf } from './keepers'
import { planLeftovers } from './shift'
import { readSnapshot, uptime } from './snapshot'
import type { Plan, Step } from './step'
import { findUplink, readGateways, readSsh, resolveUplink, surveyUplink, type UplinkRequest } from './survey'
import {
  planDownlink,
  planForget,
  planUplink,
  refuseUplink,
  toDownlinkJournal,
  toJournal,
  type UplinkFacts,
  type UplinkOptions,
} from './uplink'
import { vlanNameOf } from './values'
import { findVxlan, planNoVxlan, planVxlan, surveyVxlan } from './vxlan'
import { formatUplink, type UplinkWish, type VxlanWish } from './wish'

/** What an uplink is made or taken away with. */
export interface Connector extends Carrier {
  /** Seconds in which somebody must confirm the move; without, its proof does. */
  readonly confirm?: number
  /** Tells what is awaited, where somebody reads it. */
  readonly tell: (text: string) => void
}

/** What was done for an uplink. */
export interface Connected {
  readonly bridge: string
  /** As it is typed. */
  readonly uplink: string
  readonly plan: Plan
  /** What the user may want to run now: who was kept off must be told so. */
  readonly next: readonly string[]
  /** Takes it away again: what this run has made, and nothing where it was there before. */
  undo(): Promise<readonly Leftover[]>
}

/** A bridge, and what it is to be connected to. */
export interface Connection {
  readonly bridge: string
  readonly wish: UplinkWish
}

const nothing = async () => []

interface Planned {
  readonly facts: UplinkFacts
  readonly journal: Journal
  readonly plan: Plan
  readonly dropIns: readonly NonNullable<Keeper['dropIn']>[]
}

async function planNic(
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

/** Connects the bridge; nothing is done when it is connected so already. Throws, and all is as it was then. */
export async function connect(
  { bridge, wish }: Connection,
  options: UplinkOptions,
  connector: Connector,
): Promise<Connected> {
  if (wish.kind === 'vxlan') return connectVxlan(bridge, wish, connector)
  const request = resolveUplink({ bridge, wish }, connector.host)
  const planned = await withLock(connector, async () => {
    refusePending(bridge, connector)
    const it = await planNic(request, connector, { ...options, routers: 'ask' })
    if (it === undefined) return undefined
    await carry(it.journal, it.plan, connector)
    settle(it.journal, connector)
    return it
  })
  const uplink = formatUplink(request.wish)
  if (planned === undefined) return { bridge, uplink, plan: [], next: [], undo: nothing }
  if (connector.confirm !== undefined) await awaitConfirmation(bridge, connector)
  const { plan, dropIns } = planned
  const undo = () => disconnectQuietly(bridge, connector)
  return { bridge, uplink, plan, next: dropIns.map(({ path }) => reloadOf(path)), undo }
}

async function disconnectQuietly(bridge: string, connector: Connector): Promise<readonly Leftover[]> {
  const { confirm, before, ...rest } = connector
  try {
    await disconnectBridge(bridge, rest)
    return []
  } catch (error) {
    return error instanceof PipeworkError && error.leftovers.length > 0
      ? error.leftovers
      : [{ what: `the uplink of ${bridge}`, command: `pipework uplink del ${bridge}` }]
  }
}

function refusePending(bridge: string, { host }: Carrier): void {
  if (readJournal(bridge, host)?.stage === 'pending')
    throw new PipeworkError(`the uplink of '${bridge}' waits to be confirmed`, {
      hint: `Keep it: pipework uplink confirm ${bridge}. Put it back: pipework uplink del ${bridge}`,
    })
}

/** The move is proven: it is kept, or waits for somebody to say so. */
function settle(journal: Journal, { host, confirm }: Connector): void {
  saveJournal(
    confirm === undefined
      ? { ...journal, stage: 'kept' }
      : { ...journal, stage: 'pending', deadline: uptime(host) + confirm },
    host,
  )
}

/** Seconds between two looks whether it is confirmed. */
const POLL = 0.1

async function awaitConfirmation(bridge: string, connector: Connector): Promise<void> {
  const { host, interrupt, tell, confirm } = connector
  const typed = { enter: false }
  const isTerminal = await host.isTerminal(0)
  tell(
    `It works so far. ${isTerminal ? 'Press Enter, or type in a new session' : 'Type in a new session'}: pipework uplink confirm ${bridge}\nElse all is put back in ${confirm} s.\n`,
  )
  const stop = isTerminal ? await host.onLine(() => (typed.enter = true)) : () => {}
  try {
    for (;;) {
      const journal = readJournal(bridge, host)
      if (journal?.stage !== 'pending') return refuseRestored(journal, bridge)
      if (interrupt.heard) return await giveUp(journal, connector)
      if (typed.enter) await confirmUplink(bridge, connector)
      else await host.sleep(POLL)
    }
  } finally {
    stop()
  }
}

function refuseRestored(journal: Journal | undefined, bridge: string): void {
  if (journal?.stage === 'kept' || journal?.stage === 'left') return
  throw new PipeworkError(`nobody confirmed the uplink of '${bridge}', so all was put back as it was`, {
    hint: 'If you were still connected: press Enter in time, or give it more of that with --confirm.',
  })
}

async function giveUp(journal: Journal, { host }: Carrier): Promise<never> {
  // Not by withLock, which an interrupted run would not wait for.
  throw fail(new PipeworkError('interrupted, and put back as it was'), await putBack(journal, host))
}

/** Keeps an uplink that waits for it. False when there was nothing to confirm. */
export async function confirmUplink(bridge: string, carrier: Carrier): Promise<boolean> {
  return withLock(carrier, async () => {
    const journal = readJournal(bridge, carrier.host)
    if (journal?.stage === 'restored' || journal === undefined)
      throw new PipeworkError(
        journal === undefined
          ? `'${bridge}' has no uplink that could be confirmed`
          : `the uplink of '${bridge}' was put back: ${journal.why}`,
        { hint: `Make it: pipework uplink add ${bridge} ${journal?.nic ?? '<nic>'} --confirm 60` },
      )
    if (journal.stage !== 'pending') return false
    const { deadline, ...rest } = journal
    if (journal.way === 'in') saveJournal({ ...rest, stage: 'kept' }, carrier.host)
    else saveJournal({ ...rest, stage: 'left' }, carrier.host)
    return true
  })
}

/** The uplink taken away, or undefined when there was none. */
export async function disconnectBridge(bridge: string, connector: Connector): Promise<Connected | undefined> {
  const { host } = connector
  const moved = await withLock(connector, async () => {
    const pending = readJournal(bridge, host)
    if (pending?.stage === 'pending') return { journal: pending, plan: await putBackNow(pending, connector) }
    const journal = findUplink(bridge, host)
    if (journal === undefined) return undefined
    if (journal.stage === 'left') return { journal, plan: await forget(journal, connector) }
    const now = await readSnapshot(host)
    const gateways = await readGateways(bridge, { now, routers: 'ask' }, host)
    const out = toDownlinkJournal(journal, now)
    const plan = planDownlink({ now, gateways, journal: out, ...(await readSsh(bridge, host)) })
    await carry(out, plan, connector)
    if (connector.confirm !== undefined) settle(out, connector)
    else {
      saveJournal({ ...out, stage: 'left' }, host)
      return { journal, plan: [...plan, ...(await forget(out, connector))] }
    }
    return { journal, plan, isPending: true }
  })
  if (moved === undefined) return disconnectVxlan(bridge, connector)
  const { journal, plan } = moved
  if ('isPending' in moved) {
    await awaitConfirmation(bridge, connector)
    await withLock(connector, async () => {
      const left = readJournal(bridge, host)
      if (left?.stage === 'left') await forget(left, connector)
    })
  }
  return { bridge, uplink: journal.nic, plan, next: journal.files.map(reloadOf), undo: nothing }
}

async function putBackNow(journal: Journal, { host }: Carrier): Promise<Plan> {
  const plan = [{ why: `put back ${journal.nic}`, command: { kind: 'file', in: 'host', path: '' } } as const]
  const leftovers = await putBack(journal, host)
  if (leftovers.length > 0) throw fail(new PipeworkError(`'${journal.nic}' could not be put back`), leftovers)
  return plan
}

async function forget(journal: Journal, carrier: Carrier): Promise<Plan> {
  const now = await readSnapshot(carrier.host)
  const plan = planForget(journal, planLeftovers(journal, now))
  await finish(plan, carrier)
  return plan
}

/** What taking it away would do. */
export async function foreseeDisconnection(bridge: string, { host }: Pick<Carrier, 'host'>): Promise<Plan> {
  const journal = findUplink(bridge, host)
  if (journal === undefined) {
    const vxlan = await findVxlan(bridge, host)
    return vxlan === undefined ? [] : planNoVxlan(vxlan, await findUnused(bridge, vxlan.name, host))
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

// --- VXLAN: no address moves, so that the steps' own inverses are enough ---

async function connectVxlan(bridge: string, wish: VxlanWish, connector: Connector): Promise<Connected> {
  const { host } = connector
  const plan = await withLock(connector, async () => {
    const it = planVxlan(await surveyVxlan(bridge, wish, host))
    await finish(it, connector)
    return it
  })
  const undo = plan.length === 0 ? nothing : () => disconnectQuietly(bridge, connector)
  return { bridge, uplink: formatUplink(wish), plan, next: [], undo }
}

async function findUnused(bridge: string, port: string, host: Carrier['host']): Promise<string | undefined> {
  if (readHostLink(bridge, host)?.record?.kind !== 'made') return undefined
  if (listPorts(bridge, host).some((name) => name !== port)) return undefined
  return (await hasGlobalAddress(bridge, host)) ? undefined : bridge
}

async function disconnectVxlan(bridge: string, connector: Connector): Promise<Connected | undefined> {
  const { host } = connector
  return withLock(connector, async () => {
    const vxlan = await findVxlan(bridge, host)
    if (vxlan === undefined) return undefined
    const plan = planNoVxlan(vxlan, await findUnused(bridge, vxlan.name, host))
    await finish(plan, connector)
    return { bridge, uplink: `vxlan:${vxlan.id},${vxlan.remote}`, plan, next: [], undo: nothing }
  })
}
