import { planFirewall } from '../firewall/live'
import { MADE_RECORD, MARK } from '../record'
import { ip, type Plan, type RunCommand, rows, type Step } from '../step'
import { type Live, type LiveLink, sysctlFile } from './live'
import {
  describe,
  forwardingOf,
  type Hairpin,
  type HostAddress,
  type HostRoute,
  type Need,
  type Proxied,
  type Shim,
  type Sysctl,
} from './need'
import { MARKER } from './wish'

const byKey = <T>(items: readonly T[], keyOf: (item: T) => string) => [
  ...new Map(items.map((item) => [keyOf(item), item])).values(),
]

const routeKey = ({ dst, dev }: HostRoute) => `${dst} ${dev}`
const proxyKey = ({ ip: address, dev }: Proxied) => `${address} ${dev}`
const addressKey = ({ ip: address, prefix, dev }: Pick<HostAddress, 'ip' | 'prefix' | 'dev'>) =>
  `${address}/${prefix} ${dev}`

// --- shims ------------------------------------------------------------------------------------------------------------

function makeShim({ name, parent, kind, mode }: Shim): Plan {
  return [
    {
      why: `create ${name}, past which the host reaches the guests on ${parent}`,
      command: ip`link add link ${parent} name ${name} type ${kind} mode ${mode}`,
      undo: ip`link del dev ${name}`,
    },
    { why: `record that pipework made ${name}`, command: ip`link set dev ${name} alias ${MADE_RECORD}` },
    { why: `bring ${name} up`, command: ip`link set dev ${name} up` },
  ]
}

function planShims({ shims }: Need, { links }: Live): Plan {
  const missing = byKey(shims, ({ name }) => name).filter(({ name }) => !links.some((it) => it.name === name))
  return missing.flatMap(makeShim)
}

function dropShims({ shims }: Need, { links }: Live): Plan {
  return links
    .filter(({ name, isShim }) => isShim && !shims.some((it) => it.name === name))
    .map(({ name }) => ({ why: `remove ${name}: no guest is reached past it`, command: ip`link del dev ${name}` }))
}

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

// --- routes and proxies -----------------------------------------------------------------------------------------------

function routeWords({ dev, src }: HostRoute): readonly string[] {
  return ['dev', dev, ...(src === undefined ? [] : ['src', src]), 'proto', MARK]
}

const toHost = ({ family, dst }: HostRoute) => `${dst}/${family === 4 ? 32 : 128}`

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

// --- sysctls ----------------------------------------------------------------------------------------------------------

function writeSysctls(settings: readonly (readonly [key: string, value: string])[]): RunCommand {
  return { kind: 'run', in: 'host', argv: ['sysctl', '-qw', ...settings.map(([key, value]) => `${key}=${value}`)] }
}

/**
 * A host that forwards IPv6 no longer hears routers, and loses the default route that one has announced: unless it is
 * told to listen all the same, before.
 */
function listListeners({ sysctls }: Need, live: Live): readonly Sysctl[] {
  const forwarding = forwardingOf(6)
  if (!sysctls.some(({ key }) => key === forwarding.key)) return []
  const key = (dev: string) => `net/ipv6/conf/${dev}/accept_ra`
  const isToBeTold = (dev: string) => live.sysctl(key(dev)) === '1' && live.sysctl(forwarding.key) !== '1'
  const told = [...live.kept.keys()].filter((it) => it.endsWith('/accept_ra'))
  const keys = new Set([...live.announced.filter(isToBeTold).map(key), ...told])
  return [...keys].map((it) => ({ key: it, value: '2', own: false }))
}

/** The sysctls that are wanted, those that must come first in front. */
function listSysctls(need: Need, live: Live): readonly Sysctl[] {
  return byKey([...listListeners(need, live), ...need.sysctls], ({ key }) => key)
}

function planSysctls(need: Need, live: Live): Plan {
  const changes = listSysctls(need, live).filter(({ key, value }) => live.sysctl(key) !== value)
  // Of an interface that is still to be made there is nothing to keep, or to put back.
  const known = changes.filter(({ key }) => live.sysctl(key) !== undefined)
  if (changes.length === 0) return []
  const before = known.map(({ key }) => [key, live.sysctl(key) ?? ''] as const)
  return [
    ...changes
      .filter(({ key, own }) => !own && !live.kept.has(key))
      .map(({ key }) => ({
        why: `keep the value that ${key} has, to put it back`,
        command: { kind: 'file', in: 'host', path: sysctlFile(key), text: live.sysctl(key) ?? '0' } as const,
        undo: { kind: 'file', in: 'host', path: sysctlFile(key) } as const,
      })),
    {
      why: `set ${changes.map(describe.sysctl).join(', ')}`,
      command: writeSysctls(changes.map(({ key, value }) => [key, value])),
      ...(before.length === 0 ? {} : { undo: writeSysctls(before) }),
    },
  ]
}

/** What we set and nobody needs any more goes back to what it was, unless somebody has changed it since. */
function dropSysctls(need: Need, live: Live): Plan {
  const wanted = new Set(listSysctls(need, live).map(({ key }) => key))
  const stale = [...live.kept].filter(([key]) => !wanted.has(key))
  const set = stale.flatMap(([key, before]) => {
    const now = live.sysctl(key)
    return now === undefined || now === before ? [] : [{ key, before, now }]
  })
  return rows(
    set.length > 0 && {
      why: `put back ${set.map(({ key, before }) => `${key}=${before}`).join(', ')}`,
      // Listening to routers is switched off last, as it was switched on first.
      command: writeSysctls(set.map(({ key, before }) => [key, before])),
      undo: writeSysctls(set.map(({ key, now }) => [key, now])),
    },
    stale.map(([key, before]) => ({
      why: `forget what ${key} was`,
      command: { kind: 'file', in: 'host', path: sysctlFile(key) } as const,
      undo: { kind: 'file', in: 'host', path: sysctlFile(key), text: before } as const,
    })),
  )
}

/** Settings that go with their interface: named, so that they come back with it. */
export function planOwnSysctls({ sysctls }: Need, live: Live): Plan {
  const set = sysctls.filter(({ key, value, own }) => own && live.sysctl(key) === value)
  const [answering] = set.filter(({ key }) => key.endsWith('/proxy_arp'))
  if (answering === undefined) return []
  return [
    {
      why: 'no longer answer for everybody on the link of the guest',
      command: writeSysctls([[answering.key, '0']]),
      undo: writeSysctls(set.map(({ key, value }) => [key, value])),
    },
  ]
}

// --- all of it --------------------------------------------------------------------------------------------------------

function isEmpty({ addresses, routes, proxies, sysctls, shims, rules }: Need): boolean {
  return [addresses, routes, proxies, sysctls, shims, rules].every((list) => list.length === 0)
}

function planMarker(need: Need, isMarked: boolean): Plan {
  if (isEmpty(need) || isMarked) return []
  return [
    {
      why: 'note that the host has more of ours than links',
      command: { kind: 'file', in: 'host', path: MARKER, text: 'see pipework ls' },
      undo: { kind: 'file', in: 'host', path: MARKER },
    },
  ]
}

function dropMarker(need: Need, isMarked: boolean): Plan {
  if (!isEmpty(need) || !isMarked) return []
  return [
    {
      why: 'note that the host has no more of ours than links',
      command: { kind: 'file', in: 'host', path: MARKER },
      undo: { kind: 'file', in: 'host', path: MARKER, text: 'see pipework ls' },
    },
  ]
}

/**
 * The steps after which the host has what is needed, and no more of ours. What guards is there before what it guards,
 * and goes after it: the firewall is written before forwarding begins, and forwarding ends before the firewall forgets.
 */
export function planNeed(need: Need, live: Live, isMarked: boolean): Plan {
  const routes = byKey(need.routes, routeKey)
  const proxies = byKey(need.proxies, proxyKey)
  const [liveRoutes, liveProxies] = [new Set(live.routes.map(routeKey)), new Set(live.proxies.map(proxyKey))]
  const [wantedRoutes, wantedProxies] = [new Set(routes.map(routeKey)), new Set(proxies.map(proxyKey))]
  return [
    ...planMarker(need, isMarked),
    ...planShims(need, live),
    ...planHairpins(need, live),
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
    ...listStaleAddresses(need, live).map(dropAddress),
    ...dropShims(need, live),
    ...dropMarker(need, isMarked),
  ]
}
