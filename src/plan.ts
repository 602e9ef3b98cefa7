import { planAddresses } from './addresses'
import { planDetach } from './detach'
import { PipeworkError } from './errors'
import type { Seat } from './hostlinks'
import type { Route } from './inside'
import { planSettled, recordOf, refuseRemake } from './links/claim'
import { LINK_KINDS } from './links/index'
import type { Context, LinkKind } from './links/kind'
import { findPort } from './ovsdb'
import type { Plan } from './step'
import type { Family } from './values'

function kindOf(context: Context): LinkKind {
  const kind = LINK_KINDS.find((it) => it.claims(context))
  if (kind === undefined) throw unclaimed(context)
  return kind
}

/** The steps that make the request true; none when it is. Throws every refusal, changes nothing. */
export function planAttach(context: Context): Plan {
  const kind = kindOf(context)
  const { inGuest } = context.facts
  const misfit =
    inGuest === undefined || recordOf(context.facts) === undefined ? undefined : kind.misfit(context, inGuest)
  if (misfit === undefined) return [...kind.plan(context), ...planAddresses(context), ...planSettled(context)]
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
    attached: { record, alias, inGuest, ...(hostEnd === undefined ? {} : { hostEnd }) },
    state: { links: facts.links, routes },
    sysctls,
    others: [],
    ...(port === undefined ? {} : { port }),
    ...(ovsPort === undefined ? {} : { unplugging: { port: ovsPort, dead: [], isSwitching: true } }),
    ...(lower === undefined ? {} : { parent: lower }),
    ...(nic === undefined ? {} : { nic }),
    ...(policy === undefined ? {} : { policy }),
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

/** Whether the link's end in the host, if its kind has one, is there and hangs where it shall. */
export function isSeated(context: Context, hostEnd: Seat | undefined): boolean {
  const kind = kindOf(context)
  return kind.isSeated === undefined || (hostEnd !== undefined && kind.isSeated(context, hostEnd))
}

function unclaimed({ request: { hostif }, facts }: Context): PipeworkError {
  if (facts.away !== undefined)
    return new PipeworkError(`the NIC '${hostif}' is in '${facts.away.guest}'`, {
      hint: `Bring it back first: pipework disconnect ${facts.away.guest}`,
    })
  const mute = facts.ovs?.kind === 'silent' ? `\nShould it be a bridge of Open vSwitch: ${facts.ovs.message}.` : ''
  return facts.hostif === undefined
    ? new PipeworkError(`there is no interface '${hostif}' on this host`, {
        hint: `A bridge is made when its name begins with br, like br1, or with ovs. See what there is: ip -br link${mute}`,
      })
    : new PipeworkError(`'${hostif}' is neither a bridge nor a NIC`, {
        hint: `See what it is: ip -d link show ${hostif}`,
      })
}
