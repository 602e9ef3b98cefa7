import { type Family, networkContains } from '../model/address'
import type { ParsedChain, ParsedRule, RuleMatch, Ruleset, UnknownMatch } from './ruleset'

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
  /** What it is to connection tracking: the first of a connection unless said otherwise. */
  readonly state?: 'new' | 'established'
  /** Whether it was sent here by a rule that has changed where it goes. */
  readonly isTranslated?: true
}

/** What becomes of it: `perhaps` where a rule decides that looks at something that is not known beforehand. */
export type Verdict = 'passes' | 'dropped' | 'perhaps'

/** A base chain that drops the frame, or may: by a rule, or by its policy when there is none. */
export interface DroppedBy {
  readonly baseChain: ParsedChain
  readonly verdict: Exclude<Verdict, 'passes'>
  /** The chain in which the rule stands: the base chain itself, or one that it jumps to. */
  readonly ruleChain: ParsedChain
  readonly rule?: ParsedRule
}

export interface Evaluation {
  readonly verdict: Verdict
  readonly droppedBy: readonly DroppedBy[]
}

/** Three answers: what cannot be evaluated may match. */
type Tristate = 'yes' | 'maybe' | 'no'

const tristateAnd = (a: Tristate, b: Tristate): Tristate =>
  a === 'no' || b === 'no' ? 'no' : a === 'yes' && b === 'yes' ? 'yes' : 'maybe'
const tristateNot = (a: Tristate): Tristate => (a === 'maybe' ? a : a === 'yes' ? 'no' : 'yes')
const toTristate = (value: boolean): Tristate => (value ? 'yes' : 'no')

/** Whether a name is meant by a rule's: one that ends in `*` stands for many. */
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

/** In the tables of IP a bridged frame comes in and leaves by the bridge itself; in those of bridges, by its ports. */
function matchField(match: RuleMatch, flow: Flow, { family }: ParsedChain): Tristate {
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
  return matchAddress(values, flow[field])
}

function matchRule({ matches }: ParsedRule, flow: Flow, chain: ParsedChain): Tristate {
  const answerTo = (match: RuleMatch | UnknownMatch): Tristate => {
    if (match.field === 'open') return 'maybe'
    const answer = matchField(match, flow, chain)
    return match.negated ? tristateNot(answer) : answer
  }
  return matches.map(answerTo).reduce(tristateAnd, 'yes')
}

/** One way in which a chain may end for the frame. */
interface ChainOutcome {
  readonly verdict: 'accept' | 'drop'
  readonly certainty: Tristate
  readonly ruleChain: ParsedChain
  readonly rule?: ParsedRule
}

/** What a chain does: the endings that are possible in it, and whether the frame gets to its end. */
interface ChainResult {
  readonly outcomes: readonly ChainOutcome[]
  readonly fallsThrough: Tristate
}

/** Chains that jump to each other without end are refused by the kernel; this is for a text that somebody made up. */
const MAX_JUMP_DEPTH = 64

interface WalkContext {
  readonly flow: Flow
  readonly ruleset: Ruleset
  readonly depth: number
}

function walkChain(chain: ParsedChain, means: WalkContext): ChainResult {
  const endings: ChainOutcome[] = []
  let reach: Tristate = 'yes'
  // What has returned, or has gone to another chain and come to its end: the caller goes on.
  let left: Tristate = 'no'
  for (const rule of means.depth > MAX_JUMP_DEPTH ? [] : chain.rules) {
    const match = matchRule(rule, means.flow, chain)
    const sure = tristateAnd(reach, match)
    if (match === 'no' || rule.action.kind === 'continue') continue
    const effect = applyRule(rule, { sure, chain }, means)
    endings.push(...effect.outcomes)
    left = tristateOr(left, effect.leavesChain)
    reach = tristateOr(match === 'yes' ? 'no' : 'maybe', effect.continues)
    if (reach === 'no') break
  }
  return { outcomes: endings, fallsThrough: tristateOr(reach, left) }
}

/** What a rule does where it matches: endings, whether the next rule is asked, whether the rest of the chain is left out. */
interface RuleEffect {
  readonly outcomes: readonly ChainOutcome[]
  readonly continues: Tristate
  readonly leavesChain: Tristate
}

function applyRule(
  rule: ParsedRule,
  { sure, chain }: { sure: Tristate; chain: ParsedChain },
  means: WalkContext,
): RuleEffect {
  const { action } = rule
  const end = (verdict: ChainOutcome['verdict'], how: Tristate): ChainOutcome => ({
    verdict,
    certainty: how,
    ruleChain: chain,
    rule,
  })
  if ('chain' in action) {
    const sub = walkNamedChain(action.chain, chain, means)
    const after = tristateAnd(sure, sub.fallsThrough)
    const endings = sub.outcomes.map((ending) => ({ ...ending, sure: tristateAnd(sure, ending.certainty) }))
    return action.kind === 'goto'
      ? { outcomes: endings, continues: 'no', leavesChain: after }
      : { outcomes: endings, continues: after, leavesChain: 'no' }
  }
  if (action.kind === 'return') return { outcomes: [], continues: 'no', leavesChain: sure }
  const endings =
    action.kind === 'accept' || action.kind === 'drop'
      ? [end(action.kind, sure)]
      : [end('accept', 'maybe'), end('drop', 'maybe')]
  return { outcomes: endings, continues: 'no', leavesChain: 'no' }
}

function tristateOr(a: Tristate, b: Tristate): Tristate {
  return a === 'yes' || b === 'yes' ? 'yes' : a === 'no' && b === 'no' ? 'no' : 'maybe'
}

function walkNamedChain(
  name: string,
  { backend, family, table }: ParsedChain,
  { flow, ruleset, depth }: WalkContext,
): ChainResult {
  const chain = ruleset.find(
    (it) => it.name === name && it.table === table && it.family === family && it.backend === backend,
  )
  return chain === undefined
    ? { outcomes: [], fallsThrough: 'yes' }
    : walkChain(chain, { flow, ruleset, depth: depth + 1 })
}

function evaluateChain(chain: ParsedChain, flow: Flow, ruleset: Ruleset): DroppedBy | undefined {
  const { outcomes, fallsThrough } = walkChain(chain, { flow, ruleset, depth: 0 })
  const policy: ChainOutcome[] =
    fallsThrough === 'no' ? [] : [{ verdict: chain.policy ?? 'accept', certainty: fallsThrough, ruleChain: chain }]
  const all = [...outcomes, ...policy]
  const drop =
    all.find(({ verdict, certainty }) => verdict === 'drop' && certainty === 'yes') ??
    all.find(({ verdict }) => verdict === 'drop')
  if (drop === undefined) return undefined
  const fate = all.some(({ verdict }) => verdict === 'accept') ? 'perhaps' : 'dropped'
  return { baseChain: chain, verdict: fate, ruleChain: drop.ruleChain, rule: drop.rule }
}

/** Whether the kernel calls the chain for what is forwarded in that family. */
function isForwardChain({ hook, type, family }: ParsedChain, flow: Flow): boolean {
  if (hook !== 'forward' || type === 'nat') return false
  if (family === 'bridge') return flow.bridge !== undefined
  return family === 'inet' || family === (flow.family === 4 ? 'ip' : 'ip6')
}

/** What the base chains at the hook `forward` do with the frame: it passes when every one of them lets it pass. */
export function evaluateFlow(ruleset: Ruleset, flow: Flow): Evaluation {
  const obstacles = ruleset.flatMap((chain) =>
    isForwardChain(chain, flow) ? (evaluateChain(chain, flow, ruleset) ?? []) : [],
  )
  const fate = obstacles.some((it) => it.verdict === 'dropped')
    ? 'dropped'
    : obstacles.length > 0
      ? 'perhaps'
      : 'passes'
  return { verdict: fate, droppedBy: obstacles }
}
