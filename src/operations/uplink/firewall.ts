import { describeDroppedBy } from '../../firewall/drops'
import { matchesNamePattern } from '../../firewall/evaluate'
import type { Rule, Ruleset } from '../../firewall/rule'

/**
 * Finds a rule that names the NIC but has no counterpart for the bridge. Traffic of the NIC enters by the bridge
 * afterwards, so a rule that accepts SSH on the NIC no longer matches.
 */
export function findNicRule(nic: string, bridge: string, ruleset: Ruleset): string | undefined {
  const names = ({ matches }: Rule, name: string) =>
    matches.some(
      (it) =>
        (it.field === 'in' || it.field === 'out') && it.values.some((pattern) => matchesNamePattern(pattern, name)),
    )
  const all = ruleset.flatMap((chain) => chain.rules.map((rule) => ({ chain, rule })))
  const found = all.find(({ rule }) => names(rule, nic))
  if (found === undefined || all.some(({ rule }) => names(rule, bridge))) return undefined
  return describeDroppedBy({ baseChain: found.chain, ruleChain: found.chain, rule: found.rule, verdict: 'perhaps' })
}
