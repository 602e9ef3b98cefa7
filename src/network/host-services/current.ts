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

/** A shim, and how far the run that made it has come. */
export interface CurrentHostMacvlan extends HostMacvlan {
  readonly mac: string
  readonly isRecorded: boolean
  readonly up: boolean
}

/** An address of the host: whether pipework gave it, and the words that add it again. */
export interface CurrentAddress extends Address {
  readonly isOurs: boolean
  readonly words: readonly string[]
}

/** A link of the host, and the addresses on it. */
export interface CurrentLink {
  readonly name: string
  /** The bridge or bond whose port it is. */
  readonly master?: string
  readonly addresses: readonly CurrentAddress[]
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

/** The macvlan by which host and guests reach each other, if the link is one of ours. */
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

/** What `ip` says of the host, in one batch. */
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
