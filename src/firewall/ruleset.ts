/** What a rule may look at and what is known of a frame before it is sent. */
export type MatchField =
  | 'in'
  | 'out'
  | 'physIn'
  | 'physOut'
  | 'bridge'
  | 'saddr'
  | 'daddr'
  | 'family'
  | 'state'
  | 'bridged'

/** A condition of a rule: true when the field has one of the values; a name that ends in `*` stands for many. */
export interface RuleMatch {
  readonly field: MatchField
  readonly values: readonly string[]
  readonly negated?: true
}

/** A condition that only the frame itself can answer: a port, a mark, a limit, a set. */
export interface UnknownMatch {
  readonly field: 'open'
  readonly text: string
}

export type RuleAction =
  | { readonly kind: 'accept' | 'drop' | 'return' | 'continue' }
  /** Something else decides: a program in userspace, a map. */
  | { readonly kind: 'open' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }

export interface ParsedRule {
  readonly matches: readonly (RuleMatch | UnknownMatch)[]
  readonly action: RuleAction
  readonly comment?: string
  /** How nftables numbers it; what iptables-save prints has no such number. */
  readonly handle?: number
  /** The rule as its tool writes it, where that is known. */
  readonly text?: string
}

/** Which program's rules they are: the two kinds of iptables do not see each other's. */
export type FirewallBackend = 'nft' | 'iptables-nft' | 'iptables-legacy'

export interface ParsedChain {
  readonly backend: FirewallBackend
  /** The family of its table: `inet` is for both. */
  readonly family: 'ip' | 'ip6' | 'inet' | 'bridge'
  readonly table: string
  readonly name: string
  /** Of a base chain: where the kernel calls it, what it is for, and what becomes of a frame that no rule decides on. */
  readonly hook?: string
  readonly type?: string
  readonly policy?: 'accept' | 'drop'
  readonly rules: readonly ParsedRule[]
}

export type Ruleset = readonly ParsedChain[]

/** The tables in which iptables can drop what is forwarded. */
export const IPTABLES_TABLES = ['filter', 'mangle', 'security']
