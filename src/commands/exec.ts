import { PipeworkError, usageError } from '../model/errors'
import { parseGuestName } from '../model/guest-name'
import { parseSeconds } from '../model/number'
import { parseAddressFamily } from '../model/request'
import type { GuestProgram } from '../operations/exec'
import type { Output } from '../ui/output'
import { type Arguments, type CommandContext, defineCommand, textOption, WAIT_GUEST_OPTION } from './types'

// Only options before the guest are ours; the words behind it are passed on verbatim.
const OPTIONS = {
  ...WAIT_GUEST_OPTION,
  'dry-run': { type: 'boolean', alias: 'n', describe: 'print a shell script that does the same, and run nothing' },
} as const

const FAMILY_OPTIONS = {
  a: { ...textOption('family'), describe: 'address family: 4, inet, 6 or inet6' },
  ...OPTIONS,
} as const

/** `ip route` in a guest. */
export const route = defineCommand({
  command: 'route <guest> <words..>',
  describe: '`ip route` in the network of a guest; the words are passed on verbatim',
  synopsis: 'route [-a 4|6] <guest> <words…>',
  builder: FAMILY_OPTIONS,
  examples: [
    { line: 'pipework route web add 10.2.0.0/16 via 192.168.1.254', does: 'one more route for web' },
    { line: 'pipework route web get 10.2.0.1', does: 'the route that web would use' },
    { line: 'pipework route -a 6 web show', does: 'its IPv6 routes' },
  ],
  passThrough: true,
  handler: (argv, context) => passThrough('ip route', argv, context),
})

/** `ip rule` in a guest. */
export const rule = defineCommand({
  command: 'rule <guest> <words..>',
  describe: '`ip rule` in the network of a guest; the words are passed on verbatim',
  synopsis: 'rule [-a 4|6] <guest> <words…>',
  builder: FAMILY_OPTIONS,
  examples: [
    { line: 'pipework rule web add from 192.168.1.10 table 100', does: 'another table for packets from there' },
    { line: 'pipework rule web show', does: 'its rules, in order' },
    { line: 'pipework rule -a 6 web show', does: 'the IPv6 rules of web' },
  ],
  passThrough: true,
  handler: (argv, context) => passThrough('ip rule', argv, context),
})

/** `tc` in a guest. */
export const tc = defineCommand({
  command: 'tc <guest> <words..>',
  describe: '`tc` in the network of a guest; the words are passed on verbatim',
  synopsis: 'tc <guest> <words…>',
  builder: OPTIONS,
  examples: [
    {
      line: 'pipework tc web qdisc add dev eth1 root tbf rate 1mbit burst 32k latency 50ms',
      does: 'limit what web sends to 1 Mbit/s',
    },
    { line: 'pipework tc web -s qdisc show dev eth1', does: 'the queues of eth1, with their counters' },
    { line: 'pipework tc web qdisc del dev eth1 root', does: 'remove the limit' },
  ],
  passThrough: true,
  handler: (argv, context) => passThrough('tc', argv, context),
})

/** Any program of the host in the network of a guest. */
export const exec = defineCommand({
  command: 'exec <guest> <command> [args..]',
  describe: "run a program of the host in the network of a guest; the exit code is the program's",
  otherNames: ['run', 'enter', 'nsenter', 'sh'],
  synopsis: 'exec <guest> <command> [args…]',
  builder: OPTIONS,
  examples: [
    { line: 'pipework exec web tcpdump -i eth1', does: 'capture packets of web, which has no tcpdump' },
    { line: 'pipework exec web sh', does: 'a shell of the host with the interfaces of web' },
    { line: 'pipework --wait-guest 30 exec web ping -c 1 192.168.1.1', does: 'as soon as web runs' },
  ],
  passThrough: true,
  handler: (argv, context) => passThrough('any', argv, context),
})

async function passThrough(
  program: GuestProgram['program'],
  argv: Arguments<typeof FAMILY_OPTIONS> & { readonly json?: boolean },
  { system, io }: CommandContext,
): Promise<Output> {
  const [typed = '', ...args] = argv.words
  const name = parseGuestName(typed)
  const { a, dryRun = false } = argv
  if (argv.json && !dryRun)
    throw usageError('--json: the output is that of the program', `Put an option of the program behind '${typed}'.`)
  const timeout = parseSeconds(argv.waitGuest ?? '0', '--wait-guest')
  const family = a === undefined ? undefined : `-${parseAddressFamily(a)}`
  if (!system.isRoot && !dryRun) throw new PipeworkError('only root can enter the network of a guest: run it with sudo')
  const [{ runInGuest }, { waitForGuest }] = await Promise.all([
    import('../operations/exec'),
    import('../runtimes/find'),
  ])
  const guest = await waitForGuest(name, system, { timeout, interrupt: io.interrupt })
  const options = { system, interrupt: io.interrupt, dryRun }
  const result = await runInGuest({ program, family, args }, guest, options)
  if (result.kind === 'done') return { text: '', json: {}, exitCode: result.exitCode }
  const [{ formatScript }, { toScriptOutput }] = await Promise.all([import('../plan/script'), import('../ui/output')])
  const word = program === 'any' ? 'exec' : program.replace('ip ', '')
  const words = [word, ...(a === undefined ? [] : ['-a', a]), ...argv.words]
  return toScriptOutput(
    formatScript({ plan: result.plan, guest, words }),
    result.plan.map(({ description }) => description),
  )
}
