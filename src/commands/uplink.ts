import { readVxlans } from '../drivers/vxlan'
import { parseIfname } from '../model/address'
import { PipeworkError, refuseSurplus, usageError } from '../model/errors'
import { onVlan, parseUplink, type UplinkWish } from '../model/uplink'
import { type Connected, connect, disconnectBridge } from '../operations/uplink'
import { confirmUplink } from '../operations/uplink/confirm'
import { foreseeConnection, foreseeDisconnection } from '../operations/uplink/foresee'
import { listUplinks } from '../operations/uplink/read'
import type { Journal } from '../operations/uplink/state-file'
import { guardUplink } from '../operations/uplink/watchdog'
import type { Plan } from '../plan/step'
import { uptime } from '../state/host'
import { readHostLink } from '../state/host-links'
import { type Call, type Outcome, refuseUnlessRoot } from '../ui/command'
import { formatTable, toScript } from '../ui/report'
import { toConnector } from './connector'

const SYNOPSIS = 'pipework uplink add <bridge> <nic> [@vlan] | confirm <bridge> | del <bridge> | ls'

const VERBS: Readonly<Record<string, (words: readonly string[], call: Call) => Promise<Outcome>>> = {
  add,
  confirm,
  del,
  ls,
  // The dead man's timer, which pipework itself starts.
  guard,
}

/** The physical NIC, or a VXLAN, as a port of a bridge. */
export async function run(call: Call): Promise<Outcome> {
  const [verb = '', ...words] = call.words
  const act = Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined
  if (act === undefined)
    throw usageError(verb === '' ? 'uplink: what about it?' : `uplink knows no '${verb}'`, SYNOPSIS)
  return act(words, call)
}

function readBridge(words: readonly string[], most: number): string {
  const [bridge] = words
  if (bridge === undefined) throw usageError('uplink: which bridge?', SYNOPSIS)
  refuseSurplus(words.slice(most), SYNOPSIS)
  return parseIfname(bridge, 'bridge')
}

function readWish([, uplink, vlan]: readonly string[]): UplinkWish {
  if (uplink === undefined) throw usageError('uplink add: which NIC?', SYNOPSIS)
  const wish = parseUplink(uplink)
  if (vlan === undefined) return wish
  if (!vlan.startsWith('@')) throw usageError(`'${vlan}' is a word too many`, SYNOPSIS)
  return onVlan(wish, vlan.slice(1))
}

const NO_TIMER = "without the dead man's timer that pipework has running while it does this"

function toDryRun(plan: Plan, { words }: Call): Outcome {
  const script = toScript({ plan, words: ['uplink', ...words], notes: [NO_TIMER] })
  return { text: script, json: { ok: true, dryRun: true, steps: plan.map(({ why }) => why), script }, wanted: true }
}

async function add(words: readonly string[], call: Call): Promise<Outcome> {
  const bridge = readBridge(words, 3)
  const wish = readWish(words)
  const options = { force: call.flag('force'), writeUnmanaged: call.flag('write-unmanaged') }
  refuseUnlessRoot(call)
  if (call.flag('dry-run')) return toDryRun(await foreseeConnection({ bridge, wish }, options, call), call)
  const connected = await connect({ bridge, wish }, options, await toConnector(call))
  const { uplink, plan, next } = connected
  const changed = plan.length > 0
  const has = `${bridge} has the uplink ${uplink}`
  return {
    text: changed
      ? `${has} (${Math.round(call.host.elapsed())} ms)\n${toNow(next)}  undo: pipework uplink del ${bridge}\n`
      : `${has} already; nothing changed\n`,
    json: { ok: true, changed, bridge, uplink, steps: toSteps(connected), next, undo: `pipework uplink del ${bridge}` },
  }
}

/** The commands that tell others of it. */
const toNow = (next: readonly string[]) => next.map((line) => `  now: ${line}\n`).join('')

const toSteps = ({ plan }: Connected) => plan.map(({ why }) => why)

async function confirm(words: readonly string[], call: Call): Promise<Outcome> {
  const bridge = readBridge(words, 1)
  refuseUnlessRoot(call)
  const changed = await confirmUplink(bridge, await toConnector(call))
  return {
    text: changed ? `the uplink of ${bridge} is kept\n` : `the uplink of ${bridge} is kept already; nothing changed\n`,
    json: { ok: true, changed, bridge },
  }
}

async function del(words: readonly string[], call: Call): Promise<Outcome> {
  const bridge = readBridge(words, 1)
  refuseUnlessRoot(call)
  if (call.flag('dry-run')) return toDryRun(await foreseeDisconnection(bridge, call), call)
  const gone = await disconnectBridge(bridge, await toConnector(call))
  return {
    text:
      gone === undefined
        ? `${bridge} has no uplink that pipework made; nothing changed\n`
        : `${bridge} no longer has the uplink ${gone.uplink} (${Math.round(call.host.elapsed())} ms)\n${toNow(gone.next)}`,
    json: {
      ...{ ok: true, changed: gone !== undefined, bridge, steps: gone === undefined ? [] : toSteps(gone) },
      next: gone?.next ?? [],
    },
  }
}

/** An uplink as `ls` shows it. */
interface Row {
  readonly bridge: string
  readonly uplink: string
  /** `gone`: somebody has taken it apart by hand. */
  readonly state: 'kept' | 'pending' | 'moving' | 'restored' | 'gone' | 'left'
  /** Seconds until it is put back. */
  readonly left?: number
  readonly why?: string
}

function toRow(journal: Journal, { host }: Call): Row {
  const { bridge, nic, stage, deadline, why } = journal
  const isThere = readHostLink(nic, host)?.master === bridge
  return {
    ...{ bridge, uplink: nic },
    state: stage === 'kept' && !isThere ? 'gone' : stage,
    left: stage === 'pending' ? Math.max(0, Math.round((deadline ?? 0) - uptime(host))) : undefined,
    why,
  }
}

async function ls(words: readonly string[], call: Call): Promise<Outcome> {
  refuseSurplus(words, SYNOPSIS)
  const vxlans = (await readVxlans(call.host)).flatMap(({ isOurs, master: bridge, id, remote }): readonly Row[] =>
    isOurs && bridge !== undefined ? [{ bridge, uplink: `vxlan:${id},${remote}`, state: 'kept' }] : [],
  )
  const uplinks = [...listUplinks(call.host).map((journal) => toRow(journal, call)), ...vxlans]
  const table = uplinks.map(({ bridge, uplink, state, left, why }) => [
    bridge,
    uplink,
    left === undefined ? `${state}${why === undefined ? '' : `: ${why}`}` : `put back in ${left} s, unless confirmed`,
  ])
  return { text: formatTable(['BRIDGE', 'UPLINK', 'STATE'], table), json: { ok: true, uplinks }, wanted: true }
}

async function guard(words: readonly string[], call: Call): Promise<Outcome> {
  const bridge = readBridge(words, 1)
  if (!call.host.isRoot) throw new PipeworkError('only root can guard an uplink')
  await guardUplink(bridge, call.host)
  return { text: '', json: { ok: true } }
}
