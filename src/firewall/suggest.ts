import { shellQuote } from '../model/shell'
import { type DroppedBy, evaluateFlow, type Flow } from './evaluate'
import type { ToolResolver } from './read'
import {
  type Chain,
  DOCKER_CHAIN,
  ESTABLISHED,
  isPlainName,
  isSameChain,
  isSameTable,
  match,
  matchValue,
  type PlacedRule,
  type Rule,
  type Ruleset,
  TRANSLATED,
} from './rule'
import { formatIptablesRule } from './write-iptables'
import { formatNftRule } from './write-nft'

/** The rule that accepts the flow, as wide as its bridge or its two interfaces. */
function acceptRuleFor({ bridge, state, isTranslated, ...flow }: Flow, { family }: Chain): Rule {
  const tracked = isTranslated ? TRANSLATED : state === 'established' ? ESTABLISHED : []
  const matches =
    bridge === undefined
      ? [...match('in', flow.in), ...match('out', flow.out), ...tracked]
      : family === 'bridge'
        ? match('bridge', bridge)
        : [...match('in', bridge), ...match('out', bridge)]
  return { matches, action: { kind: 'accept' } }
}

/** The ruleset with rules at the head of that chain. */
function prependRules(ruleset: Ruleset, chain: Chain, rules: readonly Rule[]): Ruleset {
  return ruleset.map((it) => (isSameChain(it, chain) ? { ...it, rules: [...rules, ...it.rules] } : it))
}

/** Whether firewalld can take the interface of the rule into its default zone: it is in none yet. */
function canJoinZone({ chain, rule }: PlacedRule, ruleset: Ruleset): boolean {
  const name = matchValue(rule, 'out')
  const rules = ruleset.filter((it) => isSameTable(it, chain)).flatMap((it) => it.rules)
  const isNamed = rules.some(({ matches }) =>
    matches.some((it) => it.field !== 'unknown' && name !== undefined && it.values.includes(name)),
  )
  return name !== undefined && !isNamed
}

/** Where a rule of ours would let the flow past that base chain, as tried on the ruleset. */
function findPlace({ baseChain }: DroppedBy, flow: Flow, ruleset: Ruleset): PlacedRule | undefined {
  if ([flow.bridge, flow.in, flow.out].some((name) => name !== undefined && !isPlainName(name))) return undefined
  const docker = ruleset.filter((it) => isSameChain(it, { ...baseChain, name: DOCKER_CHAIN }))
  const found = [...docker, baseChain]
    .map((chain) => ({ chain, rule: acceptRuleFor(flow, chain) }))
    .find(({ chain, rule }) => {
      const { droppedBy } = evaluateFlow(prependRules(ruleset, chain, [rule]), flow)
      return !droppedBy.some((it) => isSameChain(it.baseChain, baseChain))
    })
  return found?.chain.table === 'firewalld' && !canJoinZone(found, ruleset) ? undefined : found
}

/** One rule for each base chain that drops the flow, or may; undefined where no rule of ours helps. */
export function findFix(
  droppedBy: readonly DroppedBy[],
  flow: Flow,
  ruleset: Ruleset,
): readonly PlacedRule[] | undefined {
  const found = droppedBy.map((it) => findPlace(it, flow, ruleset))
  return found.every((it) => it !== undefined) ? found : undefined
}

/** The ruleset with rules at the head of the forward chains that pipework writes to, or of Docker's chain there. */
export function simulateRules(ruleset: Ruleset, rules: readonly Rule[], isWritten: (chain: Chain) => boolean): Ruleset {
  const bases = ruleset.filter((it) => it.hook === 'forward' && it.table === 'filter' && isWritten(it))
  return bases.reduce((all, base) => {
    const hasDocker = base.rules.some(({ action }) => 'chain' in action && action.chain === DOCKER_CHAIN)
    return prependRules(all, hasDocker ? { ...base, name: DOCKER_CHAIN } : base, rules)
  }, ruleset)
}

/** Whether the one accepts all that the other does: it has no other conditions. */
function covers(a: PlacedRule, b: PlacedRule): boolean {
  const conditions = b.rule.matches.map((it) => JSON.stringify(it))
  return isSameChain(a.chain, b.chain) && a.rule.matches.every((it) => conditions.includes(JSON.stringify(it)))
}

/** Each of these rules once, and none that another one covers. */
export function uniqueRules(rules: readonly PlacedRule[]): readonly PlacedRule[] {
  const isFirst = (a: PlacedRule, b: PlacedRule) => rules.indexOf(a) < rules.indexOf(b)
  return rules.filter(
    (it) => !rules.some((other) => other !== it && covers(other, it) && (isFirst(other, it) || !covers(it, other))),
  )
}

/** The words that insert or delete a rule of iptables. */
function iptablesArgv(how: '-I' | '-D', { chain, rule }: PlacedRule, toolOf: ToolResolver): readonly string[] {
  const table = chain.table === 'filter' ? [] : ['-t', chain.table]
  return [toolOf(chain), ...table, how, chain.name, ...formatIptablesRule(rule)]
}

/**
 * firewalld forgets a rule in its table; within one zone frames pass. Only the interface is put into the default zone,
 * whose rules it had already, so nothing else is opened. What is forwarded needs that of the outgoing interface.
 */
function firewalldCommand(rule: Rule): string {
  const add = `--add-interface=${shellQuote(matchValue(rule, 'out') ?? '')}`
  return `firewall-cmd --permanent ${add} && firewall-cmd ${add}`
}

function insertCommand({ chain, rule }: PlacedRule, toolOf: ToolResolver): string {
  if (chain.backend !== 'nft') return iptablesArgv('-I', { chain, rule }, toolOf).map(shellQuote).join(' ')
  if (chain.table === 'firewalld') return firewalldCommand(rule)
  const words = ['nft', 'insert', 'rule', chain.family, chain.table, chain.name].map(shellQuote)
  return `${words.join(' ')} '${formatNftRule(rule)}'`
}

/** The one command that inserts all of these rules. */
export function fixCommand(rules: readonly PlacedRule[], toolOf: ToolResolver): string {
  return [...new Set(uniqueRules(rules).map((it) => insertCommand(it, toolOf)))].join(' && ')
}
