import { type Address, type Family, isOnLink, toCidr } from '../model/address'
import { PipeworkError } from '../model/errors'
import type { AttachRequest } from '../model/request'
import { parseRouted } from '../model/routed'
import { ipInGuest, type Plan, planSteps, type Step, sysctlInGuest } from '../plan/step'
import type { AttachContext, AttachFacts } from '../state/attach-facts'
import { findLinkRecord } from '../state/attach-facts'
import { GUEST_SYSCTLS, type GuestAddress, hasAddress, toAddrAddArgs } from '../state/guest'
import type { CommandResult } from '../system/types'
import { planPolicy, planStalePolicy } from './policy-routing'
import {
  listLinkRoutes,
  planRoutes,
  planStaleGateways,
  planStaleRoutes,
  restoreRouteCommands,
  undoIfExisted,
} from './routes'

/** Seconds to wait for the owner of an IPv4 address to answer an ARP probe. */
const PROBE_WAIT = 0.25
/** Seconds for arping to start and send its probe. */
const ARPING_TIMEOUT = 10
/** Seconds for IPv6 duplicate address detection: a random delay and one probe (RFC 4862). */
const IPV6_DAD_TIMEOUT = 10

interface AddressOptions {
  /** Whether the kernel lets the link's MAC address be set. */
  readonly canSetMac: boolean
}

/** Static addresses, the routes to their gateways, and the announcement to the neighbours. */
export function planAddresses(context: AttachContext, { canSetMac }: AddressOptions): Plan {
  const { request, facts } = context
  const missing = request.addresses.filter((address) => !hasAddress(facts.inGuest, address))
  const missing4 = missing.filter(({ family }) => family === 4)
  const missing6 = missing.filter(({ family }) => family === 6)
  const isNew = (address: Address) => !hasWithOtherPrefix(facts, address)
  const undecided = [...missing6.filter(isNew), ...listTentative(context)]
  const surplus = listStaleAddresses(context)
  const dragged = listLostSecondaries(surplus, context)
  if ((missing6.length > 0 || request.sources.some(({ family }) => family === 6)) && !facts.hasIpv6)
    throw new PipeworkError('this kernel has no IPv6', { hint: 'Leave the IPv6 address out.' })
  return planSteps(
    planGuestSysctls(context, missing),
    facts.inGuest?.up !== true && {
      description: `bring ${request.ifname} up`,
      command: ipInGuest`link set dev ${request.ifname} up`,
      undo: facts.inGuest === undefined ? undefined : ipInGuest`link set dev ${request.ifname} down`,
    },
    // IPv6 first: the kernel runs its duplicate detection while arping checks IPv4.
    missing6.filter(isNew).map((address) => planAddressAddition(address, context)),
    planArpProbes(missing4.filter(isNew), context),
    request.probe && undecided.length > 0 && planDadWait(undecided, context),
    planStalePolicy(context),
    planStaleRoutes(context),
    surplus.length > 0 && planStaleGateways(context),
    // Old addresses go before new ones: a new address in the same subnet would become their secondary, and the kernel
    // accepts an IPv6 address only once, whatever its prefix. The last one goes first, so that a rollback restores the
    // order.
    [...(facts.inGuest?.addresses ?? [])]
      .reverse()
      .filter((live) => surplus.includes(live) || dragged.includes(live))
      .map((live) => planAddressRemoval(live, context)),
    [...dragged, ...missing4, ...missing6.filter((address) => !isNew(address))].map((address) =>
      planAddressAddition(address, context),
    ),
    planRoutes({ removed: surplus, lostSecondaries: dragged }, context),
    surplus.length === 0 && planStaleGateways(context),
    missing.length > 0 && canSetMac && planAnnouncement(context),
    planPolicy(surplus, context),
  )
}

/** Addresses that a killed run added and that are still tentative. */
function listTentative({ request, facts }: AttachContext): readonly Address[] {
  const live = facts.inGuest?.addresses.filter(({ tentative }) => tentative) ?? []
  const isLive = ({ ip, prefix }: Address) => live.some((it) => it.ip === ip && it.prefix === prefix)
  return request.addresses.filter((address) => !address.leased && isLive(address))
}

/** Whether the interface has the address with another prefix: then no probe is needed. */
function hasWithOtherPrefix(facts: AttachFacts, { ip, prefix }: Address): boolean {
  return facts.inGuest?.addresses.some((live) => live.ip === ip && live.prefix !== prefix) ?? false
}

/** What the kernel uses of router advertisements: addresses if requested, and the default route. */
function raSysctls({ ifname, sources, defaultRoute }: AttachRequest): Readonly<Record<string, string>> {
  return {
    // 2: also when the guest forwards packets.
    [GUEST_SYSCTLS.acceptRa(ifname)]: '2',
    [GUEST_SYSCTLS.autoconf(ifname)]: sources.some(({ kind }) => kind === 'slaac') ? '1' : '0',
    [GUEST_SYSCTLS.acceptRaDefault(ifname)]: defaultRoute ? '1' : '0',
  }
}

function planGuestSysctls({ request, facts }: AttachContext, missing: readonly Address[]): Plan {
  const { ifname, sources } = request
  const has = (family: Family) => [...missing, ...sources].some((it) => it.family === family)
  const wanted = {
    ...(has(4) ? { [GUEST_SYSCTLS.arpNotify(ifname)]: '1' } : {}),
    ...(has(6) ? { [GUEST_SYSCTLS.ndiscNotify(ifname)]: '1', [GUEST_SYSCTLS.disableIpv6(ifname)]: '0' } : {}),
    ...(sources.some(({ family }) => family === 6) ? raSysctls(request) : {}),
  }
  const changes = Object.entries(wanted).filter(([key, value]) => facts.sysctls[key] !== value)
  if (changes.length === 0) return []
  const before = changes.flatMap(([key]) => {
    const value = facts.sysctls[key]
    return value === undefined ? [] : [[key, value] as const]
  })
  return [
    {
      description: `let the kernel announce the addresses of ${ifname}${has(6) ? ', and allow IPv6 there' : ''}`,
      command: sysctlInGuest(Object.fromEntries(changes)),
      undo: before.length === 0 ? undefined : sysctlInGuest(Object.fromEntries(before)),
    },
  ]
}

/** Addresses of ours that the request no longer has, or has with another prefix; others are left alone. */
function listStaleAddresses({ request, facts }: AttachContext): readonly GuestAddress[] {
  const recorded = findLinkRecord(facts)
  if (recorded === undefined) return []
  const ours = ({ ip, prefix }: GuestAddress) =>
    recorded.addresses === undefined || recorded.addresses.some((it) => it.ip === ip && it.prefix === prefix)
  return (facts.inGuest?.addresses ?? []).filter(
    (live) =>
      !live.automatic &&
      ours(live) &&
      !request.addresses.some(({ ip, prefix }) => live.ip === ip && live.prefix === prefix),
  )
}

/** Addresses to keep that the kernel removes with the first address of their subnet. */
function listLostSecondaries(surplus: readonly GuestAddress[], { facts }: AttachContext): readonly GuestAddress[] {
  const live = (facts.inGuest?.addresses ?? []).filter(({ family }) => family === 4)
  const isFirstSurplus = (address: GuestAddress) =>
    surplus.some((it) => it === live.find(({ ip, prefix }) => prefix === address.prefix && isOnLink(address, ip)))
  return live.filter((address) => !surplus.includes(address) && isFirstSurplus(address))
}

function planAddressRemoval(live: GuestAddress, context: AttachContext): Step {
  const { ifname } = context.request
  const ofPolicy = context.facts.policy?.routes.filter((it) => it.family === live.family && it.dev === ifname) ?? []
  const routes = [...listLinkRoutes(live.family, context), ...ofPolicy]
  return {
    description: `remove ${toCidr(live)} from ${ifname}`,
    command: ipInGuest`addr del ${toCidr(live)} dev ${ifname}`,
    undo: [ipInGuest`addr add ${toAddrAddArgs(live)} dev ${ifname}`, ...restoreRouteCommands(routes)],
  }
}

function planAddressAddition(address: Address, context: AttachContext): Step {
  const { ifname, probe } = context.request
  const isAsked = probe && !hasWithOtherPrefix(context.facts, address)
  const extra = address.family === 4 ? ['brd', '+'] : isAsked ? false : ['nodad']
  return {
    description: `give ${ifname} the address ${toCidr(address)}`,
    command: ipInGuest`addr add ${toCidr(address)} ${extra} dev ${ifname}`,
    ...undoIfExisted(context, ipInGuest`addr del ${toCidr(address)} dev ${ifname}`),
  }
}

/** Probes the LAN from the guest's interface for duplicates. A bridge that this run creates has no neighbours yet. */
function planArpProbes(missing: readonly Address[], { request, facts }: AttachContext): Plan {
  const nic = parseRouted(request.hostif)?.nic
  if (!request.probe || !facts.hasArping || (facts.hostif === undefined && nic === undefined)) return []
  return missing.map(({ ip }) => ({
    description: `ask whether somebody has ${ip}`,
    command: {
      kind: 'ask',
      // The LAN of a host NIC is probed from the host.
      in: nic === undefined ? 'guest' : 'host',
      // arping waits whole seconds only; when interrupted, it prints the replies so far.
      argv: [
        'timeout',
        '--preserve-status',
        '-s',
        'INT',
        `${PROBE_WAIT}`,
        'arping',
        '-D',
        '-I',
        nic ?? request.ifname,
        ip,
      ],
      // 128 + SIGINT: arping was interrupted before it could send a probe.
      retryOnExit: 130,
      timeout: ARPING_TIMEOUT,
    },
    explainFailure: ({ code, stdout, stderr }) => {
      const owner = /\[([0-9A-Fa-f:]{17})\]/.exec(stdout)?.[1]?.toLowerCase()
      if (code === 1 && owner !== undefined)
        return {
          message: `the address '${ip}' is taken: ${owner} answers for it on '${nic ?? request.hostif}'`,
          hint: 'Choose another address, or use it all the same with --no-probe.',
        }
      return { message: `the probe for '${ip}' failed: ${stderr.trim()}`, hint: 'Leave it out with --no-probe.' }
    },
  }))
}

function planDadWait(missing: readonly Address[], { request: { ifname } }: AttachContext): Step {
  return {
    description: `wait until the kernel has made sure that nobody has ${missing.map(({ ip }) => ip).join(' or ')}`,
    command: {
      kind: 'ask',
      in: 'guest',
      argv: ['ip', '-6', 'addr', 'show', 'dev', ifname, 'tentative'],
      failIf: 'dadfailed',
      retryWhile: 'tentative',
      timeout: IPV6_DAD_TIMEOUT,
    },
    explainFailure: ({ stdout }: CommandResult) => {
      const taken = /inet6 ([0-9a-f:]+)\/\d+ [^\n]*dadfailed/.exec(stdout)?.[1]
      return taken === undefined
        ? {
            message: `IPv6 duplicate address detection on '${ifname}' did not end within ${IPV6_DAD_TIMEOUT} s`,
            hint: 'Is the bridge up? Leave it out with --no-probe.',
          }
        : {
            message: `the address '${taken}' is taken: another host on the LAN has it`,
            hint: 'Choose another address, or use it all the same with --no-probe.',
          }
    },
  }
}

/** Setting the MAC address again makes the kernel announce all addresses, now that the port forwards. */
function planAnnouncement({ request, facts }: AttachContext): Step {
  const { ifname, mac } = request
  return {
    description: `announce ${ifname} to its neighbours`,
    command: ipInGuest`link set dev ${ifname} address ${mac === undefined ? (facts.inGuest?.mac ?? facts.mac) : facts.mac}`,
  }
}
