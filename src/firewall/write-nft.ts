import type { Plan, RunCommand } from '../plan/step'
import { ANY_LOCAL, commentOf, type Rule } from './rule'

/** One table of our own, replaced as a whole and at once: nobody ever sees half of it. */
const TABLE = 'inet pipework'

/** Hooks and priorities of our chains: those of iptables' tables of the same purpose. */
const CHAINS = {
  guard: 'type filter hook prerouting priority -300; policy accept;',
  prerouting: 'type nat hook prerouting priority -100; policy accept;',
  output: 'type nat hook output priority -100; policy accept;',
  postrouting: 'type nat hook postrouting priority 100; policy accept;',
} as const

type Chain = keyof typeof CHAINS
const NAMES = Object.keys(CHAINS) as Chain[]

/** An accept in a table of our own would overrule nobody's drop: those go to iptables, where there is any. */
const PLACES: Readonly<Record<Rule['act'], readonly Chain[]>> = {
  accept: [],
  masquerade: ['postrouting'],
  dnat: ['prerouting', 'output'],
  drop: ['guard'],
}

function toMatches({ family, state, protocol, ports, ...rule }: Rule): readonly string[] {
  const ip = family === 4 ? 'ip' : 'ip6'
  return [
    `meta nfproto ipv${family}`,
    ...(rule.in === undefined ? [] : [`iifname "${rule.in}"`]),
    ...(rule.out === undefined ? [] : [`oifname "${rule.out}"`]),
    ...(rule.notOut === undefined ? [] : [`oifname != "${rule.notOut}"`]),
    ...(rule.from === undefined ? [] : [`${ip} saddr ${rule.from}`]),
    ...(rule.to === undefined ? [] : [rule.to === ANY_LOCAL ? 'fib daddr type local' : `${ip} daddr ${rule.to}`]),
    ...(state === undefined ? [] : [state === 'sent' ? 'ct status dnat' : 'ct state established,related']),
    ...(protocol === undefined || ports === undefined ? [] : [`${protocol} dport ${ports}`]),
  ]
}

function toVerdict({ family, act, target }: Rule): string {
  if (act !== 'dnat' || target === undefined) return act
  const ip = family === 6 && target.port !== undefined ? `[${target.ip}]` : target.ip
  return `dnat ${family === 4 ? 'ip' : 'ip6'} to ${ip}${target.port === undefined ? '' : `:${target.port}`}`
}

function toTable(rules: readonly Rule[]): string {
  const chains = NAMES.flatMap((chain) => {
    const lines = rules
      .filter(({ act }) => PLACES[act].includes(chain))
      .map((rule) => `    ${toMatches(rule).join(' ')} ${toVerdict(rule)} comment "${commentOf(rule)}"`)
    return lines.length === 0 ? [] : [`  chain ${chain} {`, `    ${CHAINS[chain]}`, ...lines, '  }']
  })
  return chains.length === 0 ? '' : [`table ${TABLE} {`, ...chains, '}'].join('\n')
}

/** The comments in a listing, one for each place of a rule. */
export function listComments(listing: string): readonly string[] {
  return [...listing.matchAll(/comment "([^"]*)"/g)].map(([, comment = '']) => comment)
}

/** The same of the rules that are wanted. */
function wantComments(rules: readonly Rule[]): readonly string[] {
  return NAMES.flatMap((chain) => rules.filter(({ act }) => PLACES[act].includes(chain)).map(commentOf))
}

/** Replaces the table by what a listing of it says; nothing to remove it. `add` first: only what is there can be deleted. */
function replaceBy(table: string): RunCommand {
  return {
    kind: 'run',
    in: 'host',
    argv: ['nft', '-f', '-'],
    input: [`add table ${TABLE}`, `delete table ${TABLE}`, ...(table === '' ? [] : [table])].join('\n'),
  }
}

/** The command that reads the table; it fails where there is none. */
export const READ_TABLE = ['nft', '--stateless', 'list', 'table', ...TABLE.split(' ')]

/** The step that makes the table hold these rules and no others; none where it does. */
export function planTable(rules: readonly Rule[], listing: string): Plan {
  const [live, wanted] = [listComments(listing), wantComments(rules)]
  if (live.join('\n') === wanted.join('\n')) return []
  const table = toTable(rules)
  return [
    {
      why: table === '' ? 'remove the firewall table of pipework' : 'write the firewall table of pipework',
      command: replaceBy(table),
      undo: replaceBy(listing),
    },
  ]
}
