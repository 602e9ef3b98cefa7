import { parseSeconds } from '../model/address'
import { PipeworkError, usageError } from '../model/errors'
import { parseGuest } from '../model/guest-name'
import { parseFamily } from '../model/request'
import { guestNetns, type IpCommand, type RunCommand, type Step, toArgv } from '../plan/step'
import { awaitGuest, type Guest, pinGuest } from '../runtimes/find'
import type { Call, Outcome, Runner } from '../ui/command'
import { toScript } from '../ui/report'

/** A word whose rest of the line belongs to a program that runs in the guest's network namespace. */
interface Passage {
  readonly word: string
  /** A command line, for who has given too little of it. */
  readonly example: string
  /** `-a` is what it says of the family: `-4` or `-6`, before the object as `ip` wants it. */
  toCommand(words: readonly string[], family: readonly string[]): IpCommand | RunCommand
}

/** `ip route` in the guest. */
export const route = passOn({
  word: 'route',
  example: 'pipework route web show',
  toCommand: (words, family) => ({ kind: 'ip', in: 'guest', words: [...family, 'route', ...words] }),
})

/** `ip rule` in the guest. */
export const rule = passOn({
  word: 'rule',
  example: 'pipework rule web show',
  toCommand: (words, family) => ({ kind: 'ip', in: 'guest', words: [...family, 'rule', ...words] }),
})

/** `tc` in the guest. */
export const tc = passOn({
  word: 'tc',
  example: 'pipework tc web qdisc show',
  toCommand: (words) => ({ kind: 'run', in: 'guest', argv: ['tc', ...words] }),
})

/**
 * Any program of the host in the guest's network. `ip netns exec` also mounts the /sys of that network, which nsenter
 * does not; but it exits 1 whatever keeps the program from starting, where nsenter says 127 or 126.
 */
export const exec = passOn({
  word: 'exec',
  example: 'pipework exec web ip address',
  toCommand: (words) => ({ kind: 'ip', in: 'host', words: ['netns', 'exec', guestNetns, 'nsenter', '--', ...words] }),
})

function passOn(passage: Passage): Runner {
  return { run: (call) => run(passage, call) }
}

async function run(passage: Passage, call: Call): Promise<Outcome> {
  const { host, io } = call
  const [typed, ...words] = call.words
  const { name, command } = read(passage, typed, { words, call })
  const limit = parseSeconds(call.text('wait-guest') ?? '0', '--wait-guest')
  if (!host.isRoot && !call.flag('dry-run'))
    throw new PipeworkError('only root can enter the network of a guest: run it with sudo')
  const guest = await awaitGuest(name, host, { limit, interrupt: io.interrupt })
  const pin = host.isRoot ? pinGuest(guest, host) : undefined
  try {
    if (pin === undefined || call.flag('dry-run')) return toOutcome(passage, command, { call, guest })
    if (io.interrupt.heard) throw new PipeworkError('interrupted')
    return { text: '', json: {}, exitCode: await host.attend(toArgv(command, { netns: pin.netns, pid: host.pid })) }
  } finally {
    pin?.release()
  }
}

function read(
  { word, example, toCommand }: Passage,
  typed: string | undefined,
  { words, call }: { words: readonly string[]; call: Call },
) {
  if (typed === undefined) throw usageError(`${word}: in which guest?`, `For example: ${example}`)
  const name = parseGuest(typed)
  if (words.length === 0) throw usageError(`${word}: after '${typed}' there is no command`, `For example: ${example}`)
  if (call.flag('json') && !call.flag('dry-run'))
    throw usageError(
      `--json: what ${word} prints is its program's own`,
      `An option of the program stands after '${typed}'.`,
    )
  const family = call.text('a')
  return { name, command: toCommand(words, family === undefined ? [] : [`-${parseFamily(family)}`]) }
}

function toOutcome(
  { word }: Passage,
  command: IpCommand | RunCommand,
  { call, guest }: { call: Call; guest: Guest },
): Outcome {
  const step: Step = { why: `run this in the network of ${guest.name}`, command }
  const family = call.text('a')
  const options = family === undefined ? [] : ['-a', family]
  const script = toScript({ plan: [step], guest, words: [word, ...options, ...call.words] })
  return { text: script, json: { ok: true, dryRun: true, steps: [step.why], script }, wanted: true }
}
