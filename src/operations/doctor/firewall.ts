import { describeDrops, type FirewallDrop, findDrops, fixCommand, portFlows } from '../../firewall/drops'
import { acceptRuleArgv, bridgeRuleComment } from '../../firewall/suggest'
import { ADDRESS_FAMILIES } from '../../model/address'
import { shellQuote } from '../../model/shell'
import type { Finding } from './findings'
import { type DoctorLink, type DoctorState, listAttachmentsOn, listBridgePorts } from './state'

/** The addresses behind a port, where it is one of ours. */
function listPortIps(port: DoctorLink, survey: DoctorState): readonly string[] {
  const seat = survey.attachments.find(({ hostEnd }) => hostEnd?.name === port.name)
  return seat?.inGuest?.addresses.filter(({ isLinkLocal }) => !isLinkLocal).map(({ ip }) => ip) ?? []
}

function findBridgeDrops(bridge: string, survey: DoctorState): readonly FirewallDrop[] {
  const ports = listBridgePorts(bridge, survey)
  const names = ports.map(({ name }) => name)
  // In tables for bridges every frame is seen, in those of IP only where the kernel shows them there.
  const judge = (ruleset: DoctorState['ruleset'], families: DoctorState['brNetfilterFamilies']) => {
    const of = (port: string | undefined, ips: readonly string[]) =>
      portFlows(bridge, { ips, port }, { families, others: names.filter((it) => it !== port) })
    const flows =
      ports.length === 0 ? of(undefined, []) : ports.flatMap((port) => of(port.name, listPortIps(port, survey)))
    return findDrops(ruleset, flows)
  }
  const ofBridges = survey.ruleset.filter(({ family }) => family === 'bridge')
  const unseen = ADDRESS_FAMILIES.filter((family) => !survey.brNetfilterFamilies.includes(family))
  return [...judge(survey.ruleset, survey.brNetfilterFamilies), ...judge(ofBridges, unseen)]
}

function toFirewallFinding(bridge: string, survey: DoctorState): readonly Finding[] {
  const blockages = findBridgeDrops(bridge, survey)
  const [first] = blockages
  if (first === undefined) return []
  const command = fixCommand(blockages, survey.toolOf)
  const [line = '', evidence = ''] = describeDrops(blockages).split(/: (.*)/s)
  const isSure = first.verdict === 'dropped'
  return [
    {
      id: isSure ? 'firewall-drop' : 'firewall-maybe',
      severity: isSure ? 'error' : 'warning',
      line,
      evidence,
      ...(command === undefined ? { advice: 'Change that rule.' } : { command }),
      about: [bridge, ...listAttachmentsOn(bridge, survey).map(({ guest }) => guest)],
    },
  ]
}

/** What the rules of the host do to the frames of these bridges, and the rules of ours that serve nobody. */
export function findFirewallProblems(survey: DoctorState, bridges: readonly string[]): readonly Finding[] {
  const sysctls = survey.brNetfilterFamilies.map(
    (family) => `net.bridge.bridge-nf-call-${family === 4 ? 'iptables' : 'ip6tables'}`,
  )
  const meeting: Finding = {
    id: 'br-netfilter',
    severity: 'note',
    line: 'frames on bridges go through the firewall of this host',
    evidence: sysctls.map((sysctl) => `${sysctl} is 1`).join(', '),
    command: `sysctl -w ${sysctls.map((sysctl) => `${sysctl}=0`).join(' ')}`,
    about: bridges,
  }
  const found = bridges.flatMap((bridge) => toFirewallFinding(bridge, survey))
  return [
    ...found,
    ...findBlockedForwarding(survey),
    ...(sysctls.length > 0 && bridges.length > 0 ? [meeting] : []),
    ...findUnusedRules(survey),
  ]
}

/** What the host does not forward for an attachment, though it is to. */
function findBlockedForwarding({ attachments, blockedForwarding }: DoctorState): readonly Finding[] {
  return attachments.flatMap(({ attachment, guest }) => {
    const { message = '', command } = blockedForwarding.get(attachment) ?? {}
    if (message === '') return []
    const [line = '', evidence = ''] = message.split(/: (.*)/s)
    return [
      {
        ...(/ may drop /.test(line)
          ? ({ id: 'firewall-maybe', severity: 'warning' } as const)
          : ({ id: 'firewall-drop', severity: 'error' } as const)),
        ...{ line, evidence, about: [attachment.record.hostif, guest] },
        ...(command === undefined ? { advice: 'Change that rule.' } : { command }),
      },
    ]
  })
}

function findUnusedRules(survey: DoctorState): readonly Finding[] {
  const stray = survey.acceptRules.filter(({ bridge }) => listAttachmentsOn(bridge, survey).length === 0)
  return stray.map((opening) => {
    const argv = acceptRuleArgv('-D', opening, {
      tool: survey.toolOf(opening.chain),
      tag: bridgeRuleComment(opening.bridge),
    })
    return {
      id: 'rule-stray',
      severity: 'warning',
      line: `a rule of ours lets the frames of '${opening.bridge}' pass, and nothing of ours is attached there`,
      evidence: `chain ${opening.chain.name}, comment '${bridgeRuleComment(opening.bridge)}'`,
      command: argv.map(shellQuote).join(' '),
      about: [opening.bridge],
    }
  })
}
