import type { Address } from '../../model/address'
import { parseGuestName } from '../../model/guest-name'
import { listClosest } from '../../model/nearest'
import type { AttachRequest } from '../../model/request'
import { deriveNames } from '../../network/names'
import { findGuest, type Guest, locateGuest } from '../../runtimes/find'
import type { AttachFacts } from '../../state/attach-facts'
import { readPortVlans } from '../../state/bridge-vlans'
import {
  areVethPeers,
  findMacvlanParent,
  type GuestLink,
  type GuestState,
  hasAddress,
  kernelHasIpv6,
  readGuestState,
  readGuestSysctls,
} from '../../state/guest'
import {
  DEFAULT_MTU,
  findLinkByIndex,
  type HostLink,
  listBridgePortNames,
  readHostLink,
  readRecordedLinks,
} from '../../state/host-links'
import { withNicRecords } from '../../state/nic-device'
import { findNicOtherName, findOrphanedNic, readHostAddress, readNicFacts, readVlanDevice } from '../../state/nic-facts'
import { isOvsBridge, isOvsRunning, mayBeOvsPort, type OvsState, readOvs, readOvsIfRelevant } from '../../state/ovsdb'
import { mayHavePolicyRules, policyMarkerFile, readPolicyRouting } from '../../state/policy-rules'
import { readProcRoutes } from '../../state/proc-routes'
import type { LinkRecord } from '../../state/record'
import { readSavedNic } from '../../state/saved-link'
import { batchLine } from '../../system/batch'
import type { System } from '../../system/types'

/** The host end of a link in the guest: tries the expected name first, then searches all links. */
function findHostEnd(
  inGuest: GuestLink | undefined,
  named: HostLink | undefined,
  system: System,
): HostLink | undefined {
  if (inGuest?.kind !== 'veth' || inGuest.peerIndex === undefined) return undefined
  if (areVethPeers(inGuest, named)) return named
  const link = findLinkByIndex(inGuest.peerIndex, system)
  return areVethPeers(inGuest, link) ? link : undefined
}

/**
 * Whether the guest has neither this interface nor a default route, as with `--network none`. Reading three /proc files
 * saves a process. A later change makes the plan fail, and pipework then plans again.
 */
function isEmptyNamespace(ifname: string, { pid }: Guest, system: System): boolean {
  if (pid === undefined) return false
  const net = `/proc/${pid}/net`
  const links = system.read(`${net}/dev`)?.split('\n')
  const routes = readProcRoutes(4, net, system)
  if (links === undefined || routes === undefined) return false
  const hasDefault = [...routes, ...(readProcRoutes(6, net, system) ?? [])].some(({ isDefault }) => isDefault)
  return !hasDefault && !links.some((line) => line.trim().split(/\s+/, 1)[0] === `${ifname}:`)
}

/** Reads Open vSwitch when the link is to be moved and may be an Open vSwitch port. */
async function readOvsIfMoved(
  hostEnd: HostLink | undefined,
  { hostif }: AttachRequest,
  system: System,
): Promise<OvsState | undefined> {
  const isMoved = hostEnd?.record?.kind === 'link' && hostEnd.record.hostif !== hostif
  return isMoved && mayBeOvsPort(hostEnd) && isOvsRunning(system) ? readOvs(system) : undefined
}

/** The namespace to read facts from. */
export interface AttachReadContext {
  readonly guest: Guest
  readonly system: System
  /** The name of the guest's held namespace. */
  readonly netns?: string
  /** The bridge that the request's uplink will create, if it does not exist. */
  readonly newBridge?: HostLink
}

const EMPTY_GUEST: GuestState = { links: [], routes: [] }

/**
 * Reads everything that the request depends on; changes nothing. Without a netns (not root, on a dry run) the guest is
 * assumed to be empty.
 */
export async function readAttachFacts(
  request: AttachRequest,
  { guest, system, netns, newBridge }: AttachReadContext,
): Promise<AttachFacts> {
  const hostif =
    readHostLink(request.hostif, system) ?? (request.direct ? findOrphanedNic(request.hostif, system) : undefined)
  const ovsOfHostif = request.direct ? undefined : await readOvsIfRelevant(request.hostif, hostif, system)
  const isOvs = isOvsBridge(request.hostif, hostif, ovsOfHostif)
  const names = await deriveNames(request, { guest, system }, isOvs ? 'ovs' : 'bridge')
  const named = readHostLink(request.hostEnd ?? names.hostEndName, system)
  const state = await readGuestIfNeeded(request, named, { guest, system, netns })
  const inGuest = state.links.find(({ name }) => name === request.ifname)
  const hostEnd = findHostEnd(inGuest, named, system)
  const nameTaken = named !== undefined && named.ifindex !== hostEnd?.ifindex ? named : undefined
  const ovs = ovsOfHostif ?? (await readOvsIfMoved(hostEnd, request, system))
  const asked = request.vlan === undefined || isOvs ? 'filtering' : 'always'
  const port = hostEnd === undefined ? undefined : await readPortVlans(hostEnd, asked, system)
  const lower = findMacvlanParent(inGuest, system)
  const vlanDevice = readVlanDevice(request, system)
  const parked = request.direct ? findNicOtherName(request, state) : undefined
  const away = hostif === undefined ? readSavedNic(request.hostif, system) : undefined
  const similar = hostif === undefined && away === undefined ? listSimilarNames(request.hostif, system) : undefined
  const takenPeer = state.links.find((link) => areVethPeers(link, nameTaken))?.name
  return {
    ...names,
    hostAddress: await readHostAddress(request, vlanDevice, system),
    recordedGuest: await findRecordedGuest(hostEnd ?? inGuest, guest, system),
    renamedTo: await findNewName(nameTaken, guest, system),
    hostif: hostif ?? newBridge,
    inGuest,
    hostEnd,
    portVlans: port,
    ovs,
    parent: lower,
    vlanDevice,
    nicOtherName: parked,
    nicElsewhere: away,
    similarNames: similar,
    nameConflict: nameTaken,
    conflictPeer: takenPeer,
    ...(await readNicFacts(
      { hostif: request.direct ? hostif : undefined, inGuest: inGuest ?? parked, guest, state },
      system,
    )),
    links: state.links,
    routes: state.routes,
    ...(await readOptionFacts(request, { links: state.links, inGuest, hostEnd, hostif }, { guest, system, netns })),
    sysctls:
      netns !== undefined && needsSysctls(request, inGuest)
        ? await readGuestSysctls(request.ifname, netns, system)
        : {},
    hasIpv6: kernelHasIpv6(system),
    hasArping: needsArping(request, inGuest) && system.hasProgram('arping') && (await isIputilsArping(system)),
  }
}

/** The state of the guest; not read without a namespace, or when nothing in the guest matters. */
async function readGuestIfNeeded(
  request: AttachRequest,
  named: HostLink | undefined,
  { guest, system, netns }: AttachReadContext,
): Promise<GuestState> {
  if (netns === undefined) return EMPTY_GUEST
  // A moved NIC is compared by link index, so the guest's links are needed.
  if (request.direct) return readNicGuest(guest, netns, system)
  // Routes and policy rules are compared with all links of the guest.
  const mayBeBlank = request.routes.length === 0 && !request.policyRoute && !mayHavePolicyRules(system, netns)
  const isEmpty = named === undefined && mayBeBlank && isEmptyNamespace(request.ifname, guest, system)
  return isEmpty ? EMPTY_GUEST : readNicGuest(guest, netns, system)
}

/** The state of the guest, with NICs of the host identified by their device. */
async function readNicGuest({ nsPath }: Guest, netns: string, system: System): Promise<GuestState> {
  const state = await readGuestState(netns, system)
  return withNicRecords(state, system.inode(nsPath) ?? 0, system)
}

/** Existing interfaces with a name close to an unknown one; undefined for names that pipework creates. */
function listSimilarNames(typed: string, system: System): readonly string[] | undefined {
  if (/^(br|ovs)|:|^(ptp|dummy)$/.test(typed)) return undefined
  const ours = readRecordedLinks(system).flatMap(({ name, record }) => (record?.kind === 'link' ? [name] : []))
  const names = (system.list('/sys/class/net') ?? []).filter((name) => name !== 'lo' && !ours.includes(name))
  return listClosest(typed, names)
}

/** The guest in the link's record, when the link was attached under another name that is still valid. */
async function findRecordedGuest(
  link: GuestLink | HostLink | undefined,
  guest: Guest,
  system: System,
): Promise<LinkRecord['guest'] | undefined> {
  const record = link?.record
  if (record?.kind !== 'link') return undefined
  const isSame = record.guest.kind === guest.kind && record.guest.name === guest.name
  return isSame || (await locateGuest(record.guest, system.inode(guest.nsPath), system)) !== 'here'
    ? undefined
    : record.guest
}

/** The new name of the container that the link was made for, when this guest has taken over its old name. */
async function findNewName(
  link: HostLink | undefined,
  { name, id }: Guest,
  system: System,
): Promise<string | undefined> {
  if (link?.record?.kind !== 'link') return undefined
  const { kind, name: before, id: owner } = link.record.guest
  if (name !== before || owner === undefined || id?.startsWith(owner)) return undefined
  const found = await findGuest(parseGuestName(`${kind}:${owner}`), system).catch(() => undefined)
  return found?.name
}

/** Whether an existing link may get addresses; with --force pipework may recreate the link and roll back. */
function needsSysctls({ force, sources, addresses }: AttachRequest, inGuest: GuestLink | undefined): boolean {
  const isMissing = (address: Address) => !hasAddress(inGuest, address)
  return inGuest !== undefined && (force || sources.length > 0 || addresses.some(isMissing))
}

/** Facts for options that the request has, or had before, and that no other read covers. */
async function readOptionFacts(
  request: AttachRequest,
  { links, inGuest, hostEnd, hostif }: Pick<AttachFacts, 'links' | 'inGuest' | 'hostEnd' | 'hostif'>,
  { system, netns }: AttachReadContext,
): Promise<Pick<AttachFacts, 'policy' | 'rulesFile' | 'otherPortsMtu' | 'offload'>> {
  const { record } = hostEnd ?? inGuest ?? {}
  const had = (start: string) => record?.kind === 'link' && record.words.some((word) => word.startsWith(start))
  const isPolicy =
    netns !== undefined && (request.policyRoute || had('--policy-route') || mayHavePolicyRules(system, netns))
  const isFreed = request.mtu === undefined && hostif?.kind === 'bridge' && had('--mtu=')
  return {
    rulesFile: netns !== undefined && request.policyRoute ? policyMarkerFile(netns, system) : undefined,
    policy: isPolicy ? await readPolicyRouting({ ifname: request.ifname, links }, netns, system) : undefined,
    ...(isFreed ? { otherPortsMtu: readOtherPortsMtu(hostif, hostEnd, system) } : {}),
    ...(!isFreed && request.mtu === undefined && isMtuLoweredByOther(hostEnd, hostif, system)
      ? { otherPortsMtu: hostEnd.mtu }
      : {}),
    offload:
      request.txOffload !== undefined || had('--tx-offload=') ? await readOffload(inGuest, netns, system) : undefined,
  }
}

/** The smallest MTU of the bridge's other ports: a bridge takes the smallest MTU of its ports. */
function readOtherPortsMtu({ name, mtu }: HostLink, hostEnd: HostLink | undefined, system: System): number {
  if (hostEnd?.master !== name || mtu !== hostEnd.mtu) return mtu
  const others = listBridgePortNames(name, system).filter((port) => port !== hostEnd.name)
  return others.length === 0 ? DEFAULT_MTU : Math.min(...others.map((port) => readHostLink(port, system)?.mtu ?? mtu))
}

/**
 * Whether another link's --mtu lowered the MTU of the bridge. That must not change this link: two lines of one file
 * would overwrite each other forever.
 */
function isMtuLoweredByOther(
  hostEnd: HostLink | undefined,
  hostif: HostLink | undefined,
  system: System,
): hostEnd is HostLink {
  if (hostif?.kind !== 'bridge' || hostEnd?.master !== hostif.name || hostEnd.mtu <= hostif.mtu) return false
  return readRecordedLinks(system).some(
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
  system: System,
): Promise<NonNullable<AttachFacts['offload']>> {
  const ethtool = system.hasProgram('ethtool')
  if (!ethtool || inGuest === undefined || netns === undefined) return { ethtool }
  const line = batchLine`netns exec ${netns} ethtool -k ${inGuest.name}`
  const { stdout } = await system.runIpBatch({ lines: [line], output: 'text' })
  return { ethtool, state: /^tx-checksumming: off/m.test(stdout) ? 'off' : 'on' }
}

/** Whether the LAN must be asked for an IPv4 address. */
function needsArping({ probe, addresses }: AttachRequest, inGuest: GuestLink | undefined): boolean {
  return probe && addresses.some((address) => address.family === 4 && !hasAddress(inGuest, address))
}

/** Habets' arping has the same name, but its -D means something else. */
async function isIputilsArping(system: System): Promise<boolean> {
  const { stdout, stderr } = await system.run(['arping', '-V'])
  return /iputils/.test(stdout + stderr)
}
