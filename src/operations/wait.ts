import { ExitCode, PipeworkError } from '../model/errors'
import type { Interrupt, System } from '../system/types'

/** Seconds between two checks. */
const POLL_SECONDS = 0.1

interface WaitCondition {
  /** The error message after the timeout. */
  readonly unmetMessage: (ifname: string) => string
  isMet(ifname: string, system: System): boolean | Promise<boolean>
}

/** The values of `--for`. */
export const WAIT_CONDITIONS = ['carrier', 'up', 'addr', 'route'] as const

export type WaitConditionName = (typeof WAIT_CONDITIONS)[number]

const CONDITIONS: Readonly<Record<WaitConditionName, WaitCondition>> = {
  carrier: {
    unmetMessage: (ifname) => `'${ifname}' has no carrier`,
    isMet: (ifname, system) => !hasSysfs(ifname, system) || system.read(`/sys/class/net/${ifname}/carrier`) === '1',
  },
  up: {
    unmetMessage: (ifname) => `'${ifname}' is not up`,
    // Drivers without a carrier (dummy, TUN) report `unknown` when the link is up.
    isMet: (ifname, system) =>
      !hasSysfs(ifname, system) || /^(up|unknown)$/.test(system.read(`/sys/class/net/${ifname}/operstate`) ?? ''),
  },
  addr: { unmetMessage: (ifname) => `'${ifname}' has no address`, isMet: hasAddress },
  route: { unmetMessage: (ifname) => `no default route leads through '${ifname}'`, isMet: hasDefaultRoute },
}

/** What to wait for. */
export interface WaitRequest {
  readonly ifname: string
  readonly condition: WaitConditionName
  /** Seconds. */
  readonly limit: number
}

/** Waits for an interface in the current network namespace. */
export async function waitForInterface(
  { ifname, condition, limit }: WaitRequest,
  { system, interrupt }: { readonly system: System; readonly interrupt: Interrupt },
): Promise<void> {
  const { isMet, unmetMessage } = CONDITIONS[condition]
  const start = system.elapsed()
  while (!(linkExists(ifname, system) && (await isMet(ifname, system)))) {
    const left = limit - (system.elapsed() - start) / 1000
    if (interrupt.requested) throw new PipeworkError(`interrupted while waiting for '${ifname}'`)
    if (left <= 0)
      throw timeoutError(linkExists(ifname, system) ? unmetMessage(ifname) : `there is no '${ifname}'`, limit)
    await system.sleep(Math.min(POLL_SECONDS, left))
  }
}

function timeoutError(lack: string, limit: number): PipeworkError {
  return new PipeworkError(`timed out after ${limit} s: ${lack}`, {
    exitCode: ExitCode.timeout,
    hint: 'Attach it from the host, or wait longer with --timeout SECONDS.',
  })
}

// /proc/net always shows our own namespace; the mounted /sys may show another.
function linkExists(ifname: string, system: System): boolean {
  const links = system.read('/proc/net/dev')
  if (links === undefined) return hasSysfs(ifname, system)
  return links.split('\n').some((line) => line.trimStart().startsWith(`${ifname}:`))
}

/** Whether /sys shows the interface; without it only the existence of the interface is known. */
function hasSysfs(ifname: string, system: System): boolean {
  return system.inode(`/sys/class/net/${ifname}`) !== undefined
}

// Flags of an IPv6 address (linux/if_addr.h).
const TENTATIVE = 0x40
const DADFAILED = 0x08
/** The scope of link-local addresses, which the kernel adds itself (net/ipv6.h). */
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
