import type { ForwardedTraffic } from '../../firewall/bridge-accept'
import type { Flow } from '../../firewall/evaluate'
import type { FirewallRule } from '../../firewall/rule'
import type { ParsedRule as Accept } from '../../firewall/ruleset'
import type { Family } from '../../model/address'
import { parseRouted } from '../../model/routed'
import { readProcRoutes } from '../../state/proc-routes'
import type { System } from '../../system/types'
import { desiredState, type HostAttachment, hostDeviceFor } from './desired'

/** The interfaces by which the outside may be reached: those of default routes, else of any. */
function readOutboundDevs(family: Family, dev: string, system: System): readonly string[] {
  const routes = (readProcRoutes(family, '/proc/net', system) ?? []).filter((it) => it.dev !== dev)
  const defaults = routes.filter(({ isDefault }) => isDefault)
  return [...new Set((defaults.length > 0 ? defaults : routes).map((it) => it.dev))]
}

/** A rule of ours as a verdict looks at it. */
function toAcceptRule({ family, in: from, out, from: saddr, to: daddr, state, ports }: FirewallRule): Accept {
  const known = { in: from, out, saddr, daddr }
  const fields = (['in', 'out', 'saddr', 'daddr'] as const).flatMap((field) => {
    const value = known[field]
    return value === undefined ? [] : [{ field, values: [value] }]
  })
  const states = [...(state === 'known' ? ['established', 'related'] : []), ...(ports === undefined ? [] : ['dnat'])]
  return {
    matches: [
      { field: 'family', values: [`${family}`] },
      ...fields,
      ...(states.length === 0 ? [] : [{ field: 'state' as const, values: states }]),
    ],
    action: { kind: 'accept' },
  }
}

/** What such a rule is for: the first packet, or what belongs to a connection, in by the one and out by the other. */
function toForwardFlow(
  { family, in: from, state, ports, ...rule }: FirewallRule,
  dev: string,
  way: string | undefined,
): Flow {
  const outside = rule.out === dev || rule.out === undefined ? way : rule.out
  const [enters, leaves] = from === dev ? [dev, outside] : [outside, dev]
  return {
    ...{ family, state: state === 'known' ? 'established' : 'new' },
    in: enters,
    out: leaves,
    isTranslated: ports === undefined ? undefined : true,
  }
}

/** What the host is to forward for an attachment, and the rules that pipework itself makes for it. */
export function readForwarding(subject: HostAttachment, system: System): ForwardedTraffic | undefined {
  const { hostServices, hostif } = subject
  const dev = hostDeviceFor(subject)
  const rules = desiredState(subject, new Map()).rules.filter(({ action }) => action === 'accept')
  if (rules.length === 0) return undefined
  // What is published on 127.0.0.1 alone comes from nowhere else.
  const isNear = hostServices.portMappings.every(({ listenAddress }) => listenAddress?.ip.startsWith('127.'))
  const routed = rules.filter((it) => !(it.in === dev && it.out === dev) && !(isNear && it.ports !== undefined))
  const nic = parseRouted(hostif)?.nic
  const flows = ([4, 6] as const).flatMap((family): ForwardedTraffic['flows'] => {
    const own = routed.filter((it) => it.family === family)
    const ways = nic === undefined ? readOutboundDevs(family, dev, system) : [nic]
    return own.length === 0
      ? []
      : [(ways.length === 0 ? [undefined] : ways).map((way) => own.map((rule) => toForwardFlow(rule, dev, way)))]
  })
  return { flows, acceptRules: rules.map(toAcceptRule) }
}
