import { matchesNamePattern } from '../../firewall/evaluate'
import type { ParsedRule, Ruleset } from '../../firewall/ruleset'
import { describeDroppedBy } from '../../firewall/suggest'

/**
 * A rule of the host's firewall that speaks of the NIC, as people find it: what comes in by the NIC comes in by the bridge
 * afterwards, and a rule that lets SSH in says nothing of it. Undefined where a rule speaks of the bridge: somebody knows.
 */
export function findNicRule(nic: string, bridge: string, ruleset: Ruleset): string | undefined {
  const speaksOf = ({ matches }: ParsedRule, name: string) =>
    matches.some(
      (it) =>
        (it.field === 'in' || it.field === 'out') && it.values.some((pattern) => matchesNamePattern(pattern, name)),
    )
  const all = ruleset.flatMap((chain) => chain.rules.map((rule) => ({ chain, rule })))
  const [found] = all.filter(({ rule }) => speaksOf(rule, nic))
  if (found === undefined || all.some(({ rule }) => speaksOf(rule, bridge))) return undefined
  return describeDroppedBy({ ...found, baseChain: found.chain, ruleChain: found.chain, verdict: 'perhaps' })
}
