import { PipeworkError, usageError } from '../model/errors'
import { executePlan } from '../plan/execute'
import { type Plan, planSteps, type RunCommand, type Step } from '../plan/step'
import { type Guest, holdGuestNetns } from '../runtimes/find'
import type { System } from '../system/types'
import type { ChangeOptions } from './types'

// A name is a symbolic link to /proc/PID/ns/net, as in the shell pipework, not a mount as `ip netns attach` makes: - a
// mount keeps the network of a stopped container alive, with its interface on the bridge and its addresses in use; - a
// link to Docker's own mount would be safe from a reused PID, but `ip netns del` follows it and unmounts Docker's.

export const NETNS_DIR = '/run/netns'

/** A namespace name, and the steps that created it; empty when the name existed. */
export interface NetnsNameResult {
  readonly name: string
  readonly path: string
  readonly plan: Plan
}

/** Names the network namespace of a guest for `ip netns exec`. Without root it only plans. */
export async function nameNetns(
  guest: Guest,
  typed: string | undefined,
  options: ChangeOptions,
): Promise<NetnsNameResult> {
  const { system, interrupt, onStep } = options
  const held = system.isRoot ? holdGuestNetns(guest, system) : undefined
  try {
    const name = typed ?? guest.name
    const path = `${NETNS_DIR}/${name}`
    const plan = planNetnsName(path, guest, { system, inode: held?.inode })
    if (held !== undefined && !options.dryRun)
      await executePlan(plan, { system, interrupt, onStep, guest, netns: held.netns })
    return { name, path, plan }
  } finally {
    held?.release()
  }
}

// The steps of a prune run on the host only.
const NO_GUEST: Guest = { kind: 'netns', name: 'none', nsPath: '/proc/self/ns/net' }

/** Removes the dangling names and returns the steps. */
export async function pruneNetnsNames({ system, interrupt, onStep, dryRun }: ChangeOptions): Promise<Plan> {
  const plan = planNetnsPrune(system)
  if (!dryRun) await executePlan(plan, { system, interrupt, onStep, guest: NO_GUEST, netns: '' })
  return plan
}

/** The names that a prune removes. */
export function listPrunedNames(plan: Plan): readonly string[] {
  return plan.flatMap(({ command }) =>
    command.kind === 'run' ? command.argv.slice(-1).map((path) => baseName(String(path))) : [],
  )
}

/** Refuses names that `ip netns` does not accept, or that need quoting in a shell or a log. */
export function validateNetnsName(name: string): void {
  if (!/^[A-Za-z0-9_][\w.@+-]*$/.test(name) || name.length > 255)
    throw usageError(`${JSON.stringify(name)} is not a name for a network namespace`, 'Take one like web-1.')
}

/** The steps that make `path` a name of the guest's namespace; empty when it already is. */
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

/** -T: never create the link inside a directory of that name. ln fails when the name was taken meanwhile. */
function symlinkCommand(target: string, path: string): RunCommand {
  return hostCommand('ln', '-s', '-T', target, path)
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/** The steps that remove dangling symbolic links. Mounts and working links stay. */
export function planNetnsPrune(system: System): Plan {
  const paths = (system.list(NETNS_DIR) ?? []).map((name) => `${NETNS_DIR}/${name}`)
  return paths
    .filter((path) => system.isDanglingLink(path))
    .map((path) => removeNameStep(path, system.readLink(path) ?? ''))
}
