import { ExitCode, PipeworkError, usageError, validateNoExtraArgs } from '../model/errors'
import { parseIfname } from '../model/ifname'
import { parseSeconds } from '../model/number'
import type { System } from '../system/types'
import type { CommandContext, CommandOutcome } from '../ui/command'

/** Seconds between two looks: some files of the kernel's, and no process. */
const POLL_SECONDS = 0.1

interface WaitCondition {
  /** What it is called when it has not come true. */
  readonly unmetMessage: (ifname: string) => string
  isMet(ifname: string, system: System): boolean | Promise<boolean>
}

/** What `--for` can ask for. */
const CONDITIONS: Readonly<Record<string, WaitCondition>> = {
  carrier: {
    unmetMessage: (ifname) => `'${ifname}' has no carrier`,
    isMet: (ifname, system) => !hasSysfs(ifname, system) || system.read(`/sys/class/net/${ifname}/carrier`) === '1',
  },
  up: {
    unmetMessage: (ifname) => `'${ifname}' is not up`,
    // `unknown` is all that drivers without a carrier (dummy, TUN) say of a link that is up.
    isMet: (ifname, system) =>
      !hasSysfs(ifname, system) || /^(up|unknown)$/.test(system.read(`/sys/class/net/${ifname}/operstate`) ?? ''),
  },
  addr: { unmetMessage: (ifname) => `'${ifname}' has no address`, isMet: hasAddress },
  route: { unmetMessage: (ifname) => `no default route leads through '${ifname}'`, isMet: hasDefaultRoute },
}

/** Waits, inside a container, for what pipework does to it from outside. */
export async function run(call: CommandContext): Promise<CommandOutcome> {
  const { system, io } = call
  validateNoExtraArgs(call.positionals, 'pipework --wait [-i ifname] [--timeout seconds]')
  const ifname = parseIfname(call.stringOption('i') ?? 'eth1', 'interface')
  const wanted = call.stringOption('for') ?? 'carrier'
  const condition = Object.hasOwn(CONDITIONS, wanted) ? CONDITIONS[wanted] : undefined
  if (condition === undefined)
    throw usageError(`--for '${wanted}' cannot be waited for`, 'Write up, carrier, addr or route.')
  const timeout = call.stringOption('timeout')
  const limit = timeout === undefined ? Number.POSITIVE_INFINITY : parseSeconds(timeout, '--timeout')
  const start = system.elapsed()
  for (;;) {
    if (linkExists(ifname, system) && (await condition.isMet(ifname, system))) return toWaitResult(ifname, wanted, call)
    const left = limit - (system.elapsed() - start) / 1000
    if (io.interrupt.requested) throw new PipeworkError(`interrupted while waiting for '${ifname}'`)
    if (left <= 0)
      throw timeoutError(linkExists(ifname, system) ? condition.unmetMessage(ifname) : `there is no '${ifname}'`, limit)
    await system.sleep(Math.min(POLL_SECONDS, left))
  }
}

/** As quiet as the original: it stands before the container's own program. */
function toWaitResult(ifname: string, wanted: string, { system }: CommandContext): CommandOutcome {
  return { text: '', json: { ok: true, ifname, for: wanted, elapsed: Math.round(system.elapsed()) } }
}

function timeoutError(lack: string, limit: number): PipeworkError {
  return new PipeworkError(`waited ${limit} s in vain: ${lack}`, {
    exitCode: ExitCode.timeout,
    hint: 'Has somebody attached it? More time: --timeout SECONDS.',
  })
}

/** /proc/net is always that of our own namespace; the /sys that is mounted may be another's. */
function linkExists(ifname: string, system: System): boolean {
  const links = system.read('/proc/net/dev')
  if (links === undefined) return hasSysfs(ifname, system)
  return links.split('\n').some((line) => line.trimStart().startsWith(`${ifname}:`))
}

/** Without it there is no more to know than that the interface exists. */
function hasSysfs(ifname: string, system: System): boolean {
  return system.inode(`/sys/class/net/${ifname}`) !== undefined
}

// Flags of an IPv6 address (linux/if_addr.h).
const TENTATIVE = 0x40
const DADFAILED = 0x08
/** The scope of fe80::…, which comes by itself and is not what anybody waits for (net/ipv6.h). */
const LINK_LOCAL = 0x20

async function hasAddress(ifname: string, system: System): Promise<boolean> {
  // Lines of "address ifindex prefix scope flags ifname", numbers in hexadecimal.
  const six = (system.read('/proc/net/if_inet6') ?? '').split('\n').map((line) => line.trim().split(/\s+/))
  const usable = six.some(
    ([, , , scope = '', flags = '', name]) =>
      name === ifname &&
      Number.parseInt(scope, 16) !== LINK_LOCAL &&
      !(Number.parseInt(flags, 16) & (TENTATIVE | DADFAILED)),
  )
  return usable || (await system.interfaceAddresses(ifname)).some((address) => !address.includes(':'))
}

// Flags of a route (linux/route.h).
const RTF_UP = 0x1
const RTF_REJECT = 0x200

function hasDefaultRoute(ifname: string, system: System): boolean {
  const tableOf = (path: string) => (system.read(path) ?? '').split('\n').map((line) => line.trim().split(/\s+/))
  const isInUse = (flags = '') => (Number.parseInt(flags, 16) & (RTF_UP | RTF_REJECT)) === RTF_UP
  // Iface Destination Gateway Flags RefCnt Use Metric Mask …
  const four = tableOf('/proc/net/route').some(
    ([name, destination, , flags, , , , mask]) =>
      name === ifname && Number(destination) === 0 && Number(mask) === 0 && isInUse(flags),
  )
  // destination prefix source prefix gateway metric refcnt use flags iface
  const six = () =>
    tableOf('/proc/net/ipv6_route').some(
      ([destination = '', prefix, , , , , , , flags, name]) =>
        name === ifname && /^0+$/.test(destination) && prefix === '00' && isInUse(flags),
    )
  return four || six()
}
