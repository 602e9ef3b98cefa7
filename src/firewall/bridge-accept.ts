import { PipeworkError } from '../model/errors'
import type { Warning } from '../model/report'
import type { Plan, RunCommand, Step } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import { listBridgePortNames } from '../state/host-links'
import type { System } from '../system/types'
import { brNetfilterFamilies } from './br-netfilter'
import { describeDrops, type FirewallDrop, findDrops, fixCommand, portFlows } from './drops'
import type { Flow } from './evaluate'
import { readRuleset } from './read'
import type { ParsedChain, ParsedRule, Ruleset } from './ruleset'
import {
  type AcceptRule,
  acceptRuleArgv,
  bridgeRuleComment,
  parseRuleComment,
  simulateRules,
  type ToolResolver,
} from './suggest'

/** Which of the two kinds of iptables the plain name means, where links say so. */
function defaultIptablesKind(program: string, system: System): string | undefined {
  const all = (system.env.PATH ?? '').split(':').map((dir) => `${dir}/${program}`)
  let path = all.find((it) => system.readLink(it) !== undefined)
  for (let hops = 0; path !== undefined && hops < 4; hops += 1) {
    const kind = /(?:-|xtables-)(nft|legacy)/.exec(path)?.[1]
    if (kind !== undefined) return kind
    const target = system.readLink(path)
    path = target === undefined || target.startsWith('/') ? target : `${path.slice(0, path.lastIndexOf('/'))}/${target}`
  }
  return undefined
}

/** The program for the rules of a chain: the plain name where that is the right kind, or the only one. */
export function iptablesToolFor(system: System): ToolResolver {
  return ({ backend, family }: ParsedChain) => {
    const plain = family === 'ip6' ? 'ip6tables' : 'iptables'
    const kind = backend === 'iptables-legacy' ? 'legacy' : 'nft'
    const exact = `${plain}-${kind}`
    return defaultIptablesKind(plain, system) === kind || !system.hasProgram(exact) ? plain : exact
  }
}

/** What the host is to forward for an attachment. */
export interface ForwardedTraffic {
  /** For each family, and each way to the outside: what goes there and comes from there. */
  readonly flows: readonly (readonly (readonly Flow[])[])[]
  /** The rules of ours for it, which stand where iptables drops. */
  readonly acceptRules: readonly ParsedRule[]
}

/** An attachment as the firewall is asked about it. */
export interface FirewallSubject extends AttachContext {
  readonly kind: { readonly isBridged?: true }
  /** Absent where the host forwards nothing for it. */
  readonly forwarding?: ForwardedTraffic
}

/** The rules as they are when ours are written: those are in the tables of the plain iptables. */
function simulateOwnRules(ruleset: Ruleset, forwarding: ForwardedTraffic | undefined, system: System): Ruleset {
  if (forwarding === undefined) return ruleset
  const toolOf = iptablesToolFor(system)
  const isOurs = (chain: ParsedChain) => chain.backend !== 'nft' && /^ip6?tables$/.test(toolOf(chain))
  return simulateRules(ruleset, forwarding.acceptRules, isOurs)
}

/** What keeps from the outside what the host forwards, in a family in which no way leads there. */
function evaluateForwarding({ flows }: ForwardedTraffic, ruleset: Ruleset): readonly FirewallDrop[] {
  return flows.flatMap((ways) => {
    const found = ways.map((way) => findDrops(ruleset, way))
    return found.some((it) => it.length === 0) ? [] : (found[0] ?? [])
  })
}

/** What stands in the way of the attachment's frames on its bridge, and of what is forwarded, by the rules as they are. */
function evaluateAttachment(
  { kind, forwarding, ...context }: FirewallSubject,
  read: Ruleset,
  system: System,
): readonly FirewallDrop[] {
  const ruleset = simulateOwnRules(read, forwarding, system)
  return [
    ...(forwarding === undefined ? [] : evaluateForwarding(forwarding, ruleset)),
    ...(kind.isBridged ? evaluateHostEnd(context, ruleset, system) : []),
  ]
}

function evaluateHostEnd({ request, facts }: AttachContext, ruleset: Ruleset, system: System): readonly FirewallDrop[] {
  const { hostif: bridge, addresses } = request
  return evaluatePort(
    { bridge, port: request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName, ips: addresses.map(({ ip }) => ip) },
    ruleset,
    system,
  )
}

/** A port of a bridge, and the addresses behind it. */
interface BridgePortEndpoint {
  readonly bridge: string
  readonly port: string
  readonly ips: readonly string[]
}

function evaluatePort(
  { bridge, port: own, ips }: BridgePortEndpoint,
  ruleset: Ruleset,
  system: System,
): readonly FirewallDrop[] {
  const others = listBridgePortNames(bridge, system).filter((port) => port !== own)
  return findDrops(
    ruleset,
    portFlows(bridge, { port: own, ips }, { families: brNetfilterFamilies(system), others }),
    own,
  )
}

/** The warning of those blockages, for an attach and for the doctor. */
function toFirewallWarning(blockages: readonly FirewallDrop[], system: System): Warning | undefined {
  if (blockages.length === 0) return undefined
  const command = fixCommand(blockages, iptablesToolFor(system))
  return { message: describeDrops(blockages), command }
}

/**
 * The steps of `--firewall allow`: a rule of ours for the bridge in each chain that drops its frames, or may. With
 * `--strict` alone: none, but a refusal. Throws where frames are dropped and nothing is allowed to change that.
 */
export async function planBridgeAccept(context: FirewallSubject, system: System): Promise<Plan> {
  if (brNetfilterFamilies(system).length === 0 && context.forwarding === undefined) return []
  const { firewall, hostif } = context.request
  const blockages = evaluateAttachment(context, await readRuleset(system), system)
  const warning = toFirewallWarning(blockages, system)
  if (warning === undefined) return []
  if (firewall !== 'allow') throw new PipeworkError(warning.message, { hint: formatAdvice(blockages, warning) })
  const isOurs = blockages.every(
    ({ bridge, acceptRules }) =>
      (bridge !== undefined && acceptRules?.every(({ chain }) => chain.backend !== 'nft')) ?? false,
  )
  if (!isOurs)
    throw new PipeworkError(warning.message, {
      hint: `--firewall allow changes rules of iptables only, and for bridges. ${warning.command === undefined ? 'Change that rule' : `Do it by hand: ${warning.command}`}`,
    })
  return blockages.flatMap(({ acceptRules = [] }) =>
    acceptRules.map((opening) => planAcceptRule(opening, hostif, system)),
  )
}

function formatAdvice(blockages: readonly FirewallDrop[], { command }: Warning): string {
  if (blockages.some(({ bridge }) => bridge === undefined))
    return command === undefined ? 'Change that rule.' : `Let it pass: ${command}`
  return `Let them pass with --firewall allow${command === undefined ? '' : `, or by hand: ${command}`}.`
}

/** Somebody else may hold the lock of iptables for a moment. */
function iptablesCommand(how: '-I' | '-D', opening: AcceptRule, system: System): RunCommand {
  const [tool = '', ...words] = acceptRuleArgv(how, opening, {
    tool: iptablesToolFor(system)(opening.chain),
    tag: bridgeRuleComment(opening.bridge),
  })
  return { kind: 'run', in: 'host', argv: [tool, '-w', '10', ...words] }
}

function planAcceptRule(opening: AcceptRule, bridge: string, system: System): Step {
  return {
    description: `let the frames of ${bridge} pass the firewall, in chain ${opening.chain.name}`,
    command: iptablesCommand('-I', opening, system),
    undo: iptablesCommand('-D', opening, system),
  }
}

/** The rules of ours that stand in the firewall, each as often as it does. */
export function pickOwnAcceptRules(ruleset: Ruleset): readonly AcceptRule[] {
  return ruleset
    .flatMap((chain) =>
      chain.backend === 'nft' ? [] : chain.rules.flatMap((rule) => ({ chain, bridge: parseRuleComment(rule) ?? '' })),
    )
    .filter(({ bridge }) => bridge !== '')
}

/** The steps that take the rules of a bridge away with its last attachment; `used` are the bridges that have others. */
export async function planAcceptRemoval(used: readonly string[], system: System): Promise<Plan> {
  const openings = pickOwnAcceptRules(await readRuleset(system, 'comments'))
  return openings
    .filter(({ bridge }) => !used.includes(bridge))
    .map((opening) => ({
      description: `remove the rule for ${opening.bridge} from the firewall, in chain ${opening.chain.name}`,
      command: iptablesCommand('-D', opening, system),
      undo: iptablesCommand('-I', opening, system),
    }))
}

/** What the rules do to the frames of members that are there. The answer is undefined where they pass. */
export async function readPortFirewall(system: System): Promise<(member: BridgePortEndpoint) => Warning | undefined> {
  const ruleset = brNetfilterFamilies(system).length === 0 ? [] : await readRuleset(system)
  return (member) => toFirewallWarning(evaluatePort(member, ruleset, system), system)
}

/** What the rules do to what is forwarded for an attachment that is there; undefined where it passes. */
export function forwardingWarning(forwarding: ForwardedTraffic, ruleset: Ruleset, system: System): Warning | undefined {
  return toFirewallWarning(evaluateForwarding(forwarding, simulateOwnRules(ruleset, forwarding, system)), system)
}

/** Reads the rules beside other work, where they are met at all; what they do to an attachment is said after it. */
export function startFirewallCheck(system: System): (context: FirewallSubject) => Promise<Warning | undefined> {
  // A warning is not worth the attachment: rules that cannot be read are none.
  const reading = readRuleset(system).catch(() => [])
  return async (context) => toFirewallWarning(evaluateAttachment(context, await reading, system), system)
}
