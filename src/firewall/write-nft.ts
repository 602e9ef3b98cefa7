import type { Plan, RunCommand } from '../plan/step'
import { ANY_LOCAL_ADDRESS, type FirewallRule, formatRuleComment } from './rule'

/** One table of our own, replaced as a whole and at once: nobody ever sees half of it. */
const NFT_TABLE = 'inet pipework'

/** Hooks and priorities of our chains: those of iptables' tables of the same purpose. */
const NFT_CHAINS = {
  guard: 'type filter hook prerouting priority -300; policy accept;',
  prerouting: 'type nat hook prerouting priority -100; policy accept;',
  output: 'type nat hook output priority -100; policy accept;',
  postrouting: 'type nat hook postrouting priority 100; policy accept;',
} as const

type NftChainName = keyof typeof NFT_CHAINS
const NFT_CHAIN_NAMES = Object.keys(NFT_CHAINS) as NftChainName[]

/** An accept in a table of our own would overrule nobody's drop: those go to iptables, where there is any. */
const ACTION_CHAINS: Readonly<Record<FirewallRule['action'], readonly NftChainName[]>> = {
  accept: [],
  masquerade: ['postrouting'],
  dnat: ['prerouting', 'output'],
  drop: ['guard'],
}

function formatMatches({ family, state, protocol, ports, ...rule }: FirewallRule): readonly string[] {
  const ip = family === 4 ? 'ip' : 'ip6'
  return [
    `meta nfproto ipv${family}`,
    ...(rule.in === undefined ? [] : [`iifname "${rule.in}"`]),
    ...(rule.out === undefined ? [] : [`oifname "${rule.out}"`]),
    ...(rule.notOut === undefined ? [] : [`oifname != "${rule.notOut}"`]),
    ...(rule.from === undefined ? [] : [`${ip} saddr ${rule.from}`]),
    ...(rule.to === undefined
      ? []
      : [rule.to === ANY_LOCAL_ADDRESS ? 'fib daddr type local' : `${ip} daddr ${rule.to}`]),
    ...(state === undefined ? [] : [state === 'sent' ? 'ct status dnat' : 'ct state established,related']),
    ...(protocol === undefined || ports === undefined ? [] : [`${protocol} dport ${ports}`]),
  ]
}

function formatVerdict({ family, action, dnatTarget }: FirewallRule): string {
  if (action !== 'dnat' || dnatTarget === undefined) return action
  const ip = family === 6 && dnatTarget.port !== undefined ? `[${dnatTarget.ip}]` : dnatTarget.ip
  return `dnat ${family === 4 ? 'ip' : 'ip6'} to ${ip}${dnatTarget.port === undefined ? '' : `:${dnatTarget.port}`}`
}

function formatNftTable(rules: readonly FirewallRule[]): string {
  const chains = NFT_CHAIN_NAMES.flatMap((chain) => {
    const lines = rules
      .filter(({ action }) => ACTION_CHAINS[action].includes(chain))
      .map((rule) => `    ${formatMatches(rule).join(' ')} ${formatVerdict(rule)} comment "${formatRuleComment(rule)}"`)
    return lines.length === 0 ? [] : [`  chain ${chain} {`, `    ${NFT_CHAINS[chain]}`, ...lines, '  }']
  })
  return chains.length === 0 ? '' : [`table ${NFT_TABLE} {`, ...chains, '}'].join('\n')
}

/** The comments in a listing, one for each place of a rule. */
export function listNftComments(listing: string): readonly string[] {
  return [...listing.matchAll(/comment "([^"]*)"/g)].map(([, comment = '']) => comment)
}

/** The same of the rules that are wanted. */
function desiredComments(rules: readonly FirewallRule[]): readonly string[] {
  return NFT_CHAIN_NAMES.flatMap((chain) =>
    rules.filter(({ action }) => ACTION_CHAINS[action].includes(chain)).map(formatRuleComment),
  )
}

/** Replaces the table by what a listing of it says; nothing to remove it. `add` first: only what is there can be deleted. */
function replaceTableCommand(table: string): RunCommand {
  return {
    kind: 'run',
    in: 'host',
    argv: ['nft', '-f', '-'],
    input: [`add table ${NFT_TABLE}`, `delete table ${NFT_TABLE}`, ...(table === '' ? [] : [table])].join('\n'),
  }
}

/** The command that reads the table; it fails where there is none. */
export const READ_NFT_TABLE = ['nft', '--stateless', 'list', 'table', ...NFT_TABLE.split(' ')]

/** The step that makes the table hold these rules and no others; none where it does. */
export function planNftTable(rules: readonly FirewallRule[], listing: string): Plan {
  const [live, wanted] = [listNftComments(listing), desiredComments(rules)]
  if (live.join('\n') === wanted.join('\n')) return []
  const table = formatNftTable(rules)
  return [
    {
      description: table === '' ? 'remove the firewall table of pipework' : 'write the firewall table of pipework',
      command: replaceTableCommand(table),
      undo: replaceTableCommand(listing),
    },
  ]
}
