import { ADDRESS_FAMILIES, type Address, addressBits, type Family, isOnLink } from '../model/address'
import { findGateway, parseRecordRoutes, resolveVia } from '../model/attach-options'
import { PipeworkError } from '../model/errors'
import type { RouteSpec } from '../model/route'
import { type IpCommand, ipInGuest, type Plan, planSteps, type Step } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import { findLinkRecord } from '../state/attach-facts'
import type { GuestAddress, GuestRoute } from '../state/guest'
import {
  currentDefault,
  defaultGateway,
  isDefaultRoute,
  kernelMetric,
  previousDefaults,
  routeMetric,
} from './default-route'

/** The addresses that a change removes from the link, and those that it removes and adds again. */
export interface AddressChange {
  readonly removed: readonly GuestAddress[]
  readonly lostSecondaries: readonly GuestAddress[]
}

/** The destination of a default route as `ip route` takes it. */
const defaultDestination = (family: Family) => (family === 4 ? 'default' : '::/0')

/** A host route as `network/prefix`; the kernel prints it without its prefix. */
const toHostPrefix = (ip: string, family: Family) => `${ip}/${addressBits(family)}`

/** The destination of a route as `network/prefix`. */
export function routeDestination({ family, dst }: GuestRoute): string {
  if (dst === 'default') return family === 4 ? '0.0.0.0/0' : '::/0'
  return dst.includes('/') ? dst : toHostPrefix(dst, family)
}

/** The routes over the link that the kernel does not add with an address, but removes with it. */
export function listLinkRoutes(family: Family, { request, facts }: AttachContext): readonly GuestRoute[] {
  return facts.routes.filter((it) => it.family === family && it.dev === request.ifname && it.protocol !== 'kernel')
}

/**
 * Removes routes before the addresses: with the last address of a family the kernel drops IPv4 routes, but keeps IPv6
 * routes.
 */
export function planStaleRoutes(context: AttachContext): Plan {
  validateRoutesFree(context)
  return [
    ...ADDRESS_FAMILIES.flatMap((family) => planRestoreDefaults(family, context)),
    ...listStaleRoutes(context).map((route) => planRouteRemoval(route, context)),
  ]
}

/** Adds routes after the addresses: to gateways outside the subnet, default routes, and the requested ones. */
export function planRoutes(shift: AddressChange, context: AttachContext): Plan {
  return ADDRESS_FAMILIES.flatMap((family) => planFamilyRoutes(family, shift, context))
}

/** To the kernel, destination and metric identify a route. */
function validateRoutesFree({ request, guest, facts }: AttachContext): void {
  for (const { family, dst, metric } of request.routes) {
    const taken = facts.routes.find(
      (it) =>
        it.family === family &&
        routeDestination(it) === dst &&
        it.metric === kernelMetric(family, metric) &&
        it.dev !== request.ifname,
    )
    if (taken !== undefined)
      throw new PipeworkError(`'${guest.name}' already has a route to ${dst}, over '${taken.dev}'`, {
        hint: `With another metric both can be there, and the lowest wins: --route ${dst},ROUTER,METRIC`,
      })
  }
}

// --- default routes ---------------------------------------------------------------------------------------------------

/** The default route over the link with the requested metric. */
function ownDefault(family: Family, context: AttachContext): GuestRoute | undefined {
  const { request } = context
  if (defaultGateway(request, family) === undefined) return undefined
  const metric = kernelMetric(family, request.metric)
  return listLinkRoutes(family, context).find((it) => isDefaultRoute(it, family) && it.metric === metric)
}

/** Default routes of ours that are no longer requested: without a gateway, or with another metric. */
function listStaleDefaults(family: Family, context: AttachContext): readonly GuestRoute[] {
  const recorded = findLinkRecord(context.facts)
  if (recorded === undefined) return []
  const current = ownDefault(family, context)
  // A default route over this link that is not in the record belongs to another program, or to a router.
  const isOurs = ({ gateway, protocol }: GuestRoute) =>
    protocol !== 'ra' &&
    (recorded.addresses?.some((it) => it.family === family && it.gateway === gateway) ?? current === undefined)
  return listLinkRoutes(family, context).filter((it) => isDefaultRoute(it, family) && it !== current && isOurs(it))
}

/** Removes default routes that are no longer requested, and restores those that they replaced. */
function planRestoreDefaults(family: Family, context: AttachContext): Plan {
  const { request, facts } = context
  const word = defaultDestination(family)
  return listStaleDefaults(family, context).map((route) => {
    const { gateway, metric, words } = route
    const previous = findLinkRecord(facts)?.previous.find((it) => it.family === family && routeMetric(it) === metric)
    return {
      description: `take back the default gateway for IPv${family}`,
      command:
        previous === undefined
          ? ipInGuest`route del ${word} via ${gateway} dev ${request.ifname} ${metric !== kernelMetric(family, undefined) && ['metric', `${metric}`]}`
          : ipInGuest`route replace ${word} ${previous.words}`,
      undo: ipInGuest`route replace ${word} ${words}`,
    }
  })
}

/** `left` are the routes over the link after the removals. */
function planDefaultRoute(family: Family, left: readonly GuestRoute[], context: AttachContext): Plan {
  const { request } = context
  const gateway = defaultGateway(request, family)
  const current = ownDefault(family, context)
  const isGone = current !== undefined && !left.includes(current)
  if (gateway === undefined || (current?.gateway === gateway && !isGone)) return []
  const before = isGone ? undefined : currentDefault(family, context)
  const word = defaultDestination(family)
  const metric = request.metric !== undefined && ['metric', `${request.metric}`]
  return [
    {
      description: `make ${gateway} the default gateway for IPv${family}`,
      command: ipInGuest`route replace ${word} via ${gateway} dev ${request.ifname} ${metric}`,
      undo:
        before === undefined
          ? ipInGuest`route del ${word} via ${gateway} dev ${request.ifname} ${metric}`
          : ipInGuest`route replace ${word} ${before.words}`,
    },
  ]
}

// --- requested routes -------------------------------------------------------------------------------------------------

const matchesRouteSpec = (route: GuestRoute, { family, dst, metric }: RouteSpec) =>
  route.family === family && routeDestination(route) === dst && route.metric === kernelMetric(family, metric)

/** Routes of ours that are no longer requested. */
function listStaleRoutes(context: AttachContext): readonly GuestRoute[] {
  const recorded = parseRecordRoutes(findLinkRecord(context.facts)?.words ?? [])
  return ADDRESS_FAMILIES.flatMap((family) => listLinkRoutes(family, context)).filter(
    (route) =>
      recorded.some((wish) => matchesRouteSpec(route, wish)) &&
      !context.request.routes.some((wish) => matchesRouteSpec(route, wish)),
  )
}

function planRouteRemoval({ family, dst, metric, words }: GuestRoute, { request }: AttachContext): Step {
  return {
    description: `remove the route to ${dst}, which is no longer asked for`,
    command: ipInGuest`route del ${dst} dev ${request.ifname} ${(family === 6 || metric !== 0) && ['metric', `${metric}`]}`,
    undo: ipInGuest`route replace ${dst} ${words}`,
  }
}

/** `left` are the routes over the link after the removals. */
function planRouteSpec(wish: RouteSpec, left: readonly GuestRoute[], context: AttachContext): Plan {
  const { request } = context
  const { dst } = wish
  const via = resolveVia(wish, request.addresses)
  const live = left.find((it) => matchesRouteSpec(it, wish))
  if (live !== undefined && live.gateway === via) return []
  const metric = wish.metric !== undefined && ['metric', `${wish.metric}`]
  const path = [...(via === undefined ? [] : ['via', via]), 'dev', request.ifname]
  return [
    {
      description: `reach ${dst} ${via === undefined ? 'directly' : `through ${via}`} over ${request.ifname}`,
      command: ipInGuest`route replace ${dst} ${path} ${metric}`,
      ...undoIfExisted(
        context,
        live === undefined
          ? ipInGuest`route del ${dst} ${path} ${metric}`
          : ipInGuest`route replace ${dst} ${live.words}`,
      ),
    },
  ]
}

// --- gateways outside the subnet --------------------------------------------------------------------------------------

/** The gateways of the requested routes. */
function listRouteGateways(family: Family, { request }: AttachContext): readonly string[] {
  const { addresses, routes, policyRoute } = request
  const gateway = policyRoute ? findGateway(addresses, family) : defaultGateway(request, family)
  const ofFamily = routes.filter((wish) => wish.family === family)
  const all = [gateway, ...ofFamily.map((wish) => resolveVia(wish, addresses))]
  return [...new Set(all)].filter((router) => router !== undefined)
}

/** Our routes to gateways outside the subnet that are no longer requested. */
function listStaleGateways(context: AttachContext): readonly GuestRoute[] {
  const record = findLinkRecord(context.facts)
  if (record === undefined) return []
  const going = listStaleRoutes(context)
  return ADDRESS_FAMILIES.flatMap((family) => {
    const wanted = listRouteGateways(family, context)
    const wasRouter = ({ dst }: GuestRoute) =>
      parseRecordRoutes(record.words).some(({ via }) => via === dst) ||
      // Without addresses in the record, every such route on the link counts as ours.
      (record.addresses?.some(({ gateway }) => gateway === dst) ?? !dst.includes('/'))
    return listLinkRoutes(family, context).filter(
      (route) =>
        route.gateway === undefined &&
        wasRouter(route) &&
        !wanted.includes(route.dst) &&
        !going.includes(route) &&
        !context.request.routes.some((wish) => matchesRouteSpec(route, wish)),
    )
  })
}

/** Removes those routes: after the routes through them, and before the kernel removes them with an address. */
export function planStaleGateways(context: AttachContext): Plan {
  const { ifname } = context.request
  return listStaleGateways(context).map(({ dst, words }) => ({
    description: `remove the route to ${dst}, which is no longer a gateway`,
    command: ipInGuest`route del ${dst} dev ${ifname}`,
    undo: ipInGuest`route replace ${dst} ${words}`,
  }))
}

function planFamilyRoutes(family: Family, { removed, lostSecondaries }: AddressChange, context: AttachContext): Plan {
  const { request } = context
  const { ifname } = request
  const ofFamily = <T extends { readonly family: Family }>(list: readonly T[]) =>
    list.filter((it) => it.family === family)
  const isShifted = ofFamily(removed).length > 0
  const left = isShifted ? [] : listLinkRoutes(family, context)
  const wishes = ofFamily(request.routes)
  const isDirect = (wish: RouteSpec) => resolveVia(wish, request.addresses) === undefined
  const subnets: readonly Address[] = [
    ...ofFamily(request.addresses),
    ...ofFamily(lostSecondaries),
    ...wishes.filter(isDirect).map(routeSubnet),
  ]
  const reaches = (ip: string | undefined) => ip === undefined || subnets.some((subnet) => isOnLink(subnet, ip))
  const others = listForeignRoutes(family, context)
  const isRouted = (ip: string) => !isShifted && others.some((it) => routeDestination(it) === toHostPrefix(ip, family))
  const lost = others.filter(
    (it) => isShifted && reaches(it.gateway) && !ofFamily(removed).some(({ ip }) => it.words.includes(ip)),
  )
  return planSteps(
    restoreRouteCommands(lost).map((command) => ({
      description: `put back a route over ${ifname} that went with its address`,
      command,
    })),
    wishes.filter(isDirect).flatMap((wish) => planRouteSpec(wish, left, context)),
    listRouteGateways(family, context)
      .filter((router) => !reaches(router) && !isRouted(router))
      .map((router) => ({
        description: `reach the gateway ${router}, which is outside the subnet, over ${ifname}`,
        command: ipInGuest`route replace ${toHostPrefix(router, family)} dev ${ifname}`,
        ...undoIfExisted(context, ipInGuest`route del ${toHostPrefix(router, family)} dev ${ifname}`),
      })),
    planDefaultRoute(family, left, context),
    wishes.filter((wish) => !isDirect(wish)).flatMap((wish) => planRouteSpec(wish, left, context)),
  )
}

/** The network of an on-link route, to test what it contains. */
function routeSubnet({ family, dst }: RouteSpec): Address {
  const [ip = '', prefix] = dst.split('/')
  return { family, ip, prefix: Number(prefix) }
}

/** Routes over the link that are neither requested nor about to be removed: those of other programs. */
function listForeignRoutes(family: Family, context: AttachContext): readonly GuestRoute[] {
  const going = [...listStaleDefaults(family, context), ...listStaleRoutes(context), ...listStaleGateways(context)]
  const current = ownDefault(family, context)
  return listLinkRoutes(family, context).filter(
    (route) =>
      route !== current &&
      !going.includes(route) &&
      !context.request.routes.some((wish) => matchesRouteSpec(route, wish)),
  )
}

/** The default routes of that family that ours takes precedence over or replaces. */
export function shadowedDefault(family: Family, context: AttachContext): readonly string[] | undefined {
  const { request, facts } = context
  if (defaultGateway(request, family) === undefined) return undefined
  const replaced = previousDefaults(context).find((route) => route.family === family)
  const [other] = facts.routes
    .filter((it) => isDefaultRoute(it, family) && it.dev !== request.ifname)
    .sort((a, b) => a.metric - b.metric)
  return replaced?.words ?? other?.words
}

/** The undo of a change on an existing link; a new link is removed with all that it has. */
export function undoIfExisted({ facts }: AttachContext, undo: IpCommand): { undo?: IpCommand } {
  return facts.inGuest === undefined ? {} : { undo }
}

/** The commands that restore routes of the guest: a route to a gateway before those through it. */
export function restoreRouteCommands(routes: readonly GuestRoute[]): readonly IpCommand[] {
  const direct = routes.filter(({ gateway }) => gateway === undefined)
  const through = routes.filter(({ gateway }) => gateway !== undefined)
  return [...direct, ...through].map(
    ({ family, dst, words }) => ipInGuest`route replace ${dst === 'default' && family === 6 ? '::/0' : dst} ${words}`,
  )
}
