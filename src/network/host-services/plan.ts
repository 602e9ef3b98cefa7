import { planFirewallRules } from '../../firewall/write'
import { type Address, addressBits, subnetsOverlap } from '../../model/address'
import { ip, type Plan, type Step } from '../../plan/step'
import { SERVICES_MARKER } from '../../state/marker'
import { ROUTE_PROTO } from '../../state/record'
import type { CurrentLink, CurrentState } from './current'
import { planHostMacvlanRemoval, planHostMacvlans } from './host-macvlan'
import {
  type DesiredState,
  describeState,
  type HairpinPort,
  type HostIfAddress,
  type HostRoute,
  type ProxyNeighbour,
  uniqueBy,
} from './need'
import { planHostSysctls, planSysctlRestore, sysctlWriteCommand } from './sysctls'

const hostRouteKey = ({ dst, dev }: HostRoute) => `${dst} ${dev}`
const proxyKey = ({ ip: address, dev }: ProxyNeighbour) => `${address} ${dev}`
const addressKey = ({ ip: address, prefix, dev }: Pick<HostIfAddress, 'ip' | 'prefix' | 'dev'>) =>
  `${address}/${prefix} ${dev}`

// --- ports ------------------------------------------------------------------------------------------------------------

function planHairpins({ hairpins }: DesiredState, live: CurrentState): Plan {
  const toCommand = ({ port, on }: HairpinPort) =>
    ip`link set dev ${port} type bridge_slave hairpin ${on ? 'on' : 'off'}`
  return hairpins
    .filter(({ port, on }) => live.isHairpin(port) !== on)
    .map((it) => ({
      description: it.on
        ? `let what the guest sends to its own published ports go back by ${it.port}`
        : `no longer send back by ${it.port} what came in by it`,
      command: toCommand(it),
      undo: toCommand({ ...it, on: !it.on }),
    }))
}

// --- addresses --------------------------------------------------------------------------------------------------------

function hasHostAddress({ dev, ip: address, prefix }: HostIfAddress, { links }: CurrentState): boolean {
  const link = links.find(({ name }) => name === dev)
  return link?.addresses.some((it) => it.ip === address && it.prefix === prefix) ?? false
}

function planHostAddress(wanted: HostIfAddress, { links }: CurrentState): Step {
  const { dev, ip: address, prefix, words, family } = wanted
  // On a bridge that this run creates, no neighbour can have the address.
  const isAlone = family === 6 && !links.some(({ name }) => name === dev)
  return {
    description: `give the host ${describeState.address(wanted)}`,
    command: ip`addr add ${address}/${prefix} ${words} ${isAlone && !words.includes('nodad') && 'nodad'} dev ${dev}`,
    undo: ip`addr del ${address}/${prefix} dev ${dev}`,
  }
}

type CurrentAddress = CurrentLink['addresses'][number] & { readonly dev: string }

function planHostAddressRemoval({ dev, ip: address, prefix, words }: CurrentAddress): Step {
  return {
    description: `take ${address}/${prefix} from ${dev}, where pipework put it`,
    command: ip`addr del ${address}/${prefix} dev ${dev}`,
    undo: ip`addr add ${address}/${prefix} ${words} dev ${dev}`,
  }
}

function listStaleHostAddresses({ addresses }: DesiredState, { links }: CurrentState): readonly CurrentAddress[] {
  const wanted = new Set(addresses.map(addressKey))
  return links.flatMap(({ name: dev, addresses: all }) =>
    all
      .filter(({ isOurs }) => isOurs)
      .map((it) => ({ ...it, dev }))
      .filter((it) => !wanted.has(addressKey(it))),
  )
}

/**
 * The sysctls of bridges that lose one address and keep others of its subnet: they keep the kernel from removing those
 * too.
 */
function listPromoteSysctls(
  stale: readonly CurrentAddress[],
  { addresses }: DesiredState,
  { links, sysctl }: CurrentState,
): readonly string[] {
  const keyOf = (dev: string) => `net/ipv4/conf/${dev}/promote_secondaries`
  const isStale = (dev: string, { ip: address }: Address) => stale.some((it) => it.dev === dev && it.ip === address)
  const hasOthers = ({ dev, ...it }: CurrentAddress) => {
    const all = [
      ...addresses.filter((other) => other.dev === dev),
      ...(links.find(({ name }) => name === dev)?.addresses ?? []),
    ]
    return it.family === 4 && all.some((other) => !isStale(dev, other) && subnetsOverlap(other, it))
  }
  const keys = new Set(stale.filter(hasOthers).map(({ dev }) => keyOf(dev)))
  return sysctl(keyOf('all')) === '1' ? [] : [...keys].filter((key) => sysctl(key) === '0')
}

/** The sysctl is on while addresses change, also during a rollback. */
function planPromoteSysctls(keys: readonly string[], way: 'on' | 'off'): Plan {
  const set = (value: string) => sysctlWriteCommand(keys.map((key) => [key, value]))
  const [now, before] = way === 'on' ? ['1', '0'] : ['0', '1']
  const why = way === 'on' ? 'let no address take others of its subnet along when it goes' : 'let them do so again'
  return keys.length === 0 ? [] : [{ description: why, command: set(now), undo: set(before) }]
}

// --- routes and proxies -----------------------------------------------------------------------------------------------

function hostRouteArgs({ dev, src }: HostRoute): readonly string[] {
  return ['dev', dev, ...(src === undefined ? [] : ['src', src]), 'proto', ROUTE_PROTO]
}

const hostRoutePrefix = ({ family, dst }: HostRoute) => `${dst}/${addressBits(family)}`

function planHostRoute(route: HostRoute): Step {
  return {
    description: `reach ${route.dst} over ${route.dev}`,
    command: ip`route add ${hostRoutePrefix(route)} ${hostRouteArgs(route)}`,
    undo: ip`route del ${hostRoutePrefix(route)} dev ${route.dev}`,
    explainFailure: ({ stderr }) =>
      stderr.includes('File exists')
        ? {
            message: `the host already has a route to '${route.dst}'`,
            hint: `Another guest has that address, perhaps: ip route show ${hostRoutePrefix(route)}`,
          }
        : undefined,
  }
}

function planHostRouteRemoval(route: HostRoute): Step {
  return {
    description: `remove ${describeState.route(route)}, which nobody needs any more`,
    command: ip`route del ${hostRoutePrefix(route)} dev ${route.dev}`,
    undo: ip`route add ${hostRoutePrefix(route)} ${hostRouteArgs(route)}`,
  }
}

const addProxyCommand = ({ ip: address, dev }: ProxyNeighbour) =>
  ip`neigh add proxy ${address} dev ${dev} protocol ${ROUTE_PROTO}`
const removeProxyCommand = ({ ip: address, dev }: ProxyNeighbour) => ip`neigh del proxy ${address} dev ${dev}`

function planProxyNeighbour(proxy: ProxyNeighbour): Step {
  return {
    description: `answer for ${proxy.ip} on ${proxy.dev}`,
    command: addProxyCommand(proxy),
    undo: removeProxyCommand(proxy),
  }
}

function planProxyRemoval(proxy: ProxyNeighbour): Step {
  return {
    description: `no longer answer for ${proxy.ip} on ${proxy.dev}`,
    command: removeProxyCommand(proxy),
    undo: addProxyCommand(proxy),
  }
}

// --- the whole state --------------------------------------------------------------------------------------------------

const WRITE_MARKER = { kind: 'file', in: 'host', path: SERVICES_MARKER, text: 'see pipework ls' } as const
const REMOVE_MARKER = { kind: 'file', in: 'host', path: SERVICES_MARKER } as const

function isEmptyState({ addresses, routes, proxyNeighbours, sysctls, hostMacvlans, rules }: DesiredState): boolean {
  return [addresses, routes, proxyNeighbours, sysctls, hostMacvlans, rules].every((list) => list.length === 0)
}

function planMarker(need: DesiredState, { hasMarker }: CurrentState): Plan {
  if (isEmptyState(need) || hasMarker) return []
  return [{ description: 'note that the host has more of ours than links', command: WRITE_MARKER, undo: REMOVE_MARKER }]
}

function planMarkerRemoval(need: DesiredState, { hasMarker }: CurrentState): Plan {
  if (!isEmptyState(need) || !hasMarker) return []
  return [
    { description: 'note that the host has no more of ours than links', command: REMOVE_MARKER, undo: WRITE_MARKER },
  ]
}

/**
 * The steps to exactly the desired state. A guard is added before what it protects and removed after it: firewall rules
 * precede forwarding, and forwarding ends before the rules are removed.
 */
export function planDesiredState(need: DesiredState, live: CurrentState): Plan {
  const routes = uniqueBy(need.routes, hostRouteKey)
  const proxies = uniqueBy(need.proxyNeighbours, proxyKey)
  const [liveRoutes, liveProxies] = [
    new Set(live.routes.map(hostRouteKey)),
    new Set(live.proxyNeighbours.map(proxyKey)),
  ]
  const [wantedRoutes, wantedProxies] = [new Set(routes.map(hostRouteKey)), new Set(proxies.map(proxyKey))]
  const stale = listStaleHostAddresses(need, live)
  const promoting = listPromoteSysctls(stale, need, live)
  return [
    ...planMarker(need, live),
    ...planHostMacvlans(need, live),
    ...planHairpins(need, live),
    ...planPromoteSysctls(promoting, 'on'),
    ...uniqueBy(need.addresses, addressKey)
      .filter((it) => !hasHostAddress(it, live))
      .map((it) => planHostAddress(it, live)),
    // Removals come first, so that an address can move from guest to guest.
    ...live.proxyNeighbours.filter((it) => !wantedProxies.has(proxyKey(it))).map(planProxyRemoval),
    ...live.routes.filter((it) => !wantedRoutes.has(hostRouteKey(it))).map(planHostRouteRemoval),
    ...routes.filter((it) => !liveRoutes.has(hostRouteKey(it))).map(planHostRoute),
    ...proxies.filter((it) => !liveProxies.has(proxyKey(it))).map(planProxyNeighbour),
    ...planSysctlRestore(need, live),
    ...planFirewallRules(need.rules, live.firewall),
    ...planHostSysctls(need, live),
    ...stale.map(planHostAddressRemoval),
    ...planPromoteSysctls(promoting, 'off'),
    ...planHostMacvlanRemoval(need, live),
    ...planMarkerRemoval(need, live),
  ]
}
