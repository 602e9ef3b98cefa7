import { type Family, fingerprint } from '../model/address'
import { PipeworkError } from '../model/errors'
import { FAMILIES } from '../model/ip'
import { batchLine, isWord, type Step } from '../plan/step'
import type { Host } from '../system/types'
import { hasIpv6, type IpRoute, type Route, toRoute } from './guest'

/** A rule that sends what comes from an address to a table. */
export interface Rule {
  readonly family: Family
  readonly from: string
  readonly table: string
  readonly priority: number
}

/** Rules to tables of ours, and the routes in them. */
export interface Policy {
  readonly rules: readonly Rule[]
  readonly routes: readonly Route[]
}

/** Before the rules that `ip rule add` makes by itself, just below 32766, and after the low numbers of exceptions. */
export const PRIORITY = 10000

/**
 * Rules do not go with a link that somebody deletes, and no link is left that could say so: a file of the host for each
 * namespace, named after its inode, says that it may have some, so that nobody else waits for the question. It stays
 * for as long as the host runs; for a later namespace with that inode it is one question too many.
 */
const NOTES = '/run/pipework/policy'

/** The file that says so of a namespace, by its name for `ip -n`. */
export function rulesNote(netns: string, host: Host): string {
  return `${NOTES}/${host.inode(`/run/netns/${netns}`)}`
}

/** Whether that namespace may have rules of ours; without one, whether any may. */
export function mayHaveRules(host: Host, netns?: string): boolean {
  if (host.inode(NOTES) === undefined) return false
  return netns === undefined || host.inode(rulesNote(netns, host)) !== undefined
}

/** Writes it. */
export function noteRules(path: string): Step {
  return {
    why: 'note that there are rules which do not go with their interface',
    command: { kind: 'file', in: 'host', path, text: 'see pipework rule <guest> show' },
  }
}

interface IpRule {
  readonly priority: number
  readonly src?: string
  readonly table?: string
}

const FIRST_TABLE = 1_000_000_000
const PAIRS = 500_000_000

/**
 * The routing tables of an interface: one for its own addresses, one for those of the interface whose default route it
 * replaced. The number comes from the name, which no other interface in the guest has, so that every run finds what an
 * earlier one made without writing it down; and it is larger than any that people and other programs choose.
 */
export function policyTables(ifname: string): { readonly own: string; readonly other: string } {
  const number = FIRST_TABLE + 2 * Number(BigInt(`0x${fingerprint(ifname)}`) % BigInt(PAIRS))
  return { own: `${number}`, other: `${number + 1}` }
}

/** The rules of ours to tables that belong to none of these interfaces, and the routes in those tables. */
function pickOrphans({ rules, routes }: Policy, names: readonly string[]): Policy {
  const taken = names.flatMap((name) => Object.values(policyTables(name)))
  const isOurs = (table: string) => Number(table) >= FIRST_TABLE && Number(table) < FIRST_TABLE + 2 * PAIRS
  const orphans = rules.filter((it) => it.priority === PRIORITY && isOurs(it.table) && !taken.includes(it.table))
  const tables = orphans.map(({ table }) => table)
  return { rules: orphans, routes: routes.filter(({ table }) => table !== undefined && tables.includes(table)) }
}

interface Named {
  readonly name: string
}

/** What of an interface's own tables is there, and what is left of interfaces of ours that are none of these links. */
export async function readPolicy(
  { ifname, links }: { readonly ifname?: string; readonly links?: readonly Named[] },
  netns: string,
  host: Host,
): Promise<Policy> {
  const all = await readRules(netns, host)
  const tables = ifname === undefined ? [] : Object.values(policyTables(ifname))
  const names = links && [...links.map(({ name }) => name), ...(ifname === undefined ? [] : [ifname])]
  const orphans = names === undefined ? { rules: [], routes: [] } : pickOrphans(all, names)
  const isOwn = ({ table }: { readonly table?: string }) => table !== undefined && tables.includes(table)
  return {
    rules: [...all.rules.filter(isOwn), ...orphans.rules],
    routes: [...all.routes.filter(isOwn), ...orphans.routes],
  }
}

/** All rules, and all routes of other tables than the main one. */
async function readRules(netns: string, host: Host): Promise<Policy> {
  const families = FAMILIES.filter((family) => family === 4 || hasIpv6(host))
  // A namespace's rules of both families take two calls of `ip`; as lines of a batch they are one process of ours.
  const lines = families.flatMap((family) =>
    [
      ['rule', 'show'],
      ['-d', 'route', 'show', 'table', 'all'],
    ].map((words) => batchLine`netns exec ${netns} ip -j -${family} ${words}`),
  )
  const { code, stdout, stderr } = await host.ip({ lines, answer: 'text' })
  if (code !== 0)
    throw new PipeworkError(`the guest's routing rules cannot be read: ${stderr.trim()}`, {
      hint: 'Has it stopped just now? Else see what `ip rule` says in there.',
    })
  const answers = stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as unknown[])
  const of = <T extends IpRule | IpRoute>(index: number) => (answers[index] ?? []) as T[]
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
      of<IpRoute>(2 * index + 1)
        .map((route) => toRoute(route, family))
        // Over a link whose name no plan could write: it is the guest's own.
        .filter(({ words }) => words.every(isWord)),
    ),
  }
}
