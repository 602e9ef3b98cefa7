import {
  type FirewallBackend,
  IPTABLES_TABLES,
  type MatchField,
  type ParsedChain,
  type ParsedRule,
  type RuleAction,
  type RuleMatch,
  type UnknownMatch,
} from './ruleset'

/** What `iptables-save` printed, and of which family and kind of iptables. */
export interface SavedRuleset {
  readonly text: string
  readonly backend: FirewallBackend
  readonly family: 'ip' | 'ip6'
}

/** Conditions with one value, and what they look at. */
const OPTION_FIELDS: Readonly<Record<string, MatchField>> = {
  '-i': 'in',
  '-o': 'out',
  '-s': 'saddr',
  '-d': 'daddr',
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
  QUEUE: { kind: 'open' },
  NFQUEUE: { kind: 'open' },
}

/** The words of a line, quotes taken off. */
function splitLine(line: string): readonly string[] {
  const words = line.match(/"(?:[^"\\]|\\.)*"|\S+/g) ?? []
  return words.map((word) => (word.startsWith('"') ? word.slice(1, -1).replaceAll(/\\(.)/g, '$1') : word))
}

interface RuleParts {
  readonly matches: (RuleMatch | UnknownMatch)[]
  action: RuleAction
  comment?: string
}

function toTargetAction(target: string, how: 'jump' | 'goto', chains: ReadonlySet<string>): RuleAction {
  // What is no chain and not listed changes or counts the packet, and the next rule is asked.
  return chains.has(target) ? { kind: how, chain: target } : (TARGET_ACTIONS[target] ?? { kind: 'continue' })
}

function normalizeValues(field: MatchField, value: string): readonly string[] {
  if (field === 'state') return value.toLowerCase().split(',')
  return [field === 'saddr' || field === 'daddr' ? value : value.replace(/\+$/, '*')]
}

function parseRuleLine(line: string, chains: ReadonlySet<string>): ParsedRule {
  const words = splitLine(line).slice(2)
  const parts: RuleParts = { matches: [], action: { kind: 'continue' } }
  let negated = false
  for (let at = 0; at < words.length; at += 1) {
    const [word = '', value = ''] = words.slice(at)
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
      parts.matches.push({ field: 'open', text: `${word} ${value}`.trim() })
    negated = false
    if (!BRIDGED_OPTIONS.includes(word) && word.startsWith('-')) at += 1
  }
  return { ...parts, text: line }
}

interface ChainDraft extends Omit<ParsedChain, 'rules'> {
  readonly lines: string[]
}

/** `:FORWARD DROP [0:0]`; a chain without a policy is one that others jump to. */
function parseChainLine(line: string, table: string, { backend, family }: SavedRuleset): ChainDraft {
  const [name = '', policy = '-'] = line.slice(1).split(' ')
  const base = { hook: name.toLowerCase(), type: table === 'nat' ? 'nat' : 'filter' }
  return {
    ...{ backend, family, table, name, lines: [] },
    ...(policy === '-' ? {} : { ...base, policy: policy === 'DROP' ? 'drop' : 'accept' }),
  }
}

/** The chains of the tables that can drop what is forwarded. */
export function parseSavedRuleset(saved: SavedRuleset): readonly ParsedChain[] {
  const drafts = new Map<string, ChainDraft>()
  const names = new Map<string, Set<string>>()
  let table = ''
  for (const line of saved.text.split('\n')) {
    if (line.startsWith('*')) table = line.slice(1).trim()
    if (!IPTABLES_TABLES.includes(table)) continue
    if (line.startsWith(':')) {
      const draft = parseChainLine(line, table, saved)
      drafts.set(`${table} ${draft.name}`, draft)
      names.set(table, (names.get(table) ?? new Set()).add(draft.name))
    }
    const chain = /^-A (\S+) /.exec(line)?.[1]
    drafts.get(`${table} ${chain}`)?.lines.push(line)
  }
  return [...drafts.values()].map(({ lines, ...chain }) => ({
    ...chain,
    rules: lines.map((line) => parseRuleLine(line, names.get(chain.table) ?? new Set())),
  }))
}
