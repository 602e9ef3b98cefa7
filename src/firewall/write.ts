import type { Family } from '../model/address'
import { PipeworkError } from '../model/errors'
import type { Plan } from '../plan/step'
import type { System } from '../system/types'
import { type FirewallRule, formatRuleComment } from './rule'
import {
  type IptablesTables,
  listIptablesComments as listChains,
  parseIptablesSave,
  planIptables,
} from './write-iptables'
import { listNftComments as listTable, planNftTable, READ_NFT_TABLE } from './write-nft'

const FAMILIES = [4, 6] as const

/** The host's firewall, as far as it is ours or in our way. */
export interface HostFirewall {
  /** The listing of our table of nftables; undefined where nftables does not work. */
  readonly nftListing?: string
  /** The tables of iptables, for the families that have any. */
  readonly iptablesTables: Readonly<Partial<Record<Family, IptablesTables>>>
}

async function readNftListing(system: System): Promise<Pick<HostFirewall, 'nftListing'>> {
  if (!system.hasProgram('nft')) return {}
  const { code, stdout } = await system.run(READ_NFT_TABLE)
  if (code === 0) return { nftListing: stdout.trim() }
  // A kernel without nftables answers with an error to everything; one that has them, only to what is not there.
  return (await system.run(['nft', 'list', 'tables'])).code === 0 ? { nftListing: '' } : {}
}

async function readIptables(family: Family, system: System): Promise<HostFirewall['iptablesTables']> {
  const program = family === 4 ? 'iptables' : 'ip6tables'
  if (!system.hasProgram(`${program}-save`) || !system.hasProgram(`${program}-restore`)) return {}
  const { code, stdout } = await system.run([`${program}-save`])
  return code === 0 ? { [family]: parseIptablesSave(stdout) } : {}
}

/** Asks nft and iptables what there is. */
export async function readHostFirewall(system: System): Promise<HostFirewall> {
  const [nft, ...tables] = await Promise.all([
    readNftListing(system),
    ...FAMILIES.map((family) => readIptables(family, system)),
  ])
  return { ...nft, iptablesTables: Object.assign({}, ...tables) as HostFirewall['iptablesTables'] }
}

/** Whether a rule has a place: an accept only where iptables filters at all, for nothing else drops what is forwarded. */
function isApplicable({ action, family }: FirewallRule, { nftListing, iptablesTables }: HostFirewall): boolean {
  if (action === 'accept') return iptablesTables[family]?.has('filter') ?? false
  return nftListing !== undefined || iptablesTables[family] !== undefined
}

/** One of each, in an order that does not depend on who was there first. */
function sortRules(rules: readonly FirewallRule[]): readonly FirewallRule[] {
  const byComment = new Map(rules.map((rule) => [formatRuleComment(rule), rule]))
  return [...byComment].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, rule]) => rule)
}

/**
 * The steps after which the firewall holds these rules of ours and no others: what is forwarded is accepted where
 * iptables would drop it (in DOCKER-USER, where that is), all else goes into our table of nftables, or into chains of
 * our own where that does not work.
 */
export function planFirewallRules(all: readonly FirewallRule[], firewall: HostFirewall): Plan {
  const rules = sortRules(all)
  const { nftListing, iptablesTables } = firewall
  const homeless = rules.find((rule) => rule.action !== 'accept' && !isApplicable(rule, firewall))
  if (homeless !== undefined)
    throw new PipeworkError("neither 'nft' nor 'iptables' works here, and NAT and published ports need one", {
      hint: 'Install it: apt install nftables',
    })
  const forIptables = (family: Family) =>
    rules.filter(
      (rule) =>
        rule.family === family && (rule.action === 'accept' ? isApplicable(rule, firewall) : nftListing === undefined),
    )
  return [
    ...(nftListing === undefined ? [] : planNftTable(rules, nftListing)),
    ...FAMILIES.flatMap((family) => {
      const live = iptablesTables[family]
      return live === undefined ? [] : planIptables(family, forIptables(family), live)
    }),
  ]
}

/** Those of these rules that are to have a place in the firewall, and have not. */
export function listMissingRules(rules: readonly FirewallRule[], firewall: HostFirewall): readonly FirewallRule[] {
  const { nftListing, iptablesTables } = firewall
  const there = new Set([
    ...(nftListing === undefined ? [] : listTable(nftListing)),
    ...FAMILIES.flatMap((family) => listChains(iptablesTables[family] ?? new Map())),
  ])
  return rules.filter(
    (rule) => !there.has(formatRuleComment(rule)) && (rule.action !== 'accept' || isApplicable(rule, firewall)),
  )
}
