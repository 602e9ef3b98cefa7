import { type Family, formatAddress } from '../model/address'
import { mayLeaseDefault } from '../model/address-spec'
import { gatewayOf } from '../model/attach-options'
import { PipeworkError } from '../model/errors'
import { FAMILIES } from '../model/ip'
import type { AttachRequest } from '../model/request'
import { formatUplink } from '../model/uplink'
import type { Facts } from '../operations/attach/read'
import { type IpCommand, ip, ipInGuest, nothing, type Plan, type Step } from '../plan/step'
import type { GuestLink, Route } from '../state/guest'
import { DEFAULT_MTU } from '../state/host-links'
import { type DefaultRoute, encodeRecord, formatGuest, type LinkRecord } from '../state/record'
import type { Context } from './types'

/** The record of the attachment: on a veth's host end, where the guest cannot write, else on the link itself. */
export function recordOf({ hostEnd, inGuest }: Pick<Facts, 'hostEnd' | 'inGuest'>): LinkRecord | undefined {
  const { record } = hostEnd ?? inGuest ?? {}
  return record?.kind === 'link' ? record : undefined
}

/** Refuses a link that is to be made where the guest has one of that name that pipework did not make. */
export function refuseForeign({ request, guest, facts: { inGuest } }: Context): void {
  if (inGuest === undefined) return
  throw new PipeworkError(
    `'${guest.name}' already has an interface '${request.ifname}', and pipework did not make it`,
    {
      hint: `It is a ${inGuest.kind} with the address ${inGuest.addresses[0]?.ip ?? 'none'}. Choose another name: -i eth2, for example.`,
    },
  )
}

/** The MTU of a link on a bridge: the one asked for, else the bridge's. */
export function mtuOnBridge({ request, facts }: Context): number {
  return request.mtu ?? facts.restMtu ?? facts.hostif?.mtu ?? DEFAULT_MTU
}

/** Changes the MTU of a link in the guest: to the one asked for, or back to the usual one when that was given before. */
export function convergeMtu({ request, facts }: Context, live: number, usual: number | undefined): Plan {
  const { ifname } = request
  const mtu = request.mtu ?? (hasWord(facts, '--mtu=') ? usual : undefined)
  if (mtu === undefined || mtu === live) return []
  return [
    {
      why: `set the MTU of ${ifname} to ${mtu}`,
      command: ipInGuest`link set dev ${ifname} mtu ${mtu}`,
      undo: ipInGuest`link set dev ${ifname} mtu ${live}`,
    },
  ]
}

/** Changes the MAC address of a link in the guest to the one asked for; one that nobody asked for stays. */
export function convergeMac({ request, facts }: Context, live: string): Plan {
  const { ifname, mac } = request
  if (mac === undefined || live === facts.mac) return []
  return [
    {
      why: `set the MAC address of ${ifname}`,
      command: ipInGuest`link set dev ${ifname} address ${facts.mac}`,
      undo: ipInGuest`link set dev ${ifname} address ${live}`,
    },
  ]
}

/** The record of a change on a link that has no end in the host; one of a killed run has no alias yet. */
export function convergeRecord(context: Context, { alias }: GuestLink, nic?: string): Plan {
  const { ifname } = context.request
  const record = toInterimRecord(context, nic)
  if (alias === record) return []
  return [
    {
      why: `record the attachment on ${ifname}`,
      command: ipInGuest`link set dev ${ifname} alias ${record}`,
      undo: ipInGuest`link set dev ${ifname} alias ${alias ?? nothing}`,
    },
  ]
}

/** Refuses an MTU that the kernel would not give, or that costs the link its IPv6 addresses. */
export function refuseMtu({ request, facts }: Context, parent?: { readonly name: string; readonly mtu: number }): void {
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
export function refuseOffload({ request: { txOffload, hostif } }: Context, what: string): void {
  if (txOffload === undefined) return
  throw new PipeworkError(`--tx-offload '${txOffload}': ${what} does what '${hostif}' does`, {
    hint: `Change it there: ethtool -K ${hostif} tx ${txOffload}`,
  })
}

/** Says what is amiss where the kernel has no such kind of link. */
export function explainMissing(kind: string): NonNullable<Step['explain']> {
  return ({ stderr }) =>
    /Unknown device type|not supported/i.test(stderr)
      ? {
          message: `this kernel has no links of the kind ${kind}`,
          hint: `Its module is missing: modprobe ${kind === 'vlan' ? '8021q' : kind}`,
        }
      : undefined
}

/** Refuses to make the link anew, which cuts its connections, unless that is asked for. */
export function refuseRemake({ request, guest }: Context, difference: string): void {
  if (request.force) return
  throw new PipeworkError(`'${request.ifname}' of '${guest.name}' ${difference}`, {
    hint: `Take it away first (pipework disconnect ${formatGuest(guest)} ${request.ifname}), or change it with --force.`,
  })
}

/** Metric of a default route that names none (the kernel's own choice); only one of the same metric is replaced. */
const METRIC = { 4: 0, 6: 1024 } as const

/** True for a default route of that family. */
export function isDefault(route: Route, family: Family): boolean {
  return route.family === family && route.dst === 'default'
}

/** The metric that a route asked for has in the kernel, where IPv6 knows no 0. */
export function metricFor(family: Family, metric: number | undefined): number {
  return metric || METRIC[family]
}

/** The metric in the words of a route. */
export function metricOf({ family, words }: DefaultRoute): number {
  return metricFor(family, words.includes('metric') ? Number(words[words.indexOf('metric') + 1]) : undefined)
}

/** The gateway of the default route of that family, if there is to be one. */
export function defaultGateway({ addresses, defaultRoute }: AttachRequest, family: Family): string | undefined {
  return defaultRoute ? gatewayOf(addresses, family) : undefined
}

/** The default route of the guest that a new one of ours takes the place of. */
export function liveDefault(family: Family, { request, facts }: Context): Route | undefined {
  const metric = metricFor(family, request.metric)
  return facts.routes.find((route) => isDefault(route, family) && route.metric === metric)
}

/** The inverse of a change on a link that was there before; on a new one everything goes with the link. */
export function unlessNew({ facts }: Context, undo: IpCommand): { undo?: IpCommand } {
  return facts.inGuest === undefined ? {} : { undo }
}

/** The default routes that the request's gateways replace, which `disconnect` puts back. */
export function previousDefaults(context: Context): readonly DefaultRoute[] {
  const { request, facts } = context
  return FAMILIES.flatMap((family) => {
    const mayBeLeased = request.defaultRoute && mayLeaseDefault(request, family)
    if (defaultGateway(request, family) === undefined && !mayBeLeased) return []
    // On a second run the live default is our own, or another link's; what we replaced first stays the one to return to.
    const isReplaced = (it: DefaultRoute) => it.family === family && metricOf(it) === metricFor(family, request.metric)
    const known = recordOf(facts)?.previous.filter(isReplaced) ?? []
    if (known.length > 0) return known
    const live = liveDefault(family, context)
    return live === undefined || live.dev === request.ifname ? [] : [{ family, words: live.words }]
  })
}

/** Words of what does not go by itself when it is no longer asked for. */
const LASTING = /^--(route=|policy-route$|mtu=|tx-offload=)/

/** Whether the record has a word that begins so: an option that was given, and may be no longer. */
function hasWord(facts: Pick<Facts, 'hostEnd' | 'inGuest'>, start: string): boolean {
  return recordOf(facts)?.words.some((word) => word.startsWith(start)) ?? false
}

/** The ifalias that says who is attached here, with what. */
export function toRecord(context: Context, nic?: string): string {
  return encodeRecord(recordFor(context, nic))
}

/**
 * The same while the link changes: what it has, beside what it is to have. After a kill midway nobody could tell
 * otherwise which of the guest's addresses and routes are ours to take away.
 */
export function toInterimRecord(context: Context, nic?: string): string {
  const wanted = recordFor(context, nic)
  const has = recordOf(context.facts)
  if (has === undefined) return encodeRecord(wanted)
  const kept = context.request.addresses.map(formatAddress)
  const gone = has.addresses?.filter((address) => !kept.includes(formatAddress(address)))
  const isReplaced = (previous: DefaultRoute) =>
    wanted.previous.some((it) => it.family === previous.family && metricOf(it) === metricOf(previous))
  return encodeRecord({
    ...wanted,
    words: [...wanted.words, ...has.words.filter((word) => LASTING.test(word) && !wanted.words.includes(word))],
    addresses: gone && [...context.request.addresses, ...gone],
    previous: [...wanted.previous, ...has.previous.filter((route) => !isReplaced(route))],
  })
}

/** The last step of a change: the record without what was. */
export function planSettled(context: Context): Plan {
  const { request, facts } = context
  const nic = recordOf(facts)?.nic
  const [interim, settled] = [toInterimRecord(context, nic), toRecord(context, nic)]
  if (interim === settled) return []
  const [command, name] =
    facts.hostEnd === undefined ? [ipInGuest, request.ifname] : [ip, request.hostEnd ?? facts.hostEnd.name]
  return [
    {
      why: `record on ${name} that the change is complete`,
      command: command`link set dev ${name} alias ${settled}`,
      undo: command`link set dev ${name} alias ${interim}`,
    },
  ]
}

function recordFor(context: Context, nic: string | undefined): LinkRecord {
  const { request, guest } = context
  return {
    kind: 'link',
    guest: { kind: guest.kind, name: guest.name, id: guest.id },
    ifname: request.ifname,
    hostif: request.hostif,
    uplink: request.uplink === undefined ? undefined : formatUplink(request.uplink),
    addresses: request.addresses,
    sources: request.sources.length === 0 ? undefined : request.sources.map(({ word }) => word),
    words: request.words,
    previous: previousDefaults(context),
    nic,
    ...fileOf(context),
  }
}

/** What was typed stays so, whatever file says the same: `--prune` shall not take away what no file has made. */
function fileOf({ request, facts }: Context): Pick<LinkRecord, 'file'> {
  const has = recordOf(facts)
  if (has !== undefined && has.file === undefined) return {}
  const file = request.file ?? has?.file
  return file === undefined ? {} : { file }
}

/** The commands that put routes of the guest back: those to a gateway before those through it. */
export function restoreRoutes(routes: readonly Route[]): readonly IpCommand[] {
  const direct = routes.filter(({ gateway }) => gateway === undefined)
  const through = routes.filter(({ gateway }) => gateway !== undefined)
  return [...direct, ...through].map(
    ({ family, dst, words }) => ipInGuest`route replace ${dst === 'default' && family === 6 ? '::/0' : dst} ${words}`,
  )
}
