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

/** The addresses that a change takes from the link, and those that it takes and gives back. */
export interface AddressChange {
  readonly removed: readonly GuestAddress[]
  readonly lostSecondaries: readonly GuestAddress[]
}

/** What `ip route` calls the default route of a family. */
const defaultDestination = (family: Family) => (family === 4 ? 'default' : '::/0')

/** A host's route as `network/prefix`, which the kernel shows without its prefix. */
const toHostPrefix = (ip: string, family: Family) => `${ip}/${addressBits(family)}`

/** The destination of a route as `network/prefix`. */
export function routeDestination({ family, dst }: GuestRoute): string {
  if (dst === 'default') return family === 4 ? '0.0.0.0/0' : '::/0'
  return dst.includes('/') ? dst : toHostPrefix(dst, family)
}

/** The routes of that family over the link that do not come with an address: the kernel drops them with it. */
export function listLinkRoutes(family: Family, { request, facts }: AttachContext): readonly GuestRoute[] {
  return facts.routes.filter((it) => it.family === family && it.dev === request.ifname && it.protocol !== 'kernel')
}

/** What goes before the addresses do: with the last of a family the kernel drops the IPv4 route, and keeps IPv6's. */
export function planStaleRoutes(context: AttachContext): Plan {
  validateRoutesFree(context)
  return [
    ...ADDRESS_FAMILIES.flatMap((family) => planRestoreDefaults(family, context)),
    ...listStaleRoutes(context).map((route) => planRouteRemoval(route, context)),
  ]
}

/** What comes after the addresses: the routes to routers outside the subnet, the default routes, and those asked for. */
export function planRoutes(shift: AddressChange, context: AttachContext): Plan {
  return ADDRESS_FAMILIES.flatMap((family) => planFamilyRoutes(family, shift, context))
}

/** A route to the same destination with the same metric is one route to the kernel. */
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

/** The default route over the link that has the metric asked for. */
function ownDefault(family: Family, context: AttachContext): GuestRoute | undefined {
  const { request } = context
  if (defaultGateway(request, family) === undefined) return undefined
  const metric = kernelMetric(family, request.metric)
  return listLinkRoutes(family, context).find((it) => isDefaultRoute(it, family) && it.metric === metric)
}

/** Default routes of ours that are not asked for any more: the gateway is gone, or the metric is another. */
function listStaleDefaults(family: Family, context: AttachContext): readonly GuestRoute[] {
  const recorded = findLinkRecord(context.facts)
  if (recorded === undefined) return []
  const current = ownDefault(family, context)
  // A default route over this link that is not in the record is somebody else's work, or a router's own.
  const isOurs = ({ gateway, protocol }: GuestRoute) =>
    protocol !== 'ra' &&
    (recorded.addresses?.some((it) => it.family === family && it.gateway === gateway) ?? current === undefined)
  return listLinkRoutes(family, context).filter((it) => isDefaultRoute(it, family) && it !== current && isOurs(it))
}

/** The default routes that are not asked for any more go, and what they replaced comes back. */
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

/** `left` are the routes over the link that are there when this is done. */
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

// --- routes asked for -------------------------------------------------------------------------------------------------

const matchesRouteSpec = (route: GuestRoute, { family, dst, metric }: RouteSpec) =>
  route.family === family && routeDestination(route) === dst && route.metric === kernelMetric(family, metric)

/** Routes of ours that are not asked for any more. */
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

/** `left` are the routes over the link that are there when this is done. */
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

// --- routers outside the subnet ---------------------------------------------------------------------------------------

/** The routers that the routes asked for go through. */
function listRouteGateways(family: Family, { request }: AttachContext): readonly string[] {
  const { addresses, routes, policyRoute } = request
  const gateway = policyRoute ? findGateway(addresses, family) : defaultGateway(request, family)
  const ofFamily = routes.filter((wish) => wish.family === family)
  const all = [gateway, ...ofFamily.map((wish) => resolveVia(wish, addresses))]
  return [...new Set(all)].filter((router) => router !== undefined)
}

/** The routes of ours to routers that were outside the subnet, and are no longer asked for. */
function listStaleGateways(context: AttachContext): readonly GuestRoute[] {
  const record = findLinkRecord(context.facts)
  if (record === undefined) return []
  const going = listStaleRoutes(context)
  return ADDRESS_FAMILIES.flatMap((family) => {
    const wanted = listRouteGateways(family, context)
    const wasRouter = ({ dst }: GuestRoute) =>
      parseRecordRoutes(record.words).some(({ via }) => via === dst) ||
      // Where the record had no room for the addresses, what is on the link is ours.
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

/** Removes those routes: after all that goes through them, and before an address goes that takes them along. */
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

/** A network that is on the link, to ask what it reaches. */
function routeSubnet({ family, dst }: RouteSpec): Address {
  const [ip = '', prefix] = dst.split('/')
  return { family, ip, prefix: Number(prefix) }
}

/** The routes over the link that are neither asked for nor to go: those of other people. */
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

/** The default route that our own is preferred to, or takes the place of, for that family. */
export function shadowedDefault(family: Family, context: AttachContext): readonly string[] | undefined {
  const { request, facts } = context
  if (defaultGateway(request, family) === undefined) return undefined
  const replaced = previousDefaults(context).find((route) => route.family === family)
  const [other] = facts.routes
    .filter((it) => isDefaultRoute(it, family) && it.dev !== request.ifname)
    .sort((a, b) => a.metric - b.metric)
  return replaced?.words ?? other?.words
}

/** The inverse of a change on a link that was there before; on a new one everything goes with the link. */
export function undoIfExisted({ facts }: AttachContext, undo: IpCommand): { undo?: IpCommand } {
  return facts.inGuest === undefined ? {} : { undo }
}

/** The commands that put routes of the guest back: those to a gateway before those through it. */
export function restoreRouteCommands(routes: readonly GuestRoute[]): readonly IpCommand[] {
  const direct = routes.filter(({ gateway }) => gateway === undefined)
  const through = routes.filter(({ gateway }) => gateway !== undefined)
  return [...direct, ...through].map(
    ({ family, dst, words }) => ipInGuest`route replace ${dst === 'default' && family === 6 ? '::/0' : dst} ${words}`,
  )
}
