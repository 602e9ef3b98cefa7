import { restoreVlans } from '../../drivers/bridge-vlans'
import { isDefault, metricOf, restoreRoutes } from '../../drivers/claim'
import { planUnplug, planUnused, type Unplugging } from '../../drivers/ovs'
import { planNicReturn } from '../../drivers/phys'
import { setOffload } from '../../drivers/veth'
import { removeVxlan, type Vxlan } from '../../drivers/vxlan'
import { PipeworkError } from '../../model/errors'
import { planNoPolicy } from '../../network/policy-routing'
import {
  type Command,
  guestNetns,
  type IpCommand,
  ip,
  ipInGuest,
  type Plan,
  rows,
  type Step,
  sysctlInGuest,
} from '../../plan/step'
import type { Port } from '../../state/bridge-vlans'
import { type GuestLink, type GuestState, type Route, toAddrWords } from '../../state/guest'
import { type HostLink, portsOf } from '../../state/host-links'
import { OVS_SYSTEM, type OvsPort } from '../../state/ovsdb'
import type { Policy } from '../../state/policy-rules'
import { type DefaultRoute, encodeRecord, type LinkRecord, MADE_RECORD } from '../../state/record'
import type { NicState } from '../../state/saved-link'

/** An attachment that pipework made: its record, and the ends of its link that are there. */
export interface Attached {
  readonly record: LinkRecord
  /** The record as it stands on the link. */
  readonly alias: string
  /** The end in the host; a macvlan has none. */
  readonly hostEnd?: HostLink
  /** The link in the guest; absent when the guest is gone or is not the one it was. */
  readonly inGuest?: GuestLink
  /** All that is left of it: a port of Open vSwitch without a device. */
  readonly deadPort?: OvsPort
}

/** A bridge or VLAN device under links of ours. */
export interface Below extends HostLink {
  readonly vlan?: { readonly nic: string; readonly id: number }
}

/** What is to be taken away, and what is known around it. */
export interface Detachment {
  readonly attached: Attached
  /** The inside of the guest, when it can be reached. */
  readonly state?: GuestState
  readonly sysctls: Readonly<Record<string, string>>
  /** Other attachments of the same guest. */
  readonly others: readonly Attached[]
  /** The VLANs of the end in the host. */
  readonly port?: Port
  /** What it is to Open vSwitch. */
  readonly unplugging?: Unplugging
  /** The NIC or VLAN device under a macvlan. */
  readonly parent?: HostLink
  /** How the NIC was, where the NIC itself is in the guest. */
  readonly nic?: NicState
  /** Rules and routes for replies that leave where they came in. */
  readonly policy?: Policy
  /** What takes away what the host has for the sake of this link only. */
  readonly release?: Plan
  /** A bridge or VLAN device that pipework made and that nobody uses after this. */
  readonly unused?: Below
  /** VXLANs that pipework made for its bridge, where nobody is left on that. */
  readonly tunnels?: readonly Vxlan[]
  /** Takes our rules for its bridge out of the firewall, where it is the last attachment there. */
  readonly passage?: Plan
}

/** The steps that take an attachment away and put back what it replaced. */
export function planDetach(detachment: Detachment): Plan {
  const { attached, unplugging, policy } = detachment
  const { record, hostEnd, inGuest } = attached
  if (record.nic !== undefined)
    return [...planNoPolicy(policy), ...planReturn(detachment), ...planRelink(detachment), ...bringBack(detachment)]
  const undo = recreate(detachment)
  return rows(
    planNoPolicy(policy),
    planReturn(detachment),
    planRelink(detachment),
    detachment.release,
    unplugging !== undefined && planUnplug(unplugging),
    attached.deadPort === undefined && {
      why: `take ${record.ifname} away from ${record.guest.name}`,
      command:
        hostEnd === undefined
          ? ipInGuest`link del dev ${inGuest?.name ?? record.ifname}`
          : ip`link del dev ${hostEnd.name}`,
      undo: undo.length === 0 ? undefined : undo,
    },
    planVacancy(detachment),
  )
}

/** What a link hung on, where nobody uses it any more. */
export type Vacancy = Pick<Detachment, 'passage' | 'tunnels' | 'unused' | 'unplugging'>

/** The steps that take away what pipework made for links on it, when the last of them has gone. */
export function planVacancy({ passage, tunnels = [], unused, unplugging }: Vacancy): Plan {
  const why = (name: string) => `remove ${name}: pipework made it and nobody uses it`
  return rows(
    passage,
    tunnels.map((vxlan) => ({ why: why(vxlan.name), ...removeVxlan(vxlan) })),
    unused !== undefined && { why: why(unused.name), ...removeBelow(unused) },
    unplugging !== undefined && planUnused(unplugging),
  )
}

/** A bridge is left to who has begun to use it in the meantime; back, both kinds are as pipework makes them. */
function removeBelow(below: Below): Pick<Step, 'command' | 'undo'> {
  const { name, kind, up, mac, filtering, vlan } = below
  const remove = ip`link del dev ${name}`
  const shape = filtering === true && ['vlan_filtering', '1', 'vlan_default_pvid', `${below.defaultPvid}`]
  const undo = [
    vlan === undefined
      ? ip`link add dev ${name} address ${mac} type bridge stp_state 0 ${shape}`
      : ip`link add link ${vlan.nic} name ${name} type vlan id ${vlan.id}`,
    ip`link set dev ${name} alias ${MADE_RECORD}`,
    ...(up ? [ip`link set dev ${name} up`] : []),
  ]
  return { command: kind === 'bridge' ? { ...remove, onlyIfEmpty: portsOf(name) } : remove, undo }
}

/** The interfaces that a route goes through. */
function devsOf(words: readonly string[]): readonly string[] {
  return words.filter((_, index) => words[index - 1] === 'dev')
}

/**
 * The NIC comes back into the host. What says that a link is that NIC stands in the guest, who can write there: so it
 * must be the guest that got the NIC, and a link of the NIC's kind.
 */
function bringBack({ attached: { record, hostEnd, inGuest }, nic, state, sysctls }: Detachment): Plan {
  const guest = `${record.guest.kind}:${record.guest.name}`
  if (nic === undefined || nic.guest !== guest || (inGuest !== undefined && inGuest.kind !== nic.kind))
    throw new PipeworkError(
      `'${record.ifname}' of '${record.guest.name}' is not the NIC '${record.nic}' of this host`,
      {
        hint: 'Somebody has changed its record inside the guest. Nothing was moved.',
      },
    )
  const routes = state?.routes.filter(({ dev, protocol }) => dev === inGuest?.name && protocol !== 'kernel') ?? []
  if (inGuest !== undefined) return planNicReturn(nic, { inGuest, routes, sysctls })
  return hostEnd === undefined ? [] : planNicReturn(nic, { inHost: hostEnd })
}

/** The default routes that the link's own replaced, as far as the interfaces they go through are still there. */
function listReturns({ attached: { record, inGuest }, state }: Detachment) {
  if (inGuest === undefined || state === undefined) return []
  return record.previous.flatMap(({ family, words }) => {
    const metric = metricOf({ family, words })
    const isCurrent = (route: Route) => isDefault(route, family) && route.metric === metric
    const current = state.routes.find((route) => route.dev === inGuest.name && isCurrent(route))
    const passable = devsOf(words).every(
      (dev) => dev !== inGuest.name && state.links.some(({ name, up }) => name === dev && up),
    )
    return current === undefined || !passable ? [] : [{ family, words, current }]
  })
}

function planReturn(detachment: Detachment): Plan {
  return listReturns(detachment).map(({ family, words, current }) => {
    const word = family === 4 ? 'default' : '::/0'
    return {
      why: `put the earlier default route for IPv${family} back`,
      command: ipInGuest`route replace ${word} ${words}`,
      undo: ipInGuest`route replace ${word} ${current.words}`,
    }
  })
}

const replaces = (a: DefaultRoute, b: DefaultRoute) => a.family === b.family && metricOf(a) === metricOf(b)

/** Where another link of ours would return to a route through this one, it now returns to what this one replaced. */
function relink(other: Attached, { record, inGuest }: Attached): Attached {
  const name = inGuest?.name ?? record.ifname
  const previous = other.record.previous.flatMap((route) =>
    devsOf(route.words).includes(name) ? record.previous.filter((it) => replaces(it, route)) : [route],
  )
  const relinked = { ...other.record, previous }
  return { ...other, record: relinked, alias: encodeRecord(relinked) }
}

/** What the plan leaves: a dry run's next plan starts from there, where a real run looks again. */
export function foresee(detachment: Detachment): { readonly all: readonly Attached[]; readonly state?: GuestState } {
  const { attached, others, state } = detachment
  const all = others.map((other) => relink(other, attached))
  if (state === undefined) return { all }
  const gone = attached.inGuest?.name
  const returned = listReturns(detachment).map(({ words, current }) => ({
    ...current,
    words,
    dev: devsOf(words)[0] ?? '',
  }))
  return {
    all,
    state: {
      links: state.links.filter(({ name }) => name !== gone),
      routes: [...state.routes.filter(({ dev }) => dev !== gone), ...returned],
    },
  }
}

function planRelink({ attached, others }: Detachment): Plan {
  return others.flatMap((other) => {
    const { alias } = relink(other, attached)
    if (alias === other.alias) return []
    return [
      {
        why: `record on ${other.record.ifname} which default route is to come back after it`,
        command: setAlias(other, alias),
        undo: setAlias(other, other.alias),
      },
    ]
  })
}

function setAlias({ hostEnd, inGuest, record }: Attached, alias: string): IpCommand {
  if (hostEnd !== undefined) return ip`link set dev ${hostEnd.name} alias ${alias}`
  return ipInGuest`link set dev ${inGuest?.name ?? record.ifname} alias ${alias}`
}

/** The link itself made anew, without addresses. */
function recreateLink({ attached, port, parent }: Detachment): readonly Command[] {
  const { hostEnd, inGuest, alias } = attached
  if (inGuest === undefined) return []
  const { name, kind, mac, mtu, mode } = inGuest
  if (hostEnd !== undefined)
    return [
      ip`link add dev ${hostEnd.name} address ${hostEnd.mac} mtu ${hostEnd.mtu} ${hostEnd.master !== undefined && hostEnd.master !== OVS_SYSTEM && ['master', hostEnd.master]} type veth peer name ${name} address ${mac} mtu ${mtu} netns ${guestNetns}`,
      ip`link set dev ${hostEnd.name} alias ${alias}`,
      ...restoreVlans(hostEnd.name, port),
      ...(hostEnd.up ? [ip`link set dev ${hostEnd.name} up`] : []),
    ]
  const record = ipInGuest`link set dev ${name} alias ${alias}`
  if (kind === 'dummy')
    return [ip`link add name ${name} address ${mac} mtu ${mtu} netns ${guestNetns} type dummy`, record]
  if (parent === undefined) return []
  return [
    ip`link add link ${parent.name} name ${name} ${kind === 'macvlan' && ['address', mac]} mtu ${mtu} netns ${guestNetns} type ${kind} ${mode !== undefined && ['mode', mode]}`,
    record,
  ]
}

/** The link as it is now, made anew: the inverse of its removal. */
function recreate(detachment: Detachment): readonly Command[] {
  const { attached, state, sysctls } = detachment
  const { inGuest } = attached
  if (inGuest === undefined || state === undefined) return []
  const { name } = inGuest
  const settings = Object.fromEntries(Object.entries(sysctls).filter(([, value]) => value !== ''))
  const routes = state.routes.filter(({ dev, protocol }) => dev === name && protocol !== 'kernel')
  return [
    ...recreateLink(detachment),
    ...(attached.record.words.includes('--tx-offload=off') ? [setOffload(name, 'off')] : []),
    ...(Object.keys(settings).length === 0 ? [] : [sysctlInGuest(settings)]),
    ...(inGuest.up ? [ipInGuest`link set dev ${name} up`] : []),
    ...inGuest.addresses
      .filter(({ automatic }) => !automatic)
      .map((address) => ipInGuest`addr add ${toAddrWords(address)} dev ${name}`),
    ...restoreRoutes(routes),
  ]
}
