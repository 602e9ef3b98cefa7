import type { HostFirewall } from '../../firewall/write'
import { readHostFirewall } from '../../firewall/write'
import type { Address, Family } from '../../model/address'
import { PipeworkError } from '../../model/errors'
import { mayHaveHostServices } from '../../model/host-services'
import { batchLine } from '../../plan/step'
import { kernelHasIpv6 } from '../../state/guest'
import { OWNED_ALIAS, PENDING_GROUP, ROUTE_PROTO } from '../../state/record'
import type { System } from '../../system/types'
import type { HostAddresses } from './desired'
import type { HostMacvlan, HostRoute, ProxyNeighbour } from './need'

/** A shim, and how far the run that made it has come. */
export interface CurrentHostMacvlan extends HostMacvlan {
  readonly mac: string
  readonly isRecorded: boolean
  readonly up: boolean
}

/** A link of the host, and the addresses on it. */
export interface CurrentLink {
  readonly name: string
  /** The bridge or bond whose port it is. */
  readonly master?: string
  readonly addresses: readonly (Address & { readonly isOurs: boolean; readonly words: readonly string[] })[]
  /** How it was made, where it is one that makes host and guests reach each other. */
  readonly hostMacvlan?: CurrentHostMacvlan
}

/** What of a need is there, on the host that we run on. */
export interface CurrentState {
  readonly links: readonly CurrentLink[]
  /** Routes and proxied addresses that bear our mark. */
  readonly routes: readonly HostRoute[]
  readonly proxyNeighbours: readonly ProxyNeighbour[]
  /** Interfaces whose default route a router has announced. */
  readonly raDefaultDevs: readonly string[]
  /** The values that sysctls had before we set them. */
  readonly savedSysctls: ReadonlyMap<string, string>
  sysctl(key: string): string | undefined
  /** Whether a port of a bridge sends back what came in by it; false also where there is no such port. */
  isHairpin(port: string): boolean
  readonly firewall: HostFirewall
  /** Whether the file is there that says that the host may have some of it. */
  readonly hasMarker: boolean
}

/** Where the earlier values of sysctls stand: no link can hold them, and like them they are gone after a boot. */
const SAVED_SYSCTL_DIR = '/run/pipework/sysctls'

/** The file for the earlier value of a sysctl; no interface has a colon in its name. */
export function savedSysctlFile(key: string): string {
  return `${SAVED_SYSCTL_DIR}/${key.replaceAll('/', ':')}`
}

interface HostAddressJson {
  readonly ifname: string
  readonly ifalias?: string
  readonly master?: string
  readonly link?: string
  readonly group?: string
  readonly flags: readonly string[]
  readonly address?: string
  readonly linkinfo?: { readonly info_kind?: string; readonly info_data?: { readonly mode?: string } }
  readonly addr_info?: readonly {
    readonly family: 'inet' | 'inet6'
    readonly local: string
    readonly prefixlen: number
    readonly metric?: number
    readonly scope: string
    readonly broadcast?: string
  }[]
}

interface HostRouteJson {
  readonly dst: string
  readonly dev?: string
  readonly prefsrc?: string
}

function toHostMacvlan({
  ifname: name,
  link: parent,
  address: mac,
  linkinfo,
  ...rest
}: HostAddressJson): Pick<CurrentLink, 'hostMacvlan'> {
  const mode = linkinfo?.info_data?.mode
  const isRecorded = rest.ifalias === OWNED_ALIAS
  const isOurs =
    name.startsWith('pw-') && linkinfo?.info_kind === 'macvlan' && (isRecorded || rest.group === PENDING_GROUP)
  if (!isOurs || parent === undefined || mac === undefined || mode === undefined) return {}
  return { hostMacvlan: { name, parent, kind: 'macvlan', mode, mac, isRecorded, up: rest.flags.includes('UP') } }
}

function toCurrentLink(link: HostAddressJson): CurrentLink {
  const { ifname, master, addr_info = [] } = link
  return {
    name: ifname,
    master,
    ...toHostMacvlan(link),
    addresses: addr_info
      .filter(({ local }) => local !== undefined)
      .map(({ family, local, prefixlen, metric, scope, broadcast }) => ({
        family: family === 'inet' ? 4 : 6,
        ip: local,
        prefix: prefixlen,
        isOurs: `${metric}` === ROUTE_PROTO,
        words: [
          ...(broadcast === undefined ? [] : ['brd', broadcast]),
          ...(scope === 'global' ? [] : ['scope', scope]),
          ...(metric === undefined ? [] : ['metric', `${metric}`]),
          ...(family === 'inet6' ? ['nodad'] : []),
        ],
      })),
  }
}

function toHostRoute({ dst, dev = '', prefsrc }: HostRouteJson, family: Family): HostRoute {
  return { family, dst, dev, src: prefsrc }
}

function readSavedSysctls(system: System): CurrentState['savedSysctls'] {
  const names = system.list(SAVED_SYSCTL_DIR) ?? []
  return new Map(names.map((name) => [name.replaceAll(':', '/'), system.read(`${SAVED_SYSCTL_DIR}/${name}`) ?? '']))
}

/** What `ip` says of the host, in one batch. */
async function readHostNetwork(
  system: System,
): Promise<Pick<CurrentState, 'links' | 'routes' | 'proxyNeighbours' | 'raDefaultDevs'>> {
  const lines6 = kernelHasIpv6(system)
    ? [
        batchLine`route show table all root ::/0 proto ${ROUTE_PROTO}`,
        batchLine`route show table all root ::/0 proto ra`,
      ]
    : []
  const lines = [
    batchLine`address show`,
    batchLine`route show table main proto ${ROUTE_PROTO}`,
    batchLine`neigh show proxy`,
  ]
  const answer = await system.runIpBatch({ lines: [...lines, ...lines6], output: 'json' })
  if (answer.code !== 0)
    throw new PipeworkError(`the host's network cannot be read: ${answer.stderr.trim()}`, {
      hint: 'See what `ip address` and `ip route` say.',
    })
  const [links = [], routes = [], proxies = [], routes6 = [], announced = []] = answer.stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as unknown[])
  return {
    links: (links as HostAddressJson[]).map(toCurrentLink),
    routes: [
      ...(routes as HostRouteJson[]).map((it) => toHostRoute(it, 4)),
      ...(routes6 as HostRouteJson[]).map((it) => toHostRoute(it, 6)),
    ],
    proxyNeighbours: (proxies as { dst: string; dev: string; protocol?: string }[])
      .filter(({ protocol }) => protocol === ROUTE_PROTO)
      .map(({ dst, dev }) => ({ ip: dst, dev })),
    raDefaultDevs: (announced as HostRouteJson[]).filter(({ dst }) => dst === 'default').map(({ dev = '' }) => dev),
  }
}

/** Looks at the host: one batch of ip, the firewall, and files. */
export async function readCurrentState(system: System): Promise<CurrentState> {
  const [network, firewall] = await Promise.all([readHostNetwork(system), readHostFirewall(system)])
  return {
    ...network,
    savedSysctls: readSavedSysctls(system),
    isHairpin: (port) => system.read(`/sys/class/net/${port}/brport/hairpin_mode`) === '1',
    sysctl: (key) => system.read(`/proc/sys/${key}`),
    firewall,
    hasMarker: mayHaveHostServices(system),
  }
}

/** The host's own addresses, by interface. */
export function toHostAddresses({ links }: CurrentState): HostAddresses {
  return new Map(links.map(({ name, addresses }) => [name, addresses]))
}
