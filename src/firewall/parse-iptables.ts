import type { Chain, FirewallBackend, MatchField, Rule, RuleAction, RuleMatch, UnknownMatch } from './rule'

/** What `iptables-save` printed, and of which family and kind of iptables. */
export interface SavedRuleset {
  readonly text: string
  readonly backend: FirewallBackend
  readonly family: 'ip' | 'ip6'
  /** The tables that are wanted. */
  readonly tables: readonly string[]
}

/** Conditions with one value, and what they look at. */
const OPTION_FIELDS: Readonly<Record<string, MatchField>> = {
  '-i': 'in',
  '-o': 'out',
  '-s': 'saddr',
  '-d': 'daddr',
  '-p': 'protocol',
  '--dport': 'dport',
  '--physdev-in': 'physIn',
  '--physdev-out': 'physOut',
  '--ctstate': 'state',
  '--state': 'state',
}

/** Conditions that hold for every frame between two ports of a bridge. */
const BRIDGED_OPTIONS = ['--physdev-is-bridged', '--physdev-is-in', '--physdev-is-out']

const TARGET_ACTIONS: Readonly<Record<string, RuleAction>> = {
  ACCEPT: { kind: 'accept' },
  DROP: { kind: 'drop' },
  REJECT: { kind: 'drop' },
  RETURN: { kind: 'return' },
  QUEUE: { kind: 'unknown' },
  NFQUEUE: { kind: 'unknown' },
}

/** The priorities at which the kernel calls the tables; nat has another one where packets leave. */
const TABLE_PRIORITIES: Readonly<Record<string, number>> = {
  raw: -300,
  mangle: -150,
  nat: -100,
  filter: 0,
  security: 50,
}

/** The words of a line, without their quotes. */
export function splitRuleLine(line: string): readonly string[] {
  const words = line.match(/"(?:[^"\\]|\\.)*"|\S+/g) ?? []
  return words.map((word) => (word.startsWith('"') ? word.slice(1, -1).replaceAll(/\\(.)/g, '$1') : word))
}

interface RuleParts {
  readonly matches: (RuleMatch | UnknownMatch)[]
  action: RuleAction
  comment?: string
}

function toTargetAction(target: string, how: 'jump' | 'goto', chains: ReadonlySet<string>): RuleAction {
  // A target that is not listed changes or counts the packet, and the next rule is asked.
  return chains.has(target) ? { kind: how, chain: target } : (TARGET_ACTIONS[target] ?? { kind: 'continue' })
}

function normalizeValues(field: MatchField, value: string): readonly string[] {
  if (field === 'state') return value.toLowerCase().split(',')
  if (field === 'dport') return [value.replace(':', '-')]
  return [field === 'saddr' || field === 'daddr' ? value : value.replace(/\+$/, '*')]
}

function parseRuleLine(line: string, chains: ReadonlySet<string>): Rule {
  const words = splitRuleLine(line).slice(2)
  const parts: RuleParts = { matches: [], action: { kind: 'continue' } }
  let negated = false
  for (let at = 0; at < words.length; at += 1) {
    const [word = '', value = ''] = words.slice(at, at + 2)
    const field = OPTION_FIELDS[word]
    if (word === '!') {
      negated = true
      continue
    }
    if (word === '-j' || word === '-g') {
      parts.action = toTargetAction(value, word === '-j' ? 'jump' : 'goto', chains)
      break
    }
    if (word === '--comment') parts.comment = value
    else if (BRIDGED_OPTIONS.includes(word))
      parts.matches.push({ field: 'bridged', values: [], ...(negated && { negated }) })
    else if (field !== undefined)
      parts.matches.push({ field, values: normalizeValues(field, value), ...(negated && { negated }) })
    else if (word !== '-m' && word.startsWith('-'))
      parts.matches.push({ field: 'unknown', text: `${word} ${value}`.trim() })
    negated = false
    if (!BRIDGED_OPTIONS.includes(word) && word.startsWith('-')) at += 1
  }
  return { ...parts, text: line }
}

interface ChainDraft extends Omit<Chain, 'rules'> {
  readonly lines: string[]
}

/** `:FORWARD DROP [0:0]`; a chain without a policy is one that others jump to. */
function parseChainLine(line: string, table: string, { backend, family }: SavedRuleset): ChainDraft {
  const [name = '', policy = '-'] = line.slice(1).split(' ')
  const chain = { backend, family, table, name, lines: [] }
  if (policy === '-') return chain
  const priority = table === 'nat' && name === 'POSTROUTING' ? 100 : (TABLE_PRIORITIES[table] ?? 0)
  const type = table === 'nat' ? 'nat' : 'filter'
  return { ...chain, hook: name.toLowerCase(), priority, type, policy: policy === 'DROP' ? 'drop' : 'accept' }
}

/** Parses the output of iptables-save. */
export function parseIptablesSave(saved: SavedRuleset): readonly Chain[] {
  const drafts = new Map<string, ChainDraft>()
  let table = ''
  for (const line of saved.text.split('\n')) {
    if (line.startsWith('*')) table = line.slice(1).trim()
    if (!saved.tables.includes(table)) continue
    if (line.startsWith(':')) {
      const draft = parseChainLine(line, table, saved)
      drafts.set(`${table} ${draft.name}`, draft)
    }
    const chain = /^-A (\S+) /.exec(line)?.[1]
    drafts.get(`${table} ${chain}`)?.lines.push(line)
  }
  const all = [...drafts.values()]
  const names = new Map(
    saved.tables.map((it) => [it, new Set(all.filter((chain) => chain.table === it).map(({ name }) => name))]),
  )
  return all.map(({ lines, ...chain }) => ({
    ...chain,
    rules: lines.map((line) => parseRuleLine(line, names.get(chain.table) ?? new Set())),
  }))
}
