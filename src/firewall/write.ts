import type { Family } from '../model/address'
import { PipeworkError } from '../model/errors'
import type { Plan } from '../plan/step'
import type { Host } from '../system/types'
import { commentOf, type Rule } from './rule'
import { listComments as listChains, parseTables, planTables, type Tables } from './write-iptables'
import { listComments as listTable, planTable, READ_TABLE } from './write-nft'

const FAMILIES = [4, 6] as const

/** The host's firewall, as far as it is ours or in our way. */
export interface Firewall {
  /** The listing of our table of nftables; undefined where nftables does not work. */
  readonly nft?: string
  /** The tables of iptables, for the families that have any. */
  readonly tables: Readonly<Partial<Record<Family, Tables>>>
}

async function readNft(host: Host): Promise<Pick<Firewall, 'nft'>> {
  if (!host.has('nft')) return {}
  const { code, stdout } = await host.run(READ_TABLE)
  if (code === 0) return { nft: stdout.trim() }
  // A kernel without nftables answers with an error to everything; one that has them, only to what is not there.
  return (await host.run(['nft', 'list', 'tables'])).code === 0 ? { nft: '' } : {}
}

async function readTables(family: Family, host: Host): Promise<Firewall['tables']> {
  const program = family === 4 ? 'iptables' : 'ip6tables'
  if (!host.has(`${program}-save`) || !host.has(`${program}-restore`)) return {}
  const { code, stdout } = await host.run([`${program}-save`])
  return code === 0 ? { [family]: parseTables(stdout) } : {}
}

/** Asks nft and iptables what there is. */
export async function readFirewall(host: Host): Promise<Firewall> {
  const [nft, ...tables] = await Promise.all([readNft(host), ...FAMILIES.map((family) => readTables(family, host))])
  return { ...nft, tables: Object.assign({}, ...tables) as Firewall['tables'] }
}

/** Whether a rule has a place: an accept only where iptables filters at all, for nothing else drops what is forwarded. */
function hasPlace({ act, family }: Rule, { nft, tables }: Firewall): boolean {
  if (act === 'accept') return tables[family]?.has('filter') ?? false
  return nft !== undefined || tables[family] !== undefined
}

/** One of each, in an order that does not depend on who was there first. */
function sortRules(rules: readonly Rule[]): readonly Rule[] {
  const byComment = new Map(rules.map((rule) => [commentOf(rule), rule]))
  return [...byComment].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, rule]) => rule)
}

/**
 * The steps after which the firewall holds these rules of ours and no others: what is forwarded is accepted where
 * iptables would drop it (in DOCKER-USER, where that is), all else goes into our table of nftables, or into chains of
 * our own where that does not work.
 */
export function planFirewall(all: readonly Rule[], firewall: Firewall): Plan {
  const rules = sortRules(all)
  const { nft, tables } = firewall
  const homeless = rules.find((rule) => rule.act !== 'accept' && !hasPlace(rule, firewall))
  if (homeless !== undefined)
    throw new PipeworkError("neither 'nft' nor 'iptables' works here, and NAT and published ports need one", {
      hint: 'Install it: apt install nftables',
    })
  const forIptables = (family: Family) =>
    rules.filter(
      (rule) => rule.family === family && (rule.act === 'accept' ? hasPlace(rule, firewall) : nft === undefined),
    )
  return [
    ...(nft === undefined ? [] : planTable(rules, nft)),
    ...FAMILIES.flatMap((family) => {
      const live = tables[family]
      return live === undefined ? [] : planTables(family, forIptables(family), live)
    }),
  ]
}

/** Those of these rules that are to have a place in the firewall, and have not. */
export function listMissing(rules: readonly Rule[], firewall: Firewall): readonly Rule[] {
  const { nft, tables } = firewall
  const there = new Set([
    ...(nft === undefined ? [] : listTable(nft)),
    ...FAMILIES.flatMap((family) => listChains(tables[family] ?? new Map())),
  ])
  return rules.filter((rule) => !there.has(commentOf(rule)) && (rule.act !== 'accept' || hasPlace(rule, firewall)))
}
