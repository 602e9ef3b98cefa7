import {
  defaultGateway,
  isDefault,
  liveDefault,
  metricFor,
  metricOf,
  previousDefaults,
  recordOf,
  restoreRoutes,
  unlessNew,
} from '../drivers/claim'
import type { Context } from '../drivers/types'
import { type Address, type Family, isOnLink } from '../model/address'
import { gatewayOf, routesOf, viaOf } from '../model/attach-options'
import { PipeworkError } from '../model/errors'
import { bitsOf, FAMILIES } from '../model/ip'
import type { RouteWish } from '../model/route'
import { ipInGuest, type Plan, rows, type Step } from '../plan/step'
import type { LiveAddress, Route } from '../state/guest'

/** The addresses that a change takes from the link, and those that it takes and gives back. */
export interface Shift {
  readonly removed: readonly LiveAddress[]
  readonly dragged: readonly LiveAddress[]
}

/** What `ip route` calls the default route of a family. */
const wordOf = (family: Family) => (family === 4 ? 'default' : '::/0')

/** A host's route as `network/prefix`, which the kernel shows without its prefix. */
const toHost = (ip: string, family: Family) => `${ip}/${bitsOf(family)}`

/** The destination of a route as `network/prefix`. */
export function dstOf({ family, dst }: Route): string {
  if (dst === 'default') return family === 4 ? '0.0.0.0/0' : '::/0'
  return dst.includes('/') ? dst : toHost(dst, family)
}

/** The routes of that family over the link that do not come with an address: the kernel drops them with it. */
export function listRoutes(family: Family, { request, facts }: Context): readonly Route[] {
  return facts.routes.filter((it) => it.family === family && it.dev === request.ifname && it.protocol !== 'kernel')
}

/** What goes before the addresses do: with the last of a family the kernel drops the IPv4 route, and keeps IPv6's. */
export function planDepartures(context: Context): Plan {
  refuseTaken(context)
  return [
    ...FAMILIES.flatMap((family) => returnDefaults(family, context)),
    ...listStale(context).map((route) => planDeletion(route, context)),
  ]
}

/** What comes after the addresses: the routes to routers outside the subnet, the default routes, and those asked for. */
export function planRoutes(shift: Shift, context: Context): Plan {
  return FAMILIES.flatMap((family) => planFamily(family, shift, context))
}

/** A route to the same destination with the same metric is one route to the kernel. */
function refuseTaken({ request, guest, facts }: Context): void {
  for (const { family, dst, metric } of request.routes) {
    const taken = facts.routes.find(
      (it) =>
        it.family === family &&
        dstOf(it) === dst &&
        it.metric === metricFor(family, metric) &&
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
function currentDefault(family: Family, context: Context): Route | undefined {
  const { request } = context
  if (defaultGateway(request, family) === undefined) return undefined
  const metric = metricFor(family, request.metric)
  return listRoutes(family, context).find((it) => isDefault(it, family) && it.metric === metric)
}

/** Default routes of ours that are not asked for any more: the gateway is gone, or the metric is another. */
function listStaleDefaults(family: Family, context: Context): readonly Route[] {
  const recorded = recordOf(context.facts)
  if (recorded === undefined) return []
  const current = currentDefault(family, context)
  // A default route over this link that is not in the record is somebody else's work, or a router's own.
  const isOurs = ({ gateway, protocol }: Route) =>
    protocol !== 'ra' &&
    (recorded.addresses?.some((it) => it.family === family && it.gateway === gateway) ?? current === undefined)
  return listRoutes(family, context).filter((it) => isDefault(it, family) && it !== current && isOurs(it))
}

/** The default routes that are not asked for any more go, and what they replaced comes back. */
function returnDefaults(family: Family, context: Context): Plan {
  const { request, facts } = context
  const word = wordOf(family)
  return listStaleDefaults(family, context).map((route) => {
    const { gateway, metric, words } = route
    const previous = recordOf(facts)?.previous.find((it) => it.family === family && metricOf(it) === metric)
    return {
      why: `take back the default gateway for IPv${family}`,
      command:
        previous === undefined
          ? ipInGuest`route del ${word} via ${gateway} dev ${request.ifname} ${metric !== metricFor(family, undefined) && ['metric', `${metric}`]}`
          : ipInGuest`route replace ${word} ${previous.words}`,
      undo: ipInGuest`route replace ${word} ${words}`,
    }
  })
}

/** `left` are the routes over the link that are there when this is done. */
function planDefault(family: Family, left: readonly Route[], context: Context): Plan {
  const { request } = context
  const gateway = defaultGateway(request, family)
  const current = currentDefault(family, context)
  const isGone = current !== undefined && !left.includes(current)
  if (gateway === undefined || (current?.gateway === gateway && !isGone)) return []
  const before = isGone ? undefined : liveDefault(family, context)
  const word = wordOf(family)
  const metric = request.metric !== undefined && ['metric', `${request.metric}`]
  return [
    {
      why: `make ${gateway} the default gateway for IPv${family}`,
      command: ipInGuest`route replace ${word} via ${gateway} dev ${request.ifname} ${metric}`,
      undo:
        before === undefined
          ? ipInGuest`route del ${word} via ${gateway} dev ${request.ifname} ${metric}`
          : ipInGuest`route replace ${word} ${before.words}`,
    },
  ]
}

// --- routes asked for -------------------------------------------------------------------------------------------------

const isTo = (route: Route, { family, dst, metric }: RouteWish) =>
  route.family === family && dstOf(route) === dst && route.metric === metricFor(family, metric)

/** Routes of ours that are not asked for any more. */
function listStale(context: Context): readonly Route[] {
  const recorded = routesOf(recordOf(context.facts)?.words ?? [])
  return FAMILIES.flatMap((family) => listRoutes(family, context)).filter(
    (route) => recorded.some((wish) => isTo(route, wish)) && !context.request.routes.some((wish) => isTo(route, wish)),
  )
}

function planDeletion({ family, dst, metric, words }: Route, { request }: Context): Step {
  return {
    why: `remove the route to ${dst}, which is no longer asked for`,
    command: ipInGuest`route del ${dst} dev ${request.ifname} ${(family === 6 || metric !== 0) && ['metric', `${metric}`]}`,
    undo: ipInGuest`route replace ${dst} ${words}`,
  }
}

/** `left` are the routes over the link that are there when this is done. */
function planWish(wish: RouteWish, left: readonly Route[], context: Context): Plan {
  const { request } = context
  const { dst } = wish
  const via = viaOf(wish, request.addresses)
  const live = left.find((it) => isTo(it, wish))
  if (live !== undefined && live.gateway === via) return []
  const metric = wish.metric !== undefined && ['metric', `${wish.metric}`]
  const path = [...(via === undefined ? [] : ['via', via]), 'dev', request.ifname]
  return [
    {
      why: `reach ${dst} ${via === undefined ? 'directly' : `through ${via}`} over ${request.ifname}`,
      command: ipInGuest`route replace ${dst} ${path} ${metric}`,
      ...unlessNew(
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
function listRouters(family: Family, { request }: Context): readonly string[] {
  const { addresses, routes, policyRoute } = request
  const gateway = policyRoute ? gatewayOf(addresses, family) : defaultGateway(request, family)
  const ofFamily = routes.filter((wish) => wish.family === family)
  const all = [gateway, ...ofFamily.map((wish) => viaOf(wish, addresses))]
  return [...new Set(all)].filter((router) => router !== undefined)
}

/** The routes of ours to routers that were outside the subnet, and are no longer asked for. */
function listStaleRouters(context: Context): readonly Route[] {
  const record = recordOf(context.facts)
  if (record === undefined) return []
  const going = listStale(context)
  return FAMILIES.flatMap((family) => {
    const wanted = listRouters(family, context)
    const wasRouter = ({ dst }: Route) =>
      routesOf(record.words).some(({ via }) => via === dst) ||
      // Where the record had no room for the addresses, what is on the link is ours.
      (record.addresses?.some(({ gateway }) => gateway === dst) ?? !dst.includes('/'))
    return listRoutes(family, context).filter(
      (route) =>
        route.gateway === undefined &&
        wasRouter(route) &&
        !wanted.includes(route.dst) &&
        !going.includes(route) &&
        !context.request.routes.some((wish) => isTo(route, wish)),
    )
  })
}

/** Removes those routes: after all that goes through them, and before an address goes that takes them along. */
export function dropRouters(context: Context): Plan {
  const { ifname } = context.request
  return listStaleRouters(context).map(({ dst, words }) => ({
    why: `remove the route to ${dst}, which is no longer a gateway`,
    command: ipInGuest`route del ${dst} dev ${ifname}`,
    undo: ipInGuest`route replace ${dst} ${words}`,
  }))
}

function planFamily(family: Family, { removed, dragged }: Shift, context: Context): Plan {
  const { request } = context
  const { ifname } = request
  const ofFamily = <T extends { readonly family: Family }>(list: readonly T[]) =>
    list.filter((it) => it.family === family)
  const isShifted = ofFamily(removed).length > 0
  const left = isShifted ? [] : listRoutes(family, context)
  const wishes = ofFamily(request.routes)
  const isDirect = (wish: RouteWish) => viaOf(wish, request.addresses) === undefined
  const subnets: readonly Address[] = [
    ...ofFamily(request.addresses),
    ...ofFamily(dragged),
    ...wishes.filter(isDirect).map(toSubnet),
  ]
  const reaches = (ip: string | undefined) => ip === undefined || subnets.some((subnet) => isOnLink(subnet, ip))
  const others = listOthers(family, context)
  const isRouted = (ip: string) => !isShifted && others.some((it) => dstOf(it) === toHost(ip, family))
  const lost = others.filter(
    (it) => isShifted && reaches(it.gateway) && !ofFamily(removed).some(({ ip }) => it.words.includes(ip)),
  )
  return rows(
    restoreRoutes(lost).map((command) => ({
      why: `put back a route over ${ifname} that went with its address`,
      command,
    })),
    wishes.filter(isDirect).flatMap((wish) => planWish(wish, left, context)),
    listRouters(family, context)
      .filter((router) => !reaches(router) && !isRouted(router))
      .map((router) => ({
        why: `reach the gateway ${router}, which is outside the subnet, over ${ifname}`,
        command: ipInGuest`route replace ${toHost(router, family)} dev ${ifname}`,
        ...unlessNew(context, ipInGuest`route del ${toHost(router, family)} dev ${ifname}`),
      })),
    planDefault(family, left, context),
    wishes.filter((wish) => !isDirect(wish)).flatMap((wish) => planWish(wish, left, context)),
  )
}

/** A network that is on the link, to ask what it reaches. */
function toSubnet({ family, dst }: RouteWish): Address {
  const [ip = '', prefix] = dst.split('/')
  return { family, ip, prefix: Number(prefix) }
}

/** The routes over the link that are neither asked for nor to go: those of other people. */
function listOthers(family: Family, context: Context): readonly Route[] {
  const going = [...listStaleDefaults(family, context), ...listStale(context), ...listStaleRouters(context)]
  const current = currentDefault(family, context)
  return listRoutes(family, context).filter(
    (route) => route !== current && !going.includes(route) && !context.request.routes.some((wish) => isTo(route, wish)),
  )
}

/** The default route that our own is preferred to, or takes the place of, for that family. */
export function passedOver(family: Family, context: Context): readonly string[] | undefined {
  const { request, facts } = context
  if (defaultGateway(request, family) === undefined) return undefined
  const replaced = previousDefaults(context).find((route) => route.family === family)
  const [other] = facts.routes
    .filter((it) => isDefault(it, family) && it.dev !== request.ifname)
    .sort((a, b) => a.metric - b.metric)
  return replaced?.words ?? other?.words
}
