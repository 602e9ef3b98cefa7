import { ADDRESS_FAMILIES, type Family } from '../model/address'
import { fnv1aHash } from '../model/hash'
import type { Step } from '../plan/step'
import { batchLine } from '../system/batch'
import type { System } from '../system/types'
import { type GuestRoute, kernelHasIpv6, toGuestRoute } from './guest'
import { type IpQuery, ipQuery, isUsableWord, parseIpOutput } from './ip-json'

/** A rule that sends packets from an address to a table. */
export interface PolicyRule {
  readonly family: Family
  readonly from: string
  readonly table: string
  readonly priority: number
}

/** Rules to tables of ours, and the routes in these tables. */
export interface PolicyRouting {
  readonly rules: readonly PolicyRule[]
  readonly routes: readonly GuestRoute[]
}

/**
 * Evaluated before the rules that `ip rule add` numbers itself (just below 32766), and after low-numbered exceptions.
 */
export const RULE_PRIORITY = 10000

/**
 * Rules outlive a deleted link, and then no link records them. So a host file for each namespace, named after its
 * inode, marks that it may have rules; other guests need no query. The file lasts until the next boot. If a later
 * namespace gets the same inode, that costs one needless query.
 */
const POLICY_MARKER_DIR = '/run/pipework/policy'

/** That file, for a namespace given by its name for `ip -n`. */
export function policyMarkerFile(netns: string, system: System): string {
  return `${POLICY_MARKER_DIR}/${system.inode(`/run/netns/${netns}`)}`
}

/** Whether that namespace may have rules of ours; without `netns`, whether any may. */
export function mayHavePolicyRules(system: System, netns?: string): boolean {
  if (system.inode(POLICY_MARKER_DIR) === undefined) return false
  return netns === undefined || system.inode(policyMarkerFile(netns, system)) !== undefined
}

/** Writes the marker file. */
export function planPolicyMarker(path: string): Step {
  return {
    description: 'note that there are rules which do not go with their interface',
    command: { kind: 'file', in: 'host', path, text: 'see pipework rule <guest> show' },
  }
}

const FIRST_TABLE = 1_000_000_000
const TABLE_PAIRS = 500_000_000

/**
 * The routing tables of an interface: one for its own addresses, one for those of the interface whose default route it
 * replaced. The number is a hash of the interface's name, which is unique in the guest, so that every run finds the
 * tables of earlier runs. It is larger than any number that people and other programs choose.
 */
export function policyTables(ifname: string): { readonly own: string; readonly other: string } {
  const number = FIRST_TABLE + 2 * Number(BigInt(`0x${fnv1aHash(ifname)}`) % BigInt(TABLE_PAIRS))
  return { own: `${number}`, other: `${number + 1}` }
}

/** The rules of ours to tables that belong to none of these interfaces, and the routes in those tables. */
function pickOrphanRules({ rules, routes }: PolicyRouting, names: readonly string[]): PolicyRouting {
  const taken = names.flatMap((name) => Object.values(policyTables(name)))
  const isOurs = (table: string) => Number(table) >= FIRST_TABLE && Number(table) < FIRST_TABLE + 2 * TABLE_PAIRS
  const orphans = rules.filter((it) => it.priority === RULE_PRIORITY && isOurs(it.table) && !taken.includes(it.table))
  const tables = orphans.map(({ table }) => table)
  return { rules: orphans, routes: routes.filter(({ table }) => table !== undefined && tables.includes(table)) }
}

interface NamedLink {
  readonly name: string
}

/** The existing rules and routes of an interface's own tables, and leftovers of interfaces that no longer exist. */
export async function readPolicyRouting(
  { ifname, links }: { readonly ifname?: string; readonly links?: readonly NamedLink[] },
  netns: string,
  system: System,
): Promise<PolicyRouting> {
  const all = await readRulesAndRoutes(netns, system)
  const tables = ifname === undefined ? [] : Object.values(policyTables(ifname))
  const names = links && [...links.map(({ name }) => name), ...(ifname === undefined ? [] : [ifname])]
  const orphans = names === undefined ? { rules: [], routes: [] } : pickOrphanRules(all, names)
  const isOwn = ({ table }: { readonly table?: string }) => table !== undefined && tables.includes(table)
  return {
    rules: [...all.rules.filter(isOwn), ...orphans.rules],
    routes: [...all.routes.filter(isOwn), ...orphans.routes],
  }
}

/** All rules, and all routes of all tables. */
async function readRulesAndRoutes(netns: string, system: System): Promise<PolicyRouting> {
  const [rules, routes] = await Promise.all([
    readForEachFamily(ipQuery.rules(batchLine`rule show`), netns, system),
    readForEachFamily(ipQuery.routes(batchLine`-d route show table all`), netns, system),
  ])
  return {
    rules: rules.map(({ family, item: { src: from = 'all', table = 'main', priority } }) => ({
      ...{ family, from, table, priority },
    })),
    routes: routes
      .map(({ family, item }) => toGuestRoute(item, family))
      // A link whose name cannot be a word of a command is the guest's own.
      .filter(({ words }) => words.every(isUsableWord)),
  }
}

/** A line of `ip -batch` cannot choose the family, so each starts another `ip`. */
async function readForEachFamily<T>(
  query: IpQuery<T>,
  netns: string,
  system: System,
): Promise<readonly { readonly family: Family; readonly item: T }[]> {
  const families = ADDRESS_FAMILIES.filter((family) => family === 4 || kernelHasIpv6(system))
  const lines = families.map((family) => batchLine`netns exec ${netns} ip -j -${family} ${query.line}`)
  const result = await system.runIpBatch({ lines, output: 'text' })
  const answers = parseIpOutput(
    result,
    families.map(() => query),
    netns,
  )
  return families.flatMap((family, index) => (answers[index] ?? []).map((item) => ({ family, item })))
}
