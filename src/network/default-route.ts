import type { Family } from '../model/address'
import { ADDRESS_FAMILIES } from '../model/address'
import { mayLeaseDefaultRoute } from '../model/address-spec'
import { findGateway } from '../model/attach-options'
import type { AttachRequest } from '../model/request'
import { type AttachContext, findLinkRecord } from '../state/attach-facts'
import type { GuestRoute } from '../state/guest'
import type { DefaultRoute } from '../state/record'

/** The metric that the kernel gives a default route without one. A route replaces only one of the same metric. */
const DEFAULT_METRICS = { 4: 0, 6: 1024 } as const

/** True for a default route of that family. */
export function isDefaultRoute(route: GuestRoute, family: Family): boolean {
  return route.family === family && route.dst === 'default'
}

/** The metric in the kernel of a route with that option: IPv6 has no metric 0. */
export function kernelMetric(family: Family, metric: number | undefined): number {
  return metric || DEFAULT_METRICS[family]
}

/** The metric in the words of a route. */
export function routeMetric({ family, words }: DefaultRoute): number {
  return kernelMetric(family, words.includes('metric') ? Number(words[words.indexOf('metric') + 1]) : undefined)
}

/** The gateway of the requested default route of that family. */
export function defaultGateway({ addresses, defaultRoute }: AttachRequest, family: Family): string | undefined {
  return defaultRoute ? findGateway(addresses, family) : undefined
}

/** The default route of the guest that the requested one replaces. */
export function currentDefault(family: Family, { request, facts }: AttachContext): GuestRoute | undefined {
  const metric = kernelMetric(family, request.metric)
  return facts.routes.find((route) => isDefaultRoute(route, family) && route.metric === metric)
}

/** The default routes that the request's gateways replace: `disconnect` restores them. */
export function previousDefaults(context: AttachContext): readonly DefaultRoute[] {
  const { request, facts } = context
  return ADDRESS_FAMILIES.flatMap((family) => {
    const mayBeLeased = request.defaultRoute && mayLeaseDefaultRoute(request, family)
    if (defaultGateway(request, family) === undefined && !mayBeLeased) return []
    // On a second run the current default is our own, or another link's: the one replaced first is still restored.
    const isReplaced = (it: DefaultRoute) =>
      it.family === family && routeMetric(it) === kernelMetric(family, request.metric)
    const known = findLinkRecord(facts)?.previous.filter(isReplaced) ?? []
    if (known.length > 0) return known
    const live = currentDefault(family, context)
    return live === undefined || live.dev === request.ifname ? [] : [{ family, words: live.words }]
  })
}
