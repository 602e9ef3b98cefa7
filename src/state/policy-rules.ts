import { type Family, fnv1aHash } from '../model/address'
import { PipeworkError } from '../model/errors'
import { ADDRESS_FAMILIES } from '../model/ip'
import { batchLine, isSafeWord, type Step } from '../plan/step'
import type { System } from '../system/types'
import { type GuestRoute, type IpRouteJson, kernelHasIpv6, toGuestRoute } from './guest'

/** A rule that sends what comes from an address to a table. */
export interface PolicyRule {
  readonly family: Family
  readonly from: string
  readonly table: string
  readonly priority: number
}

/** Rules to tables of ours, and the routes in them. */
export interface PolicyRouting {
  readonly rules: readonly PolicyRule[]
  readonly routes: readonly GuestRoute[]
}

/** Before the rules that `ip rule add` makes by itself, just below 32766, and after the low numbers of exceptions. */
export const RULE_PRIORITY = 10000

/**
 * Rules do not go with a link that somebody deletes, and no link is left that could say so: a file of the host for each
 * namespace, named after its inode, says that it may have some, so that nobody else waits for the question. It stays
 * for as long as the host runs; for a later namespace with that inode it is one question too many.
 */
const POLICY_MARKER_DIR = '/run/pipework/policy'

/** The file that says so of a namespace, by its name for `ip -n`. */
export function policyMarkerFile(netns: string, system: System): string {
  return `${POLICY_MARKER_DIR}/${system.inode(`/run/netns/${netns}`)}`
}

/** Whether that namespace may have rules of ours; without one, whether any may. */
export function mayHavePolicyRules(system: System, netns?: string): boolean {
  if (system.inode(POLICY_MARKER_DIR) === undefined) return false
  return netns === undefined || system.inode(policyMarkerFile(netns, system)) !== undefined
}

/** Writes it. */
export function planPolicyMarker(path: string): Step {
  return {
    description: 'note that there are rules which do not go with their interface',
    command: { kind: 'file', in: 'host', path, text: 'see pipework rule <guest> show' },
  }
}

interface IpRule {
  readonly priority: number
  readonly src?: string
  readonly table?: string
}

const FIRST_TABLE = 1_000_000_000
const TABLE_PAIRS = 500_000_000

/**
 * The routing tables of an interface: one for its own addresses, one for those of the interface whose default route it
 * replaced. The number comes from the name, which no other interface in the guest has, so that every run finds what an
 * earlier one made without writing it down; and it is larger than any that people and other programs choose.
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

/** What of an interface's own tables is there, and what is left of interfaces of ours that are none of these links. */
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

/** All rules, and all routes of other tables than the main one. */
async function readRulesAndRoutes(netns: string, system: System): Promise<PolicyRouting> {
  const families = ADDRESS_FAMILIES.filter((family) => family === 4 || kernelHasIpv6(system))
  // A namespace's rules of both families take two calls of `ip`; as lines of a batch they are one process of ours.
  const lines = families.flatMap((family) =>
    [
      ['rule', 'show'],
      ['-d', 'route', 'show', 'table', 'all'],
    ].map((words) => batchLine`netns exec ${netns} ip -j -${family} ${words}`),
  )
  const { code, stdout, stderr } = await system.runIpBatch({ lines, output: 'text' })
  if (code !== 0)
    throw new PipeworkError(`the guest's routing rules cannot be read: ${stderr.trim()}`, {
      hint: 'Has it stopped just now? Else see what `ip rule` says in there.',
    })
  const answers = stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as unknown[])
  const of = <T extends IpRule | IpRouteJson>(index: number) => (answers[index] ?? []) as T[]
  return {
    rules: families.flatMap((family, index) =>
      of<IpRule>(2 * index).map(({ src: from = 'all', table = 'main', priority }) => ({
        family,
        from,
        table,
        priority,
      })),
    ),
    routes: families.flatMap((family, index) =>
      of<IpRouteJson>(2 * index + 1)
        .map((route) => toGuestRoute(route, family))
        // Over a link whose name no plan could write: it is the guest's own.
        .filter(({ words }) => words.every(isSafeWord)),
    ),
  }
}
