import { parseIfname, parseSeconds } from '../model/address'
import { ExitCode, PipeworkError, refuseSurplus, usageError } from '../model/errors'
import type { Host } from '../system/types'
import type { Call, Outcome } from '../ui/command'

/** Seconds between two looks: some files of the kernel's, and no process. */
const POLL = 0.1

interface Condition {
  /** What it is called when it has not come true. */
  readonly lack: (ifname: string) => string
  holds(ifname: string, host: Host): boolean | Promise<boolean>
}

/** What `--for` can ask for. */
const CONDITIONS: Readonly<Record<string, Condition>> = {
  carrier: {
    lack: (ifname) => `'${ifname}' has no carrier`,
    holds: (ifname, host) => !hasSysfs(ifname, host) || host.read(`/sys/class/net/${ifname}/carrier`) === '1',
  },
  up: {
    lack: (ifname) => `'${ifname}' is not up`,
    // `unknown` is all that drivers without a carrier (dummy, TUN) say of a link that is up.
    holds: (ifname, host) =>
      !hasSysfs(ifname, host) || /^(up|unknown)$/.test(host.read(`/sys/class/net/${ifname}/operstate`) ?? ''),
  },
  addr: { lack: (ifname) => `'${ifname}' has no address`, holds: hasAddress },
  route: { lack: (ifname) => `no default route leads through '${ifname}'`, holds: hasDefaultRoute },
}

/** Waits, inside a container, for what pipework does to it from outside. */
export async function run(call: Call): Promise<Outcome> {
  const { host, io } = call
  refuseSurplus(call.words, 'pipework --wait [-i ifname] [--timeout seconds]')
  const ifname = parseIfname(call.text('i') ?? 'eth1', 'interface')
  const wanted = call.text('for') ?? 'carrier'
  const condition = Object.hasOwn(CONDITIONS, wanted) ? CONDITIONS[wanted] : undefined
  if (condition === undefined)
    throw usageError(`--for '${wanted}' cannot be waited for`, 'Write up, carrier, addr or route.')
  const timeout = call.text('timeout')
  const limit = timeout === undefined ? Number.POSITIVE_INFINITY : parseSeconds(timeout, '--timeout')
  const start = host.elapsed()
  for (;;) {
    if (exists(ifname, host) && (await condition.holds(ifname, host))) return toOutcome(ifname, wanted, call)
    const left = limit - (host.elapsed() - start) / 1000
    if (io.interrupt.heard) throw new PipeworkError(`interrupted while waiting for '${ifname}'`)
    if (left <= 0) throw timedOut(exists(ifname, host) ? condition.lack(ifname) : `there is no '${ifname}'`, limit)
    await host.sleep(Math.min(POLL, left))
  }
}

/** As quiet as the original: it stands before the container's own program. */
function toOutcome(ifname: string, wanted: string, { host }: Call): Outcome {
  return { text: '', json: { ok: true, ifname, for: wanted, elapsed: Math.round(host.elapsed()) } }
}

function timedOut(lack: string, limit: number): PipeworkError {
  return new PipeworkError(`waited ${limit} s in vain: ${lack}`, {
    exitCode: ExitCode.timeout,
    hint: 'Has somebody attached it? More time: --timeout SECONDS.',
  })
}

/** /proc/net is always that of our own namespace; the /sys that is mounted may be another's. */
function exists(ifname: string, host: Host): boolean {
  const links = host.read('/proc/net/dev')
  if (links === undefined) return hasSysfs(ifname, host)
  return links.split('\n').some((line) => line.trimStart().startsWith(`${ifname}:`))
}

/** Without it there is no more to know than that the interface exists. */
function hasSysfs(ifname: string, host: Host): boolean {
  return host.inode(`/sys/class/net/${ifname}`) !== undefined
}

// Flags of an IPv6 address (linux/if_addr.h).
const TENTATIVE = 0x40
const DADFAILED = 0x08
/** The scope of fe80::…, which comes by itself and is not what anybody waits for (net/ipv6.h). */
const LINK_LOCAL = 0x20

async function hasAddress(ifname: string, host: Host): Promise<boolean> {
  // Lines of "address ifindex prefix scope flags ifname", numbers in hexadecimal.
  const six = (host.read('/proc/net/if_inet6') ?? '').split('\n').map((line) => line.trim().split(/\s+/))
  const usable = six.some(
    ([, , , scope = '', flags = '', name]) =>
      name === ifname &&
      Number.parseInt(scope, 16) !== LINK_LOCAL &&
      !(Number.parseInt(flags, 16) & (TENTATIVE | DADFAILED)),
  )
  return usable || (await host.addresses(ifname)).some((address) => !address.includes(':'))
}

// Flags of a route (linux/route.h).
const RTF_UP = 0x1
const RTF_REJECT = 0x200

function hasDefaultRoute(ifname: string, host: Host): boolean {
  const tableOf = (path: string) => (host.read(path) ?? '').split('\n').map((line) => line.trim().split(/\s+/))
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
