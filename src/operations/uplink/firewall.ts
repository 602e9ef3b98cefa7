import { nameFits } from '../../firewall/evaluate'
import type { Rule, Ruleset } from '../../firewall/ruleset'
import { describeObstacle } from '../../firewall/suggest'

/**
 * A rule of the host's firewall that speaks of the NIC, as people find it: what comes in by the NIC comes in by the bridge
 * afterwards, and a rule that lets SSH in says nothing of it. Undefined where a rule speaks of the bridge: somebody knows.
 */
export function findRuleOf(nic: string, bridge: string, ruleset: Ruleset): string | undefined {
  const speaksOf = ({ matches }: Rule, name: string) =>
    matches.some(
      (it) => (it.field === 'in' || it.field === 'out') && it.values.some((pattern) => nameFits(pattern, name)),
    )
  const all = ruleset.flatMap((chain) => chain.rules.map((rule) => ({ chain, rule })))
  const [found] = all.filter(({ rule }) => speaksOf(rule, nic))
  if (found === undefined || all.some(({ rule }) => speaksOf(rule, bridge))) return undefined
  return describeObstacle({ ...found, in: found.chain, fate: 'perhaps' })
}
