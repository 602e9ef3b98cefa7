import { shellQuote } from '../model/shell'
import { type DroppedBy, evaluateFlow, type Flow } from './evaluate'
import type { ParsedChain, ParsedRule, Ruleset } from './ruleset'

/** A rule that lets the frames of one bridge pass: the chain that it goes to the head of, and the words of its condition. */
export interface AcceptRule {
  readonly chain: ParsedChain
  readonly bridge: string
  /** Of a rule for what the host forwards, which has no bridge: from where, to where. */
  readonly path?: ForwardPath
}

/** What the host forwards, as a rule that lets it pass looks at it. */
export type ForwardPath = Pick<Flow, 'in' | 'out' | 'state' | 'isTranslated'>

/** What a rule of ours carries as its comment: whose it is, and for which bridge. */
export function bridgeRuleComment(bridge: string): string {
  return `pipework ${bridge}`
}

/** The bridge of a rule of ours; undefined for a rule of anybody else's. */
export function parseRuleComment({ comment }: ParsedRule): string | undefined {
  return /^pipework (\S+)$/.exec(comment ?? '')?.[1]
}

/** Where Docker wants the rules of others: it leaves that chain alone when it is started anew. */
const DOCKER_CHAIN = 'DOCKER-USER'

/** What connection tracking must know of it; nothing where the first packet is meant. */
function requiredState({ state, isTranslated }: ForwardPath): 'dnat' | 'established,related' | undefined {
  if (isTranslated) return 'dnat'
  return state === 'established' ? 'established,related' : undefined
}

/** Each of these rules once, and none that another makes needless. */
export function dedupeAcceptRules(openings: readonly AcceptRule[]): readonly AcceptRule[] {
  return openings.filter(
    (it, index) => !openings.some((other, at) => at !== index && coversRule(other, it, at < index)),
  )
}

/** Whether the one lets pass what the other does; of two alike, the one that stands before. */
function coversRule({ chain, path: a }: AcceptRule, { chain: own, path: b }: AcceptRule, isBefore: boolean): boolean {
  if (chain !== own || a?.in !== b?.in || a?.out !== b?.out) return false
  const [state, wanted] = [requiredState(a ?? {}), requiredState(b ?? {})]
  return state === wanted ? isBefore : state === undefined
}

function toParsedRule({ family }: ParsedChain, { bridge, path }: AcceptRule): ParsedRule {
  if (path !== undefined) {
    const state = requiredState(path)?.split(',')
    const matches = (['in', 'out'] as const).flatMap((field) => {
      const name = path[field]
      return name === undefined ? [] : [{ field, values: [name] }]
    })
    const tracked = state === undefined ? [] : [{ field: 'state' as const, values: state }]
    return { matches: [...matches, ...tracked], action: { kind: 'accept' } }
  }
  const fields = family === 'bridge' ? (['bridge'] as const) : (['in', 'out'] as const)
  return { matches: fields.map((field) => ({ field, values: [bridge] })), action: { kind: 'accept' } }
}

function isSameChain(a: ParsedChain, b: ParsedChain): boolean {
  return a.name === b.name && a.table === b.table && a.family === b.family && a.backend === b.backend
}

/** The ruleset with a rule at the head of that chain. */
function prependRules(ruleset: Ruleset, chain: ParsedChain, rules: readonly ParsedRule[]): Ruleset {
  return ruleset.map((it) => (isSameChain(it, chain) ? { ...it, rules: [...rules, ...it.rules] } : it))
}

/** Whether firewalld may be asked to take the interface into its default zone: it is in none yet. */
function isWithoutZone(name: string, { table, family }: ParsedChain, ruleset: Ruleset): boolean {
  const rules = ruleset.filter((it) => it.table === table && it.family === family).flatMap((it) => it.rules)
  const isNamed = rules.some(({ matches }) => matches.some((it) => it.field !== 'open' && it.values.includes(name)))
  return name !== '' && !isNamed
}

/** Whether the name stands for one interface in a rule, and for itself in a command: `br+` and `br*` are patterns there. */
export function isPlainName(name: string): boolean {
  return /^[\w.-]+$/.test(name)
}

/** In which chain a rule of ours would mend that: tried on the ruleset as it was read, before it is suggested. */
function findAcceptRule({ baseChain: base }: DroppedBy, flow: Flow, ruleset: Ruleset): AcceptRule | undefined {
  if ([flow.bridge, flow.in, flow.out].some((name) => name !== undefined && !isPlainName(name))) return undefined
  const of = flow.bridge === undefined ? { bridge: '', path: flow } : { bridge: flow.bridge }
  if (base.table === 'firewalld' && !isWithoutZone(of.path?.out ?? of.bridge, base, ruleset)) return undefined
  const dockers = ruleset.filter((it) => isSameChain(it, { ...base, name: DOCKER_CHAIN }))
  return [...dockers, base]
    .map((chain): AcceptRule => ({ chain, ...of }))
    .find(
      (opening) =>
        !evaluateFlow(
          prependRules(ruleset, opening.chain, [toParsedRule(opening.chain, opening)]),
          flow,
        ).droppedBy.some(({ baseChain }) => isSameChain(baseChain, base)),
    )
}

/** The ruleset as it is with rules of ours at the head of the tables that we write to; Docker's own place goes first there. */
export function simulateRules(
  ruleset: Ruleset,
  rules: readonly ParsedRule[],
  isOurs: (chain: ParsedChain) => boolean,
): Ruleset {
  const bases = ruleset.filter((it) => it.hook === 'forward' && it.table === 'filter' && isOurs(it))
  return bases.reduce((all, base) => {
    const leads = base.rules.some(({ action }) => 'chain' in action && action.chain === DOCKER_CHAIN)
    return prependRules(all, leads ? { ...base, name: DOCKER_CHAIN } : base, rules)
  }, ruleset)
}

/** One rule for each base chain that drops the frame, or may; undefined where no rule of ours would help. */
export function findFix(
  obstacles: readonly DroppedBy[],
  flow: Flow,
  ruleset: Ruleset,
): readonly AcceptRule[] | undefined {
  const openings = obstacles.map((obstacle) => findAcceptRule(obstacle, flow, ruleset))
  return openings.some((it) => it === undefined) ? undefined : openings.flatMap((it) => it ?? [])
}

/** The program that changes those rules: `iptables` where that is the right one of the two. */
export type ToolResolver = (chain: ParsedChain) => string

/** The command that puts such a rule in, or takes it out. With a tag it is known as ours, and is taken away with the bridge's last port. */
export function acceptRuleArgv(
  how: '-I' | '-D',
  { chain, bridge, path }: AcceptRule,
  { tool, tag }: { tool: string; tag?: string },
): readonly string[] {
  const table = chain.table === 'filter' ? [] : ['-t', chain.table]
  const comment = tag === undefined ? [] : ['-m', 'comment', '--comment', tag]
  const words = path === undefined ? ['-i', bridge, '-o', bridge] : pathArgs(path)
  return [tool, ...table, how, chain.name, ...words, ...comment, '-j', 'ACCEPT']
}

function pathArgs(path: ForwardPath): readonly string[] {
  const state = requiredState(path)
  return [
    ...(path.in === undefined ? [] : ['-i', path.in]),
    ...(path.out === undefined ? [] : ['-o', path.out]),
    ...(state === undefined ? [] : ['-m', 'conntrack', '--ctstate', state.toUpperCase()]),
  ]
}

function pathCondition(path: ForwardPath): string {
  const state = requiredState(path)
  return [
    ...(path.in === undefined ? [] : [`iifname "${path.in}"`]),
    ...(path.out === undefined ? [] : [`oifname "${path.out}"`]),
    ...(state === undefined ? [] : [state === 'dnat' ? 'ct status dnat' : `ct state ${state}`]),
  ].join(' ')
}

/**
 * The same by firewalld, which would forget a rule in its table: within one zone frames pass. Only the bridge itself is
 * put into one, the default, which it was under already: nothing else is opened. What is forwarded needs that of the
 * interface that it leaves by.
 */
function toFirewalldCommand({ bridge, path }: AcceptRule): string {
  const add = `--add-interface=${shellQuote(path?.out ?? bridge)}`
  return `firewall-cmd --permanent ${add} && firewall-cmd ${add}`
}

function toNftCommand(opening: AcceptRule): string {
  const { chain, bridge, path } = opening
  const { family, table, name } = chain
  if (table === 'firewalld') return toFirewalldCommand(opening)
  const words = ['nft', 'insert', 'rule', family, table, name].map(shellQuote).join(' ')
  const ofBridge = family === 'bridge' ? `meta ibrname "${bridge}"` : `iifname "${bridge}" oifname "${bridge}"`
  return `${words} '${path === undefined ? ofBridge : pathCondition(path)} accept'`
}

/** The same as one types it. */
export function formatFixCommand(openings: readonly AcceptRule[], toolOf: ToolResolver): string {
  const line = (opening: AcceptRule) =>
    opening.chain.backend === 'nft'
      ? toNftCommand(opening)
      : acceptRuleArgv('-I', opening, { tool: toolOf(opening.chain) })
          .map(shellQuote)
          .join(' ')
  return [...new Set(openings.map(line))].join(' && ')
}

const TOOL_NAMES = { nft: 'nftables', 'iptables-nft': 'iptables', 'iptables-legacy': 'iptables-legacy' } as const

/** Where an obstacle stands, as people find it. */
export function describeDroppedBy({ baseChain, ruleChain: inner, rule }: DroppedBy): string {
  const { backend, family, table } = baseChain
  const where =
    backend === 'nft'
      ? `table ${family} ${table} of nftables`
      : `table ${table} of ${family === 'ip6' ? TOOL_NAMES[backend].replace('ip', 'ip6') : TOOL_NAMES[backend]}`
  if (rule === undefined) return `policy DROP of chain ${inner.name}, ${where}`
  const which = rule.text ?? (rule.handle === undefined ? 'a rule' : `rule ${rule.handle}`)
  return `${rule.text === undefined ? `${which} in chain ${inner.name}` : `'${which}'`}, ${where}`
}
