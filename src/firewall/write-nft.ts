import type { Plan, RunCommand } from '../plan/step'
import type { System } from '../system/types'
import { type HostFirewall, NFT_TABLE } from './read'
import type { OwnRule, Rule, RuleAction, RuleMatch, UnknownMatch } from './rule'

/** Our chains, at the hooks and priorities of iptables' tables of the same purpose, and the rules that each has. */
const NFT_CHAINS = {
  guard: { head: 'type filter hook prerouting priority -300; policy accept;', action: 'drop' },
  prerouting: { head: 'type nat hook prerouting priority -100; policy accept;', action: 'dnat' },
  output: { head: 'type nat hook output priority -100; policy accept;', action: 'dnat' },
  postrouting: { head: 'type nat hook postrouting priority 100; policy accept;', action: 'masquerade' },
} as const

/** How each condition is written; a rule with another one is never written to nftables. */
function formatNftMatch({ field, values, negated }: RuleMatch): string {
  const [value = ''] = values
  const not = negated ? '!= ' : ''
  const ip = value.includes(':') ? 'ip6' : 'ip'
  const formats: Partial<Record<RuleMatch['field'], string>> = {
    in: `iifname ${not}"${value}"`,
    out: `oifname ${not}"${value}"`,
    bridge: `meta ibrname ${not}"${value}"`,
    family: `meta nfproto ipv${value}`,
    saddr: `${ip} saddr ${not}${value}`,
    daddr: `${ip} daddr ${not}${value}`,
    localDaddr: 'fib daddr type local',
    state: value === 'dnat' ? 'ct status dnat' : `ct state ${values.join(',')}`,
  }
  const text = formats[field]
  if (text === undefined) throw new TypeError(`a condition on '${field}' has no form in nft`)
  return text
}

function formatNftMatches(matches: readonly (RuleMatch | UnknownMatch)[]): readonly string[] {
  const known = matches.filter((it) => it.field !== 'unknown')
  const firstValue = (field: RuleMatch['field']) => known.find((it) => it.field === field)?.values[0]
  const [protocol, port] = [firstValue('protocol'), firstValue('dport')]
  return [
    ...known.filter(({ field }) => field !== 'protocol' && field !== 'dport').map(formatNftMatch),
    ...(protocol === undefined || port === undefined ? [] : [`${protocol} dport ${port}`]),
  ]
}

function formatNftAction(action: RuleAction): string {
  if (action.kind !== 'dnat') return action.kind
  const { ip, port } = action
  const isV6 = ip.includes(':')
  return `dnat ${isV6 ? 'ip6' : 'ip'} to ${port === undefined ? ip : `${isV6 ? `[${ip}]` : ip}:${port}`}`
}

/** The rule as nft reads it. */
export function formatNftRule({ matches, action }: Rule): string {
  return [...formatNftMatches(matches), formatNftAction(action)].join(' ')
}

/** The rules of each chain that has any. */
function groupByChain(rules: readonly OwnRule[]) {
  return Object.entries(NFT_CHAINS)
    .map(([name, { head, action }]) => ({ name, head, rules: rules.filter((it) => it.action.kind === action) }))
    .filter((it) => it.rules.length > 0)
}

const TABLE_NAME = `${NFT_TABLE.family} ${NFT_TABLE.name}`

function formatTable(rules: readonly OwnRule[]): string {
  const chains = groupByChain(rules).flatMap(({ name, head, rules: own }) => [
    `  chain ${name} {`,
    `    ${head}`,
    ...own.map((rule) => `    ${formatNftRule(rule)} comment "${rule.comment}"`),
    '  }',
  ])
  return chains.length === 0 ? '' : [`table ${TABLE_NAME} {`, ...chains, '}'].join('\n')
}

/** What nft is to read for that table alone. It can only delete what is there: `add` comes first. */
function replaceTable(table: string): string {
  return [`add table ${TABLE_NAME}`, `delete table ${TABLE_NAME}`, ...(table === '' ? [] : [table])].join('\n')
}

/** The comments of our rules in nftables, one for each place of a rule. */
export function listNftComments({ chains }: HostFirewall): readonly string[] {
  return chains
    .filter(({ backend }) => backend === 'nft')
    .flatMap(({ rules }) => rules.map(({ comment = '' }) => comment))
}

/** The step after which our table holds these rules and no others; none where it does. */
export function planNft(rules: readonly OwnRule[], firewall: HostFirewall): Plan {
  const wanted = groupByChain(rules).flatMap((chain) => chain.rules.map(({ comment }) => comment))
  if (listNftComments(firewall).join('\n') === wanted.join('\n')) return []
  const write = (table: string): RunCommand => ({
    ...{ kind: 'run', in: 'host', argv: ['nft', '-f', '-'] },
    input: replaceTable(table),
  })
  return [
    {
      description:
        wanted.length === 0 ? 'remove the firewall table of pipework' : 'write the firewall table of pipework',
      command: write(formatTable(rules)),
      undo: write(firewall.nftListing ?? ''),
    },
  ]
}

/** Tries what would be written, and reads what would be replaced. Where nft refuses it, iptables is used. */
export async function prepareNft(
  rules: readonly OwnRule[],
  firewall: HostFirewall,
  system: System,
): Promise<HostFirewall> {
  if (!firewall.usesNft || planNft(rules, firewall).length === 0) return firewall
  const hasTable = firewall.chains.some(({ backend }) => backend === 'nft')
  const [check, listing] = await Promise.all([
    rules.length === 0
      ? undefined
      : system.run(['nft', '--check', '-f', '-'], undefined, replaceTable(formatTable(rules))),
    hasTable ? system.run(['nft', '--stateless', 'list', 'table', NFT_TABLE.family, NFT_TABLE.name]) : undefined,
  ])
  return { ...firewall, usesNft: check === undefined || check.code === 0, nftListing: listing?.stdout.trim() }
}
