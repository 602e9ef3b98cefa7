import type { Warning } from '../model/report'
import { listBridgePortNames } from '../state/host-links'
import type { System } from '../system/types'
import { brNetfilterFamilies } from './br-netfilter'
import { type BridgePortEndpoint, type FirewallDrop, findDrops, portFlows, toFirewallWarning } from './drops'
import type { Flow } from './evaluate'
import { iptablesToolFor, readRuleset, type ToolResolver } from './read'
import type { OwnRule, Rule, Ruleset } from './rule'
import { simulateRules } from './suggest'

/** What the host is to forward for an attachment. */
export interface ForwardedTraffic {
  /** For each family, and each way to the outside: what goes there and comes from there. */
  readonly flows: readonly (readonly (readonly Flow[])[])[]
  /** The rules that pipework writes for it. */
  readonly acceptRules: readonly OwnRule[]
}

/** An attachment, as the firewall is asked about it. */
export interface FirewallSubject {
  /** Its port, where that is on a Linux bridge. */
  readonly port?: BridgePortEndpoint
  /** Absent where the host forwards nothing for it. */
  readonly forwarding?: ForwardedTraffic
}

/** The rules as they are once those of pipework are written, which go to the plain iptables. */
function simulateOwnRules(ruleset: Ruleset, rules: readonly Rule[], toolOf: ToolResolver): Ruleset {
  return simulateRules(ruleset, rules, (chain) => chain.backend !== 'nft' && /^ip6?tables$/.test(toolOf(chain)))
}

/** What drops the forwarded traffic, in a family in which no way to the outside is open. */
function findForwardingDrops({ flows }: ForwardedTraffic, ruleset: Ruleset): readonly FirewallDrop[] {
  return flows.flatMap((ways) => {
    const found = ways.map((way) => findDrops(ruleset, way))
    return found.some((it) => it.length === 0) ? [] : (found[0] ?? [])
  })
}

function findPortDrops(endpoint: BridgePortEndpoint, ruleset: Ruleset, system: System): readonly FirewallDrop[] {
  const { bridge, port } = endpoint
  const others = listBridgePortNames(bridge, system).filter((it) => it !== port)
  return findDrops(ruleset, portFlows(endpoint, { families: brNetfilterFamilies(system), others }), port)
}

/** What drops the attachment's frames on its bridge, or what is forwarded for it. */
export function findSubjectDrops(
  { port, forwarding }: FirewallSubject,
  read: Ruleset,
  system: System,
): readonly FirewallDrop[] {
  const ruleset = simulateOwnRules(read, forwarding?.acceptRules ?? [], iptablesToolFor(system))
  return [
    ...(forwarding === undefined ? [] : findForwardingDrops(forwarding, ruleset)),
    ...(port === undefined ? [] : findPortDrops(port, ruleset, system)),
  ]
}

/** Reads the rules beside other work; what they do to an attachment is evaluated after it. */
export function startFirewallCheck(system: System): (subject: FirewallSubject) => Promise<Warning | undefined> {
  // An attachment does not fail because rules cannot be read.
  const reading = readRuleset(system).catch(() => [])
  return async (subject) => toFirewallWarning(findSubjectDrops(subject, await reading, system), iptablesToolFor(system))
}

/** Reads the rules, to evaluate what they do to the frames of existing ports. */
export async function readPortFirewall(system: System): Promise<(endpoint: BridgePortEndpoint) => Warning | undefined> {
  const ruleset = brNetfilterFamilies(system).length === 0 ? [] : await readRuleset(system)
  return (endpoint) => toFirewallWarning(findPortDrops(endpoint, ruleset, system), iptablesToolFor(system))
}

/** What the rules do to what is forwarded for an existing attachment; undefined where it passes. */
export function forwardingWarning(forwarding: ForwardedTraffic, ruleset: Ruleset, system: System): Warning | undefined {
  const toolOf = iptablesToolFor(system)
  return toFirewallWarning(
    findForwardingDrops(forwarding, simulateOwnRules(ruleset, forwarding.acceptRules, toolOf)),
    toolOf,
  )
}
