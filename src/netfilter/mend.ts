import { quote } from '../step'
import { type Flow, judge, type Obstacle } from '../verdict'
import type { Chain, Rule, Ruleset } from './ruleset'

/** A rule that lets the frames of one bridge pass: the chain that it goes to the head of, and the words of its condition. */
export interface Opening {
  readonly chain: Chain
  readonly bridge: string
}

/** What a rule of ours carries as its comment: whose it is, and for which bridge. */
export function tagOf(bridge: string): string {
  return `pipework ${bridge}`
}

/** The bridge of a rule of ours; undefined for a rule of anybody else's. */
export function taggedBridge({ comment }: Rule): string | undefined {
  return /^pipework (\S+)$/.exec(comment ?? '')?.[1]
}

/** Where Docker wants the rules of others: it leaves that chain alone when it is started anew. */
const DOCKERS = 'DOCKER-USER'

function openingRule({ family }: Chain, bridge: string): Rule {
  const fields = family === 'bridge' ? (['bridge'] as const) : (['in', 'out'] as const)
  return { matches: fields.map((field) => ({ field, values: [bridge] })), action: { kind: 'accept' } }
}

function isSame(a: Chain, b: Chain): boolean {
  return a.name === b.name && a.table === b.table && a.family === b.family && a.backend === b.backend
}

function openUp(ruleset: Ruleset, { chain, bridge }: Opening): Ruleset {
  return ruleset.map((it) => (isSame(it, chain) ? { ...it, rules: [openingRule(it, bridge), ...it.rules] } : it))
}

/** In which chain a rule of ours would mend that: tried on the ruleset as it was read, before it is suggested. */
function findOpening({ chain: base }: Obstacle, flow: Flow, ruleset: Ruleset): Opening | undefined {
  // To the tools these mean every name that begins so.
  if (/[*+]$/.test(flow.bridge)) return undefined
  const dockers = ruleset.filter((it) => isSame(it, { ...base, name: DOCKERS }))
  return [...dockers, base]
    .map((chain) => ({ chain, bridge: flow.bridge }))
    .find((opening) => !judge(openUp(ruleset, opening), flow).obstacles.some(({ chain }) => isSame(chain, base)))
}

/** One rule for each base chain that drops the frame, or may; undefined where no rule of ours would help. */
export function findOpenings(
  obstacles: readonly Obstacle[],
  flow: Flow,
  ruleset: Ruleset,
): readonly Opening[] | undefined {
  const openings = obstacles.map((obstacle) => findOpening(obstacle, flow, ruleset))
  return openings.some((it) => it === undefined) ? undefined : openings.flatMap((it) => it ?? [])
}

/** The program that changes those rules: `iptables` where that is the right one of the two. */
export type ToolOf = (chain: Chain) => string

/** The command that puts such a rule in, or takes it out. With a tag it is known as ours, and is taken away with the bridge's last port. */
export function toArgv(
  how: '-I' | '-D',
  { chain, bridge }: Opening,
  { tool, tag }: { tool: string; tag?: string },
): readonly string[] {
  const table = chain.table === 'filter' ? [] : ['-t', chain.table]
  const comment = tag === undefined ? [] : ['-m', 'comment', '--comment', tag]
  return [tool, ...table, how, chain.name, '-i', bridge, '-o', bridge, ...comment, '-j', 'ACCEPT']
}

/**
 * The same by firewalld, which would forget a rule in its table: within one zone frames pass. Only the bridge itself is
 * put into one, the default, which it was under already: nothing else is opened.
 */
function toFirewalldCommand(bridge: string): string {
  const add = `--add-interface=${quote(bridge)}`
  return `firewall-cmd --permanent ${add} && firewall-cmd ${add}`
}

function toNftCommand({ chain: { family, table, name }, bridge }: Opening): string {
  if (table === 'firewalld') return toFirewalldCommand(bridge)
  const words = ['nft', 'insert', 'rule', family, table, name].map(quote).join(' ')
  const condition = family === 'bridge' ? `meta ibrname "${bridge}"` : `iifname "${bridge}" oifname "${bridge}"`
  return `${words} '${condition} accept'`
}

/** The same as one types it. */
export function toCommand(openings: readonly Opening[], toolOf: ToolOf): string {
  const line = (opening: Opening) =>
    opening.chain.backend === 'nft'
      ? toNftCommand(opening)
      : toArgv('-I', opening, { tool: toolOf(opening.chain) })
          .map(quote)
          .join(' ')
  return openings.map(line).join(' && ')
}

const TOOLS = { nft: 'nftables', 'iptables-nft': 'iptables', 'iptables-legacy': 'iptables-legacy' } as const

/** Where an obstacle stands, as people find it. */
export function describeObstacle({ chain, in: inner, rule }: Obstacle): string {
  const { backend, family, table } = chain
  const where =
    backend === 'nft'
      ? `table ${family} ${table} of nftables`
      : `table ${table} of ${family === 'ip6' ? TOOLS[backend].replace('ip', 'ip6') : TOOLS[backend]}`
  if (rule === undefined) return `policy DROP of chain ${inner.name}, ${where}`
  const which = rule.text ?? (rule.handle === undefined ? 'a rule' : `rule ${rule.handle}`)
  return `${rule.text === undefined ? `${which} in chain ${inner.name}` : `'${which}'`}, ${where}`
}
