import type { Firewall } from '../../firewall/write'
import { readFirewall } from '../../firewall/write'
import type { Address, Family } from '../../model/address'
import { PipeworkError } from '../../model/errors'
import { mayHaveOutside } from '../../model/host-services'
import { batchLine } from '../../plan/step'
import { hasIpv6 } from '../../state/guest'
import { BIRTHMARK, MADE_RECORD, MARK } from '../../state/record'
import type { Host } from '../../system/types'
import type { HostAddresses } from './desired'
import type { HostRoute, Proxied, Shim } from './need'

/** A shim, and how far the run that made it has come. */
export interface LiveShim extends Shim {
  readonly mac: string
  readonly isRecorded: boolean
  readonly up: boolean
}

/** A link of the host, and the addresses on it. */
export interface LiveLink {
  readonly name: string
  /** The bridge or bond whose port it is. */
  readonly master?: string
  readonly addresses: readonly (Address & { readonly isOurs: boolean; readonly words: readonly string[] })[]
  /** How it was made, where it is one that makes host and guests reach each other. */
  readonly shim?: LiveShim
}

/** What of a need is there, on the host that we run on. */
export interface Live {
  readonly links: readonly LiveLink[]
  /** Routes and proxied addresses that bear our mark. */
  readonly routes: readonly HostRoute[]
  readonly proxies: readonly Proxied[]
  /** Interfaces whose default route a router has announced. */
  readonly announced: readonly string[]
  /** The values that sysctls had before we set them. */
  readonly kept: ReadonlyMap<string, string>
  sysctl(key: string): string | undefined
  /** Whether a port of a bridge sends back what came in by it; false also where there is no such port. */
  isHairpin(port: string): boolean
  readonly firewall: Firewall
  /** Whether the file is there that says that the host may have some of it. */
  readonly isMarked: boolean
}

/** Where the earlier values of sysctls stand: no link can hold them, and like them they are gone after a boot. */
const SYSCTLS = '/run/pipework/sysctls'

/** The file for the earlier value of a sysctl; no interface has a colon in its name. */
export function sysctlFile(key: string): string {
  return `${SYSCTLS}/${key.replaceAll('/', ':')}`
}

interface IpAddress {
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

interface IpRoute {
  readonly dst: string
  readonly dev?: string
  readonly prefsrc?: string
}

function toShim({ ifname: name, link: parent, address: mac, linkinfo, ...rest }: IpAddress): Pick<LiveLink, 'shim'> {
  const mode = linkinfo?.info_data?.mode
  const isRecorded = rest.ifalias === MADE_RECORD
  const isOurs = name.startsWith('pw-') && linkinfo?.info_kind === 'macvlan' && (isRecorded || rest.group === BIRTHMARK)
  if (!isOurs || parent === undefined || mac === undefined || mode === undefined) return {}
  return { shim: { name, parent, kind: 'macvlan', mode, mac, isRecorded, up: rest.flags.includes('UP') } }
}

function toLink(link: IpAddress): LiveLink {
  const { ifname, master, addr_info = [] } = link
  return {
    name: ifname,
    master,
    ...toShim(link),
    addresses: addr_info
      .filter(({ local }) => local !== undefined)
      .map(({ family, local, prefixlen, metric, scope, broadcast }) => ({
        family: family === 'inet' ? 4 : 6,
        ip: local,
        prefix: prefixlen,
        isOurs: `${metric}` === MARK,
        words: [
          ...(broadcast === undefined ? [] : ['brd', broadcast]),
          ...(scope === 'global' ? [] : ['scope', scope]),
          ...(metric === undefined ? [] : ['metric', `${metric}`]),
          ...(family === 'inet6' ? ['nodad'] : []),
        ],
      })),
  }
}

function toRoute({ dst, dev = '', prefsrc }: IpRoute, family: Family): HostRoute {
  return { family, dst, dev, src: prefsrc }
}

function readKept(host: Host): Live['kept'] {
  const names = host.list(SYSCTLS) ?? []
  return new Map(names.map((name) => [name.replaceAll(':', '/'), host.read(`${SYSCTLS}/${name}`) ?? '']))
}

/** What `ip` says of the host, in one batch. */
async function readNetwork(host: Host): Promise<Pick<Live, 'links' | 'routes' | 'proxies' | 'announced'>> {
  const lines6 = hasIpv6(host)
    ? [batchLine`route show table all root ::/0 proto ${MARK}`, batchLine`route show table all root ::/0 proto ra`]
    : []
  const lines = [batchLine`address show`, batchLine`route show table main proto ${MARK}`, batchLine`neigh show proxy`]
  const answer = await host.ip({ lines: [...lines, ...lines6], answer: 'json' })
  if (answer.code !== 0)
    throw new PipeworkError(`the host's network cannot be read: ${answer.stderr.trim()}`, {
      hint: 'See what `ip address` and `ip route` say.',
    })
  const [links = [], routes = [], proxies = [], routes6 = [], announced = []] = answer.stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as unknown[])
  return {
    links: (links as IpAddress[]).map(toLink),
    routes: [
      ...(routes as IpRoute[]).map((it) => toRoute(it, 4)),
      ...(routes6 as IpRoute[]).map((it) => toRoute(it, 6)),
    ],
    proxies: (proxies as { dst: string; dev: string; protocol?: string }[])
      .filter(({ protocol }) => protocol === MARK)
      .map(({ dst, dev }) => ({ ip: dst, dev })),
    announced: (announced as IpRoute[]).filter(({ dst }) => dst === 'default').map(({ dev = '' }) => dev),
  }
}

/** Looks at the host: one batch of ip, the firewall, and files. */
export async function readLive(host: Host): Promise<Live> {
  const [network, firewall] = await Promise.all([readNetwork(host), readFirewall(host)])
  return {
    ...network,
    kept: readKept(host),
    isHairpin: (port) => host.read(`/sys/class/net/${port}/brport/hairpin_mode`) === '1',
    sysctl: (key) => host.read(`/proc/sys/${key}`),
    firewall,
    isMarked: mayHaveOutside(host),
  }
}

/** The host's own addresses, by interface. */
export function toHostAddresses({ links }: Live): HostAddresses {
  return new Map(links.map(({ name, addresses }) => [name, addresses]))
}
