import type { Family } from '../model/address'
import { PipeworkError } from '../model/errors'
import type { Warning } from '../model/report'
import { shellQuote } from '../model/shell'
import type { Plan, Step } from '../plan/step'
import type { System } from '../system/types'
import { brNetfilterFamilies } from './br-netfilter'
import { type FirewallSubject, findSubjectDrops } from './check'
import { type FirewallDrop, toFirewallWarning } from './drops'
import { splitRuleLine } from './parse-iptables'
import { iptablesRestoreFor, iptablesToolFor, readRuleset, type ToolResolver } from './read'
import { bridgedAcceptRule, type Chain, isSameTable, type PlacedRule, type Rule, type Ruleset, ruleOwner } from './rule'
import { appendLine, jumpLine, type OwnLines, pickOwnLines, restoreCommand, toRestoreLines } from './write-iptables'

/** Our chain for the frames of bridges, in each table of iptables that would drop them. */
const BRIDGE_CHAIN = 'PIPEWORK-BRIDGE'

/** The whole comment of older versions, whose rules are in Docker's chain or in FORWARD itself. */
const isOlderRule = (rule: Rule) => rule.comment === `pipework ${ruleOwner(rule)}`

/** What is ours for bridges in the table of that chain. */
function pickBridgeLines(ruleset: Ruleset, table: Chain): OwnLines {
  return pickOwnLines(
    ruleset.filter((it) => isSameTable(it, table)),
    [BRIDGE_CHAIN],
    isOlderRule,
  )
}

/** What changes in one table. */
interface TableChange {
  /** Any chain of it. */
  readonly table: Chain
  readonly from: OwnLines
  readonly to: OwnLines
}

function changeStep(description: string, { table, from, to }: TableChange, system: System): Step {
  const program = iptablesRestoreFor(system)(table)
  return {
    description: `${description}, in table ${table.table} of ${iptablesToolFor(system)(table)}`,
    command: restoreCommand(program, toRestoreLines(table.table, from, to)),
    undo: restoreCommand(program, toRestoreLines(table.table, to, from)),
  }
}

/** One chain of each table of iptables. */
function listTables(chains: readonly Chain[]): readonly Chain[] {
  const tables = chains.filter(({ backend }) => backend !== 'nft')
  return tables.filter((it, index) => tables.findIndex((other) => isSameTable(other, it)) === index)
}

/**
 * Plans the steps of `--firewall allow`: a rule for the bridge in each table that drops its frames, or may.
 * @throws PipeworkError where they are dropped and nothing is to be changed, or cannot be.
 */
export async function planBridgeAccept(subject: FirewallSubject, isAllowed: boolean, system: System): Promise<Plan> {
  if (brNetfilterFamilies(system).length === 0 && subject.forwarding === undefined) return []
  const toolOf = iptablesToolFor(system)
  const ruleset = await readRuleset(system, isAllowed ? 'comments' : 'conditions')
  const drops = findSubjectDrops(subject, ruleset, system)
  const warning = toFirewallWarning(drops, toolOf)
  if (warning === undefined) return []
  if (!isAllowed) throw new PipeworkError(warning.message, { hint: formatAdvice(drops, warning) })
  const fixes = drops.flatMap(({ fix = [] }) => fix)
  const isOurs = drops.every(({ flow, fix }) => flow.bridge !== undefined && fix !== undefined)
  if (!isOurs || fixes.some(({ chain }) => chain.backend === 'nft'))
    throw new PipeworkError(warning.message, {
      hint: `--firewall allow changes rules of iptables only, and for bridges. ${warning.command === undefined ? 'Change that rule' : `Do it by hand: ${warning.command}`}`,
    })
  const chains = fixes.map(({ chain }) => chain)
  return listTables(chains).map((table) => {
    const from = pickBridgeLines(ruleset, table)
    const parents = chains.filter((it) => isSameTable(it, table)).map(({ name }) => name)
    return planTableAccept(subject.port?.bridge ?? '', { table, from, parents }, system)
  })
}

/** Adds the rule for the bridge to our chain. The jump goes to the head again: rules before it have dropped the frames. */
function planTableAccept(
  bridge: string,
  { table, from, parents }: { readonly table: Chain; readonly from: OwnLines; readonly parents: readonly string[] },
  system: System,
): Step {
  const family: Family = table.family === 'ip6' ? 6 : 4
  const line = appendLine(BRIDGE_CHAIN, bridgedAcceptRule(bridge, family))
  const rest = (from.chains.get(BRIDGE_CHAIN) ?? []).filter((it) => it !== line)
  const isMoved = ({ chain, text }: OwnLines['jumps'][number]) =>
    parents.includes(chain) && text.endsWith(` -j ${BRIDGE_CHAIN}`)
  const to: OwnLines = {
    chains: new Map([[BRIDGE_CHAIN, [...rest, line]]]),
    jumps: [
      ...from.jumps.filter((it) => !isMoved(it)),
      ...[...new Set(parents)].map((parent) => jumpLine(parent, BRIDGE_CHAIN)),
    ],
  }
  return changeStep(`let the frames of ${bridge} pass the firewall`, { table, from, to }, system)
}

function formatAdvice(drops: readonly FirewallDrop[], { command }: Warning): string {
  if (drops.some(({ flow }) => flow.bridge === undefined))
    return command === undefined ? 'Change that rule.' : `Let it pass: ${command}`
  return `Let them pass with --firewall allow${command === undefined ? '' : `, or by hand: ${command}`}.`
}

/** A rule of `--firewall allow` that is in the firewall. */
export interface InstalledAccept extends PlacedRule {
  readonly bridge: string
}

/** Lists the rules of `--firewall allow`, also those of older versions. */
export function listInstalledAccepts(ruleset: Ruleset): readonly InstalledAccept[] {
  return ruleset.flatMap((chain) =>
    chain.rules.flatMap((rule) => {
      const bridge = ruleOwner(rule)
      const isOurs = chain.backend !== 'nft' && (chain.name === BRIDGE_CHAIN || isOlderRule(rule))
      return bridge === undefined || !isOurs ? [] : [{ chain, rule, bridge }]
    }),
  )
}

/** Removes rules of bridges from what is ours; our chain goes with its last rule. */
function withoutBridges(from: OwnLines, gone: readonly InstalledAccept[]): OwnLines {
  const lines = gone.map(({ rule }) => rule.text)
  const rest = (from.chains.get(BRIDGE_CHAIN) ?? []).filter((it) => !lines.includes(it))
  return {
    chains: new Map(rest.length === 0 ? [] : [[BRIDGE_CHAIN, rest]]),
    jumps: from.jumps.filter(
      ({ text }) => !lines.includes(text) && (rest.length > 0 || !text.endsWith(` -j ${BRIDGE_CHAIN}`)),
    ),
  }
}

/** Plans the removal of the rules of `--firewall allow` for bridges without attachments; the others are `used`. */
export async function planAcceptRemoval(used: readonly string[], system: System): Promise<Plan> {
  const ruleset = await readRuleset(system, 'comments')
  const gone = listInstalledAccepts(ruleset).filter(({ bridge }) => !used.includes(bridge))
  return listTables(gone.map(({ chain }) => chain)).map((table) => {
    const own = gone.filter(({ chain }) => isSameTable(chain, table))
    const from = pickBridgeLines(ruleset, table)
    const bridges = [...new Set(own.map(({ bridge }) => bridge))].join(', ')
    const description = `remove the rule for ${bridges} from the firewall`
    return changeStep(description, { table, from, to: withoutBridges(from, own) }, system)
  })
}

/** The command that removes one of these rules, with our chain where it is the last there. */
export function acceptRemovalCommand(installed: InstalledAccept, ruleset: Ruleset, toolOf: ToolResolver): string {
  const { chain, rule } = installed
  const from = pickBridgeLines(ruleset, chain)
  const to = withoutBridges(from, [installed])
  const jumps = from.jumps.filter((it) => !to.jumps.includes(it) && it.text !== rule.text)
  const table = chain.table === 'filter' ? [] : ['-t', chain.table]
  const toCommand = (words: readonly string[]) => [toolOf(chain), ...table, ...words].map(shellQuote).join(' ')
  return [
    ...[rule.text ?? '', ...jumps.map(({ text }) => text)].map((text) => ['-D', ...splitRuleLine(text).slice(1)]),
    ...(from.chains.size > to.chains.size ? [['-X', BRIDGE_CHAIN]] : []),
  ]
    .map(toCommand)
    .join(' && ')
}
