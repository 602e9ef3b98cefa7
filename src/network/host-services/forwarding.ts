import type { ForwardedTraffic } from '../../firewall/check'
import type { Flow } from '../../firewall/evaluate'
import { matchValue, type OwnRule } from '../../firewall/rule'
import { type Family, networkContains } from '../../model/address'
import { parseRouted } from '../../model/routed'
import { readProcRoutes } from '../../state/proc-routes'
import type { System } from '../../system/types'
import { desiredState, type HostAttachment, hostDeviceFor } from './desired'

/** The outbound interfaces: those of default routes, else any. */
function readOutboundDevs(family: Family, dev: string, system: System): readonly string[] {
  const routes = (readProcRoutes(family, '/proc/net', system) ?? []).filter((it) => it.dev !== dev)
  const defaults = routes.filter(({ isDefault }) => isDefault)
  return [...new Set((defaults.length > 0 ? defaults : routes).map((it) => it.dev))]
}

/** The flow that such a rule accepts, to or from that outbound interface. */
function toForwardFlow(rule: OwnRule, outside: string | undefined, subject: HostAttachment): Flow {
  const dev = hostDeviceFor(subject)
  const isLeaving = matchValue(rule, 'in') === dev
  const guestIp = (net: string | undefined) =>
    net === undefined ? undefined : subject.addresses.find(({ ip }) => networkContains(net, ip))?.ip
  const dport = matchValue(rule, 'dport')
  return {
    family: rule.family,
    state: matchValue(rule, 'state') === 'established' ? 'established' : 'new',
    in: isLeaving ? dev : outside,
    out: isLeaving ? (matchValue(rule, 'out') ?? outside) : dev,
    saddr: guestIp(matchValue(rule, 'saddr')),
    daddr: guestIp(matchValue(rule, 'daddr')),
    protocol: matchValue(rule, 'protocol'),
    dport,
    isTranslated: dport === undefined ? undefined : true,
  }
}

/** The traffic that the host should forward for an attachment, and pipework's own rules for it. */
export function readForwarding(subject: HostAttachment, system: System): ForwardedTraffic | undefined {
  const { hostServices, hostif } = subject
  const dev = hostDeviceFor(subject)
  const rules = desiredState(subject, new Map()).rules.filter(({ action }) => action.kind === 'accept')
  if (rules.length === 0) return undefined
  // Ports published only on 127.0.0.1 get traffic from the host alone.
  const isNear = hostServices.portMappings.every(({ listenAddress }) => listenAddress?.ip.startsWith('127.'))
  const isBridged = (rule: OwnRule) => matchValue(rule, 'in') === dev && matchValue(rule, 'out') === dev
  const isPublished = (rule: OwnRule) => matchValue(rule, 'dport') !== undefined
  const forwarded = rules.filter((rule) => !isBridged(rule) && !(isNear && isPublished(rule)))
  const nic = parseRouted(hostif)?.nic
  const flows = ([4, 6] as const).flatMap((family): ForwardedTraffic['flows'] => {
    const own = forwarded.filter((it) => it.family === family)
    const ways = nic === undefined ? readOutboundDevs(family, dev, system) : [nic]
    return own.length === 0
      ? []
      : [(ways.length === 0 ? [undefined] : ways).map((way) => own.map((rule) => toForwardFlow(rule, way, subject)))]
  })
  return { flows, acceptRules: rules }
}
