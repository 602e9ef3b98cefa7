import type { Context, LinkKind } from '../drivers/types'
import { PipeworkError } from '../model/errors'
import type { Plan, RunCommand, Step } from '../plan/step'
import { listPorts } from '../state/host-links'
import type { Host } from '../system/types'
import type { Warning } from '../ui/report'
import { filteredFamilies } from './br-netfilter'
import { type Blockage, describeBlockages, findBlockages, flowsOf, mendCommand } from './drops'
import type { Flow } from './evaluate'
import { readRuleset } from './read'
import type { Chain, Rule, Ruleset } from './ruleset'
import { type Opening, type ToolOf, taggedBridge, tagOf, toArgv, withOurs } from './suggest'

/** Which of the two kinds of iptables the plain name means, where links say so. */
function plainKind(program: string, host: Host): string | undefined {
  const all = (host.env.PATH ?? '').split(':').map((dir) => `${dir}/${program}`)
  let path = all.find((it) => host.target(it) !== undefined)
  for (let hops = 0; path !== undefined && hops < 4; hops += 1) {
    const kind = /(?:-|xtables-)(nft|legacy)/.exec(path)?.[1]
    if (kind !== undefined) return kind
    const target = host.target(path)
    path = target === undefined || target.startsWith('/') ? target : `${path.slice(0, path.lastIndexOf('/'))}/${target}`
  }
  return undefined
}

/** The program for the rules of a chain: the plain name where that is the right kind, or the only one. */
export function toolFor(host: Host): ToolOf {
  return ({ backend, family }: Chain) => {
    const plain = family === 'ip6' ? 'ip6tables' : 'iptables'
    const kind = backend === 'iptables-legacy' ? 'legacy' : 'nft'
    const exact = `${plain}-${kind}`
    return plainKind(plain, host) === kind || !host.has(exact) ? plain : exact
  }
}

/** What the host is to forward for an attachment. */
export interface Forwarding {
  /** For each family, and each way to the outside: what goes there and comes from there. */
  readonly flows: readonly (readonly (readonly Flow[])[])[]
  /** The rules of ours for it, which stand where iptables drops. */
  readonly accepts: readonly Rule[]
}

/** An attachment as the firewall is asked about it. */
export interface Passenger extends Context {
  readonly kind: Pick<LinkKind, 'isBridged'>
  /** Absent where the host forwards nothing for it. */
  readonly forwarding?: Forwarding
}

/** The rules as they are when ours are written: those are in the tables of the plain iptables. */
function foreseeOurs(ruleset: Ruleset, forwarding: Forwarding | undefined, host: Host): Ruleset {
  if (forwarding === undefined) return ruleset
  const toolOf = toolFor(host)
  const isOurs = (chain: Chain) => chain.backend !== 'nft' && /^ip6?tables$/.test(toolOf(chain))
  return withOurs(ruleset, forwarding.accepts, isOurs)
}

/** What keeps from the outside what the host forwards, in a family in which no way leads there. */
function judgeForwarding({ flows }: Forwarding, ruleset: Ruleset): readonly Blockage[] {
  return flows.flatMap((ways) => {
    const found = ways.map((way) => findBlockages(ruleset, way))
    return found.some((it) => it.length === 0) ? [] : (found[0] ?? [])
  })
}

/** What stands in the way of the attachment's frames on its bridge, and of what is forwarded, by the rules as they are. */
function judgeAttachment({ kind, forwarding, ...context }: Passenger, read: Ruleset, host: Host): readonly Blockage[] {
  const ruleset = foreseeOurs(read, forwarding, host)
  return [
    ...(forwarding === undefined ? [] : judgeForwarding(forwarding, ruleset)),
    ...(kind.isBridged ? judgePort(context, ruleset, host) : []),
  ]
}

function judgePort({ request, facts }: Context, ruleset: Ruleset, host: Host): readonly Blockage[] {
  const { hostif: bridge, addresses } = request
  return judge(
    { bridge, port: request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName, ips: addresses.map(({ ip }) => ip) },
    ruleset,
    host,
  )
}

/** A port of a bridge, and the addresses behind it. */
interface Member {
  readonly bridge: string
  readonly port: string
  readonly ips: readonly string[]
}

function judge({ bridge, port: own, ips }: Member, ruleset: Ruleset, host: Host): readonly Blockage[] {
  const others = listPorts(bridge, host).filter((port) => port !== own)
  return findBlockages(ruleset, flowsOf(bridge, { port: own, ips }, { families: filteredFamilies(host), others }), own)
}

/** The warning of those blockages, for an attach and for the doctor. */
function toWarning(blockages: readonly Blockage[], host: Host): Warning | undefined {
  if (blockages.length === 0) return undefined
  const command = mendCommand(blockages, toolFor(host))
  return { message: describeBlockages(blockages), command }
}

/**
 * The steps of `--firewall allow`: a rule of ours for the bridge in each chain that drops its frames, or may. With
 * `--strict` alone: none, but a refusal. Throws where frames are dropped and nothing is allowed to change that.
 */
export async function planPassage(context: Passenger, host: Host): Promise<Plan> {
  if (filteredFamilies(host).length === 0 && context.forwarding === undefined) return []
  const { firewall, hostif } = context.request
  const blockages = judgeAttachment(context, await readRuleset(host), host)
  const warning = toWarning(blockages, host)
  if (warning === undefined) return []
  if (firewall !== 'allow') throw new PipeworkError(warning.message, { hint: adviseOn(blockages, warning) })
  const isOurs = blockages.every(
    ({ bridge, openings }) =>
      (bridge !== undefined && openings?.every(({ chain }) => chain.backend !== 'nft')) ?? false,
  )
  if (!isOurs)
    throw new PipeworkError(warning.message, {
      hint: `--firewall allow changes rules of iptables only, and for bridges. ${warning.command === undefined ? 'Change that rule' : `Do it by hand: ${warning.command}`}`,
    })
  return blockages.flatMap(({ openings = [] }) => openings.map((opening) => allow(opening, hostif, host)))
}

function adviseOn(blockages: readonly Blockage[], { command }: Warning): string {
  if (blockages.some(({ bridge }) => bridge === undefined))
    return command === undefined ? 'Change that rule.' : `Let it pass: ${command}`
  return `Let them pass with --firewall allow${command === undefined ? '' : `, or by hand: ${command}`}.`
}

/** Somebody else may hold the lock of iptables for a moment. */
function iptables(how: '-I' | '-D', opening: Opening, host: Host): RunCommand {
  const [tool = '', ...words] = toArgv(how, opening, { tool: toolFor(host)(opening.chain), tag: tagOf(opening.bridge) })
  return { kind: 'run', in: 'host', argv: [tool, '-w', '10', ...words] }
}

function allow(opening: Opening, bridge: string, host: Host): Step {
  return {
    why: `let the frames of ${bridge} pass the firewall, in chain ${opening.chain.name}`,
    command: iptables('-I', opening, host),
    undo: iptables('-D', opening, host),
  }
}

/** The rules of ours that stand in the firewall, each as often as it does. */
export function pickOpenings(ruleset: Ruleset): readonly Opening[] {
  return ruleset
    .flatMap((chain) =>
      chain.backend === 'nft' ? [] : chain.rules.flatMap((rule) => ({ chain, bridge: taggedBridge(rule) ?? '' })),
    )
    .filter(({ bridge }) => bridge !== '')
}

/** The steps that take the rules of a bridge away with its last attachment; `used` are the bridges that have others. */
export async function planNoPassage(used: readonly string[], host: Host): Promise<Plan> {
  const openings = pickOpenings(await readRuleset(host, 'comments'))
  return openings
    .filter(({ bridge }) => !used.includes(bridge))
    .map((opening) => ({
      why: `remove the rule for ${opening.bridge} from the firewall, in chain ${opening.chain.name}`,
      command: iptables('-D', opening, host),
      undo: iptables('-I', opening, host),
    }))
}

/** What the rules do to the frames of members that are there. The answer is undefined where they pass. */
export async function readPassage(host: Host): Promise<(member: Member) => Warning | undefined> {
  const ruleset = filteredFamilies(host).length === 0 ? [] : await readRuleset(host)
  return (member) => toWarning(judge(member, ruleset, host), host)
}

/** What the rules do to what is forwarded for an attachment that is there; undefined where it passes. */
export function warnOfForwarding(forwarding: Forwarding, ruleset: Ruleset, host: Host): Warning | undefined {
  return toWarning(judgeForwarding(forwarding, foreseeOurs(ruleset, forwarding, host)), host)
}

/** Reads the rules beside other work, where they are met at all; what they do to an attachment is said after it. */
export function watchPassage(host: Host): (context: Passenger) => Promise<Warning | undefined> {
  // A warning is not worth the attachment: rules that cannot be read are none.
  const reading = readRuleset(host).catch(() => [])
  return async (context) => toWarning(judgeAttachment(context, await reading, host), host)
}
