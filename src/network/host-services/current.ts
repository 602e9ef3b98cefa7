import { type HostFirewall, readHostFirewall } from '../../firewall/read'
import type { Address, Family } from '../../model/address'
import { kernelHasIpv6 } from '../../state/guest'
import { type IpAddress, type IpLink, type IpRoute, ipQuery, readIp, toFamily } from '../../state/ip-json'
import { mayHaveHostServices } from '../../state/marker'
import { OWNED_ALIAS, PENDING_GROUP, ROUTE_PROTO } from '../../state/record'
import { batchLine } from '../../system/batch'
import type { System } from '../../system/types'
import type { HostAddresses } from './desired'
import type { HostMacvlan, HostRoute, ProxyNeighbour } from './need'

/** A host macvlan, and how far its creation has progressed. */
export interface CurrentHostMacvlan extends HostMacvlan {
  readonly mac: string
  readonly isRecorded: boolean
  readonly up: boolean
}

/** A host address: whether pipework added it, and the words that add it again. */
export interface CurrentAddress extends Address {
  readonly isOurs: boolean
  readonly words: readonly string[]
}

/** A host link and its addresses. */
export interface CurrentLink {
  readonly name: string
  /** The bridge or bond whose port it is. */
  readonly master?: string
  readonly addresses: readonly CurrentAddress[]
  /** How it was created, if it is a host macvlan. */
  readonly hostMacvlan?: CurrentHostMacvlan
}

/** The parts of a desired state that exist on this host. */
export interface CurrentState {
  readonly links: readonly CurrentLink[]
  /** Routes and proxied addresses that are marked as pipework's. */
  readonly routes: readonly HostRoute[]
  readonly proxyNeighbours: readonly ProxyNeighbour[]
  /** Interfaces with a default route from a router advertisement. */
  readonly raDefaultDevs: readonly string[]
  /** The values of sysctls before pipework set them. */
  readonly savedSysctls: ReadonlyMap<string, string>
  sysctl(key: string): string | undefined
  /**
   * Whether a bridge port is in hairpin mode: it sends frames back by the port they arrived on. False without such a
   * port.
   */
  isHairpin(port: string): boolean
  readonly firewall: HostFirewall
  /** Whether the marker file exists: the host may have some of it. */
  readonly hasMarker: boolean
}

/** The directory for previous sysctl values: no link can hold them, and like sysctls they end with a reboot. */
const SAVED_SYSCTL_DIR = '/run/pipework/sysctls'

/** The file for a previous sysctl value; interface names contain no colon. */
export function savedSysctlFile(key: string): string {
  return `${SAVED_SYSCTL_DIR}/${key.replaceAll('/', ':')}`
}

/** The host macvlan that this link is, if it is one of ours. */
function toHostMacvlan(link: IpLink): CurrentHostMacvlan | undefined {
  const { ifname: name, link: parent, address: mac, linkinfo } = link
  const mode = linkinfo?.info_data?.mode
  const isRecorded = link.ifalias === OWNED_ALIAS
  const isOurs =
    name.startsWith('pw-') && linkinfo?.info_kind === 'macvlan' && (isRecorded || link.group === PENDING_GROUP)
  if (!isOurs || parent === undefined || mac === undefined || typeof mode !== 'string') return undefined
  return { name, parent, kind: 'macvlan', mode, mac, isRecorded, up: link.flags.includes('UP') }
}

function toCurrentAddress({ family, local, prefixlen, metric, scope, broadcast }: IpAddress): CurrentAddress {
  return {
    family: toFamily(family),
    ip: local,
    prefix: prefixlen,
    isOurs: `${metric}` === ROUTE_PROTO,
    words: [
      ...(broadcast === undefined ? [] : ['brd', broadcast]),
      ...(scope === 'global' ? [] : ['scope', scope]),
      ...(metric === undefined ? [] : ['metric', `${metric}`]),
      ...(family === 'inet6' ? ['nodad'] : []),
    ],
  }
}

function toCurrentLink(link: IpLink): CurrentLink {
  const { ifname: name, master, addr_info } = link
  return { name, master, hostMacvlan: toHostMacvlan(link), addresses: addr_info.map(toCurrentAddress) }
}

function toHostRoute({ dst, dev = '', prefsrc: src }: IpRoute, family: Family): HostRoute {
  return { family, dst, dev, src }
}

function readSavedSysctls(system: System): CurrentState['savedSysctls'] {
  const names = system.list(SAVED_SYSCTL_DIR) ?? []
  return new Map(names.map((name) => [name.replaceAll(':', '/'), system.read(`${SAVED_SYSCTL_DIR}/${name}`) ?? '']))
}

/** The host's network as `ip` shows it, read in one batch. */
async function readHostNetwork(
  system: System,
): Promise<Pick<CurrentState, 'links' | 'routes' | 'proxyNeighbours' | 'raDefaultDevs'>> {
  const queries6 = kernelHasIpv6(system)
    ? [
        ipQuery.routes(batchLine`route show table all root ::/0 proto ${ROUTE_PROTO}`),
        ipQuery.routes(batchLine`route show table all root ::/0 proto ra`),
      ]
    : []
  const [links, routes, proxies, routes6 = [], announced = []] = await readIp(
    [
      ipQuery.links(batchLine`address show`),
      ipQuery.routes(batchLine`route show table main proto ${ROUTE_PROTO}`),
      ipQuery.neighbours(batchLine`neigh show proxy`),
      ...queries6,
    ],
    { system },
  )
  return {
    links: links.map(toCurrentLink),
    routes: [...routes.map((it) => toHostRoute(it, 4)), ...routes6.map((it) => toHostRoute(it, 6))],
    proxyNeighbours: proxies
      .filter(({ protocol }) => protocol === ROUTE_PROTO)
      .map(({ dst, dev = '' }) => ({ ip: dst, dev })),
    raDefaultDevs: announced.filter(({ dst }) => dst === 'default').map(({ dev = '' }) => dev),
  }
}

/** Reads the host: one `ip` batch, the firewall, and files. */
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
