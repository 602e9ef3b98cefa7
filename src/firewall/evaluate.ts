import { type Family, networkContains } from '../model/address'
import { type Chain, isSameChain, type Rule, type RuleMatch, type Ruleset, type UnknownMatch } from './rule'

/** A frame on its way over a bridge, or a packet that the host forwards, as far as it is known beforehand. */
export interface Flow {
  readonly family: Family
  /** Absent for what the host forwards. */
  readonly bridge?: string
  /** Of what it forwards: the interfaces that it comes in by, and leaves by; absent for any. */
  readonly in?: string
  readonly out?: string
  /** The port that it comes in by, and the one that it leaves by; absent for any. */
  readonly from?: string
  readonly to?: string
  readonly saddr?: string
  readonly daddr?: string
  /** Known where a rule of a published port is meant; `first-last` for a range. */
  readonly protocol?: string
  readonly dport?: string
  /** What it is to connection tracking: the first of a connection unless said otherwise. */
  readonly state?: 'new' | 'established'
  /** Whether it was sent here by a rule that has changed where it goes. */
  readonly isTranslated?: true
}

/** What becomes of it: `perhaps` where a rule decides that looks at something that is not known beforehand. */
export type Verdict = 'passes' | 'dropped' | 'perhaps'

/** A base chain that drops the frame, or may: by a rule, or by its policy when there is none. */
export interface DroppedBy {
  readonly baseChain: Chain
  readonly verdict: Exclude<Verdict, 'passes'>
  /** The chain in which the rule stands: the base chain itself, or one that it jumps to. */
  readonly ruleChain: Chain
  readonly rule?: Rule
}

export interface Evaluation {
  readonly verdict: Verdict
  readonly droppedBy: readonly DroppedBy[]
}

/** What cannot be evaluated may match. */
type Tristate = 'yes' | 'maybe' | 'no'

const tristateAnd = (a: Tristate, b: Tristate): Tristate =>
  a === 'no' || b === 'no' ? 'no' : a === 'yes' && b === 'yes' ? 'yes' : 'maybe'
const tristateNot = (a: Tristate): Tristate => (a === 'maybe' ? a : a === 'yes' ? 'no' : 'yes')
const tristateOr = (a: Tristate, b: Tristate): Tristate => tristateNot(tristateAnd(tristateNot(a), tristateNot(b)))
const toTristate = (value: boolean): Tristate => (value ? 'yes' : 'no')

/** Whether a rule's pattern matches the name: one that ends in `*` matches many. */
export function matchesNamePattern(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name
}

function matchName(values: readonly string[], name: string | undefined): Tristate {
  if (name !== undefined) return toTristate(values.some((value) => matchesNamePattern(value, name)))
  return values.includes('*') ? 'yes' : 'maybe'
}

function matchAddress(values: readonly string[], ip: string | undefined): Tristate {
  if (values.some((value) => /^(0\.0\.0\.0|::)\/0$/.test(value))) return 'yes'
  if (ip === undefined) return 'maybe'
  const answers = values.map((value) => networkContains(value, ip))
  if (answers.includes(true)) return 'yes'
  return answers.includes(undefined) ? 'maybe' : 'no'
}

/** In the tables of IP a bridged frame enters and leaves by the bridge; in those of bridges, by its ports. */
function matchField(match: RuleMatch, flow: Flow, { family }: Chain): Tristate {
  const [from, to] = family === 'bridge' ? [flow.from, flow.to] : [flow.bridge ?? flow.in, flow.bridge ?? flow.out]
  const { field, values } = match
  if (field === 'bridged') return toTristate(flow.bridge !== undefined)
  if (field === 'in') return matchName(values, from)
  if (field === 'out') return matchName(values, to)
  if (field === 'physIn') return matchName(values, flow.from)
  if (field === 'physOut') return matchName(values, flow.to)
  if (field === 'bridge') return matchName(values, flow.bridge)
  if (field === 'family') return toTristate(values.includes(`${flow.family}`))
  if (field === 'state')
    return toTristate(values.includes(flow.state ?? 'new') || (flow.isTranslated === true && values.includes('dnat')))
  if (field === 'protocol') return flow.protocol === undefined ? 'maybe' : toTristate(values.includes(flow.protocol))
  if (field === 'dport') return flow.dport !== undefined && values.includes(flow.dport) ? 'yes' : 'maybe'
  return field === 'localDaddr' ? 'maybe' : matchAddress(values, flow[field])
}

function matchRule({ matches }: Rule, flow: Flow, chain: Chain): Tristate {
  const answerTo = (match: RuleMatch | UnknownMatch): Tristate => {
    if (match.field === 'unknown') return 'maybe'
    const answer = matchField(match, flow, chain)
    return match.negated ? tristateNot(answer) : answer
  }
  return matches.map(answerTo).reduce(tristateAnd, 'yes')
}

/** One way in which a chain may end for the packet. */
interface ChainOutcome {
  readonly verdict: 'accept' | 'drop'
  readonly certainty: Tristate
  readonly ruleChain: Chain
  readonly rule?: Rule
}

/** What a chain does: its possible outcomes, and whether the packet gets to its end. */
interface ChainResult {
  readonly outcomes: readonly ChainOutcome[]
  readonly fallsThrough: Tristate
}

/** The kernel refuses chains that jump to each other without end; a text may hold them. */
const MAX_JUMP_DEPTH = 64

interface WalkContext {
  readonly flow: Flow
  readonly ruleset: Ruleset
  readonly depth: number
}

function walkChain(chain: Chain, context: WalkContext): ChainResult {
  const outcomes: ChainOutcome[] = []
  let reached: Tristate = 'yes'
  // Packets that returned, or that came to the end of a chain they went to: the caller goes on with them.
  let returned: Tristate = 'no'
  for (const rule of context.depth > MAX_JUMP_DEPTH ? [] : chain.rules) {
    const matched = matchRule(rule, context.flow, chain)
    if (matched === 'no' || rule.action.kind === 'continue') continue
    const effect = applyRule(rule, { certainty: tristateAnd(reached, matched), chain }, context)
    outcomes.push(...effect.outcomes)
    returned = tristateOr(returned, effect.returns)
    reached = tristateOr(matched === 'yes' ? 'no' : 'maybe', effect.continues)
    if (reached === 'no') break
  }
  return { outcomes, fallsThrough: tristateOr(reached, returned) }
}

/** What a rule does where it matches: its outcomes, whether the next rule is asked, whether the packet leaves the chain. */
interface RuleEffect {
  readonly outcomes: readonly ChainOutcome[]
  readonly continues: Tristate
  readonly returns: Tristate
}

function applyRule(
  rule: Rule,
  { certainty, chain }: { readonly certainty: Tristate; readonly chain: Chain },
  context: WalkContext,
): RuleEffect {
  const { action } = rule
  if ('chain' in action) {
    const target = walkNamedChain(action.chain, chain, context)
    const after = tristateAnd(certainty, target.fallsThrough)
    const outcomes = target.outcomes.map((it) => ({ ...it, certainty: tristateAnd(certainty, it.certainty) }))
    return action.kind === 'goto'
      ? { outcomes, continues: 'no', returns: after }
      : { outcomes, continues: after, returns: 'no' }
  }
  if (action.kind === 'return') return { outcomes: [], continues: 'no', returns: certainty }
  const end = (verdict: ChainOutcome['verdict'], how: Tristate) => ({ verdict, certainty: how, ruleChain: chain, rule })
  const outcomes =
    action.kind === 'unknown'
      ? [end('accept', 'maybe'), end('drop', 'maybe')]
      : [end(action.kind === 'drop' ? 'drop' : 'accept', certainty)]
  return { outcomes, continues: 'no', returns: 'no' }
}

function walkNamedChain(name: string, from: Chain, { flow, ruleset, depth }: WalkContext): ChainResult {
  const chain = ruleset.find((it) => isSameChain(it, { ...from, name }))
  if (chain === undefined) return { outcomes: [], fallsThrough: 'yes' }
  return walkChain(chain, { flow, ruleset, depth: depth + 1 })
}

function evaluateChain(chain: Chain, flow: Flow, ruleset: Ruleset): DroppedBy | undefined {
  const { outcomes, fallsThrough } = walkChain(chain, { flow, ruleset, depth: 0 })
  const policy: ChainOutcome = { verdict: chain.policy ?? 'accept', certainty: fallsThrough, ruleChain: chain }
  const all = fallsThrough === 'no' ? outcomes : [...outcomes, policy]
  const drops = all.filter((it) => it.verdict === 'drop')
  const drop = drops.find(({ certainty }) => certainty === 'yes') ?? drops[0]
  if (drop === undefined) return undefined
  const verdict = drops.length < all.length ? 'perhaps' : 'dropped'
  return { baseChain: chain, verdict, ruleChain: drop.ruleChain, rule: drop.rule }
}

/** Whether the kernel calls the chain for what is forwarded in that family. */
function isForwardChain({ hook, type, family }: Chain, flow: Flow): boolean {
  if (hook !== 'forward' || type === 'nat') return false
  if (family === 'bridge') return flow.bridge !== undefined
  return family === 'inet' || family === (flow.family === 4 ? 'ip' : 'ip6')
}

/** Evaluates the base chains at the hook `forward`: a packet passes when each of them lets it pass. */
export function evaluateFlow(ruleset: Ruleset, flow: Flow): Evaluation {
  const droppedBy = ruleset
    .filter((chain) => isForwardChain(chain, flow))
    .flatMap((chain) => evaluateChain(chain, flow, ruleset) ?? [])
  const verdict = droppedBy.some((it) => it.verdict === 'dropped') ? 'dropped' : 'perhaps'
  return { verdict: droppedBy.length === 0 ? 'passes' : verdict, droppedBy }
}
