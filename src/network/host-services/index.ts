import { type ForwardedTraffic, forwardingWarning } from '../../firewall/check'
import type { Ruleset } from '../../firewall/rule'
import { chooseWriter, listMissingRules } from '../../firewall/write'
import { type Address, subnetsOverlap } from '../../model/address'
import { parseRecordSharing } from '../../model/attach-options'
import { PipeworkError } from '../../model/errors'
import { hostServicesOf, needsForwarding, needsHostServices } from '../../model/host-services'
import type { Warning } from '../../model/report'
import { parseRouted } from '../../model/routed'
import type { Plan } from '../../plan/step'
import type { AttachContext } from '../../state/attach-facts'
import {
  type ExistingAttachment,
  listGuestAttachments,
  readHostAttachments,
  readOtherNamespaces,
} from '../../state/attachments'
import { findMacvlanParent } from '../../state/guest'
import { mayHaveHostServices } from '../../state/marker'
import { isOvsBridge } from '../../state/ovsdb'
import { decodeRecord, type LinkRecord } from '../../state/record'
import type { System } from '../../system/types'
import { formatLinkRecord } from '../link-record'
import { type CurrentState, readCurrentState, toHostAddresses } from './current'
import { desiredState, type HostAttachment } from './desired'
import { readForwarding } from './forwarding'
import { type DesiredState, describeState, EMPTY_STATE, mergeStates } from './need'
import { planDesiredState } from './plan'
import { planLinkSysctlReset } from './sysctls'
import { validateHostServices } from './validate'

/** The host-service inputs of an existing attachment. */
function toHostAttachment({ record, hostEnd, inGuest }: ExistingAttachment, system: System): HostAttachment {
  const { guest, ifname, words, addresses = [] } = record
  const { hostif, hostServices } = hostServicesOf(record)
  if (hostEnd !== undefined) {
    const isPort = system.list(`/sys/class/net/${hostEnd.name}/brport`) !== undefined
    return {
      guest: guest.name,
      ifname,
      hostif,
      hostEnd: hostEnd.name,
      isBridgePort: isPort,
      addresses,
      words,
      hostServices,
    }
  }
  const parent = findMacvlanParent(inGuest, system)?.name
  return {
    ...{ guest: guest.name, ifname, hostif: parent ?? '', isBridgePort: false, addresses, words },
    ...(parent === undefined ? {} : { parent, sharing: parseRecordSharing(record.words) }),
    // The guest can write the record of a link inside it, so no host port is opened for that record.
    hostServices: hostServicesOf({ ...record, words: words.filter((word) => word === '--host-access') }).hostServices,
  }
}

/** The traffic that the host should forward for the request; undefined for none. */
export function requestedForwarding(context: AttachContext, system: System): ForwardedTraffic | undefined {
  return readForwarding(toRequestedAttachment(context), system)
}

/** The attachments whose forwarded traffic a foreign firewall rule drops, with a fix for each. */
export function listBlockedForwarding(
  all: readonly ExistingAttachment[],
  ruleset: Ruleset,
  system: System,
): ReadonlyMap<ExistingAttachment, Warning> {
  const entries = all.flatMap((attached) => {
    const subject = toHostAttachment(attached, system)
    const forwarding = needsForwarding(subject) ? readForwarding(subject, system) : undefined
    const warning = forwarding && forwardingWarning(forwarding, ruleset, system)
    return warning === undefined ? [] : [[attached, warning] as const]
  })
  return new Map(entries)
}

/** The host-service inputs of the request. */
function toRequestedAttachment({ request, guest, facts }: AttachContext): HostAttachment {
  const isShared = facts.hostif !== undefined && facts.hostif.kind !== 'bridge' && facts.ovs?.kind !== 'database'
  return {
    guest: guest.name,
    ifname: request.ifname,
    hostif: request.hostif,
    isBridgePort:
      parseRouted(request.hostif) === undefined && !isShared && !isOvsBridge(request.hostif, facts.hostif, facts.ovs),
    ...(isShared || request.hostif === 'dummy'
      ? { parent: facts.vlanDevice?.name ?? request.hostif, sharing: request.sharing }
      : { hostEnd: request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName }),
    addresses: request.addresses,
    words: request.words,
    hostServices: request.hostServices,
  }
}

const isSameAttachment = (a: LinkRecord, b: Pick<LinkRecord, 'guest' | 'ifname'>) =>
  a.guest.kind === b.guest.kind && a.guest.name === b.guest.name && a.guest.id === b.guest.id && a.ifname === b.ifname

/** The existing attachments; those in guests are read only when they matter. */
async function readAllAttachments(
  where: 'host' | 'everywhere',
  system: System,
): Promise<readonly ExistingAttachment[]> {
  const inGuests = where === 'everywhere' ? (await readOtherNamespaces(system)).flatMap(listGuestAttachments) : []
  return [...readHostAttachments(system), ...inGuests]
}

const hasHostMacvlan = ({ links }: CurrentState) => links.some(({ hostMacvlan }) => hostMacvlan !== undefined)

/** The host state that all of these need. Attachments on a missing interface need nothing. */
function desiredStateOfAll(subjects: readonly HostAttachment[], live: CurrentState): DesiredState {
  const own = toHostAddresses(live)
  const needs = subjects.filter(needsHostServices).map((it) => {
    const need = desiredState(it, own)
    return it.hostEnd === undefined ? pickExisting(need, live) : need
  })
  return mergeStates([...needs, ...subjects.map((it) => keepUsedAddresses(it, live))])
}

/** Keeps our bridge address while any attachment uses it as its gateway or for a published port. */
function keepUsedAddresses(
  { hostif, hostEnd, addresses, hostServices }: HostAttachment,
  { links }: CurrentState,
): DesiredState {
  const ours = links.find(({ name }) => name === hostif)?.addresses.filter(({ isOurs }) => isOurs) ?? []
  const { bridgeAddresses, portMappings } = hostServices
  const isReached = (it: Address) => portMappings.length === 0 || bridgeAddresses.some((own) => subnetsOverlap(it, own))
  const isUsed = (own: Address) =>
    addresses.some((it) => it.gateway === own.ip || (!isReached(it) && subnetsOverlap(it, own)))
  if (hostEnd === undefined) return EMPTY_STATE
  return { ...EMPTY_STATE, addresses: ours.filter(isUsed).map((it) => ({ ...it, dev: hostif })) }
}

/**
 * The parts of the state that exist already. A record inside a guest gets nothing new: the guest may have written it to
 * get a host route to itself. It keeps what a user on the host requested before.
 */
function pickExisting(need: DesiredState, { links, routes, proxyNeighbours }: CurrentState): DesiredState {
  const isThere = (dev: string) => links.some(({ name, hostMacvlan }) => name === dev && hostMacvlan !== undefined)
  return {
    ...need,
    hostMacvlans: need.hostMacvlans.filter(({ name }) => isThere(name)),
    routes: need.routes.filter(({ dst, dev }) => routes.some((it) => it.dst === dst && it.dev === dev)),
    proxyNeighbours: need.proxyNeighbours.filter(({ ip, dev }) =>
      proxyNeighbours.some((it) => it.ip === ip && it.dev === dev),
    ),
    sysctls: need.sysctls.filter(({ key }) => isThere(key.split('/')[3] ?? '')),
  }
}

/** Each run rebuilds the firewall rules from the record, so the record must hold the addresses. */
function validateRecordLength(context: AttachContext): void {
  const record = decodeRecord(formatLinkRecord(context))
  if (record?.kind === 'link' && record.addresses === undefined)
    throw new PipeworkError(`the words for '${context.request.ifname}' do not fit into its record of 255 bytes`, {
      hint: 'Give fewer addresses or published ports, or make two interfaces of it.',
    })
}

/**
 * Plans addresses, routes, sysctls and firewall rules of the host, as this and all other attachments need them. The
 * steps follow those of the link. Throws refusals.
 */
export async function planHostServices(context: AttachContext, system: System): Promise<Plan> {
  const { request, guest, facts } = context
  const live = await readCurrentState(system)
  const me = { guest: { kind: guest.kind, name: guest.name, id: guest.id } }
  const all = await readAllAttachments(
    request.hostServices.hostAccess || hasHostMacvlan(live) ? 'everywhere' : 'host',
    system,
  )
  const isMine = ({ record, hostEnd }: ExistingAttachment) =>
    isSameAttachment(record, { ...me, ifname: request.ifname }) ||
    (hostEnd !== undefined && hostEnd.name === (facts.hostEnd ?? facts.nameConflict)?.name)
  const others = all.filter((it) => !isMine(it)).map((it) => toHostAttachment(it, system))
  const mine = all.find(isMine)
  const subject = toRequestedAttachment(context)
  if (needsHostServices(subject)) {
    validateRecordLength(context)
    validateHostServices({
      attachment: subject,
      previous: mine && toHostAttachment(mine, system),
      others,
      current: live,
      system,
    })
  }
  const need = mergeStates([
    desiredStateOfAll(others, live),
    keepUsedAddresses(subject, live),
    desiredState(subject, toHostAddresses(live)),
  ])
  return planDesiredState(need, await withWriter(need, live, system))
}

/** The current state, with the writer that supports these rules. */
async function withWriter({ rules }: DesiredState, live: CurrentState, system: System): Promise<CurrentState> {
  return { ...live, firewall: await chooseWriter(rules, live.firewall, system) }
}

/** Removes host state that is unused without these attachments; runs before their links are removed. */
export async function planServicesRemoval(gone: readonly ExistingAttachment[], system: System): Promise<Plan> {
  const live = await readCurrentState(system)
  const all = await readAllAttachments(hasHostMacvlan(live) ? 'everywhere' : 'host', system)
  const isGone = ({ record, hostEnd }: ExistingAttachment) =>
    gone.some((it) => (hostEnd === undefined ? isSameAttachment(record, it.record) : it.hostEnd?.name === hostEnd.name))
  const rest = all.filter((it) => !isGone(it)).map((it) => toHostAttachment(it, system))
  const going = gone.map((it) => toHostAttachment(it, system))
  const need = desiredStateOfAll(rest, live)
  return [
    ...planLinkSysctlReset(desiredStateOfAll(going, live), live),
    ...planDesiredState(need, await withWriter(need, live, system)),
  ]
}

/**
 * Removes host state of attachments whose guests have stopped: rules, routes, addresses, sysctls. Called by the watcher
 * and by removals.
 */
export async function planServiceCleanup(system: System): Promise<Plan> {
  return system.isRoot && mayHaveHostServices(system) ? planServicesRemoval([], system) : []
}

/** The missing parts of an attachment's host state, for example after a firewall flush. */
export function listMissingServices(
  attached: ExistingAttachment,
  live: CurrentState,
  system: System,
): readonly string[] {
  const subject = toHostAttachment(attached, system)
  if (!needsHostServices(subject)) return []
  const need = desiredState(subject, toHostAddresses(live))
  const isThere = new Set(live.links.flatMap(({ name, addresses }) => addresses.map((it) => `${it.ip} ${name}`)))
  return [
    ...need.addresses.filter(({ ip, dev }) => !isThere.has(`${ip} ${dev}`)).map(describeState.address),
    ...need.routes
      .filter(({ dst, dev }) => !live.routes.some((it) => it.dst === dst && it.dev === dev))
      .map(describeState.route),
    ...need.proxyNeighbours
      .filter(({ ip, dev }) => !live.proxyNeighbours.some((it) => it.ip === ip && it.dev === dev))
      .map(describeState.proxy),
    ...need.sysctls.filter(({ key, value }) => live.sysctl(key) !== value).map(describeState.sysctl),
    ...listMissingRules(need.rules, live.firewall).map(({ comment }) => `the rule '${comment}'`),
  ]
}
