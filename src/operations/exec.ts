import { PipeworkError } from '../model/errors'
import { guestNetns, type IpCommand, type Plan, type RunCommand, toCommandArgv } from '../plan/step'
import { type Guest, holdGuestNetns } from '../runtimes/find'
import type { Interrupt, System } from '../system/types'

/** A program to run in the network of a guest. */
export interface GuestProgram {
  readonly program: 'ip route' | 'ip rule' | 'tc' | 'any'
  /** The address family as an option of `ip`: `-4` or `-6`. */
  readonly family?: string
  readonly args: readonly string[]
}

/** The exit code of the program, or the plan of a dry run. */
export type GuestProgramResult =
  | { readonly kind: 'dry-run'; readonly plan: Plan }
  | { readonly kind: 'done'; readonly exitCode: number }

function toCommand({ program, family, args }: GuestProgram): IpCommand | RunCommand {
  const families = family === undefined ? [] : [family]
  if (program === 'ip route') return { kind: 'ip', in: 'guest', words: [...families, 'route', ...args] }
  if (program === 'ip rule') return { kind: 'ip', in: 'guest', words: [...families, 'rule', ...args] }
  if (program === 'tc') return { kind: 'run', in: 'guest', argv: ['tc', ...args] }
  // `ip netns exec` mounts the namespace's /sys, nsenter does not. But `ip netns exec` exits 1 for every program that
  // cannot start; nsenter exits 127 or 126.
  return { kind: 'ip', in: 'host', words: ['netns', 'exec', guestNetns, 'nsenter', '--', ...args] }
}

/** Runs a program of the host in a guest's network. Without root it only plans. */
export async function runInGuest(
  guestProgram: GuestProgram,
  guest: Guest,
  { system, interrupt, dryRun }: { readonly system: System; readonly interrupt: Interrupt; readonly dryRun: boolean },
): Promise<GuestProgramResult> {
  const command = toCommand(guestProgram)
  if (!system.isRoot || dryRun)
    return { kind: 'dry-run', plan: [{ description: `run this in the network of ${guest.name}`, command }] }
  const held = holdGuestNetns(guest, system)
  try {
    if (interrupt.requested) throw new PipeworkError('interrupted')
    const argv = toCommandArgv(command, { netns: held.netns, pid: system.pid })
    return { kind: 'done', exitCode: await system.runForeground(argv) }
  } finally {
    held.release()
  }
}
