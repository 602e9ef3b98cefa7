import type { Family } from '../model/address'
import { fnv1aHash } from '../model/hash'

/** What a rule may look at. */
export type MatchField =
  | 'in'
  | 'out'
  | 'physIn'
  | 'physOut'
  | 'bridge'
  | 'saddr'
  | 'daddr'
  /** Any address of this host itself, which has no values. */
  | 'localDaddr'
  | 'family'
  | 'state'
  | 'protocol'
  /** A port, or `first-last`. */
  | 'dport'
  /** From port to port of a bridge; it has no values. */
  | 'bridged'

/** A condition: true when the field has one of the values. An interface name that ends in `*` matches many. */
export interface RuleMatch {
  readonly field: MatchField
  readonly values: readonly string[]
  readonly negated?: true
}

/** A condition that only the packet itself can answer: a mark, a limit, a set. */
export interface UnknownMatch {
  readonly field: 'unknown'
  readonly text: string
}

export type RuleAction =
  | { readonly kind: 'accept' | 'drop' | 'return' | 'continue' | 'masquerade' }
  | { readonly kind: 'dnat'; readonly ip: string; readonly port?: string }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }
  /** Decided elsewhere: by a program in userspace, a map. */
  | { readonly kind: 'unknown' }

/** A rule of the host's firewall: one that was read, or one that pipework writes. */
export interface Rule {
  readonly matches: readonly (RuleMatch | UnknownMatch)[]
  readonly action: RuleAction
  readonly comment?: string
  /** The number that nftables gives it; iptables has none. */
  readonly handle?: number
  /** The line of iptables-save. */
  readonly text?: string
}

/** Which program's rules they are. The two kinds of iptables do not see each other's. */
export type FirewallBackend = 'nft' | 'iptables-nft' | 'iptables-legacy'

export interface Chain {
  readonly backend: FirewallBackend
  /** The family of its table: `inet` is for both. */
  readonly family: 'ip' | 'ip6' | 'inet' | 'bridge'
  readonly table: string
  readonly name: string
  /** Of a base chain: where the kernel calls it, in which order, and what it does with a packet that no rule decides on. */
  readonly hook?: string
  readonly priority?: number
  readonly type?: string
  readonly policy?: 'accept' | 'drop'
  readonly rules: readonly Rule[]
}

export type Ruleset = readonly Chain[]

/** A rule, and the chain that it goes to the head of, or is in. */
export interface PlacedRule {
  readonly chain: Chain
  readonly rule: Rule
}

/** A rule that pipework writes. Two with one comment are the same rule, however a program words it. */
export interface OwnRule extends Rule {
  readonly family: Family
  readonly comment: string
}

/** The condition as a list, which is empty where the value is not given. */
export function match(field: MatchField, ...values: readonly (string | undefined)[]): readonly RuleMatch[] {
  const given = values.filter((value) => value !== undefined)
  return given.length === 0 && values.length > 0 ? [] : [{ field, values: given }]
}

/** The opposite of such a condition. */
export function matchNot(field: MatchField, value: string): readonly RuleMatch[] {
  return [{ field, values: [value], negated: true }]
}

/** Replies, and what else belongs to a known connection. */
export const ESTABLISHED = match('state', 'established', 'related')

/** What a dnat rule has sent to another address. */
export const TRANSLATED = match('state', 'dnat')

/** What every comment of ours begins with. */
export const COMMENT_PREFIX = 'pipework '

/** nft takes 128 bytes with the end of the string. */
const MAX_COMMENT = 120

/** How the comment words each condition, in the order in which it names them. */
const COMMENT_WORDS: Partial<Record<MatchField, (value: string) => string>> = {
  in: (name) => `in ${name}`,
  out: (name) => `out ${name}`,
  saddr: (address) => `from ${address}`,
  daddr: (address) => `to ${address}`,
  localDaddr: () => 'to the host',
  state: (state) => (state === 'dnat' ? 'sent' : 'known'),
  protocol: (protocol) => protocol,
  dport: (port) => port,
}

/** For which bridge or host end a rule of ours is, and in which family. */
interface RuleScope {
  readonly owner: string
  readonly family: Family
}

function formatComment({ owner, family }: RuleScope, action: RuleAction, matches: readonly RuleMatch[]): string {
  const words = Object.entries(COMMENT_WORDS).flatMap(([field, format]) =>
    matches
      .filter((it) => it.field === field)
      .map(({ values, negated }) => `${negated ? 'not ' : ''}${format(values[0] ?? '')}`),
  )
  const target = action.kind === 'dnat' ? [action.ip, ...(action.port === undefined ? [] : [action.port])] : []
  const full = `${COMMENT_PREFIX}${owner}: ${[...words, `${action.kind}${family}`, ...target].join(' ')}`
  if (full.length <= MAX_COMMENT) return full
  return `${COMMENT_PREFIX}${owner}: ${action.kind}${family} ${fnv1aHash(full)}`
}

/** Makes a rule of ours; its comment says for whom it is, and what it does. */
export function ownRule(
  scope: RuleScope,
  action: RuleAction,
  ...conditions: readonly (readonly RuleMatch[])[]
): OwnRule {
  const { family } = scope
  const matches = conditions.flat()
  const comment = formatComment(scope, action, matches)
  return { family, action, matches: [...match('family', `${family}`), ...matches], comment }
}

export const ACCEPT = { kind: 'accept' } as const satisfies RuleAction
export const MASQUERADE = { kind: 'masquerade' } as const satisfies RuleAction

/** Accepts what goes from port to port of a bridge. */
export function bridgedAcceptRule(bridge: string, family: Family): OwnRule {
  return ownRule({ owner: bridge, family }, ACCEPT, match('in', bridge), match('out', bridge))
}

/** The bridge or host end of a rule of ours; undefined for a rule of others. Older versions wrote no more than the bridge. */
export function ruleOwner({ comment = '' }: Rule): string | undefined {
  return /^pipework ([\w.-]+)(?:: .*)?$/.exec(comment)?.[1]
}

/** The value of a condition that is not negated. */
export function matchValue({ matches }: Rule, field: MatchField): string | undefined {
  return matches.flatMap((it) => (it.field === field && !it.negated ? it.values : []))[0]
}

export function isSameTable(a: Chain, b: Chain): boolean {
  return a.table === b.table && a.family === b.family && a.backend === b.backend
}

export function isSameChain(a: Chain, b: Chain): boolean {
  return a.name === b.name && isSameTable(a, b)
}

/** Where Docker wants the rules of others: it leaves that chain alone when it restarts. */
export const DOCKER_CHAIN = 'DOCKER-USER'

/** Whether a name means one interface in a rule: `br+` and `br*` are patterns there. */
export function isPlainName(name: string): boolean {
  return /^[\w.-]+$/.test(name)
}
