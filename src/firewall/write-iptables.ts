import type { Family } from '../model/address'
import type { Plan, RunCommand } from '../plan/step'
import type { HostFirewall } from './read'
import {
  type Chain,
  COMMENT_PREFIX,
  DOCKER_CHAIN,
  type OwnRule,
  type Rule,
  type RuleAction,
  type RuleMatch,
  type Ruleset,
} from './rule'

interface ChainPlacement {
  readonly table: string
  /** The chains that jump to it. Of each list, the first one that packets reach. */
  readonly parents: readonly (readonly string[])[]
  readonly action: RuleAction['kind']
}

/** Our chains for NAT, published ports and what is forwarded for them. */
const OWN_CHAINS: Readonly<Record<string, ChainPlacement>> = {
  'PIPEWORK-GUARD': { table: 'raw', parents: [['PREROUTING']], action: 'drop' },
  'PIPEWORK-FORWARD': { table: 'filter', parents: [[DOCKER_CHAIN, 'FORWARD']], action: 'accept' },
  'PIPEWORK-DNAT': { table: 'nat', parents: [['PREROUTING'], ['OUTPUT']], action: 'dnat' },
  'PIPEWORK-MASQ': { table: 'nat', parents: [['POSTROUTING']], action: 'masquerade' },
}

const OWN_TABLES = ['raw', 'filter', 'nat'] as const

/** A line of iptables-save, and the chain that it is in. */
export interface IptablesLine {
  readonly chain: string
  readonly text: string
}

/** What is ours in one table: chains with their lines, and lines in chains of others, which are jumps to them. */
export interface OwnLines {
  readonly chains: ReadonlyMap<string, readonly string[]>
  readonly jumps: readonly IptablesLine[]
}

const toLine = (chain: string) => (rule: Rule) => (rule.text === undefined ? [] : [{ chain, text: rule.text }])

/** Picks what is ours from the chains of one table: the chains of these names, and the lines of others that are ours. */
export function pickOwnLines(
  table: Ruleset,
  names: readonly string[],
  isOwn: (rule: Rule) => boolean = () => false,
): OwnLines {
  const isJump = ({ action }: Rule) => 'chain' in action && names.includes(action.chain)
  const [own, others] = [
    table.filter(({ name }) => names.includes(name)),
    table.filter(({ name }) => !names.includes(name)),
  ]
  return {
    chains: new Map(own.map(({ name, rules }) => [name, rules.flatMap(({ text }) => text ?? [])])),
    jumps: others.flatMap(({ name, rules }) => rules.filter((it) => isJump(it) || isOwn(it)).flatMap(toLine(name))),
  }
}

/** The line that leads from a chain to one of ours. */
export function jumpLine(parent: string, name: string): IptablesLine {
  return { chain: parent, text: `-A ${parent} -m comment --comment "${COMMENT_PREFIX}jumps to ${name}" -j ${name}` }
}

/** Whether packets reach the chain. Docker's is reached only while FORWARD jumps to it. */
function isChainReached(name: string, table: Ruleset): boolean {
  const forward = table.find((it) => it.name === 'FORWARD')
  const isJump = ({ action }: Rule) => 'chain' in action && action.chain === name
  return table.some((it) => it.name === name) && (name !== DOCKER_CHAIN || (forward?.rules.some(isJump) ?? false))
}

const MATCH_OPTIONS: Partial<Record<RuleMatch['field'], readonly string[]>> = {
  saddr: ['-s'],
  daddr: ['-d'],
  in: ['-i'],
  out: ['-o'],
  localDaddr: ['-m', 'addrtype', '--dst-type', 'LOCAL'],
  state: ['-m', 'conntrack', '--ctstate'],
  protocol: ['-p'],
  dport: ['--dport'],
}

function formatMatch(match: RuleMatch): readonly string[] {
  const { field, values, negated } = match
  // iptables and ip6tables have one family each.
  if (field === 'family') return []
  const options = MATCH_OPTIONS[field]
  if (options === undefined) throw new TypeError(`a condition on '${field}' has no form in iptables`)
  const [value] = field === 'state' ? [values.join(',').toUpperCase()] : values
  return [
    ...(negated ? ['!'] : []),
    ...options,
    ...(value === undefined ? [] : [field === 'dport' ? value.replace('-', ':') : value]),
    // The port is a condition of the protocol's own module.
    ...(field === 'protocol' && value !== undefined ? ['-m', value] : []),
  ]
}

function formatTarget(action: RuleAction): readonly string[] {
  if (action.kind !== 'dnat') return ['-j', action.kind.toUpperCase()]
  const { ip, port } = action
  const address = port !== undefined && ip.includes(':') ? `[${ip}]` : ip
  return ['-j', 'DNAT', '--to-destination', port === undefined ? ip : `${address}:${port}`]
}

/** The words of a rule after the name of its chain. */
export function formatIptablesRule({ matches, comment, action }: Rule): readonly string[] {
  return [
    ...matches.flatMap((it) => (it.field === 'unknown' ? [] : formatMatch(it))),
    ...(comment === undefined ? [] : ['-m', 'comment', '--comment', comment]),
    ...formatTarget(action),
  ]
}

/** The line for iptables-restore that appends the rule. */
export function appendLine(chain: string, rule: Rule): string {
  const words = formatIptablesRule(rule).map((word) => (word.includes(' ') ? `"${word}"` : word))
  return ['-A', chain, ...words].join(' ')
}

/** The lines for iptables-restore that lead from one to the other at once; a jump that is in both is kept. */
export function toRestoreLines(table: string, from: OwnLines, to: OwnLines): readonly string[] {
  const gone = [...from.chains.keys()].filter((name) => !to.chains.has(name))
  return [
    `*${table}`,
    // With --noflush this creates a chain of ours, or empties it; all others stay.
    ...[...to.chains.keys()].map((name) => `:${name} - [0:0]`),
    ...[...to.chains.values()].flat(),
    // Deleted first: -D takes the first that is alike, which would be the new one.
    ...from.jumps.filter((jump) => !to.jumps.includes(jump)).map(({ text }) => text.replace(/^-A/, '-D')),
    ...to.jumps.filter((jump) => !from.jumps.includes(jump)).map(({ text }) => text.replace(/^-A/, '-I')),
    ...gone.flatMap((name) => [`-F ${name}`, `-X ${name}`]),
    'COMMIT',
  ]
}

/** The command for these lines. The lock of iptables is waited for. */
export function restoreCommand(program: string, lines: readonly string[]): RunCommand {
  const argv = [program, '--wait', '10', '--noflush']
  return { kind: 'run', in: 'host', argv, input: lines.join('\n') }
}

const ipFamily = (family: Family) => (family === 4 ? 'ip' : 'ip6')

/** Whether iptables filters in that family: where it has no such table, it drops nothing that is forwarded. */
export function iptablesFilters(family: Family, { chains }: HostFirewall): boolean {
  return chains.some((it) => it.backend !== 'nft' && it.family === ipFamily(family) && it.table === 'filter')
}

/** One table of one family, and our chains there. */
interface OwnTable {
  readonly family: Family
  readonly table: string
  readonly chains: readonly Chain[]
  readonly names: readonly string[]
}

function listOwnTables({ chains, iptablesFamilies }: HostFirewall): readonly OwnTable[] {
  return iptablesFamilies.flatMap((family) =>
    OWN_TABLES.map((table) => ({
      ...{ family, table },
      chains: chains.filter((it) => it.family === ipFamily(family) && it.table === table),
      names: Object.keys(OWN_CHAINS).filter((name) => OWN_CHAINS[name]?.table === table),
    })),
  )
}

/** What is to be ours in a table: jumps that are there already and that packets reach stay. */
function toOwnLines(rules: readonly OwnRule[], live: OwnLines, { chains, family, names }: OwnTable): OwnLines {
  const used = names
    .map((name) => ({ name, ...(OWN_CHAINS[name] ?? { parents: [], action: 'unknown' }) }))
    .map((it) => ({ ...it, own: rules.filter((rule) => rule.family === family && rule.action.kind === it.action) }))
    .filter(({ own }) => own.length > 0)
  const findLine = (name: string, { comment }: OwnRule) =>
    chains.find((it) => it.name === name)?.rules.find((it) => it.comment === comment)?.text
  return {
    chains: new Map(
      used.map(({ name, own }) => [name, own.map((rule) => findLine(name, rule) ?? appendLine(name, rule))]),
    ),
    jumps: used.flatMap(({ name, parents }) =>
      parents.map((candidates) => {
        const reached = candidates.filter((it) => isChainReached(it, chains))
        const isThere = ({ chain, text }: IptablesLine) => text.endsWith(` -j ${name}`) && reached.includes(chain)
        return live.jumps.find(isThere) ?? jumpLine(reached[0] ?? candidates.at(-1) ?? '', name)
      }),
    ),
  }
}

/** The comments of our rules that are in force: those in chains of ours that packets reach. */
export function listIptablesComments(firewall: HostFirewall): readonly string[] {
  return listOwnTables(firewall).flatMap((own) => {
    const { jumps } = pickOwnLines(own.chains, own.names)
    const isInForce = (name: string) =>
      OWN_CHAINS[name]?.parents.every((parents) =>
        jumps.some(
          ({ chain, text }) =>
            text.endsWith(` -j ${name}`) && parents.includes(chain) && isChainReached(chain, own.chains),
        ),
      )
    return own.chains
      .filter(({ name }) => own.names.includes(name) && isInForce(name))
      .flatMap(({ rules }) => rules.map(({ comment = '' }) => comment))
  })
}

const isSame = (a: OwnLines, b: OwnLines) =>
  JSON.stringify([...a.chains]) === JSON.stringify([...b.chains]) &&
  a.jumps.length === b.jumps.length &&
  a.jumps.every((jump) => b.jumps.includes(jump))

/** The steps after which our chains hold these rules and no others, one for each family; none where they do. */
export function planIptables(rules: readonly OwnRule[], firewall: HostFirewall): Plan {
  const tables = listOwnTables(firewall).map((own) => {
    const live = pickOwnLines(own.chains, own.names)
    return { ...own, live, wanted: toOwnLines(rules, live, own) }
  })
  const changed = tables.filter(({ live, wanted }) => !isSame(live, wanted))
  return firewall.iptablesFamilies.flatMap((family) => {
    const own = changed.filter((it) => it.family === family)
    const program = `${ipFamily(family)}tables-restore`
    if (own.length === 0) return []
    return [
      {
        description: `write the chains of pipework in iptables for IPv${family}`,
        command: restoreCommand(
          program,
          own.flatMap(({ table, live, wanted }) => toRestoreLines(table, live, wanted)),
        ),
        undo: restoreCommand(
          program,
          own.flatMap(({ table, live, wanted }) => toRestoreLines(table, wanted, live)),
        ),
      },
    ]
  })
}
