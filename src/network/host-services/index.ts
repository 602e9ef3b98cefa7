import { toRecord } from '../../drivers/claim'
import type { Context } from '../../drivers/types'
import { type Forwarding, warnOfForwarding } from '../../firewall/bridge-accept'
import { commentOf } from '../../firewall/rule'
import type { Ruleset } from '../../firewall/ruleset'
import { listMissing } from '../../firewall/write'
import { type Address, areOverlapping } from '../../model/address'
import { sharingOf } from '../../model/attach-options'
import { PipeworkError } from '../../model/errors'
import { isConcerned, isForwarded, mayHaveOutside, parseRouted, wishesOf } from '../../model/host-services'
import type { Attached } from '../../operations/detach/plan'
import type { Plan } from '../../plan/step'
import { pickGuestSide, readHostSide, readNamespaces } from '../../state/attachments'
import { findLower } from '../../state/guest'
import { isOvsBridge } from '../../state/ovsdb'
import { decodeRecord, type LinkRecord } from '../../state/record'
import type { Host } from '../../system/types'
import type { Warning } from '../../ui/report'
import { type Live, readLive, toHostAddresses } from './current'
import { needOf, type Subject } from './desired'
import { forwardingOf } from './forwarding'
import { describe, type Need, NOTHING, sumOf } from './need'
import { planNeed } from './plan'
import { planOwnSysctls } from './sysctls'
import { refuseWishes } from './validate'

/** An attachment that is there. */
function toSubject({ record, hostEnd, inGuest }: Attached, host: Host): Subject {
  const { guest, ifname, words, addresses = [] } = record
  const { hostif, outside } = wishesOf(record)
  if (hostEnd !== undefined) {
    const isPort = host.list(`/sys/class/net/${hostEnd.name}/brport`) !== undefined
    return { guest: guest.name, ifname, hostif, hostEnd: hostEnd.name, isPort, addresses, words, outside }
  }
  const parent = findLower(inGuest, host)?.name
  return {
    ...{ guest: guest.name, ifname, hostif: parent ?? '', isPort: false, addresses, words },
    ...(parent === undefined ? {} : { parent, sharing: sharingOf(record.words) }),
    // The guest itself may have written the record of a link inside it: no port of the host is opened for that.
    outside: wishesOf({ ...record, words: words.filter((word) => word === '--host-access') }).outside,
  }
}

/** What the host is to forward for the attachment that is asked for; undefined for nothing. */
export function forwardingFor(context: Context, host: Host): Forwarding | undefined {
  return forwardingOf(toWanted(context), host)
}

/** For which attachments somebody's rules drop what the host is to forward, and what would mend it. */
export function listBarred(all: readonly Attached[], ruleset: Ruleset, host: Host): ReadonlyMap<Attached, Warning> {
  const entries = all.flatMap((attached) => {
    const subject = toSubject(attached, host)
    const forwarding = isForwarded(subject) ? forwardingOf(subject, host) : undefined
    const warning = forwarding && warnOfForwarding(forwarding, ruleset, host)
    return warning === undefined ? [] : [[attached, warning] as const]
  })
  return new Map(entries)
}

/** The attachment that is asked for. */
function toWanted({ request, guest, facts }: Context): Subject {
  const isShared = facts.hostif !== undefined && facts.hostif.kind !== 'bridge' && facts.ovs?.kind !== 'database'
  return {
    guest: guest.name,
    ifname: request.ifname,
    hostif: request.hostif,
    isPort:
      parseRouted(request.hostif) === undefined && !isShared && !isOvsBridge(request.hostif, facts.hostif, facts.ovs),
    ...(isShared || request.hostif === 'dummy'
      ? { parent: facts.vlanDevice?.name ?? request.hostif, sharing: request.sharing }
      : { hostEnd: request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName }),
    addresses: request.addresses,
    words: request.words,
    outside: request.outside,
  }
}

const isSame = (a: LinkRecord, b: Pick<LinkRecord, 'guest' | 'ifname'>) =>
  a.guest.kind === b.guest.kind && a.guest.name === b.guest.name && a.guest.id === b.guest.id && a.ifname === b.ifname

/** The attachments that are there, those in guests only where somebody needs them. */
async function readAll(where: 'host' | 'everywhere', host: Host): Promise<readonly Attached[]> {
  const inGuests = where === 'everywhere' ? (await readNamespaces(host, 'holding')).flatMap(pickGuestSide) : []
  return [...readHostSide(host), ...inGuests]
}

const hasShim = ({ links }: Live) => links.some(({ shim }) => shim !== undefined)

/** What all of these need; what hangs on an interface that is gone needs nothing any more. */
function needOfAll(subjects: readonly Subject[], live: Live): Need {
  const own = toHostAddresses(live)
  const needs = subjects.filter(isConcerned).map((it) => {
    const need = needOf(it, own)
    return it.hostEnd === undefined ? pickLive(need, live) : need
  })
  return sumOf([...needs, ...subjects.map((it) => keepUsed(it, live))])
}

/** An address of ours on the bridge stays for whom it is the gateway, or the way of a published port, whoever asked for it. */
function keepUsed({ hostif, hostEnd, addresses, outside }: Subject, { links }: Live): Need {
  const ours = links.find(({ name }) => name === hostif)?.addresses.filter(({ isOurs }) => isOurs) ?? []
  const { bridgeAddresses, published } = outside
  const isReached = (it: Address) => published.length === 0 || bridgeAddresses.some((own) => areOverlapping(it, own))
  const isUsed = (own: Address) =>
    addresses.some((it) => it.gateway === own.ip || (!isReached(it) && areOverlapping(it, own)))
  if (hostEnd === undefined) return NOTHING
  return { ...NOTHING, addresses: ours.filter(isUsed).map((it) => ({ ...it, dev: hostif })) }
}

/**
 * What of a need is there already. More is not done for a record that stands inside a guest, which may have written it
 * to get a route of the host's to itself: it keeps what somebody at the host has once asked for.
 */
function pickLive(need: Need, { links, routes, proxies }: Live): Need {
  const isThere = (dev: string) => links.some(({ name, shim }) => name === dev && shim !== undefined)
  return {
    ...need,
    shims: need.shims.filter(({ name }) => isThere(name)),
    routes: need.routes.filter(({ dst, dev }) => routes.some((it) => it.dst === dst && it.dev === dev)),
    proxies: need.proxies.filter(({ ip, dev }) => proxies.some((it) => it.ip === ip && it.dev === dev)),
    sysctls: need.sysctls.filter(({ key }) => isThere(key.split('/')[3] ?? '')),
  }
}

/** The rules are made from the record, again and again: it must hold the addresses. */
function refuseLongRecord(context: Context): void {
  const record = decodeRecord(toRecord(context))
  if (record?.kind === 'link' && record.addresses === undefined)
    throw new PipeworkError(`the words for '${context.request.ifname}' do not fit into its record of 255 bytes`, {
      hint: 'Give fewer addresses or published ports, or make two interfaces of it.',
    })
}

/**
 * What the host needs beside the link: its addresses, routes, sysctls and firewall, as this and all other attachments
 * ask for them. The steps come after those of the link. Throws refusals.
 */
export async function planOutside(context: Context, host: Host): Promise<Plan> {
  const { request, guest, facts } = context
  const live = await readLive(host)
  const me = { guest: { kind: guest.kind, name: guest.name, id: guest.id } }
  const all = await readAll(request.outside.hostAccess || hasShim(live) ? 'everywhere' : 'host', host)
  const isMine = ({ record, hostEnd }: Attached) =>
    isSame(record, { ...me, ifname: request.ifname }) ||
    (hostEnd !== undefined && hostEnd.name === (facts.hostEnd ?? facts.nameTaken)?.name)
  const others = all.filter((it) => !isMine(it)).map((it) => toSubject(it, host))
  const mine = all.find(isMine)
  const subject = toWanted(context)
  if (isConcerned(subject)) {
    refuseLongRecord(context)
    refuseWishes({ subject, before: mine && toSubject(mine, host), others, live, host })
  }
  const need = sumOf([needOfAll(others, live), keepUsed(subject, live), needOf(subject, toHostAddresses(live))])
  return planNeed(need, live)
}

/** What the host no longer needs when these attachments go; before their links do. */
export async function planRelease(gone: readonly Attached[], host: Host): Promise<Plan> {
  const live = await readLive(host)
  const all = await readAll(hasShim(live) ? 'everywhere' : 'host', host)
  const isGone = ({ record, hostEnd }: Attached) =>
    gone.some((it) => (hostEnd === undefined ? isSame(record, it.record) : it.hostEnd?.name === hostEnd.name))
  const rest = all.filter((it) => !isGone(it)).map((it) => toSubject(it, host))
  const going = gone.map((it) => toSubject(it, host))
  return [...planOwnSysctls(needOfAll(going, live), live), ...planNeed(needOfAll(rest, live), live)]
}

/**
 * What is left on the host of attachments whose guests have ended: rules, routes, addresses, sysctls. For who watches,
 * and for who takes something away.
 */
export async function planSweep(host: Host): Promise<Plan> {
  return host.isRoot && mayHaveOutside(host) ? planRelease([], host) : []
}

/** What of the host's side of an attachment is not there: somebody has flushed the firewall, or set a sysctl. */
export function listLacking(attached: Attached, live: Live, host: Host): readonly string[] {
  const subject = toSubject(attached, host)
  if (!isConcerned(subject)) return []
  const need = needOf(subject, toHostAddresses(live))
  const isThere = new Set(live.links.flatMap(({ name, addresses }) => addresses.map((it) => `${it.ip} ${name}`)))
  return [
    ...need.addresses.filter(({ ip, dev }) => !isThere.has(`${ip} ${dev}`)).map(describe.address),
    ...need.routes
      .filter(({ dst, dev }) => !live.routes.some((it) => it.dst === dst && it.dev === dev))
      .map(describe.route),
    ...need.proxies
      .filter(({ ip, dev }) => !live.proxies.some((it) => it.ip === ip && it.dev === dev))
      .map(describe.proxy),
    ...need.sysctls.filter(({ key, value }) => live.sysctl(key) !== value).map(describe.sysctl),
    ...listMissing(need.rules, live.firewall).map((rule) => `the rule '${commentOf(rule)}'`),
  ]
}
