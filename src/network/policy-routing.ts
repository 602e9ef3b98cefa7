import { ADDRESS_FAMILIES, type Address, addressBits, type Family, isOnLink, toNetworkCidr } from '../model/address'
import { findGateway } from '../model/attach-options'
import { guestNetns, type IpCommand, ip, ipInGuest, type Plan, type Step } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import type { GuestAddress, GuestLink, GuestRoute } from '../state/guest'
import {
  type PolicyRouting,
  type PolicyRule,
  planPolicyMarker,
  policyTables,
  RULE_PRIORITY,
} from '../state/policy-rules'
import { routeDestination, shadowedDefault } from './routes'

/**
 * Source-based routing: replies leave by the interface the request arrived on. Packets from an address of the interface
 * use the interface's own table. When our default route replaces another interface's, that interface's addresses get a
 * table too, so that replies of its services (Docker's published ports) still leave by it.
 */

const EMPTY_POLICY = { rules: [], routes: [] } as const

/** A desired route in such a table. */
interface TableRoute {
  readonly family: Family
  readonly table: string
  readonly dst: string
  readonly dev: string
  readonly via?: string
}

interface DesiredPolicy {
  readonly rules: readonly PolicyRule[]
  readonly routes: readonly TableRoute[]
}

interface PolicyPath {
  readonly family: Family
  readonly table: string
  readonly dev: string
  readonly addresses: readonly (Address | GuestAddress)[]
  readonly gateway: string | undefined
}

/** The rules and routes that send packets from these addresses over that interface. */
function toDesiredPolicy({ family, table, dev, addresses, gateway }: PolicyPath): DesiredPolicy {
  const bits = addressBits(family)
  const subnets = addresses.filter(({ prefix }) => prefix > 0 && prefix < bits).map(toNetworkCidr)
  const isReached = gateway === undefined || addresses.some((address) => isOnLink(address, gateway))
  const direct = [...new Set([...subnets, ...(isReached ? [] : [`${gateway}/${bits}`])])]
  const everywhere = family === 4 ? '0.0.0.0/0' : '::/0'
  return {
    rules: addresses.map(({ ip: from }) => ({ family, from, table, priority: RULE_PRIORITY })),
    routes: [
      ...direct.map((dst) => ({ family, table, dst, dev })),
      ...(gateway === undefined ? [] : [{ family, table, dst: everywhere, dev, via: gateway }]),
    ],
  }
}

/** The path of the interface whose default route ours takes precedence over. */
function shadowedPath(family: Family, table: string, context: AttachContext): readonly PolicyPath[] {
  const words = shadowedDefault(family, context) ?? []
  const after = (key: string) => (words.includes(key) ? words[words.indexOf(key) + 1] : undefined)
  const [dev, gateway] = [after('dev'), after('via')]
  const link: GuestLink | undefined = context.facts.links.find(({ name, up }) => name === dev && up)
  // Multipath default routes, and those through a gateway of the other family, are left alone.
  if (dev === undefined || link === undefined || words.includes('nexthop') || gateway === `inet${family}`) return []
  if (gateway === 'inet6' || gateway === 'inet' || dev === context.request.ifname) return []
  const addresses = link.addresses.filter((it) => it.family === family && !it.automatic)
  return addresses.length === 0 ? [] : [{ family, table, dev, addresses, gateway }]
}

function desiredPolicy(context: AttachContext): DesiredPolicy {
  const { ifname: dev, addresses: all, policyRoute } = context.request
  const { own, other } = policyTables(dev)
  if (!policyRoute) return EMPTY_POLICY
  const wanted = ADDRESS_FAMILIES.flatMap((family) => {
    const addresses = all.filter((address) => address.family === family)
    if (addresses.length === 0) return []
    const way = { family, table: own, dev, addresses, gateway: findGateway(all, family) }
    return [way, ...shadowedPath(family, other, context)].map(toDesiredPolicy)
  })
  return { rules: wanted.flatMap(({ rules }) => rules), routes: wanted.flatMap(({ routes }) => routes) }
}

const isSamePolicyRule = (a: PolicyRule, b: PolicyRule) =>
  a.family === b.family && a.from === b.from && a.table === b.table && a.priority === b.priority

const isSameTableRoute = (live: GuestRoute, { family, table, dst }: TableRoute) =>
  live.family === family && live.table === table && routeDestination(live) === dst

/** In an `ip -batch` line `rule` means IPv4, and -6 is not accepted there. */
function ruleCommand(action: 'add' | 'del', { family, from, table, priority }: PolicyRule): IpCommand {
  const words = [action, 'from', from, 'table', table, 'priority', `${priority}`]
  return family === 4 ? ipInGuest`rule ${words}` : ip`netns exec ${guestNetns} ip -6 rule ${words}`
}

const toIpDestination = (family: Family, dst: string) => (family === 4 ? dst.replace('0.0.0.0/0', 'default') : dst)

function planTableRouteRemoval(route: GuestRoute): Step {
  const { family, dev, table = '', words } = route
  const dst = toIpDestination(family, routeDestination(route))
  return {
    description: `remove the route to ${dst} over ${dev} from the table ${table}`,
    command: ipInGuest`route del ${dst} dev ${dev} table ${table}`,
    undo: ipInGuest`route replace ${dst} ${words}`,
  }
}

/** Removes rules before their routes; the table number identifies both as ours. */
function removePolicySteps({ rules, routes }: PolicyRouting): Plan {
  return [
    ...rules.map((rule) => ({
      description: `no longer look up what comes from ${rule.from} in the table ${rule.table}`,
      command: ruleCommand('del', rule),
      undo: ruleCommand('add', rule),
    })),
    ...routes.map(planTableRouteRemoval),
  ]
}

/** Removes all of it: rules outlive the link. */
export function planPolicyRemoval(policy: PolicyRouting | undefined): Plan {
  return removePolicySteps(policy ?? EMPTY_POLICY)
}

/** Removes rules and routes that are no longer requested. */
export function planStalePolicy(context: AttachContext): Plan {
  const { rules, routes } = context.facts.policy ?? EMPTY_POLICY
  const wanted = desiredPolicy(context)
  return removePolicySteps({
    rules: rules.filter((rule) => !wanted.rules.some((it) => isSamePolicyRule(it, rule))),
    routes: routes.filter((route) => !wanted.routes.some((it) => isSameTableRoute(route, it))),
  })
}

/** Adds what is missing. Routes of a family whose addresses change are removed with these, so they are added again. */
export function planPolicy(removed: readonly GuestAddress[], context: AttachContext): Plan {
  const { facts, request } = context
  const { rules, routes } = facts.policy ?? EMPTY_POLICY
  const wanted = desiredPolicy(context)
  const isGone = ({ family, dev }: TableRoute) => dev === request.ifname && removed.some((it) => it.family === family)
  const missing = wanted.rules.filter((rule) => !rules.some((it) => isSamePolicyRule(it, rule)))
  return [
    ...wanted.routes.flatMap((route) => {
      const live = isGone(route) ? undefined : routes.find((it) => isSameTableRoute(it, route))
      return live?.dev === route.dev && live.gateway === route.via ? [] : [planTableRoute(route, live, context)]
    }),
    ...(missing.length === 0 || facts.rulesFile === undefined ? [] : [planPolicyMarker(facts.rulesFile)]),
    ...missing.map((rule) => ({
      description: `look up what comes from ${rule.from} in the table ${rule.table}`,
      command: ruleCommand('add', rule),
      undo: ruleCommand('del', rule),
    })),
  ]
}

function planTableRoute(
  { family, dst: typed, dev, via, table }: TableRoute,
  live: GuestRoute | undefined,
  context: AttachContext,
): Step {
  const dst = toIpDestination(family, typed)
  const path = [...(via === undefined ? [] : ['via', via]), 'dev', dev]
  const undo =
    live === undefined
      ? ipInGuest`route del ${dst} ${path} table ${table}`
      : ipInGuest`route replace ${dst} ${live.words}`
  const goesWithLink = context.facts.inGuest === undefined && dev === context.request.ifname
  return {
    description: `reach ${dst} over ${dev} in the table ${table}`,
    command: ipInGuest`route replace ${dst} ${path} table ${table}`,
    undo: goesWithLink ? undefined : undo,
  }
}
