import type { Chain, MatchField, Rule, RuleAction, RuleMatch, UnknownMatch } from './rule'

/** The tables in which iptables can drop what is forwarded. */
export const FILTERING_TABLES = ['filter', 'mangle', 'security']

type Json = Readonly<Record<string, unknown>>

interface NftChain {
  readonly family: string
  readonly table: string
  readonly name: string
  readonly hook?: string
  readonly type?: string
  readonly policy?: string
  readonly prio?: number
}

interface NftRule {
  readonly family: string
  readonly table: string
  readonly chain: string
  readonly handle: number
  readonly comment?: string
  readonly expr: readonly Json[]
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

/** What the left side of a comparison looks at, where that is known of a frame beforehand. */
function toMatchField(left: unknown): MatchField | undefined {
  if (!isObject(left)) return undefined
  const { meta, payload, ct } = left as { meta?: Json; payload?: Json; ct?: Json }
  if (ct !== undefined) return ct.key === 'state' ? 'state' : undefined
  if (payload !== undefined) {
    if (payload.protocol === 'ether' && payload.field === 'type') return 'family'
    if (payload.protocol !== 'ip' && payload.protocol !== 'ip6') return undefined
    return payload.field === 'saddr' || payload.field === 'daddr' ? payload.field : undefined
  }
  return META_FIELDS[String(meta?.key)]
}

const META_FIELDS: Readonly<Record<string, MatchField>> = {
  iif: 'in',
  iifname: 'in',
  oif: 'out',
  oifname: 'out',
  ibrname: 'bridge',
  obrname: 'bridge',
  nfproto: 'family',
  protocol: 'family',
}

/** The families as the various expressions call them. */
const FAMILY_DIGITS: Readonly<Record<string, string>> = { ip: '4', ipv4: '4', ip6: '6', ipv6: '6' }

/** The values on the right, or undefined when they stand elsewhere (a named set) or are no plain values. */
function toMatchValues(right: unknown, field: MatchField): readonly string[] | undefined {
  if (Array.isArray(right)) {
    const all = right.map((it) => toMatchValues(it, field))
    return all.some((it) => it === undefined) ? undefined : all.flatMap((it) => it ?? [])
  }
  if (isObject(right)) {
    const { set, prefix } = right as { set?: unknown; prefix?: { addr: string; len: number } }
    if (set !== undefined) return toMatchValues(set, field)
    return prefix === undefined ? undefined : [`${prefix.addr}/${prefix.len}`]
  }
  const text = String(right)
  if (text.startsWith('@')) return undefined
  return [field === 'family' ? (FAMILY_DIGITS[text] ?? text) : text]
}

/** `ct status dnat` is what iptables calls a state: of what was sent to another address on its way. */
function isNatStatus(left: unknown, right: unknown): boolean {
  const { ct } = (isObject(left) ? left : {}) as { ct?: Json }
  return ct?.key === 'status' && (right === 'dnat' || right === 'snat')
}

function toMatch(left: unknown, right: unknown, op: string): RuleMatch | UnknownMatch {
  const field = toMatchField(left) ?? (isNatStatus(left, right) ? 'state' : undefined)
  const values = field === undefined ? undefined : toMatchValues(right, field)
  const isPlain = ['==', 'in', '!=', '!'].includes(op)
  if (field === undefined || values === undefined || !isPlain) return { field: 'unknown', text: JSON.stringify(left) }
  return { field, values, ...(op.startsWith('!') && { negated: true as const }) }
}

/** A source or target address says which family the frame has, too. */
function familyMatch(left: unknown): readonly RuleMatch[] {
  const protocol = isObject(left) && isObject(left.payload) ? left.payload.protocol : undefined
  const family = protocol === 'ip' || protocol === 'ip6' ? FAMILY_DIGITS[protocol] : undefined
  return family === undefined ? [] : [{ field: 'family', values: [family] }]
}

function toStatementAction(statement: Json): RuleAction | undefined {
  const { jump, goto } = statement as { jump?: { target: string }; goto?: { target: string } }
  if (jump !== undefined) return { kind: 'jump', chain: jump.target }
  if (goto !== undefined) return { kind: 'goto', chain: goto.target }
  if ('accept' in statement) return { kind: 'accept' }
  if ('drop' in statement || 'reject' in statement) return { kind: 'drop' }
  if ('return' in statement) return { kind: 'return' }
  if ('queue' in statement) return { kind: 'unknown' }
  const { xt } = statement as { xt?: { type: string; name: string } }
  return xt?.type === 'target' ? XT_TARGETS[xt.name] : undefined
}

const XT_TARGETS: Readonly<Record<string, RuleAction>> = { REJECT: { kind: 'drop' }, NFQUEUE: { kind: 'unknown' } }

type NftCondition = readonly (RuleMatch | UnknownMatch)[]

function toCondition(statement: Json): NftCondition {
  const { match, limit, xt } = statement as {
    match?: { op: string; left: unknown; right: unknown }
    limit?: unknown
    xt?: { type: string; name: string }
  }
  if (match !== undefined) return [...familyMatch(match.left), toMatch(match.left, match.right, match.op)]
  if (limit !== undefined) return [{ field: 'unknown', text: 'limit' }]
  return xt?.type === 'match' && xt.name !== 'comment' ? [{ field: 'unknown', text: `-m ${xt.name}` }] : []
}

/** A verdict map as rules, one for each element. */
function expandVerdictMap(
  vmap: { key: unknown; data: unknown },
  before: NftCondition,
): readonly Omit<Rule, 'handle'>[] {
  const { set } = (isObject(vmap.data) ? vmap.data : {}) as { set?: unknown }
  if (!Array.isArray(set))
    return [{ matches: [...before, { field: 'unknown', text: 'a map' }], action: { kind: 'unknown' } }]
  return (set as [unknown, Json][]).map(([value, verdict]) => ({
    matches: [...before, toMatch(vmap.key, value, '==')],
    action: toStatementAction(verdict) ?? { kind: 'continue' },
  }))
}

function toRules({ expr, handle, comment }: NftRule): readonly Rule[] {
  const matches: (RuleMatch | UnknownMatch)[] = []
  const named = { handle, comment }
  for (const statement of expr) {
    const { vmap } = statement as { vmap?: { key: unknown; data: unknown } }
    if (vmap !== undefined) return expandVerdictMap(vmap, matches).map((rule) => ({ ...rule, ...named }))
    matches.push(...toCondition(statement))
    const action = toStatementAction(statement)
    if (action !== undefined) return [{ matches, action, ...named }]
  }
  return [{ matches, action: { kind: 'continue' }, ...named }]
}

/** A table that iptables-nft keeps: its commands are what people know it by. */
function isIptablesTable({ family, table }: { family: string; table: string }): boolean {
  return (family === 'ip' || family === 'ip6') && [...FILTERING_TABLES, 'nat', 'raw'].includes(table)
}

/** What `nft -j list ruleset` printed, apart from what concerns no bridge. */
export function parseNftRuleset(text: string): readonly Chain[] {
  const { nftables = [] } = JSON.parse(text) as { nftables?: readonly { chain?: NftChain; rule?: NftRule }[] }
  // One pass: on a host of Kubernetes there are thousands of chains, and tens of thousands of rules.
  const rules = new Map<string, NftRule[]>()
  for (const { rule } of nftables) {
    if (rule === undefined) continue
    const key = `${rule.family} ${rule.table} ${rule.chain}`
    const own = rules.get(key)
    if (own === undefined) rules.set(key, [rule])
    else own.push(rule)
  }
  return nftables.flatMap(({ chain }) => {
    if (chain === undefined || !['ip', 'ip6', 'inet', 'bridge'].includes(chain.family)) return []
    const { family, table, name, hook, type, policy, prio: priority } = chain
    const own = rules.get(`${family} ${table} ${name}`) ?? []
    return [
      {
        backend: isIptablesTable(chain) ? ('iptables-nft' as const) : ('nft' as const),
        ...{ family: family as Chain['family'], table, name },
        ...(hook === undefined
          ? {}
          : { hook, priority, type: type ?? 'filter', policy: policy === 'drop' ? 'drop' : 'accept' }),
        rules: own.flatMap(toRules),
      } satisfies Chain,
    ]
  })
}

/** The families in whose tables of iptables a rule stands that nft names but does not spell out. */
export function opaqueFamilies(text: string, including: 'comments' | 'conditions'): readonly ('ip' | 'ip6')[] {
  const { nftables = [] } = JSON.parse(text) as { nftables?: readonly { rule?: NftRule }[] }
  const isOpaque = ({ xt }: { xt?: { name?: string } }) =>
    xt !== undefined && (including === 'comments' || xt?.name !== 'comment')
  const found = nftables.flatMap(({ rule }) =>
    rule !== undefined && isIptablesTable(rule) && rule.table !== 'nat' && rule.expr.some(isOpaque)
      ? [rule.family]
      : [],
  )
  return (['ip', 'ip6'] as const).filter((family) => found.includes(family))
}
