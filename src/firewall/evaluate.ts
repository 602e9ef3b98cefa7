import { type Family, isWithin } from '../model/address'
import type { Chain, Match, OpenMatch, Rule, Ruleset } from './ruleset'

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
export type Fate = 'passes' | 'dropped' | 'perhaps'

/** A base chain that drops the frame, or may: by a rule, or by its policy when there is none. */
export interface Obstacle {
  readonly chain: Chain
  readonly fate: Exclude<Fate, 'passes'>
  /** The chain in which the rule stands: the base chain itself, or one that it jumps to. */
  readonly in: Chain
  readonly rule?: Rule
}

export interface Judgement {
  readonly fate: Fate
  readonly obstacles: readonly Obstacle[]
}

/** Three answers: what cannot be evaluated may match. */
type Answer = 'yes' | 'maybe' | 'no'

const both = (a: Answer, b: Answer): Answer =>
  a === 'no' || b === 'no' ? 'no' : a === 'yes' && b === 'yes' ? 'yes' : 'maybe'
const not = (a: Answer): Answer => (a === 'maybe' ? a : a === 'yes' ? 'no' : 'yes')
const bool = (value: boolean): Answer => (value ? 'yes' : 'no')

/** Whether a name is meant by a rule's: one that ends in `*` stands for many. */
export function nameFits(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name
}

function matchName(values: readonly string[], name: string | undefined): Answer {
  if (name !== undefined) return bool(values.some((value) => nameFits(value, name)))
  return values.includes('*') ? 'yes' : 'maybe'
}

function matchAddress(values: readonly string[], ip: string | undefined): Answer {
  if (values.some((value) => /^(0\.0\.0\.0|::)\/0$/.test(value))) return 'yes'
  if (ip === undefined) return 'maybe'
  const answers = values.map((value) => isWithin(value, ip))
  if (answers.includes(true)) return 'yes'
  return answers.includes(undefined) ? 'maybe' : 'no'
}

/** In the tables of IP a bridged frame comes in and leaves by the bridge itself; in those of bridges, by its ports. */
function matchOne(match: Match, flow: Flow, { family }: Chain): Answer {
  const [from, to] = family === 'bridge' ? [flow.from, flow.to] : [flow.bridge ?? flow.in, flow.bridge ?? flow.out]
  const { field, values } = match
  if (field === 'bridged') return bool(flow.bridge !== undefined)
  if (field === 'in') return matchName(values, from)
  if (field === 'out') return matchName(values, to)
  if (field === 'physIn') return matchName(values, flow.from)
  if (field === 'physOut') return matchName(values, flow.to)
  if (field === 'bridge') return matchName(values, flow.bridge)
  if (field === 'family') return bool(values.includes(`${flow.family}`))
  if (field === 'state')
    return bool(values.includes(flow.state ?? 'new') || (flow.isTranslated === true && values.includes('dnat')))
  return matchAddress(values, flow[field])
}

function matchRule({ matches }: Rule, flow: Flow, chain: Chain): Answer {
  const answerTo = (match: Match | OpenMatch): Answer => {
    if (match.field === 'open') return 'maybe'
    const answer = matchOne(match, flow, chain)
    return match.negated ? not(answer) : answer
  }
  return matches.map(answerTo).reduce(both, 'yes')
}

/** One way in which a chain may end for the frame. */
interface Ending {
  readonly verdict: 'accept' | 'drop'
  readonly sure: Answer
  readonly in: Chain
  readonly rule?: Rule
}

/** What a chain does: the endings that are possible in it, and whether the frame gets to its end. */
interface Walk {
  readonly endings: readonly Ending[]
  readonly falls: Answer
}

/** Chains that jump to each other without end are refused by the kernel; this is for a text that somebody made up. */
const MAX_DEPTH = 64

interface Means {
  readonly flow: Flow
  readonly ruleset: Ruleset
  readonly depth: number
}

function walk(chain: Chain, means: Means): Walk {
  const endings: Ending[] = []
  let reach: Answer = 'yes'
  // What has returned, or has gone to another chain and come to its end: the caller goes on.
  let left: Answer = 'no'
  for (const rule of means.depth > MAX_DEPTH ? [] : chain.rules) {
    const match = matchRule(rule, means.flow, chain)
    const sure = both(reach, match)
    if (match === 'no' || rule.action.kind === 'continue') continue
    const effect = follow(rule, { sure, chain }, means)
    endings.push(...effect.endings)
    left = either(left, effect.leaves)
    reach = either(match === 'yes' ? 'no' : 'maybe', effect.returns)
    if (reach === 'no') break
  }
  return { endings, falls: either(reach, left) }
}

/** What a rule does where it matches: endings, whether the next rule is asked, whether the rest of the chain is left out. */
interface Effect {
  readonly endings: readonly Ending[]
  readonly returns: Answer
  readonly leaves: Answer
}

function follow(rule: Rule, { sure, chain }: { sure: Answer; chain: Chain }, means: Means): Effect {
  const { action } = rule
  const end = (verdict: Ending['verdict'], how: Answer): Ending => ({ verdict, sure: how, in: chain, rule })
  if ('chain' in action) {
    const sub = enter(action.chain, chain, means)
    const after = both(sure, sub.falls)
    const endings = sub.endings.map((ending) => ({ ...ending, sure: both(sure, ending.sure) }))
    return action.kind === 'goto'
      ? { endings, returns: 'no', leaves: after }
      : { endings, returns: after, leaves: 'no' }
  }
  if (action.kind === 'return') return { endings: [], returns: 'no', leaves: sure }
  const endings =
    action.kind === 'accept' || action.kind === 'drop'
      ? [end(action.kind, sure)]
      : [end('accept', 'maybe'), end('drop', 'maybe')]
  return { endings, returns: 'no', leaves: 'no' }
}

function either(a: Answer, b: Answer): Answer {
  return a === 'yes' || b === 'yes' ? 'yes' : a === 'no' && b === 'no' ? 'no' : 'maybe'
}

function enter(name: string, { backend, family, table }: Chain, { flow, ruleset, depth }: Means): Walk {
  const chain = ruleset.find(
    (it) => it.name === name && it.table === table && it.family === family && it.backend === backend,
  )
  return chain === undefined ? { endings: [], falls: 'yes' } : walk(chain, { flow, ruleset, depth: depth + 1 })
}

function judgeChain(chain: Chain, flow: Flow, ruleset: Ruleset): Obstacle | undefined {
  const { endings, falls } = walk(chain, { flow, ruleset, depth: 0 })
  const policy: Ending[] = falls === 'no' ? [] : [{ verdict: chain.policy ?? 'accept', sure: falls, in: chain }]
  const all = [...endings, ...policy]
  const drop =
    all.find(({ verdict, sure }) => verdict === 'drop' && sure === 'yes') ??
    all.find(({ verdict }) => verdict === 'drop')
  if (drop === undefined) return undefined
  const fate = all.some(({ verdict }) => verdict === 'accept') ? 'perhaps' : 'dropped'
  return { chain, fate, in: drop.in, rule: drop.rule }
}

/** Whether the kernel calls the chain for what is forwarded in that family. */
function isAsked({ hook, type, family }: Chain, flow: Flow): boolean {
  if (hook !== 'forward' || type === 'nat') return false
  if (family === 'bridge') return flow.bridge !== undefined
  return family === 'inet' || family === (flow.family === 4 ? 'ip' : 'ip6')
}

/** What the base chains at the hook `forward` do with the frame: it passes when every one of them lets it pass. */
export function judge(ruleset: Ruleset, flow: Flow): Judgement {
  const obstacles = ruleset.flatMap((chain) => (isAsked(chain, flow) ? (judgeChain(chain, flow, ruleset) ?? []) : []))
  const fate = obstacles.some((it) => it.fate === 'dropped') ? 'dropped' : obstacles.length > 0 ? 'perhaps' : 'passes'
  return { fate, obstacles }
}
