import type { Driver } from '../../drivers/types'
import { planFinalRecord } from '../../drivers/update-link'
import { validateRecreate } from '../../drivers/validate'
import type { Family } from '../../model/address'
import { planAddresses } from '../../network/addresses'
import { kernelMetric } from '../../network/default-route'
import type { Plan } from '../../plan/step'
import { type AttachContext, findLinkRecord } from '../../state/attach-facts'
import type { GuestRoute } from '../../state/guest'
import { findOvsPort } from '../../state/ovsdb'
import { planDetach } from '../detach/plan'

/** The steps for the link, its addresses and its routes; empty when nothing must change. Throws every refusal. */
export function planLinkAndAddresses(context: AttachContext, driver: Driver): Plan {
  const difference = findIncompatibility(context, driver)
  if (difference !== undefined) validateRecreate(context, difference)
  const [removal, target] = difference === undefined ? [[], context] : [planLinkRemoval(context), withoutLink(context)]
  driver.validate(target)
  return [
    ...removal,
    ...driver.plan(target),
    ...planAddresses(target, { canSetMac: !driver.hasFixedMac }),
    ...planFinalRecord(target),
  ]
}

/** The reason why an existing link of ours must be recreated, if there is one. */
export function findIncompatibility(context: AttachContext, driver: Driver): string | undefined {
  const { inGuest } = context.facts
  return inGuest === undefined || findLinkRecord(context.facts) === undefined
    ? undefined
    : driver.incompatibility(context, inGuest)
}

/** Removes the link like `disconnect`, but keeps its bridge or VLAN device. */
function planLinkRemoval({ facts }: AttachContext): Plan {
  const { inGuest, hostEnd, portVlans, parent, savedNic, hostState, routes, sysctls, policy } = facts
  const record = findLinkRecord(facts)
  const ovsPort = findOvsPort(facts.ovs, hostEnd?.name)
  const alias = (hostEnd ?? inGuest)?.alias
  // A guest can delete the alias of a NIC; the NIC is then known by its device.
  if (record === undefined || (alias === undefined && record.nic === undefined) || inGuest === undefined) return []
  return planDetach({
    attachment: { record, alias: alias ?? '', inGuest, hostEnd },
    guestState: { links: facts.links, routes },
    sysctls,
    others: [],
    portVlans,
    ovsRemoval: ovsPort === undefined ? undefined : { port: ovsPort, deadPorts: [], isDaemonRunning: true },
    parent,
    savedNic,
    hostState,
    policy,
  })
}

/**
 * The facts after the removal: without the link and its routes, and with the default route that the link had replaced.
 */
function withoutLink(context: AttachContext): AttachContext {
  const { inGuest, hostEnd, portVlans, sysctls, policy, ...facts } = context.facts
  const restored = (findLinkRecord(context.facts)?.previous ?? []).map(({ family, words }) =>
    toRestoredRoute(family, words),
  )
  const routes = [...facts.routes.filter(({ dev }) => dev !== inGuest?.name), ...restored]
  return { ...context, facts: { ...facts, routes, sysctls: {} } }
}

function toRestoredRoute(family: Family, words: readonly string[]): GuestRoute {
  const after = (key: string) => words[words.indexOf(key) + 1]
  const metric = words.includes('metric') ? Number(after('metric')) : kernelMetric(family, undefined)
  return { family, dst: 'default', dev: after('dev') ?? '', metric, protocol: after('proto') ?? 'boot', words }
}
