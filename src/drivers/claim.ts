import { type Family, formatAddress } from '../model/address'
import { mayLeaseDefaultRoute } from '../model/address-spec'
import { findGateway } from '../model/attach-options'
import { PipeworkError } from '../model/errors'
import { ADDRESS_FAMILIES } from '../model/ip'
import type { AttachRequest } from '../model/request'
import { formatUplinkSpec } from '../model/uplink'
import type { AttachFacts } from '../operations/attach/read'
import { emptyWord, type IpCommand, ip, ipInGuest, type Plan, type Step } from '../plan/step'
import type { GuestLink, GuestRoute } from '../state/guest'
import { DEFAULT_MTU } from '../state/host-links'
import { type DefaultRoute, encodeRecord, formatGuest, type LinkRecord } from '../state/record'
import type { AttachContext } from './types'

/** The record of the attachment: on a veth's host end, where the guest cannot write, else on the link itself. */
export function findLinkRecord({ hostEnd, inGuest }: Pick<AttachFacts, 'hostEnd' | 'inGuest'>): LinkRecord | undefined {
  const { record } = hostEnd ?? inGuest ?? {}
  return record?.kind === 'link' ? record : undefined
}

/** Refuses a link that is to be made where the guest has one of that name that pipework did not make. */
export function validateNoForeignLink({ request, guest, facts: { inGuest } }: AttachContext): void {
  if (inGuest === undefined) return
  throw new PipeworkError(
    `'${guest.name}' already has an interface '${request.ifname}', and pipework did not make it`,
    {
      hint: `It is a ${inGuest.kind} with the address ${inGuest.addresses[0]?.ip ?? 'none'}. Choose another name: -i eth2, for example.`,
    },
  )
}

/** The MTU of a link on a bridge: the one asked for, else the bridge's. */
export function mtuOnBridge({ request, facts }: AttachContext): number {
  return request.mtu ?? facts.otherPortsMtu ?? facts.hostif?.mtu ?? DEFAULT_MTU
}

/** Changes the MTU of a link in the guest: to the one asked for, or back to the usual one when that was given before. */
export function planMtuChange({ request, facts }: AttachContext, live: number, usual: number | undefined): Plan {
  const { ifname } = request
  const mtu = request.mtu ?? (hasRecordedOption(facts, '--mtu=') ? usual : undefined)
  if (mtu === undefined || mtu === live) return []
  return [
    {
      description: `set the MTU of ${ifname} to ${mtu}`,
      command: ipInGuest`link set dev ${ifname} mtu ${mtu}`,
      undo: ipInGuest`link set dev ${ifname} mtu ${live}`,
    },
  ]
}

/** Changes the MAC address of a link in the guest to the one asked for; one that nobody asked for stays. */
export function planMacChange({ request, facts }: AttachContext, live: string): Plan {
  const { ifname, mac } = request
  if (mac === undefined || live === facts.mac) return []
  return [
    {
      description: `set the MAC address of ${ifname}`,
      command: ipInGuest`link set dev ${ifname} address ${facts.mac}`,
      undo: ipInGuest`link set dev ${ifname} address ${live}`,
    },
  ]
}

/** The record of a change on a link that has no end in the host; one of a killed run has no alias yet. */
export function planRecordChange(context: AttachContext, { alias }: GuestLink, nic?: string): Plan {
  const { ifname } = context.request
  const record = transitionalRecord(context, nic)
  if (alias === record) return []
  return [
    {
      description: `record the attachment on ${ifname}`,
      command: ipInGuest`link set dev ${ifname} alias ${record}`,
      undo: ipInGuest`link set dev ${ifname} alias ${alias ?? emptyWord}`,
    },
  ]
}

/** Refuses an MTU that the kernel would not give, or that costs the link its IPv6 addresses. */
export function validateMtu(
  { request, facts }: AttachContext,
  parent?: { readonly name: string; readonly mtu: number },
): void {
  const { mtu, ifname } = request
  if (mtu === undefined) return
  if (parent !== undefined && mtu > parent.mtu)
    throw new PipeworkError(`--mtu '${mtu}': '${ifname}' hangs on '${parent.name}', whose MTU is ${parent.mtu}`, {
      hint: `What is larger cannot leave by it. Raise that first: ip link set dev ${parent.name} mtu ${mtu}`,
    })
  const address6 = facts.inGuest?.addresses.find(({ family, automatic }) => family === 6 && !automatic)
  if (mtu < 1280 && address6 !== undefined)
    throw new PipeworkError(`--mtu '${mtu}': '${ifname}' has the address ${address6.ip}, and IPv6 needs 1280`, {
      hint: 'The kernel would take IPv6 from the interface. Attach it without IPv6 first, then with that MTU.',
    })
}

/** Refuses --tx-offload where the guest's end is no veth: there it is the NIC's own, and fixed. */
export function validateTxOffload({ request: { txOffload, hostif } }: AttachContext, what: string): void {
  if (txOffload === undefined) return
  throw new PipeworkError(`--tx-offload '${txOffload}': ${what} does what '${hostif}' does`, {
    hint: `Change it there: ethtool -K ${hostif} tx ${txOffload}`,
  })
}

/** Says what is amiss where the kernel has no such kind of link. */
export function explainMissingModule(kind: string): NonNullable<Step['explainFailure']> {
  return ({ stderr }) =>
    /Unknown device type|not supported/i.test(stderr)
      ? {
          message: `this kernel has no links of the kind ${kind}`,
          hint: `Its module is missing: modprobe ${kind === 'vlan' ? '8021q' : kind}`,
        }
      : undefined
}

/** Refuses to make the link anew, which cuts its connections, unless that is asked for. */
export function validateRecreate({ request, guest }: AttachContext, difference: string): void {
  if (request.force) return
  throw new PipeworkError(`'${request.ifname}' of '${guest.name}' ${difference}`, {
    hint: `Take it away first (pipework disconnect ${formatGuest(guest)} ${request.ifname}), or change it with --force.`,
  })
}

/** Metric of a default route that names none (the kernel's own choice); only one of the same metric is replaced. */
const DEFAULT_METRICS = { 4: 0, 6: 1024 } as const

/** True for a default route of that family. */
export function isDefaultRoute(route: GuestRoute, family: Family): boolean {
  return route.family === family && route.dst === 'default'
}

/** The metric that a route asked for has in the kernel, where IPv6 knows no 0. */
export function kernelMetric(family: Family, metric: number | undefined): number {
  return metric || DEFAULT_METRICS[family]
}

/** The metric in the words of a route. */
export function routeMetric({ family, words }: DefaultRoute): number {
  return kernelMetric(family, words.includes('metric') ? Number(words[words.indexOf('metric') + 1]) : undefined)
}

/** The gateway of the default route of that family, if there is to be one. */
export function defaultGateway({ addresses, defaultRoute }: AttachRequest, family: Family): string | undefined {
  return defaultRoute ? findGateway(addresses, family) : undefined
}

/** The default route of the guest that a new one of ours takes the place of. */
export function currentDefault(family: Family, { request, facts }: AttachContext): GuestRoute | undefined {
  const metric = kernelMetric(family, request.metric)
  return facts.routes.find((route) => isDefaultRoute(route, family) && route.metric === metric)
}

/** The inverse of a change on a link that was there before; on a new one everything goes with the link. */
export function undoIfExisted({ facts }: AttachContext, undo: IpCommand): { undo?: IpCommand } {
  return facts.inGuest === undefined ? {} : { undo }
}

/** The default routes that the request's gateways replace, which `disconnect` puts back. */
export function previousDefaults(context: AttachContext): readonly DefaultRoute[] {
  const { request, facts } = context
  return ADDRESS_FAMILIES.flatMap((family) => {
    const mayBeLeased = request.defaultRoute && mayLeaseDefaultRoute(request, family)
    if (defaultGateway(request, family) === undefined && !mayBeLeased) return []
    // On a second run the live default is our own, or another link's; what we replaced first stays the one to return to.
    const isReplaced = (it: DefaultRoute) =>
      it.family === family && routeMetric(it) === kernelMetric(family, request.metric)
    const known = findLinkRecord(facts)?.previous.filter(isReplaced) ?? []
    if (known.length > 0) return known
    const live = currentDefault(family, context)
    return live === undefined || live.dev === request.ifname ? [] : [{ family, words: live.words }]
  })
}

/** Words of what does not go by itself when it is no longer asked for. */
const PERSISTENT_OPTIONS = /^--(route=|policy-route$|mtu=|tx-offload=)/

/** Whether the record has a word that begins so: an option that was given, and may be no longer. */
function hasRecordedOption(facts: Pick<AttachFacts, 'hostEnd' | 'inGuest'>, start: string): boolean {
  return findLinkRecord(facts)?.words.some((word) => word.startsWith(start)) ?? false
}

/** The ifalias that says who is attached here, with what. */
export function formatLinkRecord(context: AttachContext, nic?: string): string {
  return encodeRecord(buildLinkRecord(context, nic))
}

/**
 * The same while the link changes: what it has, beside what it is to have. After a kill midway nobody could tell
 * otherwise which of the guest's addresses and routes are ours to take away.
 */
export function transitionalRecord(context: AttachContext, nic?: string): string {
  const wanted = buildLinkRecord(context, nic)
  const has = findLinkRecord(context.facts)
  if (has === undefined) return encodeRecord(wanted)
  const kept = context.request.addresses.map(formatAddress)
  const gone = has.addresses?.filter((address) => !kept.includes(formatAddress(address)))
  const isReplaced = (previous: DefaultRoute) =>
    wanted.previous.some((it) => it.family === previous.family && routeMetric(it) === routeMetric(previous))
  return encodeRecord({
    ...wanted,
    words: [
      ...wanted.words,
      ...has.words.filter((word) => PERSISTENT_OPTIONS.test(word) && !wanted.words.includes(word)),
    ],
    addresses: gone && [...context.request.addresses, ...gone],
    previous: [...wanted.previous, ...has.previous.filter((route) => !isReplaced(route))],
  })
}

/** The last step of a change: the record without what was. */
export function planFinalRecord(context: AttachContext): Plan {
  const { request, facts } = context
  const nic = findLinkRecord(facts)?.nic
  const [interim, settled] = [transitionalRecord(context, nic), formatLinkRecord(context, nic)]
  if (interim === settled) return []
  const [command, name] =
    facts.hostEnd === undefined ? [ipInGuest, request.ifname] : [ip, request.hostEnd ?? facts.hostEnd.name]
  return [
    {
      description: `record on ${name} that the change is complete`,
      command: command`link set dev ${name} alias ${settled}`,
      undo: command`link set dev ${name} alias ${interim}`,
    },
  ]
}

function buildLinkRecord(context: AttachContext, nic: string | undefined): LinkRecord {
  const { request, guest } = context
  return {
    kind: 'link',
    guest: { kind: guest.kind, name: guest.name, id: guest.id },
    ifname: request.ifname,
    hostif: request.hostif,
    uplink: request.uplink === undefined ? undefined : formatUplinkSpec(request.uplink),
    addresses: request.addresses,
    sources: request.sources.length === 0 ? undefined : request.sources.map(({ typed }) => typed),
    words: request.words,
    previous: previousDefaults(context),
    nic,
    ...recordedFile(context),
  }
}

/** What was typed stays so, whatever file says the same: `--prune` shall not take away what no file has made. */
function recordedFile({ request, facts }: AttachContext): Pick<LinkRecord, 'file'> {
  const has = findLinkRecord(facts)
  if (has !== undefined && has.file === undefined) return {}
  const file = request.file ?? has?.file
  return file === undefined ? {} : { file }
}

/** The commands that put routes of the guest back: those to a gateway before those through it. */
export function restoreRouteCommands(routes: readonly GuestRoute[]): readonly IpCommand[] {
  const direct = routes.filter(({ gateway }) => gateway === undefined)
  const through = routes.filter(({ gateway }) => gateway !== undefined)
  return [...direct, ...through].map(
    ({ family, dst, words }) => ipInGuest`route replace ${dst === 'default' && family === 6 ? '::/0' : dst} ${words}`,
  )
}
