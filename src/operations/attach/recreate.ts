import { recordOf, refuseRemake } from '../../drivers/claim'
import type { Context, LinkKind } from '../../drivers/types'
import type { Family } from '../../model/address'
import { planAddresses } from '../../network/addresses'
import type { Plan } from '../../plan/step'
import type { Route } from '../../state/guest'
import { findPort } from '../../state/ovsdb'
import { planDetach } from '../detach/plan'

/** The steps that put another link in the place of one that does not fit. Throws every refusal, changes nothing. */
export function planRemake(context: Context, kind: LinkKind, misfit: string): Plan {
  refuseRemake(context, misfit)
  const without = withoutLink(context)
  return [...planRemoval(context), ...kind.plan(without), ...planAddresses(without)]
}

/** Takes the link away as `disconnect` does, but for what is below it. */
function planRemoval({ facts }: Context): Plan {
  const { inGuest, hostEnd, port, lower, nic, routes, sysctls, policy } = facts
  const record = recordOf(facts)
  const ovsPort = findPort(facts.ovs, hostEnd?.name)
  const alias = (hostEnd ?? inGuest)?.alias
  if (record === undefined || alias === undefined || inGuest === undefined) return []
  return planDetach({
    attached: { record, alias, inGuest, hostEnd },
    state: { links: facts.links, routes },
    sysctls,
    others: [],
    port,
    unplugging: ovsPort === undefined ? undefined : { port: ovsPort, dead: [], isSwitching: true },
    parent: lower,
    nic,
    policy,
  })
}

/** What will be known when the link is gone: its routes with it, and the default route that it had replaced back. */
function withoutLink(context: Context): Context {
  const { inGuest, hostEnd, port, sysctls, policy, ...facts } = context.facts
  const back = (recordOf(context.facts)?.previous ?? []).map(({ family, words }) => toRouteAgain(family, words))
  const routes = [...facts.routes.filter(({ dev }) => dev !== inGuest?.name), ...back]
  return { ...context, facts: { ...facts, routes, sysctls: {} } }
}

function toRouteAgain(family: Family, words: readonly string[]): Route {
  const after = (key: string) => words[words.indexOf(key) + 1]
  const metric = words.includes('metric') ? Number(after('metric')) : family === 4 ? 0 : 1024
  return { family, dst: 'default', dev: after('dev') ?? '', metric, protocol: after('proto') ?? 'boot', words }
}
