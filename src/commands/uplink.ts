import { PipeworkError, usageError, validateNoExtraArgs } from '../model/errors'
import { parseIfname } from '../model/ifname'
import { parseSeconds } from '../model/number'
import { parseUplinkSpec, type UplinkSpec, withUplinkVlan } from '../model/uplink'
import type { UplinkRunOptions } from '../operations/uplink/confirm'
import type { Output } from '../ui/output'
import { type Arguments, CHANGE_OPTIONS, type CommandContext, defineCommand, textOption, validateRoot } from './types'

const OPTIONS = {
  confirm: {
    ...textOption('seconds'),
    describe: 'roll back unless `uplink confirm` follows within that time',
  },
  'write-unmanaged': {
    type: 'boolean',
    describe: 'write a file that keeps NetworkManager or systemd-networkd off the NIC until the next boot',
  },
  force: { type: 'boolean', describe: 'go on when a network manager manages the NIC, or its gateway does not answer' },
  ...CHANGE_OPTIONS,
} as const

type UplinkArguments = Arguments<typeof OPTIONS>

const SYNOPSIS = 'uplink add <bridge> <nic> [@vlan] | uplink confirm <bridge> | uplink del <bridge> | uplink ls'

const ACTIONS: Readonly<Record<string, (argv: UplinkArguments, context: CommandContext) => Promise<Output>>> = {
  add: addUplink,
  confirm: keepUplink,
  del: deleteUplink,
  ls: showUplinks,
  // The rollback watchdog, which pipework itself starts.
  guard: runWatchdog,
}

/** `pipework uplink`: a physical NIC, or a VXLAN, as a port of a bridge. */
export const uplink = defineCommand({
  command: 'uplink <action> [words..]',
  describe: "move the host's NIC into a bridge, with its addresses and routes, and back",
  synopsis: SYNOPSIS,
  builder: OPTIONS,
  examples: [
    { line: 'pipework uplink add br0 eth0', does: 'eth0 becomes a port of br0, which gets its addresses and routes' },
    { line: 'pipework uplink add br0 eth0 --confirm 60', does: 'rolled back after a minute, unless confirmed' },
    { line: 'pipework uplink confirm br0', does: 'it works: keep it' },
    { line: 'pipework uplink add br63 eth0 @63', does: 'VLAN 63 of eth0' },
    { line: 'pipework uplink del br0', does: 'eth0 gets its addresses and routes back' },
    { line: 'pipework uplink ls', does: 'which bridge has which uplink' },
  ],
  handler: async (argv, context) => {
    const [action = '', ...words] = argv.words
    const act = Object.hasOwn(ACTIONS, action) ? ACTIONS[action] : undefined
    if (act === undefined) throw usageError(`uplink: unknown action '${action}'`, toUsageHint())
    return act({ ...argv, words }, context)
  },
})

const toUsageHint = () =>
  SYNOPSIS.split(' | ')
    .map((form) => `pipework ${form}`)
    .join('\n')

/** How long to wait for a confirmation at a terminal. */
const TERMINAL_CONFIRM_SECONDS = 60

/** With --confirm, or at a terminal, a change of an uplink waits for a person's answer. */
export async function toUplinkOptions(
  { system, io }: CommandContext,
  { confirm, quiet, json, verbose }: Pick<UplinkArguments, 'confirm' | 'quiet' | 'json' | 'verbose'>,
): Promise<UplinkRunOptions> {
  const { formatStep } = await import('../plan/script')
  const isWatched = !quiet && !json && (await system.isTerminal(0)) && (await system.isTerminal(2))
  const seconds =
    confirm === undefined ? (isWatched ? TERMINAL_CONFIRM_SECONDS : 0) : parseSeconds(confirm, '--confirm')
  return {
    ...{ system, interrupt: io.interrupt, notify: io.err },
    confirm: seconds === 0 ? undefined : seconds,
    onStep: verbose ? (step) => io.err(formatStep(step)) : undefined,
  }
}

function parseBridgeArg(words: readonly string[], most: number): string {
  const [bridge] = words
  if (bridge === undefined) throw usageError('uplink: missing argument <bridge>', toUsageHint())
  validateNoExtraArgs(words.slice(most), toUsageHint())
  return parseIfname(bridge, 'bridge')
}

function parseUplinkArgs([, typed, vlan]: readonly string[]): UplinkSpec {
  if (typed === undefined) throw usageError('uplink add: missing argument <nic>', toUsageHint())
  const spec = parseUplinkSpec(typed)
  if (vlan === undefined) return spec
  if (!vlan.startsWith('@')) validateNoExtraArgs([vlan], toUsageHint())
  return withUplinkVlan(spec, vlan.slice(1))
}

async function addUplink(argv: UplinkArguments, context: CommandContext): Promise<Output> {
  const bridge = parseBridgeArg(argv.words, 3)
  const request = { bridge, spec: parseUplinkArgs(argv.words) }
  const options = { force: argv.force === true, writeUnmanaged: argv.writeUnmanaged === true }
  validateRoot(context, argv)
  const { toUplinkAddedOutput, toUplinkScriptOutput } = await import('../ui/uplink-report')
  if (argv.dryRun) {
    const { planUplinkConnect } = await import('../operations/uplink')
    return toUplinkScriptOutput(await planUplinkConnect(request, options, context.system), ['add', ...argv.words])
  }
  const { connectUplink } = await import('../operations/uplink')
  const change = await connectUplink(request, options, await toUplinkOptions(context, argv))
  return toUplinkAddedOutput(bridge, change, context.system.elapsed())
}

async function keepUplink(argv: UplinkArguments, context: CommandContext): Promise<Output> {
  const bridge = parseBridgeArg(argv.words, 1)
  validateRoot(context, argv)
  const { confirmUplink } = await import('../operations/uplink/confirm')
  const changed = await confirmUplink(bridge, await toUplinkOptions(context, argv))
  return {
    text: changed ? `the uplink of ${bridge} is kept\n` : `the uplink of ${bridge} is kept already; nothing changed\n`,
    json: { ok: true, changed, bridge },
  }
}

async function deleteUplink(argv: UplinkArguments, context: CommandContext): Promise<Output> {
  const bridge = parseBridgeArg(argv.words, 1)
  validateRoot(context, argv)
  const { toUplinkDeletedOutput, toUplinkScriptOutput } = await import('../ui/uplink-report')
  if (argv.dryRun) {
    const { planUplinkDisconnect } = await import('../operations/uplink')
    return toUplinkScriptOutput(await planUplinkDisconnect(bridge, context.system), ['del', ...argv.words])
  }
  const { disconnectUplink } = await import('../operations/uplink')
  const change = await disconnectUplink(bridge, await toUplinkOptions(context, argv))
  return toUplinkDeletedOutput(bridge, change, context.system.elapsed())
}

async function showUplinks({ words }: UplinkArguments, { system }: CommandContext): Promise<Output> {
  validateNoExtraArgs(words, toUsageHint())
  const [{ listUplinkRows }, { toUplinkListOutput }] = await Promise.all([
    import('../operations/uplink/list'),
    import('../ui/uplink-report'),
  ])
  return toUplinkListOutput(await listUplinkRows(system))
}

async function runWatchdog({ words }: UplinkArguments, { system }: CommandContext): Promise<Output> {
  const bridge = parseBridgeArg(words, 1)
  if (!system.isRoot) throw new PipeworkError('only root can watch over an uplink')
  const { runUplinkWatchdog } = await import('../operations/uplink/watchdog')
  await runUplinkWatchdog(bridge, system)
  return { text: '', json: { ok: true } }
}
