import { PipeworkError } from '../model/errors'
import type { Plan } from '../plan/step'
import type { System } from '../system/types'
import type { HostFirewall } from './read'
import type { OwnRule } from './rule'
import { iptablesFilters, listIptablesComments, planIptables } from './write-iptables'
import { listNftComments, planNft, prepareNft } from './write-nft'

/** A program that can hold rules of ours. */
interface FirewallWriter {
  /** The steps after which it holds these rules and no others of ours; none where it does. */
  readonly plan: (rules: readonly OwnRule[], firewall: HostFirewall) => Plan
  /** The comments of our rules that are in force there. */
  readonly listComments: (firewall: HostFirewall) => readonly string[]
}

const nft: FirewallWriter = { plan: planNft, listComments: listNftComments }
const iptables: FirewallWriter = { plan: planIptables, listComments: listIptablesComments }

/** An accept in a table of our own would not overrule the drop of another table: it goes to iptables. */
const isAccept = ({ action }: OwnRule) => action.kind === 'accept'

/** Each rule once, in an order that does not depend on who was there first. */
function sortRules(rules: readonly OwnRule[]): readonly OwnRule[] {
  const byComment = new Map(rules.map((rule) => [rule.comment, rule]))
  return [...byComment].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, rule]) => rule)
}

/** Chooses the writer by trying it: nftables where it accepts what would be written, else iptables. */
export function chooseWriter(rules: readonly OwnRule[], firewall: HostFirewall, system: System): Promise<HostFirewall> {
  return prepareNft(
    sortRules(rules).filter((rule) => !isAccept(rule)),
    firewall,
    system,
  )
}

/**
 * Plans the steps after which the firewall holds these rules of ours and no others. What is forwarded is accepted in
 * iptables, where that filters; all other rules go to the chosen writer.
 */
export function planFirewallRules(all: readonly OwnRule[], firewall: HostFirewall): Plan {
  const { usesNft, iptablesFamilies } = firewall
  const rules = sortRules(all)
  const others = rules.filter((rule) => !isAccept(rule))
  if (!usesNft && others.some(({ family }) => !iptablesFamilies.includes(family)))
    throw new PipeworkError("neither 'nft' nor 'iptables' works here, and NAT and published ports need one", {
      hint: 'Install it: apt install nftables',
    })
  const accepts = rules.filter((rule) => isAccept(rule) && iptablesFilters(rule.family, firewall))
  return [
    ...(usesNft ? nft.plan(others, firewall) : []),
    ...iptables.plan(usesNft ? accepts : rules.filter((rule) => accepts.includes(rule) || !isAccept(rule)), firewall),
  ]
}

/** Those of these rules that are not in the firewall and should be. */
export function listMissingRules(rules: readonly OwnRule[], firewall: HostFirewall): readonly OwnRule[] {
  const there = new Set([...nft.listComments(firewall), ...iptables.listComments(firewall)])
  return rules.filter((rule) => !there.has(rule.comment) && (!isAccept(rule) || iptablesFilters(rule.family, firewall)))
}
