import { PipeworkError } from './errors'
import type { Host } from './host'
import { hasIpv6, type IpRoute, type Route, toRoute } from './inside'
import { type Family, fingerprint } from './values'

/** A rule that sends what comes from an address to a table. */
export interface Rule {
  readonly family: Family
  readonly from: string
  readonly table: string
  readonly priority: number
}

/** The rules to the tables of an interface, and the routes in them. */
export interface Policy {
  readonly rules: readonly Rule[]
  readonly routes: readonly Route[]
}

interface IpRule {
  readonly priority: number
  readonly src?: string
  readonly table?: string
}

/**
 * The routing tables of an interface: one for its own addresses, one for those of the interface whose default route it
 * replaced. The number comes from the name, which no other interface in the guest has, so that every run finds what an
 * earlier one made without writing it down; and it is larger than any that people and other programs choose.
 */
export function policyTables(ifname: string): { readonly own: string; readonly other: string } {
  const number = 1_000_000_000 + 2 * Number(BigInt(`0x${fingerprint(ifname)}`) % 500_000_000n)
  return { own: `${number}`, other: `${number + 1}` }
}

/** What of an interface's own tables is there. */
export async function readPolicy(ifname: string, netns: string, host: Host): Promise<Policy> {
  const families = hasIpv6(host) ? ([4, 6] as const) : ([4] as const)
  // A namespace's rules of both families take two calls of `ip`; as lines of a batch they are one process of ours.
  const lines = families.flatMap((family) =>
    ['rule show', '-d route show table all'].map((words) => `netns exec ${netns} ip -j -${family} ${words}`),
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
  const tables = Object.values(policyTables(ifname))
  const isOurs = ({ table = 'main' }: IpRule | IpRoute) => tables.includes(table)
  const of = <T extends IpRule | IpRoute>(index: number) => ((answers[index] ?? []) as T[]).filter(isOurs)
  return {
    rules: families.flatMap((family, index) =>
      of<IpRule>(2 * index).map(({ src = 'all', table = '', priority }) => ({ family, from: src, table, priority })),
    ),
    routes: families.flatMap((family, index) => of<IpRoute>(2 * index + 1).map((route) => toRoute(route, family))),
  }
}
