import { parseSeconds } from '../model/address'
import { PipeworkError, refuseSurplus, usageError } from '../model/errors'
import { parseGuest } from '../model/guest-name'
import { execute } from '../plan/execute'
import { type Plan, type RunCommand, rows, type Step } from '../plan/step'
import { awaitGuest, type Guest, pinGuest } from '../runtimes/find'
import { formatGuest } from '../state/record'
import type { Host } from '../system/types'
import { type Call, type Outcome, refuseUnlessRoot } from '../ui/command'
import { formatStep, toScript } from '../ui/report'

// A name is a symbolic link to /proc/PID/ns/net, as the original made them, and not a mount as `ip netns attach` makes:
// - a mount keeps the network of a stopped container alive, with its interface on the bridge and its addresses in use;
// - a link to Docker's own mount would be safe from a reused PID, but `ip netns del` follows it and unmounts Docker's.

const NETNS_DIR = '/run/netns'

/** Gives the namespace of a guest a name for `ip netns exec`, or removes the names of those that are gone. */
export async function run(call: Call): Promise<Outcome> {
  return call.flag('prune') ? await prune(call) : await nameGuest(call)
}

async function nameGuest(call: Call): Promise<Outcome> {
  const { host } = call
  const [typed, name, ...rest] = call.words
  const usage = 'pipework netns <guest> [name], or pipework netns --prune'
  if (typed === undefined) throw usageError('netns: which guest?', usage)
  refuseSurplus(rest, usage)
  const wanted = parseGuest(typed)
  if (name !== undefined) refuseBadName(name)
  const limit = parseSeconds(call.text('wait-guest') ?? '0', '--wait-guest')
  refuseUnlessRoot(call)
  const guest = await awaitGuest(wanted, host, { limit, interrupt: call.io.interrupt })
  const pin = host.isRoot ? pinGuest(guest, host) : undefined
  try {
    const path = `${NETNS_DIR}/${name ?? guest.name}`
    const plan = planName(path, guest, { host, inode: pin?.inode })
    if (pin === undefined || call.flag('dry-run')) return toScriptOutcome(plan, call)
    await act(plan, { call, guest, netns: pin.netns })
    return toOutcome(path, guest, plan)
  } finally {
    pin?.release()
  }
}

/** What `ip netns` takes for a name, less what a shell or a log would stumble over. */
function refuseBadName(name: string): void {
  if (!/^[A-Za-z0-9_][\w.@+-]*$/.test(name) || name.length > 255)
    throw usageError(`${JSON.stringify(name)} is not a name for a network namespace`, 'Take one like web-1.')
}

/** The steps that make `path` a name of the guest's namespace; none when it is one. */
export function planName(
  path: string,
  { name, nsPath }: Pick<Guest, 'name' | 'nsPath'>,
  { host, inode }: { host: Host; inode: number | undefined },
): Plan {
  const found = host.inode(path)
  if (found !== undefined && found === (inode ?? host.inode(nsPath))) return []
  const old = host.dangles(path) ? host.target(path) : undefined
  if (old === undefined && (found !== undefined || (host.list(NETNS_DIR) ?? []).includes(nameOf(path))))
    throw new PipeworkError(`'${path}' is the name of another network namespace`, {
      hint: `Give another name: pipework netns ${name} <name>; or, if nobody needs that one: ip netns del ${nameOf(path)}`,
    })
  if (!nsPath.startsWith('/proc/'))
    throw new PipeworkError(`'${name}' has a name already: ip netns exec ${nameOf(nsPath)}`, {
      hint: 'A second one would be a link to the first, and `ip netns del` of one would take both.',
    })
  return rows(
    host.list(NETNS_DIR) === undefined &&
      host.inode(NETNS_DIR) === undefined && { why: `make ${NETNS_DIR}`, command: command('mkdir', '-p', NETNS_DIR) },
    old !== undefined && remove(path, old),
    { why: `name the network namespace of ${name}`, command: link(nsPath, path), undo: command('rm', '-f', path) },
  )
}

function remove(path: string, target: string): Step {
  return {
    why: `remove the name ${nameOf(path)}, which leads nowhere any more`,
    command: command('rm', path),
    undo: link(target, path),
  }
}

function command(...argv: readonly string[]): RunCommand {
  return { kind: 'run', in: 'host', argv }
}

/** -T: never into a directory of that name. It fails when the name is taken meanwhile. */
function link(target: string, path: string): RunCommand {
  return command('ln', '-s', '-T', target, path)
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/** Stands for the guest where there is none: no step of a prune runs inside one. */
const NOBODY: Guest = { kind: 'netns', name: 'none', nsPath: '/proc/self/ns/net' }

async function prune(call: Call): Promise<Outcome> {
  refuseSurplus(call.words, 'netns --prune removes every name that leads nowhere.')
  refuseUnlessRoot(call)
  const plan = planPrune(call.host)
  if (call.flag('dry-run')) return toScriptOutcome(plan, call)
  await act(plan, { call, guest: NOBODY, netns: '' })
  const removed = plan.flatMap(({ command }) =>
    command.kind === 'run' ? command.argv.slice(-1).map((path) => nameOf(String(path))) : [],
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
export function planPrune(host: Host): Plan {
  const paths = (host.list(NETNS_DIR) ?? []).map((name) => `${NETNS_DIR}/${name}`)
  return paths.filter((path) => host.dangles(path)).map((path) => remove(path, host.target(path) ?? ''))
}

async function act(plan: Plan, { call, guest, netns }: { call: Call; guest: Guest; netns: string }): Promise<void> {
  await execute(plan, {
    ...{ host: call.host, guest, netns, interrupt: call.io.interrupt },
    onStep: call.flag('verbose') ? (step) => call.io.err(formatStep(step)) : undefined,
  })
}

function toScriptOutcome(plan: Plan, call: Call): Outcome {
  const words = ['netns', ...(call.flag('prune') ? ['--prune'] : []), ...call.words]
  const script = toScript({ plan, words })
  return { text: script, json: { ok: true, dryRun: true, steps: plan.map(({ why }) => why), script }, wanted: true }
}

function toOutcome(path: string, guest: Guest, plan: Plan): Outcome {
  const changed = plan.length > 0
  const name = nameOf(path)
  const undo = `ip netns del ${name}`
  return {
    text: changed
      ? `${formatGuest(guest)} is ${name} for ip netns: ip netns exec ${name} ip address\n  undo: ${undo}\n`
      : `${formatGuest(guest)} is ${name} for ip netns already; nothing changed\n`,
    json: { ok: true, changed, name, path, guest: { kind: guest.kind, name: guest.name }, undo },
  }
}
