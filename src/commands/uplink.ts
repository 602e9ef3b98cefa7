import { readVxlans } from '../drivers/vxlan'
import { PipeworkError, usageError, validateNoExtraArgs } from '../model/errors'
import { parseIfname } from '../model/ifname'
import { parseUplinkSpec, type UplinkSpec, withUplinkVlan } from '../model/uplink'
import { connectUplink, disconnectUplink, type UplinkChange } from '../operations/uplink'
import { confirmUplink } from '../operations/uplink/confirm'
import { planUplinkConnect, planUplinkDisconnect } from '../operations/uplink/foresee'
import { listUplinks } from '../operations/uplink/read'
import type { UplinkState } from '../operations/uplink/state-file'
import { runUplinkWatchdog } from '../operations/uplink/watchdog'
import { formatScript } from '../plan/script'
import type { Plan } from '../plan/step'
import { readUptime } from '../state/host'
import { readHostLink } from '../state/host-links'
import { type CommandContext, type CommandOutcome, validateRoot } from '../ui/command'
import { formatTable } from '../ui/report'
import { toUplinkRunOptions } from './connector'

const SYNOPSIS = 'pipework uplink add <bridge> <nic> [@vlan] | confirm <bridge> | del <bridge> | ls'

const ACTIONS: Readonly<Record<string, (words: readonly string[], call: CommandContext) => Promise<CommandOutcome>>> = {
  add: addUplink,
  confirm: keepUplink,
  del: deleteUplink,
  ls: listUplinkTable,
  // The dead man's timer, which pipework itself starts.
  guard: runWatchdog,
}

/** The physical NIC, or a VXLAN, as a port of a bridge. */
export async function run(call: CommandContext): Promise<CommandOutcome> {
  const [verb = '', ...words] = call.positionals
  const act = Object.hasOwn(ACTIONS, verb) ? ACTIONS[verb] : undefined
  if (act === undefined)
    throw usageError(verb === '' ? 'uplink: what about it?' : `uplink knows no '${verb}'`, SYNOPSIS)
  return act(words, call)
}

function parseBridgeArg(words: readonly string[], most: number): string {
  const [bridge] = words
  if (bridge === undefined) throw usageError('uplink: which bridge?', SYNOPSIS)
  validateNoExtraArgs(words.slice(most), SYNOPSIS)
  return parseIfname(bridge, 'bridge')
}

function parseUplinkArgs([, uplink, vlan]: readonly string[]): UplinkSpec {
  if (uplink === undefined) throw usageError('uplink add: which NIC?', SYNOPSIS)
  const wish = parseUplinkSpec(uplink)
  if (vlan === undefined) return wish
  if (!vlan.startsWith('@')) throw usageError(`unexpected argument '${vlan}'`, SYNOPSIS)
  return withUplinkVlan(wish, vlan.slice(1))
}

const NO_WATCHDOG_NOTE = "without the dead man's timer that pipework has running while it does this"

function toDryRunResult(plan: Plan, { positionals }: CommandContext): CommandOutcome {
  const script = formatScript({ plan, words: ['uplink', ...positionals], notes: [NO_WATCHDOG_NOTE] })
  return {
    text: script,
    json: { ok: true, dryRun: true, steps: plan.map(({ description }) => description), script },
    printWhenQuiet: true,
  }
}

async function addUplink(words: readonly string[], call: CommandContext): Promise<CommandOutcome> {
  const bridge = parseBridgeArg(words, 3)
  const wish = parseUplinkArgs(words)
  const options = { force: call.hasFlag('force'), writeUnmanaged: call.hasFlag('write-unmanaged') }
  validateRoot(call)
  if (call.hasFlag('dry-run'))
    return toDryRunResult(await planUplinkConnect({ bridge, spec: wish }, options, call), call)
  const connected = await connectUplink({ bridge, spec: wish }, options, await toUplinkRunOptions(call))
  const { uplink, plan, next } = connected
  const changed = plan.length > 0
  const has = `${bridge} has the uplink ${uplink}`
  return {
    text: changed
      ? `${has} (${Math.round(call.system.elapsed())} ms)\n${formatNextSteps(next)}  undo: pipework uplink del ${bridge}\n`
      : `${has} already; nothing changed\n`,
    json: {
      ok: true,
      changed,
      bridge,
      uplink,
      steps: stepDescriptions(connected),
      next,
      undo: `pipework uplink del ${bridge}`,
    },
  }
}

/** The commands that tell others of it. */
const formatNextSteps = (next: readonly string[]) => next.map((line) => `  now: ${line}\n`).join('')

const stepDescriptions = ({ plan }: UplinkChange) => plan.map(({ description }) => description)

async function keepUplink(words: readonly string[], call: CommandContext): Promise<CommandOutcome> {
  const bridge = parseBridgeArg(words, 1)
  validateRoot(call)
  const changed = await confirmUplink(bridge, await toUplinkRunOptions(call))
  return {
    text: changed ? `the uplink of ${bridge} is kept\n` : `the uplink of ${bridge} is kept already; nothing changed\n`,
    json: { ok: true, changed, bridge },
  }
}

async function deleteUplink(words: readonly string[], call: CommandContext): Promise<CommandOutcome> {
  const bridge = parseBridgeArg(words, 1)
  validateRoot(call)
  if (call.hasFlag('dry-run')) return toDryRunResult(await planUplinkDisconnect(bridge, call), call)
  const gone = await disconnectUplink(bridge, await toUplinkRunOptions(call))
  return {
    text:
      gone === undefined
        ? `${bridge} has no uplink that pipework made; nothing changed\n`
        : `${bridge} no longer has the uplink ${gone.uplink} (${Math.round(call.system.elapsed())} ms)\n${formatNextSteps(gone.next)}`,
    json: {
      ...{ ok: true, changed: gone !== undefined, bridge, steps: gone === undefined ? [] : stepDescriptions(gone) },
      next: gone?.next ?? [],
    },
  }
}

/** An uplink as `ls` shows it. */
interface UplinkRow {
  readonly bridge: string
  readonly uplink: string
  /** `gone`: somebody has taken it apart by hand. */
  readonly state: 'kept' | 'pending' | 'moving' | 'restored' | 'gone' | 'left'
  /** Seconds until it is put back. */
  readonly left?: number
  readonly why?: string
}

function toUplinkRow(journal: UplinkState, { system }: CommandContext): UplinkRow {
  const { bridge, nic, stage, deadline, why } = journal
  const isThere = readHostLink(nic, system)?.master === bridge
  return {
    ...{ bridge, uplink: nic },
    state: stage === 'kept' && !isThere ? 'gone' : stage,
    left: stage === 'pending' ? Math.max(0, Math.round((deadline ?? 0) - readUptime(system))) : undefined,
    why,
  }
}

async function listUplinkTable(words: readonly string[], call: CommandContext): Promise<CommandOutcome> {
  validateNoExtraArgs(words, SYNOPSIS)
  const vxlans = (await readVxlans(call.system)).flatMap(
    ({ isOurs, master: bridge, id, remote }): readonly UplinkRow[] =>
      isOurs && bridge !== undefined ? [{ bridge, uplink: `vxlan:${id},${remote}`, state: 'kept' }] : [],
  )
  const uplinks = [...listUplinks(call.system).map((journal) => toUplinkRow(journal, call)), ...vxlans]
  const table = uplinks.map(({ bridge, uplink, state, left, why }) => [
    bridge,
    uplink,
    left === undefined ? `${state}${why === undefined ? '' : `: ${why}`}` : `put back in ${left} s, unless confirmed`,
  ])
  return { text: formatTable(['BRIDGE', 'UPLINK', 'STATE'], table), json: { ok: true, uplinks }, printWhenQuiet: true }
}

async function runWatchdog(words: readonly string[], call: CommandContext): Promise<CommandOutcome> {
  const bridge = parseBridgeArg(words, 1)
  if (!call.system.isRoot) throw new PipeworkError('only root can guard an uplink')
  await runUplinkWatchdog(bridge, call.system)
  return { text: '', json: { ok: true } }
}
