import type { Family } from '../model/address'
import { type Fate, type Flow, judge, type Obstacle } from './evaluate'
import type { Ruleset } from './ruleset'
import { describeObstacle, findOpenings, type Opening, onlyOnce, type ToolOf, toCommand } from './suggest'

/** A port of a bridge, and the addresses behind it; none where they are not known. */
export interface Member {
  /** Absent while the port has no name: it is not made yet. */
  readonly port?: string
  readonly ips: readonly string[]
}

/** One family of IP that does not get over a bridge, or may not: where it ends, and what would let it pass. */
export interface Blockage {
  readonly family: Family
  /** Absent for what the host forwards: from where to where is said by the path then. */
  readonly bridge?: string
  readonly path: Pick<Flow, 'in' | 'out'>
  readonly fate: Exclude<Fate, 'passes'>
  readonly obstacle: Obstacle
  /** The other ports that are concerned, where others are not. */
  readonly ports: readonly string[]
  /** Absent where no rule of ours helps. */
  readonly openings?: readonly Opening[]
}

/** More ports than these tell nothing new. */
const MANY = 32

/** What goes to and comes from a port, at the beginning of a connection and later. */
export function flowsOf(
  bridge: string,
  { port, ips }: Member,
  { families, others }: { readonly families: readonly Family[]; readonly others: readonly string[] },
): readonly Flow[] {
  const own = port === undefined ? [] : [port]
  const peers = others.length === 0 ? [undefined] : others.slice(0, MANY)
  return families.flatMap((family) => {
    const mine = ips.filter((ip) => ip.includes(':') === (family === 6))
    // A port without addresses may get some of either family; one with addresses of the other family does not ask.
    if (mine.length === 0 && ips.length > 0) return []
    return (mine.length === 0 ? [undefined] : mine).flatMap((ip) =>
      peers.flatMap((peer) =>
        (['new', 'established'] as const).flatMap((state): readonly Flow[] => [
          { family, bridge, state, ...toPart('from', own[0]), ...toPart('to', peer), ...toPart('saddr', ip) },
          { family, bridge, state, ...toPart('from', peer), ...toPart('to', own[0]), ...toPart('daddr', ip) },
        ]),
      ),
    )
  })
}

function toPart(key: 'from' | 'to' | 'saddr' | 'daddr', value: string | undefined): Partial<Flow> {
  return value === undefined ? {} : { [key]: value }
}

/** What keeps these flows from getting over the bridge, for each family at most once. */
export function findBlockages(ruleset: Ruleset, flows: readonly Flow[], own?: string): readonly Blockage[] {
  return ([4, 6] as const).flatMap((family) => {
    const all = flows.filter((flow) => flow.family === family).map((flow) => ({ flow, ...judge(ruleset, flow) }))
    const stopped = all.filter(({ fate }) => fate !== 'passes')
    const worst = stopped.find(({ fate }) => fate === 'dropped') ?? stopped[0]
    const obstacle = worst?.obstacles.find(({ fate }) => fate === worst.fate) ?? worst?.obstacles[0]
    if (worst === undefined || obstacle === undefined) return []
    const [ports, everyPort] = [namesOf(stopped, own), namesOf(all, own)]
    const isAll = ports.length === everyPort.length
    const openings = openingsFor(ruleset, stopped)
    return [
      {
        ...{ family, path: worst.flow, obstacle, ports: isAll ? [] : ports },
        bridge: worst.flow.bridge,
        fate: worst.fate === 'dropped' ? 'dropped' : 'perhaps',
        openings,
      } satisfies Blockage,
    ]
  })
}

/** The other ports that these flows go to or come from. */
function namesOf(judged: readonly { readonly flow: Flow }[], own: string | undefined): readonly string[] {
  const names = judged.flatMap(({ flow: { from, to } }) => [from ?? [], to ?? []].flat())
  return [...new Set(names)].filter((name) => name !== own)
}

type Stopped = readonly { readonly flow: Flow; readonly obstacles: readonly Obstacle[] }[]

function openingsFor(ruleset: Ruleset, stopped: Stopped): readonly Opening[] | undefined {
  const found = stopped.map(({ flow, obstacles }) => findOpenings(obstacles, flow, ruleset))
  if (found.some((it) => it === undefined)) return undefined
  return onlyOnce(found.flatMap((it) => it ?? []))
}

/** The blockages of one bridge in one line. */
export function describeBlockages(blockages: readonly Blockage[]): string {
  const [first] = blockages
  if (first === undefined) return ''
  const { fate, bridge, obstacle } = first
  const what = blockages.filter((it) => it.bridge === bridge).map(({ family }) => `IPv${family}`)
  // One command mends all of them; of what is in the way of each, the first is enough.
  const more = blockages.find((it) => it.bridge !== bridge)
  const where = [first, ...(more === undefined ? [] : [more])].map(describePlace).join(', and ')
  const verb = fate === 'dropped' ? 'drops' : 'may drop'
  return `the firewall of this host ${verb} ${what.join(' and ')} ${where}: ${describeObstacle(obstacle)}`
}

function describePlace({ bridge, ports, path }: Blockage): string {
  if (bridge === undefined) return `from ${nameOr(path.in)} to ${nameOr(path.out)}`
  return ports.length === 0 ? `between the ports of '${bridge}'` : `on '${bridge}' to or from ${ports.join(', ')}`
}

function nameOr(name: string | undefined): string {
  return name === undefined ? 'outside' : `'${name}'`
}

/** The one command that mends them all; undefined where there is none. */
export function mendCommand(blockages: readonly Blockage[], toolOf: ToolOf): string | undefined {
  if (blockages.some(({ openings }) => openings === undefined)) return undefined
  // A chain for both families needs one rule.
  return toCommand(onlyOnce(blockages.flatMap(({ openings = [] }) => openings)), toolOf)
}
