import { findVxlan, planVxlan, surveyVxlan } from '../../drivers/vxlan'
import { type Leftover, PipeworkError } from '../../model/errors'
import { formatUplink, type VxlanWish } from '../../model/uplink'
import type { Plan } from '../../plan/step'
import { readSnapshot } from '../../state/host'
import { reloadOf } from '../../state/network-managers'
import { formatWarning } from '../../ui/report'
import { awaitConfirmation, type Connector, refusePending, settle } from './confirm'
import { type Connection, planNic, planVxlanEnd } from './foresee'
import { planLeftovers } from './move-config'
import { planDownlink, planForget, toDownlinkJournal } from './plan'
import { findUplink, readGateways, readSsh, resolveUplink } from './read'
import { type Carrier, carry, fail, finish, putBack, withLock } from './run-move'
import { type Journal, readJournal, saveJournal } from './state-file'
import { type UplinkOptions, warnOfRule } from './validate'

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

const nothing = async () => []

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
    const it = await planNic(request, connector, { ...options, confirm: connector.confirm, routers: 'ask' })
    if (it === undefined) return undefined
    if (it.facts.rule !== undefined) connector.tell(formatWarning({ message: warnOfRule(it.facts) }))
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

async function disconnectVxlan(bridge: string, connector: Connector): Promise<Connected | undefined> {
  const { host } = connector
  return withLock(connector, async () => {
    const vxlan = await findVxlan(bridge, host)
    if (vxlan === undefined) return undefined
    const plan = await planVxlanEnd(bridge, vxlan, host)
    await finish(plan, connector)
    return { bridge, uplink: `vxlan:${vxlan.id},${vxlan.remote}`, plan, next: [], undo: nothing }
  })
}
