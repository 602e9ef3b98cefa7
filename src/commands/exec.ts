import { PipeworkError, usageError } from '../model/errors'
import { parseGuestName } from '../model/guest-name'
import { parseSeconds } from '../model/number'
import { parseAddressFamily } from '../model/request'
import { formatScript } from '../plan/script'
import { guestNetns, type IpCommand, type RunCommand, type Step, toCommandArgv } from '../plan/step'
import { type Guest, holdGuestNetns, waitForGuest } from '../runtimes/find'
import type { CommandContext, CommandHandler, CommandOutcome } from '../ui/command'

/** A word whose rest of the line belongs to a program that runs in the guest's network namespace. */
interface PassThroughCommand {
  readonly word: string
  /** A command line, for who has given too little of it. */
  readonly example: string
  /** `-a` is what it says of the family: `-4` or `-6`, before the object as `ip` wants it. */
  toCommand(words: readonly string[], family: readonly string[]): IpCommand | RunCommand
}

/** `ip route` in the guest. */
export const route = passThrough({
  word: 'route',
  example: 'pipework route web show',
  toCommand: (words, family) => ({ kind: 'ip', in: 'guest', words: [...family, 'route', ...words] }),
})

/** `ip rule` in the guest. */
export const rule = passThrough({
  word: 'rule',
  example: 'pipework rule web show',
  toCommand: (words, family) => ({ kind: 'ip', in: 'guest', words: [...family, 'rule', ...words] }),
})

/** `tc` in the guest. */
export const tc = passThrough({
  word: 'tc',
  example: 'pipework tc web qdisc show',
  toCommand: (words) => ({ kind: 'run', in: 'guest', argv: ['tc', ...words] }),
})

/**
 * Any program of the host in the guest's network. `ip netns exec` also mounts the /sys of that network, which nsenter
 * does not; but it exits 1 whatever keeps the program from starting, where nsenter says 127 or 126.
 */
export const exec = passThrough({
  word: 'exec',
  example: 'pipework exec web ip address',
  toCommand: (words) => ({ kind: 'ip', in: 'host', words: ['netns', 'exec', guestNetns, 'nsenter', '--', ...words] }),
})

function passThrough(passage: PassThroughCommand): CommandHandler {
  return { run: (call) => runInGuest(passage, call) }
}

async function runInGuest(passage: PassThroughCommand, call: CommandContext): Promise<CommandOutcome> {
  const { system, io } = call
  const [typed, ...words] = call.positionals
  const { name, command } = parsePassThrough(passage, typed, { words, call })
  const limit = parseSeconds(call.stringOption('wait-guest') ?? '0', '--wait-guest')
  if (!system.isRoot && !call.hasFlag('dry-run'))
    throw new PipeworkError('only root can enter the network of a guest: run it with sudo')
  const guest = await waitForGuest(name, system, { timeout: limit, interrupt: io.interrupt })
  const pin = system.isRoot ? holdGuestNetns(guest, system) : undefined
  try {
    if (pin === undefined || call.hasFlag('dry-run')) return toDryRunResult(passage, command, { call, guest })
    if (io.interrupt.requested) throw new PipeworkError('interrupted')
    return {
      text: '',
      json: {},
      exitCode: await system.runForeground(toCommandArgv(command, { netns: pin.netns, pid: system.pid })),
    }
  } finally {
    pin?.release()
  }
}

function parsePassThrough(
  { word, example, toCommand }: PassThroughCommand,
  typed: string | undefined,
  { words, call }: { words: readonly string[]; call: CommandContext },
) {
  if (typed === undefined) throw usageError(`${word}: in which guest?`, `For example: ${example}`)
  const name = parseGuestName(typed)
  if (words.length === 0) throw usageError(`${word}: after '${typed}' there is no command`, `For example: ${example}`)
  if (call.hasFlag('json') && !call.hasFlag('dry-run'))
    throw usageError(
      `--json: what ${word} prints is its program's own`,
      `An option of the program stands after '${typed}'.`,
    )
  const family = call.stringOption('a')
  return { name, command: toCommand(words, family === undefined ? [] : [`-${parseAddressFamily(family)}`]) }
}

function toDryRunResult(
  { word }: PassThroughCommand,
  command: IpCommand | RunCommand,
  { call, guest }: { call: CommandContext; guest: Guest },
): CommandOutcome {
  const step: Step = { description: `run this in the network of ${guest.name}`, command }
  const family = call.stringOption('a')
  const options = family === undefined ? [] : ['-a', family]
  const script = formatScript({ plan: [step], guest, words: [word, ...options, ...call.positionals] })
  return { text: script, json: { ok: true, dryRun: true, steps: [step.description], script }, printWhenQuiet: true }
}
