import type { Address } from '../../model/address'
import { parseGuest } from '../../model/guest-name'
import { listNearest } from '../../model/nearest'
import type { AttachRequest } from '../../model/request'
import { deriveNames, type Names } from '../../network/names'
import { batchLine } from '../../plan/step'
import { findGuest, type Guest, whereIs } from '../../runtimes/find'
import { type Port, readPort } from '../../state/bridge-vlans'
import {
  arePeers,
  findLower,
  type GuestLink,
  type GuestState,
  hasAddress,
  hasIpv6,
  type Route,
  readGuest,
  readSysctls,
} from '../../state/guest'
import { DEFAULT_MTU, findByIndex, type HostLink, listPorts, readHostLink, readOurLinks } from '../../state/host-links'
import {
  findParked,
  findStray,
  type NicFacts,
  readHostAddress,
  readNicFacts,
  readVlanDevice,
} from '../../state/nic-facts'
import { isOvsBridge, isOvsThere, mayBeOvsPort, type Ovs, readOvs, readOvsFor } from '../../state/ovsdb'
import { mayHaveRules, type Policy, readPolicy, rulesNote } from '../../state/policy-rules'
import { readProcRoutes } from '../../state/proc-routes'
import type { LinkRecord } from '../../state/record'
import { type NicState, readNic } from '../../state/saved-link'
import type { Host } from '../../system/types'

/** What is known of the host and the guest when the plan is made. */
export interface Facts extends NicFacts, Names {
  /** The host interface of the request, when it exists. */
  readonly hostif?: HostLink
  /** The interface of that name in the guest, when there is one. */
  readonly inGuest?: GuestLink
  /** The host's end of that interface, when it is a veth of this host. */
  readonly hostEnd?: HostLink
  /** The guest in the link's record, where that is another name for the same namespace. */
  readonly recordedAs?: LinkRecord['guest']
  /** The VLANs of that end, where its bridge keeps VLANs apart or is to do so. */
  readonly port?: Port
  /** Open vSwitch, where the request or the link that is there may concern it. */
  readonly ovs?: Ovs
  /** What the link in the guest hangs on, where that is not a veth's other end: a macvlan's NIC. */
  readonly lower?: HostLink
  /** The guest's links. */
  readonly links: readonly GuestLink[]
  /** The NIC of that name, when it is in a guest. */
  readonly away?: NicState
  /** Names that the host's interfaces have, where nothing has the one that was typed, and nothing is made of it. */
  readonly similar?: readonly string[]
  /** With --direct-phys: the NIC, when it is in the guest under another name. */
  readonly parked?: GuestLink
  /** A link of the host that bears the name wanted for the host end and is not it. */
  readonly nameTaken?: HostLink
  /** Whether the holder of that name has its other end in this guest, and the interface's name there. */
  readonly takenPeer?: string
  /** What the container is called now that the holder of that name was made for, where it runs on under another name. */
  readonly renamed?: string
  /** The guest's main routing table. */
  readonly routes: readonly Route[]
  /** Rules and routes for replies that leave where they came in, and what is left of such for links that are gone. */
  readonly policy?: Policy
  /** With --policy-route: the file that says that this guest has rules. */
  readonly rulesNote?: string
  /** The MTU that the bridge has without this link, where that is not to choose its own any more. */
  readonly restMtu?: number
  /** Where --tx-offload is given, or was: whether there is an ethtool, and what it says of the link that is there. */
  readonly offload?: { readonly ethtool: boolean; readonly state?: 'on' | 'off' }
  /** sysctls of the interface in the guest; empty while it does not exist, or needs no new address. */
  readonly sysctls: Readonly<Record<string, string>>
  /** False where the kernel knows no IPv6. */
  readonly ipv6: boolean
  /** Whether iputils' arping is there to ask for an IPv4 address. */
  readonly arping: boolean
}

/** The host's end of a link in the guest: looked for under the name it should have, else among all links. */
function findHostEnd(inGuest: GuestLink | undefined, named: HostLink | undefined, host: Host): HostLink | undefined {
  if (inGuest?.kind !== 'veth' || inGuest.peerIndex === undefined) return undefined
  if (arePeers(inGuest, named)) return named
  const link = findByIndex(inGuest.peerIndex, host)
  return arePeers(inGuest, link) ? link : undefined
}

/**
 * Whether the guest has neither an interface of that name nor a default route, as with `--network none`: three files
 * say so, and save a process. What changes after that makes the plan fail, and it is made again.
 */
function isBlank(ifname: string, { pid }: Guest, host: Host): boolean {
  if (pid === undefined) return false
  const net = `/proc/${pid}/net`
  const links = host.read(`${net}/dev`)?.split('\n')
  const routes = readProcRoutes(4, net, host)
  if (links === undefined || routes === undefined) return false
  const hasDefault = [...routes, ...(readProcRoutes(6, net, host) ?? [])].some(({ isDefault }) => isDefault)
  return !hasDefault && !links.some((line) => line.trim().split(/\s+/, 1)[0] === `${ifname}:`)
}

/** Of a link that is to be moved, and may be a port of Open vSwitch now. */
async function readOvsOf(
  hostEnd: HostLink | undefined,
  { hostif }: AttachRequest,
  host: Host,
): Promise<Ovs | undefined> {
  const isMoved = hostEnd?.record?.kind === 'link' && hostEnd.record.hostif !== hostif
  return isMoved && mayBeOvsPort(hostEnd) && isOvsThere(host) ? readOvs(host) : undefined
}

/** Where facts are gathered. */
export interface Surroundings {
  readonly guest: Guest
  readonly host: Host
  /** The name of the guest's pinned namespace. */
  readonly netns?: string | undefined
}

const EMPTY: GuestState = { links: [], routes: [] }

/**
 * One snapshot of what the request needs to know, changing nothing. Without a netns (not root, on a dry run) the
 * inside of the guest is taken to be empty.
 */
export async function gatherFacts(request: AttachRequest, { guest, host, netns }: Surroundings): Promise<Facts> {
  const hostif = readHostLink(request.hostif, host) ?? (request.direct ? findStray(request.hostif, host) : undefined)
  const ovsOfHostif = request.direct ? undefined : await readOvsFor(request.hostif, hostif, host)
  const isOvs = isOvsBridge(request.hostif, hostif, ovsOfHostif)
  const names = await deriveNames(request, { guest, host }, isOvs ? 'ovs' : 'bridge')
  const named = readHostLink(request.hostEnd ?? names.hostEndName, host)
  const state = await readInside(request, { hostif, named }, { guest, host, netns })
  const inGuest = state.links.find(({ name }) => name === request.ifname)
  const hostEnd = findHostEnd(inGuest, named, host)
  const nameTaken = named !== undefined && named.ifindex !== hostEnd?.ifindex ? named : undefined
  const ovs = ovsOfHostif ?? (await readOvsOf(hostEnd, request, host))
  const asked = request.vlan === undefined || isOvs ? 'filtering' : 'always'
  const port = hostEnd === undefined ? undefined : await readPort(hostEnd, asked, host)
  const lower = findLower(inGuest, host)
  const vlanDevice = readVlanDevice(request, host)
  const parked = request.direct ? findParked(request, state) : undefined
  const away = hostif === undefined ? readNic(request.hostif, host) : undefined
  const similar = hostif === undefined && away === undefined ? listSimilar(request.hostif, host) : undefined
  const takenPeer = state.links.find((link) => arePeers(link, nameTaken))?.name
  return {
    ...names,
    ...known({ hostAddress: await readHostAddress(request, vlanDevice, host) }),
    ...known({ recordedAs: await findOtherName(hostEnd ?? inGuest, guest, host) }),
    ...known({ renamed: await findRenamed(nameTaken, guest, host) }),
    ...known({ hostif, inGuest, hostEnd, port, ovs, lower, vlanDevice, parked, away, similar, nameTaken, takenPeer }),
    ...(await readNicFacts({ hostif: request.direct ? hostif : undefined, inGuest: inGuest ?? parked, guest }, host)),
    links: state.links,
    routes: state.routes,
    ...(await readOptions(request, { links: state.links, inGuest, hostEnd, hostif }, { guest, host, netns })),
    sysctls:
      netns !== undefined && needsSysctls(request, inGuest) ? await readSysctls(request.ifname, netns, host) : {},
    ipv6: hasIpv6(host),
    arping: needsArping(request, inGuest) && host.has('arping') && (await isIputils(host)),
  }
}

/** The inside of the guest; not read where it cannot be, or where nothing is in it that matters. */
async function readInside(
  request: AttachRequest,
  { hostif, named }: { readonly hostif: HostLink | undefined; readonly named: HostLink | undefined },
  { guest, host, netns }: Surroundings,
): Promise<GuestState> {
  if (netns === undefined) return EMPTY
  const isAway = request.direct && hostif === undefined
  // Routes and rules are compared with what is there, links that have no default route among it.
  const mayBeBlank = request.routes.length === 0 && !request.policyRoute && !mayHaveRules(host, netns)
  const isEmpty = !isAway && named === undefined && mayBeBlank && isBlank(request.ifname, guest, host)
  return isEmpty ? EMPTY : readGuest(netns, host)
}

/** Interfaces of the host that a name which none has may have meant; undefined for a name that makes something. */
function listSimilar(typed: string, host: Host): readonly string[] | undefined {
  if (/^(br|ovs)|:|^(ptp|dummy)$/.test(typed)) return undefined
  const ours = readOurLinks(host).flatMap(({ name, record }) => (record?.kind === 'link' ? [name] : []))
  const names = (host.list('/sys/class/net') ?? []).filter((name) => name !== 'lo' && !ours.includes(name))
  return listNearest(typed, names)
}

/** Whose link it is that is there, where somebody has made it under another name that is still good. */
async function findOtherName(
  link: GuestLink | HostLink | undefined,
  guest: Guest,
  host: Host,
): Promise<LinkRecord['guest'] | undefined> {
  const record = link?.record
  if (record?.kind !== 'link') return undefined
  const isSame = record.guest.kind === guest.kind && record.guest.name === guest.name
  return isSame || (await whereIs(record.guest, host.inode(guest.nsPath), host)) !== 'here' ? undefined : record.guest
}

/** Where the guest has the name of another container, which runs on: the name of that, for which the link was made. */
async function findRenamed(link: HostLink | undefined, { name, id }: Guest, host: Host): Promise<string | undefined> {
  if (link?.record?.kind !== 'link') return undefined
  const { kind, name: before, id: owner } = link.record.guest
  if (name !== before || owner === undefined || id?.startsWith(owner)) return undefined
  const found = await findGuest(parseGuest(`${kind}:${owner}`), host).catch(() => undefined)
  return found?.name
}

/** Whether addresses may come to a link that is there; with --force it may be made anew, and taken back. */
function needsSysctls({ force, sources, addresses }: AttachRequest, inGuest: GuestLink | undefined): boolean {
  const isMissing = (address: Address) => !hasAddress(inGuest, address)
  return inGuest !== undefined && (force || sources.length > 0 || addresses.some(isMissing))
}

/** The facts that there are. */
function known<T extends object>(facts: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(facts).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> }
}

/** What a link that is there may have of an option that is given, or was, and that no other place tells. */
async function readOptions(
  request: AttachRequest,
  { links, inGuest, hostEnd, hostif }: Pick<Facts, 'links' | 'inGuest' | 'hostEnd' | 'hostif'>,
  { host, netns }: Surroundings,
): Promise<Pick<Facts, 'policy' | 'rulesNote' | 'restMtu' | 'offload'>> {
  const { record } = hostEnd ?? inGuest ?? {}
  const had = (start: string) => record?.kind === 'link' && record.words.some((word) => word.startsWith(start))
  const isPolicy = netns !== undefined && (request.policyRoute || had('--policy-route') || mayHaveRules(host, netns))
  const isFreed = request.mtu === undefined && hostif?.kind === 'bridge' && had('--mtu=')
  return {
    rulesNote: netns !== undefined && request.policyRoute ? rulesNote(netns, host) : undefined,
    policy: isPolicy ? await readPolicy({ ifname: request.ifname, links }, netns, host) : undefined,
    ...(isFreed ? { restMtu: readRestMtu(hostif, hostEnd, host) } : {}),
    ...(!isFreed && request.mtu === undefined && isOvertaken(hostEnd, hostif, host) ? { restMtu: hostEnd.mtu } : {}),
    offload:
      request.txOffload !== undefined || had('--tx-offload=') ? await readOffload(inGuest, netns, host) : undefined,
  }
}

/** A bridge takes the smallest MTU of its ports, so that it may have this link's. */
function readRestMtu({ name, mtu }: HostLink, hostEnd: HostLink | undefined, host: Host): number {
  if (hostEnd?.master !== name || mtu !== hostEnd.mtu) return mtu
  const others = listPorts(name, host).filter((port) => port !== hostEnd.name)
  return others.length === 0 ? DEFAULT_MTU : Math.min(...others.map((port) => readHostLink(port, host)?.mtu ?? mtu))
}

/**
 * Whether the bridge has a smaller MTU than this link because another link was asked to: that is no reason to change
 * this one, or two lines of a file would never both be true.
 */
function isOvertaken(hostEnd: HostLink | undefined, hostif: HostLink | undefined, host: Host): hostEnd is HostLink {
  if (hostif?.kind !== 'bridge' || hostEnd?.master !== hostif.name || hostEnd.mtu <= hostif.mtu) return false
  return readOurLinks(host).some(
    ({ master, mtu, record }) =>
      master === hostif.name &&
      mtu === hostif.mtu &&
      record?.kind === 'link' &&
      record.words.includes(`--mtu=${hostif.mtu}`),
  )
}

async function readOffload(
  inGuest: GuestLink | undefined,
  netns: string | undefined,
  host: Host,
): Promise<NonNullable<Facts['offload']>> {
  const ethtool = host.has('ethtool')
  if (!ethtool || inGuest === undefined || netns === undefined) return { ethtool }
  const line = batchLine`netns exec ${netns} ethtool -k ${inGuest.name}`
  const { stdout } = await host.ip({ lines: [line], answer: 'text' })
  return { ethtool, state: /^tx-checksumming: off/m.test(stdout) ? 'off' : 'on' }
}

/** Whether there is an IPv4 address to ask for. */
function needsArping({ probe, addresses }: AttachRequest, inGuest: GuestLink | undefined): boolean {
  return probe && addresses.some((address) => address.family === 4 && !hasAddress(inGuest, address))
}

/** Habets' arping shares the name and means something else by -D. */
async function isIputils(host: Host): Promise<boolean> {
  const { stdout, stderr } = await host.query(['arping', '-V'])
  return /iputils/.test(stdout + stderr)
}
