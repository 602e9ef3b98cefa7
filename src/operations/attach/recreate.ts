import type { LinkDriver } from '../../drivers/types'
import { validateRecreate } from '../../drivers/validate'
import type { Family } from '../../model/address'
import { planAddresses } from '../../network/addresses'
import type { Plan } from '../../plan/step'
import type { AttachContext } from '../../state/attach-facts'
import { findLinkRecord } from '../../state/attach-facts'
import type { GuestRoute } from '../../state/guest'
import { findOvsPort } from '../../state/ovsdb'
import { planDetach } from '../detach/plan'

/** The steps that put another link in the place of one that does not fit. Throws every refusal, changes nothing. */
export function planRecreate(context: AttachContext, kind: LinkDriver, misfit: string): Plan {
  validateRecreate(context, misfit)
  const without = contextWithoutLink(context)
  return [...planLinkRemoval(context), ...kind.plan(without), ...planAddresses(without)]
}

/** Takes the link away as `disconnect` does, but for what is below it. */
function planLinkRemoval({ facts }: AttachContext): Plan {
  const { inGuest, hostEnd, portVlans, parent, savedNic, routes, sysctls, policy } = facts
  const record = findLinkRecord(facts)
  const ovsPort = findOvsPort(facts.ovs, hostEnd?.name)
  const alias = (hostEnd ?? inGuest)?.alias
  if (record === undefined || alias === undefined || inGuest === undefined) return []
  return planDetach({
    attachment: { record, alias, inGuest, hostEnd },
    guestState: { links: facts.links, routes },
    sysctls,
    others: [],
    portVlans,
    ovsRemoval: ovsPort === undefined ? undefined : { port: ovsPort, deadPorts: [], isDaemonRunning: true },
    parent,
    savedNic,
    policy,
  })
}

/** What will be known when the link is gone: its routes with it, and the default route that it had replaced back. */
function contextWithoutLink(context: AttachContext): AttachContext {
  const { inGuest, hostEnd, portVlans, sysctls, policy, ...facts } = context.facts
  const back = (findLinkRecord(context.facts)?.previous ?? []).map(({ family, words }) =>
    toRestoredRoute(family, words),
  )
  const routes = [...facts.routes.filter(({ dev }) => dev !== inGuest?.name), ...back]
  return { ...context, facts: { ...facts, routes, sysctls: {} } }
}

function toRestoredRoute(family: Family, words: readonly string[]): GuestRoute {
  const after = (key: string) => words[words.indexOf(key) + 1]
  const metric = words.includes('metric') ? Number(after('metric')) : family === 4 ? 0 : 1024
  return { family, dst: 'default', dev: after('dev') ?? '', metric, protocol: after('proto') ?? 'boot', words }
}
