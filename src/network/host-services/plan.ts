import { planFirewall } from '../../firewall/write'
import { type Address, areOverlapping } from '../../model/address'
import { MARKER } from '../../model/host-services'
import { bitsOf } from '../../model/ip'
import { ip, type Plan, type Step } from '../../plan/step'
import { MARK } from '../../state/record'
import type { Live, LiveLink } from './current'
import { dropShims, planShims } from './host-macvlan'
import { byKey, describe, type Hairpin, type HostAddress, type HostRoute, type Need, type Proxied } from './need'
import { dropSysctls, planSysctls, writeSysctls } from './sysctls'

const routeKey = ({ dst, dev }: HostRoute) => `${dst} ${dev}`
const proxyKey = ({ ip: address, dev }: Proxied) => `${address} ${dev}`
const addressKey = ({ ip: address, prefix, dev }: Pick<HostAddress, 'ip' | 'prefix' | 'dev'>) =>
  `${address}/${prefix} ${dev}`

// --- ports ------------------------------------------------------------------------------------------------------------

function planHairpins({ hairpins }: Need, live: Live): Plan {
  const toCommand = ({ port, on }: Hairpin) => ip`link set dev ${port} type bridge_slave hairpin ${on ? 'on' : 'off'}`
  return hairpins
    .filter(({ port, on }) => live.isHairpin(port) !== on)
    .map((it) => ({
      why: it.on
        ? `let what the guest sends to its own published ports go back by ${it.port}`
        : `no longer send back by ${it.port} what came in by it`,
      command: toCommand(it),
      undo: toCommand({ ...it, on: !it.on }),
    }))
}

// --- addresses --------------------------------------------------------------------------------------------------------

function isLive({ dev, ip: address, prefix }: HostAddress, { links }: Live): boolean {
  const link = links.find(({ name }) => name === dev)
  return link?.addresses.some((it) => it.ip === address && it.prefix === prefix) ?? false
}

function addAddress(wanted: HostAddress, { links }: Live): Step {
  const { dev, ip: address, prefix, words, family } = wanted
  // On a bridge that is just being made there is nobody who could have the address.
  const isAlone = family === 6 && !links.some(({ name }) => name === dev)
  return {
    why: `give the host ${describe.address(wanted)}`,
    command: ip`addr add ${address}/${prefix} ${words} ${isAlone && !words.includes('nodad') && 'nodad'} dev ${dev}`,
    undo: ip`addr del ${address}/${prefix} dev ${dev}`,
  }
}

type LiveAddress = LiveLink['addresses'][number] & { readonly dev: string }

function dropAddress({ dev, ip: address, prefix, words }: LiveAddress): Step {
  return {
    why: `take ${address}/${prefix} from ${dev}, where pipework put it`,
    command: ip`addr del ${address}/${prefix} dev ${dev}`,
    undo: ip`addr add ${address}/${prefix} ${words} dev ${dev}`,
  }
}

function listStaleAddresses({ addresses }: Need, { links }: Live): readonly LiveAddress[] {
  const wanted = new Set(addresses.map(addressKey))
  return links.flatMap(({ name: dev, addresses: all }) =>
    all
      .filter(({ isOurs }) => isOurs)
      .map((it) => ({ ...it, dev }))
      .filter((it) => !wanted.has(addressKey(it))),
  )
}

/** Of bridges on which an address goes and others of its subnet stay: the sysctl by which these are not taken with it. */
function listPromoting(stale: readonly LiveAddress[], { addresses }: Need, { links, sysctl }: Live): readonly string[] {
  const keyOf = (dev: string) => `net/ipv4/conf/${dev}/promote_secondaries`
  const isStale = (dev: string, { ip: address }: Address) => stale.some((it) => it.dev === dev && it.ip === address)
  const hasOthers = ({ dev, ...it }: LiveAddress) => {
    const all = [
      ...addresses.filter((other) => other.dev === dev),
      ...(links.find(({ name }) => name === dev)?.addresses ?? []),
    ]
    return it.family === 4 && all.some((other) => !isStale(dev, other) && areOverlapping(other, it))
  }
  const keys = new Set(stale.filter(hasOthers).map(({ dev }) => keyOf(dev)))
  return sysctl(keyOf('all')) === '1' ? [] : [...keys].filter((key) => sysctl(key) === '0')
}

/** That is on for as long as addresses come and go, also where that is taken back. */
function setPromoting(keys: readonly string[], way: 'on' | 'off'): Plan {
  const set = (value: string) => writeSysctls(keys.map((key) => [key, value]))
  const [now, before] = way === 'on' ? ['1', '0'] : ['0', '1']
  const why = way === 'on' ? 'let no address take others of its subnet along when it goes' : 'let them do so again'
  return keys.length === 0 ? [] : [{ why, command: set(now), undo: set(before) }]
}

// --- routes and proxies -----------------------------------------------------------------------------------------------

function routeWords({ dev, src }: HostRoute): readonly string[] {
  return ['dev', dev, ...(src === undefined ? [] : ['src', src]), 'proto', MARK]
}

const toHost = ({ family, dst }: HostRoute) => `${dst}/${bitsOf(family)}`

function addRoute(route: HostRoute): Step {
  return {
    why: `reach ${route.dst} over ${route.dev}`,
    command: ip`route add ${toHost(route)} ${routeWords(route)}`,
    undo: ip`route del ${toHost(route)} dev ${route.dev}`,
    explain: ({ stderr }) =>
      stderr.includes('File exists')
        ? {
            message: `the host already has a route to '${route.dst}'`,
            hint: `Another guest has that address, perhaps: ip route show ${toHost(route)}`,
          }
        : undefined,
  }
}

function dropRoute(route: HostRoute): Step {
  return {
    why: `remove ${describe.route(route)}, which nobody needs any more`,
    command: ip`route del ${toHost(route)} dev ${route.dev}`,
    undo: ip`route add ${toHost(route)} ${routeWords(route)}`,
  }
}

const addProxyCommand = ({ ip: address, dev }: Proxied) => ip`neigh add proxy ${address} dev ${dev} protocol ${MARK}`
const dropProxyCommand = ({ ip: address, dev }: Proxied) => ip`neigh del proxy ${address} dev ${dev}`

function addProxy(proxy: Proxied): Step {
  return {
    why: `answer for ${proxy.ip} on ${proxy.dev}`,
    command: addProxyCommand(proxy),
    undo: dropProxyCommand(proxy),
  }
}

function dropProxy(proxy: Proxied): Step {
  return {
    why: `no longer answer for ${proxy.ip} on ${proxy.dev}`,
    command: dropProxyCommand(proxy),
    undo: addProxyCommand(proxy),
  }
}

// --- all of it --------------------------------------------------------------------------------------------------------

const MARK_IT = { kind: 'file', in: 'host', path: MARKER, text: 'see pipework ls' } as const
const UNMARK_IT = { kind: 'file', in: 'host', path: MARKER } as const

function isEmpty({ addresses, routes, proxies, sysctls, shims, rules }: Need): boolean {
  return [addresses, routes, proxies, sysctls, shims, rules].every((list) => list.length === 0)
}

function planMarker(need: Need, { isMarked }: Live): Plan {
  if (isEmpty(need) || isMarked) return []
  return [{ why: 'note that the host has more of ours than links', command: MARK_IT, undo: UNMARK_IT }]
}

function dropMarker(need: Need, { isMarked }: Live): Plan {
  if (!isEmpty(need) || !isMarked) return []
  return [{ why: 'note that the host has no more of ours than links', command: UNMARK_IT, undo: MARK_IT }]
}

/**
 * The steps after which the host has what is needed, and no more of ours. What guards is there before what it guards,
 * and goes after it: the firewall is written before forwarding begins, and forwarding ends before the firewall forgets.
 */
export function planNeed(need: Need, live: Live): Plan {
  const routes = byKey(need.routes, routeKey)
  const proxies = byKey(need.proxies, proxyKey)
  const [liveRoutes, liveProxies] = [new Set(live.routes.map(routeKey)), new Set(live.proxies.map(proxyKey))]
  const [wantedRoutes, wantedProxies] = [new Set(routes.map(routeKey)), new Set(proxies.map(proxyKey))]
  const stale = listStaleAddresses(need, live)
  const promoting = listPromoting(stale, need, live)
  return [
    ...planMarker(need, live),
    ...planShims(need, live),
    ...planHairpins(need, live),
    ...setPromoting(promoting, 'on'),
    ...byKey(need.addresses, addressKey)
      .filter((it) => !isLive(it, live))
      .map((it) => addAddress(it, live)),
    // What goes first makes room: an address that moves from guest to guest.
    ...live.proxies.filter((it) => !wantedProxies.has(proxyKey(it))).map(dropProxy),
    ...live.routes.filter((it) => !wantedRoutes.has(routeKey(it))).map(dropRoute),
    ...routes.filter((it) => !liveRoutes.has(routeKey(it))).map(addRoute),
    ...proxies.filter((it) => !liveProxies.has(proxyKey(it))).map(addProxy),
    ...dropSysctls(need, live),
    ...planFirewall(need.rules, live.firewall),
    ...planSysctls(need, live),
    ...stale.map(dropAddress),
    ...setPromoting(promoting, 'off'),
    ...dropShims(need, live),
    ...dropMarker(need, live),
  ]
}
