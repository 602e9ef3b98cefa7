import { restoreVlanCommands } from '../../drivers/bridge-vlans'
import { planOvsBridgeRemoval, planOvsPortRemoval } from '../../drivers/ovs'
import { planNicReturn } from '../../drivers/phys'
import { offloadCommand } from '../../drivers/veth'
import { toVxlanRemoval, type VxlanLink } from '../../drivers/vxlan'
import { PipeworkError } from '../../model/errors'
import { isDefaultRoute, routeMetric } from '../../network/default-route'
import { planPolicyRemoval } from '../../network/policy-routing'
import { restoreRouteCommands } from '../../network/routes'
import {
  type Command,
  guestNetns,
  type IpCommand,
  ip,
  ipInGuest,
  type Plan,
  planSteps,
  type Step,
  sysctlInGuest,
} from '../../plan/step'
import type { ExistingAttachment, OvsRemoval } from '../../state/attachments'
import type { PortVlans } from '../../state/bridge-vlans'
import { type GuestRoute, type GuestState, toAddrAddArgs } from '../../state/guest'
import { bridgePortsDir, type HostLink } from '../../state/host-links'
import { OVS_SYSTEM } from '../../state/ovsdb'
import type { PolicyRouting } from '../../state/policy-rules'
import { type DefaultRoute, encodeRecord, OWNED_ALIAS } from '../../state/record'
import type { SavedLink } from '../../state/saved-link'

/** A bridge or VLAN device under links of ours. */
export interface ParentDevice extends HostLink {
  readonly vlan?: { readonly nic: string; readonly id: number }
}

/** What is to be taken away, and what is known around it. */
export interface DetachInputs {
  readonly attachment: ExistingAttachment
  /** The inside of the guest, when it can be reached. */
  readonly guestState?: GuestState
  readonly sysctls: Readonly<Record<string, string>>
  /** Other attachments of the same guest. */
  readonly others: readonly ExistingAttachment[]
  /** The VLANs of the end in the host. */
  readonly portVlans?: PortVlans
  /** What it is to Open vSwitch. */
  readonly ovsRemoval?: OvsRemoval
  /** The NIC or VLAN device under a macvlan. */
  readonly parent?: HostLink
  /** How the NIC was, where the NIC itself is in the guest. */
  readonly savedNic?: SavedLink
  /** Rules and routes for replies that leave where they came in. */
  readonly policy?: PolicyRouting
  /** What takes away what the host has for the sake of this link only. */
  readonly servicesRemoval?: Plan
  /** A bridge or VLAN device that pipework made and that nobody uses after this. */
  readonly unusedParent?: ParentDevice
  /** VXLANs that pipework made for its bridge, where nobody is left on that. */
  readonly unusedVxlans?: readonly VxlanLink[]
  /** Takes our rules for its bridge out of the firewall, where it is the last attachment there. */
  readonly firewallCleanup?: Plan
}

/** The steps that take an attachment away and put back what it replaced. */
export function planDetach(detachment: DetachInputs): Plan {
  const { attachment, ovsRemoval, policy } = detachment
  const { record, hostEnd, inGuest } = attachment
  if (record.nic !== undefined)
    return [
      ...planPolicyRemoval(policy),
      ...planRouteRestore(detachment),
      ...planPreviousRewrite(detachment),
      ...planBringNicBack(detachment),
    ]
  const undo = restoreCommands(detachment)
  return planSteps(
    planPolicyRemoval(policy),
    planRouteRestore(detachment),
    planPreviousRewrite(detachment),
    detachment.servicesRemoval,
    ovsRemoval !== undefined && planOvsPortRemoval(ovsRemoval),
    attachment.deadPort === undefined && {
      description: `take ${record.ifname} away from ${record.guest.name}`,
      command:
        hostEnd === undefined
          ? ipInGuest`link del dev ${inGuest?.name ?? record.ifname}`
          : ip`link del dev ${hostEnd.name}`,
      undo: undo.length === 0 ? undefined : undo,
    },
    planUnusedRemoval(detachment),
  )
}

/** What a link hung on, where nobody uses it any more. */
export type UnusedParents = Pick<DetachInputs, 'firewallCleanup' | 'unusedVxlans' | 'unusedParent' | 'ovsRemoval'>

/** The steps that take away what pipework made for links on it, when the last of them has gone. */
export function planUnusedRemoval({
  firewallCleanup,
  unusedVxlans = [],
  unusedParent,
  ovsRemoval,
}: UnusedParents): Plan {
  const why = (name: string) => `remove ${name}: pipework made it and nobody uses it`
  return planSteps(
    firewallCleanup,
    unusedVxlans.map((vxlan) => ({ description: why(vxlan.name), ...toVxlanRemoval(vxlan) })),
    unusedParent !== undefined && { description: why(unusedParent.name), ...removeParent(unusedParent) },
    ovsRemoval !== undefined && planOvsBridgeRemoval(ovsRemoval),
  )
}

/** A bridge is left to who has begun to use it in the meantime; back, both kinds are as pipework makes them. */
function removeParent(below: ParentDevice): Pick<Step, 'command' | 'undo'> {
  const { name, kind, up, mac, filtering, vlan } = below
  const remove = ip`link del dev ${name}`
  const shape = filtering === true && ['vlan_filtering', '1', 'vlan_default_pvid', `${below.defaultPvid}`]
  const undo = [
    vlan === undefined
      ? ip`link add dev ${name} address ${mac} type bridge stp_state 0 ${shape}`
      : ip`link add link ${vlan.nic} name ${name} type vlan id ${vlan.id}`,
    ip`link set dev ${name} alias ${OWNED_ALIAS}`,
    ...(up ? [ip`link set dev ${name} up`] : []),
  ]
  return { command: kind === 'bridge' ? { ...remove, onlyIfEmpty: bridgePortsDir(name) } : remove, undo }
}

/** The interfaces that a route goes through. */
function listDevs(words: readonly string[]): readonly string[] {
  return words.filter((_, index) => words[index - 1] === 'dev')
}

/**
 * The NIC comes back into the host. What says that a link is that NIC stands in the guest, who can write there: so it
 * must be the guest that got the NIC, and a link of the NIC's kind.
 */
function planBringNicBack({
  attachment: { record, hostEnd, inGuest },
  savedNic,
  guestState,
  sysctls,
}: DetachInputs): Plan {
  const guest = `${record.guest.kind}:${record.guest.name}`
  if (savedNic === undefined || savedNic.guest !== guest || (inGuest !== undefined && inGuest.kind !== savedNic.kind))
    throw new PipeworkError(
      `'${record.ifname}' of '${record.guest.name}' is not the NIC '${record.nic}' of this host`,
      {
        hint: 'Somebody has changed its record inside the guest. Nothing was moved.',
      },
    )
  const routes = guestState?.routes.filter(({ dev, protocol }) => dev === inGuest?.name && protocol !== 'kernel') ?? []
  if (inGuest !== undefined) return planNicReturn(savedNic, { inGuest, routes, sysctls })
  return hostEnd === undefined ? [] : planNicReturn(savedNic, { inHost: hostEnd })
}

/** The default routes that the link's own replaced, as far as the interfaces they go through are still there. */
function listRestorableRoutes({ attachment: { record, inGuest }, guestState }: DetachInputs) {
  if (inGuest === undefined || guestState === undefined) return []
  return record.previous.flatMap(({ family, words }) => {
    const metric = routeMetric({ family, words })
    const isCurrent = (route: GuestRoute) => isDefaultRoute(route, family) && route.metric === metric
    const current = guestState.routes.find((route) => route.dev === inGuest.name && isCurrent(route))
    const passable = listDevs(words).every(
      (dev) => dev !== inGuest.name && guestState.links.some(({ name, up }) => name === dev && up),
    )
    return current === undefined || !passable ? [] : [{ family, words, current }]
  })
}

function planRouteRestore(detachment: DetachInputs): Plan {
  return listRestorableRoutes(detachment).map(({ family, words, current }) => {
    const word = family === 4 ? 'default' : '::/0'
    return {
      description: `put the earlier default route for IPv${family} back`,
      command: ipInGuest`route replace ${word} ${words}`,
      undo: ipInGuest`route replace ${word} ${current.words}`,
    }
  })
}

const isSameDefault = (a: DefaultRoute, b: DefaultRoute) => a.family === b.family && routeMetric(a) === routeMetric(b)

/** Where another link of ours would return to a route through this one, it now returns to what this one replaced. */
function rewritePrevious(other: ExistingAttachment, { record, inGuest }: ExistingAttachment): ExistingAttachment {
  const name = inGuest?.name ?? record.ifname
  const previous = other.record.previous.flatMap((route) =>
    listDevs(route.words).includes(name) ? record.previous.filter((it) => isSameDefault(it, route)) : [route],
  )
  const relinked = { ...other.record, previous }
  return { ...other, record: relinked, alias: encodeRecord(relinked) }
}

/** What the plan leaves: a dry run's next plan starts from there, where a real run looks again. */
export function stateAfterDetach(detachment: DetachInputs): {
  readonly all: readonly ExistingAttachment[]
  readonly state?: GuestState
} {
  const { attachment, others, guestState } = detachment
  const all = others.map((other) => rewritePrevious(other, attachment))
  if (guestState === undefined) return { all }
  const gone = attachment.inGuest?.name
  const returned = listRestorableRoutes(detachment).map(({ words, current }) => ({
    ...current,
    words,
    dev: listDevs(words)[0] ?? '',
  }))
  return {
    all,
    state: {
      links: guestState.links.filter(({ name }) => name !== gone),
      routes: [...guestState.routes.filter(({ dev }) => dev !== gone), ...returned],
    },
  }
}

function planPreviousRewrite({ attachment, others }: DetachInputs): Plan {
  return others.flatMap((other) => {
    const { alias } = rewritePrevious(other, attachment)
    if (alias === other.alias) return []
    return [
      {
        description: `record on ${other.record.ifname} which default route is to come back after it`,
        command: setAlias(other, alias),
        undo: setAlias(other, other.alias),
      },
    ]
  })
}

function setAlias({ hostEnd, inGuest, record }: ExistingAttachment, alias: string): IpCommand {
  if (hostEnd !== undefined) return ip`link set dev ${hostEnd.name} alias ${alias}`
  return ipInGuest`link set dev ${inGuest?.name ?? record.ifname} alias ${alias}`
}

/** The link itself made anew, without addresses. */
function linkRestoreCommands({ attachment, portVlans, parent }: DetachInputs): readonly Command[] {
  const { hostEnd, inGuest, alias } = attachment
  if (inGuest === undefined) return []
  const { name, kind, mac, mtu, mode } = inGuest
  if (hostEnd !== undefined)
    return [
      ip`link add dev ${hostEnd.name} address ${hostEnd.mac} mtu ${hostEnd.mtu} ${hostEnd.master !== undefined && hostEnd.master !== OVS_SYSTEM && ['master', hostEnd.master]} type veth peer name ${name} address ${mac} mtu ${mtu} netns ${guestNetns}`,
      ip`link set dev ${hostEnd.name} alias ${alias}`,
      ...restoreVlanCommands(hostEnd.name, portVlans),
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
function restoreCommands(detachment: DetachInputs): readonly Command[] {
  const { attachment, guestState, sysctls } = detachment
  const { inGuest } = attachment
  if (inGuest === undefined || guestState === undefined) return []
  const { name } = inGuest
  const settings = Object.fromEntries(Object.entries(sysctls).filter(([, value]) => value !== ''))
  const routes = guestState.routes.filter(({ dev, protocol }) => dev === name && protocol !== 'kernel')
  return [
    ...linkRestoreCommands(detachment),
    ...(attachment.record.words.includes('--tx-offload=off') ? [offloadCommand(name, 'off')] : []),
    ...(Object.keys(settings).length === 0 ? [] : [sysctlInGuest(settings)]),
    ...(inGuest.up ? [ipInGuest`link set dev ${name} up`] : []),
    ...inGuest.addresses
      .filter(({ automatic }) => !automatic)
      .map((address) => ipInGuest`addr add ${toAddrAddArgs(address)} dev ${name}`),
    ...restoreRouteCommands(routes),
  ]
}
