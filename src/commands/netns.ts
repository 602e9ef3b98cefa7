import { PipeworkError, usageError, validateNoExtraArgs } from '../model/errors'
import { parseGuestName } from '../model/guest-name'
import { parseSeconds } from '../model/number'
import { executePlan } from '../plan/execute'
import { formatScript, formatStep } from '../plan/script'
import { type Plan, planSteps, type RunCommand, type Step } from '../plan/step'
import { type Guest, holdGuestNetns, waitForGuest } from '../runtimes/find'
import { formatGuest } from '../state/record'
import type { System } from '../system/types'
import { type CommandContext, type CommandOutcome, validateRoot } from '../ui/command'

// A name is a symbolic link to /proc/PID/ns/net, as the original made them, and not a mount as `ip netns attach` makes:
// - a mount keeps the network of a stopped container alive, with its interface on the bridge and its addresses in use;
// - a link to Docker's own mount would be safe from a reused PID, but `ip netns del` follows it and unmounts Docker's.

const NETNS_DIR = '/run/netns'

/** Gives the namespace of a guest a name for `ip netns exec`, or removes the names of those that are gone. */
export async function run(call: CommandContext): Promise<CommandOutcome> {
  return call.hasFlag('prune') ? await pruneNetnsNames(call) : await addNetnsName(call)
}

async function addNetnsName(call: CommandContext): Promise<CommandOutcome> {
  const { system } = call
  const [typed, name, ...rest] = call.positionals
  const usage = 'pipework netns <guest> [name], or pipework netns --prune'
  if (typed === undefined) throw usageError('netns: which guest?', usage)
  validateNoExtraArgs(rest, usage)
  const wanted = parseGuestName(typed)
  if (name !== undefined) validateNetnsName(name)
  const limit = parseSeconds(call.stringOption('wait-guest') ?? '0', '--wait-guest')
  validateRoot(call)
  const guest = await waitForGuest(wanted, system, { timeout: limit, interrupt: call.io.interrupt })
  const pin = system.isRoot ? holdGuestNetns(guest, system) : undefined
  try {
    const path = `${NETNS_DIR}/${name ?? guest.name}`
    const plan = planNetnsName(path, guest, { system, inode: pin?.inode })
    if (pin === undefined || call.hasFlag('dry-run')) return toDryRunResult(plan, call)
    await runNetnsPlan(plan, { call, guest, netns: pin.netns })
    return toNetnsResult(path, guest, plan)
  } finally {
    pin?.release()
  }
}

/** What `ip netns` takes for a name, less what a shell or a log would stumble over. */
function validateNetnsName(name: string): void {
  if (!/^[A-Za-z0-9_][\w.@+-]*$/.test(name) || name.length > 255)
    throw usageError(`${JSON.stringify(name)} is not a name for a network namespace`, 'Take one like web-1.')
}

/** The steps that make `path` a name of the guest's namespace; none when it is one. */
export function planNetnsName(
  path: string,
  { name, nsPath }: Pick<Guest, 'name' | 'nsPath'>,
  { system, inode }: { system: System; inode: number | undefined },
): Plan {
  const found = system.inode(path)
  if (found !== undefined && found === (inode ?? system.inode(nsPath))) return []
  const old = system.isDanglingLink(path) ? system.readLink(path) : undefined
  if (old === undefined && (found !== undefined || (system.list(NETNS_DIR) ?? []).includes(baseName(path))))
    throw new PipeworkError(`'${path}' is the name of another network namespace`, {
      hint: `Give another name: pipework netns ${name} <name>; or, if nobody needs that one: ip netns del ${baseName(path)}`,
    })
  if (!nsPath.startsWith('/proc/'))
    throw new PipeworkError(`'${name}' has a name already: ip netns exec ${baseName(nsPath)}`, {
      hint: 'A second one would be a link to the first, and `ip netns del` of one would take both.',
    })
  return planSteps(
    system.list(NETNS_DIR) === undefined &&
      system.inode(NETNS_DIR) === undefined && {
        description: `make ${NETNS_DIR}`,
        command: hostCommand('mkdir', '-p', NETNS_DIR),
      },
    old !== undefined && removeNameStep(path, old),
    {
      description: `name the network namespace of ${name}`,
      command: symlinkCommand(nsPath, path),
      undo: hostCommand('rm', '-f', path),
    },
  )
}

function removeNameStep(path: string, target: string): Step {
  return {
    description: `remove the name ${baseName(path)}, which leads nowhere any more`,
    command: hostCommand('rm', path),
    undo: symlinkCommand(target, path),
  }
}

function hostCommand(...argv: readonly string[]): RunCommand {
  return { kind: 'run', in: 'host', argv }
}

/** -T: never into a directory of that name. It fails when the name is taken meanwhile. */
function symlinkCommand(target: string, path: string): RunCommand {
  return hostCommand('ln', '-s', '-T', target, path)
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/** Stands for the guest where there is none: no step of a prune runs inside one. */
const NO_GUEST: Guest = { kind: 'netns', name: 'none', nsPath: '/proc/self/ns/net' }

async function pruneNetnsNames(call: CommandContext): Promise<CommandOutcome> {
  validateNoExtraArgs(call.positionals, 'netns --prune removes every name that leads nowhere.')
  validateRoot(call)
  const plan = planNetnsPrune(call.system)
  if (call.hasFlag('dry-run')) return toDryRunResult(plan, call)
  await runNetnsPlan(plan, { call, guest: NO_GUEST, netns: '' })
  const removed = plan.flatMap(({ command }) =>
    command.kind === 'run' ? command.argv.slice(-1).map((path) => baseName(String(path))) : [],
  )
  return {
    text:
      removed.length === 0
        ? `every name in ${NETNS_DIR} leads to a network namespace; nothing changed\n`
        : removed.map((name) => `removed ${name}, which led nowhere any more\n`).join(''),
    json: { ok: true, changed: removed.length > 0, removed },
  }
}

/** The steps that remove the symbolic links that lead nowhere. A mount, and whatever leads anywhere, is left alone. */
export function planNetnsPrune(system: System): Plan {
  const paths = (system.list(NETNS_DIR) ?? []).map((name) => `${NETNS_DIR}/${name}`)
  return paths
    .filter((path) => system.isDanglingLink(path))
    .map((path) => removeNameStep(path, system.readLink(path) ?? ''))
}

async function runNetnsPlan(
  plan: Plan,
  { call, guest, netns }: { call: CommandContext; guest: Guest; netns: string },
): Promise<void> {
  await executePlan(plan, {
    ...{ system: call.system, guest, netns, interrupt: call.io.interrupt },
    onStep: call.hasFlag('verbose') ? (step) => call.io.err(formatStep(step)) : undefined,
  })
}

function toDryRunResult(plan: Plan, call: CommandContext): CommandOutcome {
  const words = ['netns', ...(call.hasFlag('prune') ? ['--prune'] : []), ...call.positionals]
  const script = formatScript({ plan, words })
  return {
    text: script,
    json: { ok: true, dryRun: true, steps: plan.map(({ description }) => description), script },
    printWhenQuiet: true,
  }
}

function toNetnsResult(path: string, guest: Guest, plan: Plan): CommandOutcome {
  const changed = plan.length > 0
  const name = baseName(path)
  const undo = `ip netns del ${name}`
  return {
    text: changed
      ? `${formatGuest(guest)} is ${name} for ip netns: ip netns exec ${name} ip address\n  undo: ${undo}\n`
      : `${formatGuest(guest)} is ${name} for ip netns already; nothing changed\n`,
    json: { ok: true, changed, name, path, guest: { kind: guest.kind, name: guest.name }, undo },
  }
}
