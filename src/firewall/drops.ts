import type { Family } from '../model/address'
import { type DroppedBy, evaluateFlow, type Flow, type Verdict } from './evaluate'
import type { Ruleset } from './ruleset'
import {
  type AcceptRule,
  dedupeAcceptRules,
  describeDroppedBy,
  findFix,
  formatFixCommand,
  type ToolResolver,
} from './suggest'

/** A port of a bridge, and the addresses behind it; none where they are not known. */
export interface PortEndpoint {
  /** Absent while the port has no name: it is not made yet. */
  readonly port?: string
  readonly ips: readonly string[]
}

/** One family of IP that does not get over a bridge, or may not: where it ends, and what would let it pass. */
export interface FirewallDrop {
  readonly family: Family
  /** Absent for what the host forwards: from where to where is said by the path then. */
  readonly bridge?: string
  readonly path: Pick<Flow, 'in' | 'out'>
  readonly verdict: Exclude<Verdict, 'passes'>
  readonly droppedBy: DroppedBy
  /** The other ports that are concerned, where others are not. */
  readonly ports: readonly string[]
  /** Absent where no rule of ours helps. */
  readonly acceptRules?: readonly AcceptRule[]
}

/** More ports than these tell nothing new. */
const MAX_PEERS = 32

/** What goes to and comes from a port, at the beginning of a connection and later. */
export function portFlows(
  bridge: string,
  { port, ips }: PortEndpoint,
  { families, others }: { readonly families: readonly Family[]; readonly others: readonly string[] },
): readonly Flow[] {
  const own = port === undefined ? [] : [port]
  const peers = others.length === 0 ? [undefined] : others.slice(0, MAX_PEERS)
  return families.flatMap((family) => {
    const mine = ips.filter((ip) => ip.includes(':') === (family === 6))
    // A port without addresses may get some of either family; one with addresses of the other family does not ask.
    if (mine.length === 0 && ips.length > 0) return []
    return (mine.length === 0 ? [undefined] : mine).flatMap((ip) =>
      peers.flatMap((peer) =>
        (['new', 'established'] as const).flatMap((state): readonly Flow[] => [
          {
            family,
            bridge,
            state,
            ...optionalField('from', own[0]),
            ...optionalField('to', peer),
            ...optionalField('saddr', ip),
          },
          {
            family,
            bridge,
            state,
            ...optionalField('from', peer),
            ...optionalField('to', own[0]),
            ...optionalField('daddr', ip),
          },
        ]),
      ),
    )
  })
}

function optionalField(key: 'from' | 'to' | 'saddr' | 'daddr', value: string | undefined): Partial<Flow> {
  return value === undefined ? {} : { [key]: value }
}

/** What keeps these flows from getting over the bridge, for each family at most once. */
export function findDrops(ruleset: Ruleset, flows: readonly Flow[], own?: string): readonly FirewallDrop[] {
  return ([4, 6] as const).flatMap((family) => {
    const all = flows.filter((flow) => flow.family === family).map((flow) => ({ flow, ...evaluateFlow(ruleset, flow) }))
    const stopped = all.filter(({ verdict }) => verdict !== 'passes')
    const worst = stopped.find(({ verdict }) => verdict === 'dropped') ?? stopped[0]
    const obstacle = worst?.droppedBy.find(({ verdict }) => verdict === worst.verdict) ?? worst?.droppedBy[0]
    if (worst === undefined || obstacle === undefined) return []
    const [ports, everyPort] = [listPortNames(stopped, own), listPortNames(all, own)]
    const isAll = ports.length === everyPort.length
    const openings = findAcceptRules(ruleset, stopped)
    return [
      {
        ...{ family, path: worst.flow, droppedBy: obstacle, ports: isAll ? [] : ports },
        bridge: worst.flow.bridge,
        verdict: worst.verdict === 'dropped' ? 'dropped' : 'perhaps',
        acceptRules: openings,
      } satisfies FirewallDrop,
    ]
  })
}

/** The other ports that these flows go to or come from. */
function listPortNames(judged: readonly { readonly flow: Flow }[], own: string | undefined): readonly string[] {
  const names = judged.flatMap(({ flow: { from, to } }) => [from ?? [], to ?? []].flat())
  return [...new Set(names)].filter((name) => name !== own)
}

type StoppedFlows = readonly { readonly flow: Flow; readonly droppedBy: readonly DroppedBy[] }[]

function findAcceptRules(ruleset: Ruleset, stopped: StoppedFlows): readonly AcceptRule[] | undefined {
  const found = stopped.map(({ flow, droppedBy }) => findFix(droppedBy, flow, ruleset))
  if (found.some((it) => it === undefined)) return undefined
  return dedupeAcceptRules(found.flatMap((it) => it ?? []))
}

/** The blockages of one bridge in one line. */
export function describeDrops(blockages: readonly FirewallDrop[]): string {
  const [first] = blockages
  if (first === undefined) return ''
  const { verdict, bridge, droppedBy } = first
  const what = blockages.filter((it) => it.bridge === bridge).map(({ family }) => `IPv${family}`)
  // One command mends all of them; of what is in the way of each, the first is enough.
  const more = blockages.find((it) => it.bridge !== bridge)
  const where = [first, ...(more === undefined ? [] : [more])].map(describePlace).join(', and ')
  const verb = verdict === 'dropped' ? 'drops' : 'may drop'
  return `the firewall of this host ${verb} ${what.join(' and ')} ${where}: ${describeDroppedBy(droppedBy)}`
}

function describePlace({ bridge, ports, path }: FirewallDrop): string {
  if (bridge === undefined) return `from ${quoteName(path.in)} to ${quoteName(path.out)}`
  return ports.length === 0 ? `between the ports of '${bridge}'` : `on '${bridge}' to or from ${ports.join(', ')}`
}

function quoteName(name: string | undefined): string {
  return name === undefined ? 'outside' : `'${name}'`
}

/** The one command that mends them all; undefined where there is none. */
export function fixCommand(blockages: readonly FirewallDrop[], toolOf: ToolResolver): string | undefined {
  if (blockages.some(({ acceptRules }) => acceptRules === undefined)) return undefined
  // A chain for both families needs one rule.
  return formatFixCommand(dedupeAcceptRules(blockages.flatMap(({ acceptRules = [] }) => acceptRules)), toolOf)
}
