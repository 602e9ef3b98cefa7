import { findDriverOf } from '../../drivers'
import { planOvsBridgeRemoval } from '../../drivers/ovs'
import { type ParentDevice, planParentRemoval } from '../../drivers/parent'
import type { LinkRemoval } from '../../drivers/types'
import { toVxlanRemoval, type VxlanLink } from '../../drivers/vxlan'
import { isDefaultRoute, routeMetric } from '../../network/default-route'
import { planPolicyRemoval } from '../../network/policy-routing'
import { type IpCommand, ip, ipInGuest, type Plan, planSteps } from '../../plan/step'
import type { ExistingAttachment, OvsRemoval } from '../../state/attachments'
import type { GuestRoute, GuestState } from '../../state/guest'
import type { PolicyRouting } from '../../state/policy-rules'
import { type DefaultRoute, encodeRecord } from '../../state/record'

/** An attachment to remove, and its dependencies. */
export interface DetachInputs extends LinkRemoval, UnusedParents {
  /** Other attachments of the same guest. */
  readonly others: readonly ExistingAttachment[]
  /** The rules and routes of --policy-route. */
  readonly policy?: PolicyRouting
  /** The steps that remove host services used only by this link. */
  readonly servicesRemoval?: Plan
}

/** What pipework created under a link, and is unused without the link. */
export interface UnusedParents {
  readonly ovsRemoval?: OvsRemoval
  readonly unusedParent?: ParentDevice
  /** VXLANs on its bridge. */
  readonly unusedVxlans?: readonly VxlanLink[]
  /** The steps that remove the firewall rules for its bridge. */
  readonly firewallCleanup?: Plan
}

/** The steps that remove an attachment and restore what it replaced. */
export function planDetach(inputs: DetachInputs): Plan {
  return [
    ...planPolicyRemoval(inputs.policy),
    ...planRouteRestore(inputs),
    ...planPreviousRewrite(inputs),
    ...(inputs.servicesRemoval ?? []),
    ...findDriverOf(inputs).planRemoval(inputs),
    ...planUnusedRemoval(inputs),
  ]
}

/** The steps that remove what is unused after the last link. */
export function planUnusedRemoval({
  firewallCleanup,
  unusedVxlans = [],
  unusedParent,
  ovsRemoval,
}: UnusedParents): Plan {
  return planSteps(
    firewallCleanup,
    unusedVxlans.map((vxlan) => ({
      description: `remove ${vxlan.name}: pipework made it, and it is unused`,
      ...toVxlanRemoval(vxlan),
    })),
    unusedParent !== undefined && planParentRemoval(unusedParent),
    ovsRemoval !== undefined && planOvsBridgeRemoval(ovsRemoval),
  )
}

/** The interfaces that a route uses. */
function listDevs(words: readonly string[]): readonly string[] {
  return words.filter((_, index) => words[index - 1] === 'dev')
}

/** The default routes that the link replaced and whose interfaces still exist. */
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

function planRouteRestore(inputs: DetachInputs): Plan {
  return listRestorableRoutes(inputs).map(({ family, words, current }) => {
    const word = family === 4 ? 'default' : '::/0'
    return {
      description: `restore the previous IPv${family} default route`,
      command: ipInGuest`route replace ${word} ${words}`,
      undo: ipInGuest`route replace ${word} ${current.words}`,
    }
  })
}

const isSameDefault = (a: DefaultRoute, b: DefaultRoute) => a.family === b.family && routeMetric(a) === routeMetric(b)

/**
 * Another link may restore a route through the removed link. From now on it restores the route that the removed link
 * had replaced.
 */
function rewritePrevious(other: ExistingAttachment, gone: ExistingAttachment): ExistingAttachment {
  const name = gone.inGuest?.name ?? gone.record.ifname
  const leadsHere = (route: DefaultRoute) => listDevs(route.words).includes(name)
  if (!other.record.previous.some(leadsHere)) return other
  const previous = other.record.previous.flatMap((route) =>
    leadsHere(route) ? gone.record.previous.filter((it) => isSameDefault(it, route)) : [route],
  )
  const record = { ...other.record, previous }
  return { ...other, record, alias: encodeRecord(record) }
}

/** The state after the plan, from which a dry run plans its next steps. */
export function stateAfterDetach(inputs: DetachInputs): {
  readonly all: readonly ExistingAttachment[]
  readonly state?: GuestState
} {
  const { attachment, others, guestState } = inputs
  const all = others.map((other) => rewritePrevious(other, attachment))
  if (guestState === undefined) return { all }
  const gone = attachment.inGuest?.name
  const returned = listRestorableRoutes(inputs).map(({ words, current }) => ({
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
        description: `record on ${other.record.ifname} which default route to restore after it`,
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
