import type { Family } from '../model/address'
import type { Warning } from '../model/report'
import { type DroppedBy, evaluateFlow, type Flow, type Verdict } from './evaluate'
import type { ToolResolver } from './read'
import type { PlacedRule, Ruleset } from './rule'
import { findFix, fixCommand, uniqueRules } from './suggest'

/** A port of a bridge, and the addresses behind it. */
export interface BridgePortEndpoint {
  readonly bridge: string
  /** Absent while the port has no name: it is not created yet. */
  readonly port?: string
  /** None where they are not known. */
  readonly ips: readonly string[]
}

/** Packets of one family that are dropped, or may be: where, and what would let them pass. */
export interface FirewallDrop {
  readonly family: Family
  readonly flow: Flow
  readonly verdict: Exclude<Verdict, 'passes'>
  readonly droppedBy: DroppedBy
  /** The other ports that are concerned; none where all are. */
  readonly ports: readonly string[]
  /** The rules that would let them pass; absent where no rule of ours helps. */
  readonly fix?: readonly PlacedRule[]
}

/** More ports than these show nothing new. */
const MAX_PEERS = 32

/** What goes to and comes from a port, at the beginning of a connection and later. */
export function portFlows(
  { bridge, port, ips }: BridgePortEndpoint,
  { families, others }: { readonly families: readonly Family[]; readonly others: readonly string[] },
): readonly Flow[] {
  const peers = others.length === 0 ? [undefined] : others.slice(0, MAX_PEERS)
  return families.flatMap((family) => {
    const own = ips.filter((ip) => ip.includes(':') === (family === 6))
    // A port without addresses may get some of either family; one with addresses of the other family does not ask.
    if (own.length === 0 && ips.length > 0) return []
    return (own.length === 0 ? [undefined] : own).flatMap((ip) =>
      peers.flatMap((peer) =>
        (['new', 'established'] as const).flatMap((state): readonly Flow[] => [
          { family, bridge, state, from: port, to: peer, saddr: ip },
          { family, bridge, state, from: peer, to: port, daddr: ip },
        ]),
      ),
    )
  })
}

/** Finds what drops these flows, for each family at most one place. */
export function findDrops(ruleset: Ruleset, flows: readonly Flow[], ownPort?: string): readonly FirewallDrop[] {
  return ([4, 6] as const).flatMap((family): readonly FirewallDrop[] => {
    const all = flows.filter((flow) => flow.family === family).map((flow) => ({ flow, ...evaluateFlow(ruleset, flow) }))
    const stopped = all.filter(({ verdict }) => verdict !== 'passes')
    const worst = stopped.find(({ verdict }) => verdict === 'dropped') ?? stopped[0]
    const droppedBy = worst?.droppedBy.find(({ verdict }) => verdict === worst.verdict)
    if (worst === undefined || droppedBy === undefined) return []
    const [ports, everyPort] = [listPorts(stopped, ownPort), listPorts(all, ownPort)]
    const fixes = stopped.map((it) => findFix(it.droppedBy, it.flow, ruleset))
    const isFixable = fixes.every((it) => it !== undefined)
    return [
      {
        ...{ family, flow: worst.flow, verdict: droppedBy.verdict, droppedBy },
        ports: ports.length === everyPort.length ? [] : ports,
        fix: isFixable ? uniqueRules(fixes.flat()) : undefined,
      },
    ]
  })
}

/** The other ports that these flows go to or come from. */
function listPorts(evaluated: readonly { readonly flow: Flow }[], own: string | undefined): readonly string[] {
  const names = evaluated.flatMap(({ flow: { from, to } }) => [from ?? [], to ?? []].flat())
  return [...new Set(names)].filter((name) => name !== own)
}

/** The drops in one line. One command fixes all of them; of each bridge or path the first place is named. */
function describeDrops(drops: readonly FirewallDrop[]): string {
  const [first] = drops
  if (first === undefined) return ''
  const { verdict, flow, droppedBy } = first
  const families = drops.filter((it) => it.flow.bridge === flow.bridge).map(({ family }) => `IPv${family}`)
  const other = drops.find((it) => it.flow.bridge !== flow.bridge)
  const where = [first, ...(other === undefined ? [] : [other])].map(describePath).join(', and ')
  const verb = verdict === 'dropped' ? 'drops' : 'may drop'
  return `the firewall of this host ${verb} ${families.join(' and ')} ${where}: ${describeDroppedBy(droppedBy)}`
}

function describePath({ flow, ports }: FirewallDrop): string {
  const quote = (name: string | undefined) => (name === undefined ? 'outside' : `'${name}'`)
  if (flow.bridge === undefined) return `from ${quote(flow.in)} to ${quote(flow.out)}`
  return ports.length === 0
    ? `between the ports of '${flow.bridge}'`
    : `on '${flow.bridge}' to or from ${ports.join(', ')}`
}

const TOOL_NAMES = { nft: 'nftables', 'iptables-nft': 'iptables', 'iptables-legacy': 'iptables-legacy' } as const

/** The rule or policy that drops, and where it is. */
export function describeDroppedBy({ baseChain, ruleChain, rule }: DroppedBy): string {
  const { backend, family, table } = baseChain
  const tool = family === 'ip6' ? TOOL_NAMES[backend].replace('ip', 'ip6') : TOOL_NAMES[backend]
  const where = backend === 'nft' ? `table ${family} ${table} of nftables` : `table ${table} of ${tool}`
  if (rule === undefined) return `policy DROP of chain ${ruleChain.name}, ${where}`
  if (rule.text !== undefined) return `'${rule.text}', ${where}`
  return `${rule.handle === undefined ? 'a rule' : `rule ${rule.handle}`} in chain ${ruleChain.name}, ${where}`
}

/** The warning about these drops; undefined where there are none. */
export function toFirewallWarning(drops: readonly FirewallDrop[], toolOf: ToolResolver): Warning | undefined {
  if (drops.length === 0) return undefined
  const isFixable = drops.every(({ fix }) => fix !== undefined)
  const command = isFixable
    ? fixCommand(
        drops.flatMap(({ fix = [] }) => fix),
        toolOf,
      )
    : undefined
  return { message: describeDrops(drops), command }
}
