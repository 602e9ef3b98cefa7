import { acceptRemovalCommand } from '../../firewall/bridge-accept'
import { type FirewallDrop, findDrops, portFlows, toFirewallWarning } from '../../firewall/drops'
import { ADDRESS_FAMILIES } from '../../model/address'
import type { Warning } from '../../model/report'
import type { Finding } from './findings'
import { type DoctorLink, type DoctorState, listAttachmentsOn, listBridgePorts } from './state'

/** The guest's addresses behind a port of ours. */
function listPortIps(port: DoctorLink, state: DoctorState): readonly string[] {
  const seat = state.attachments.find(({ hostEnd }) => hostEnd?.name === port.name)
  return seat?.inGuest?.addresses.filter(({ isLinkLocal }) => !isLinkLocal).map(({ ip }) => ip) ?? []
}

function findBridgeDrops(bridge: string, state: DoctorState): readonly FirewallDrop[] {
  const ports = listBridgePorts(bridge, state)
  const names = ports.map(({ name }) => name)
  // Bridge tables see every frame; IP tables only see frames when br_netfilter is on for the family.
  const judge = (ruleset: DoctorState['ruleset'], families: DoctorState['brNetfilterFamilies']) => {
    const of = (port: string | undefined, ips: readonly string[]) =>
      portFlows({ bridge, ips, port }, { families, others: names.filter((it) => it !== port) })
    const flows =
      ports.length === 0 ? of(undefined, []) : ports.flatMap((port) => of(port.name, listPortIps(port, state)))
    return findDrops(ruleset, flows)
  }
  const ofBridges = state.ruleset.filter(({ family }) => family === 'bridge')
  const unseen = ADDRESS_FAMILIES.filter((family) => !state.brNetfilterFamilies.includes(family))
  return [...judge(state.ruleset, state.brNetfilterFamilies), ...judge(ofBridges, unseen)]
}

function toFirewallFinding({ message, command }: Warning, about: readonly string[]): Finding {
  const [line = '', evidence = ''] = message.split(/: (.*)/s)
  const fix = command === undefined ? { advice: 'Change that rule.' } : { command }
  return / may drop /.test(line)
    ? { id: 'firewall-maybe', severity: 'warning', line, evidence, about, ...fix }
    : { id: 'firewall-drop', severity: 'error', line, evidence, about, ...fix }
}

function findBlockedBridge(bridge: string, state: DoctorState): readonly Finding[] {
  const warning = toFirewallWarning(findBridgeDrops(bridge, state), state.toolOf)
  const guests = listAttachmentsOn(bridge, state).map(({ guest }) => guest)
  return warning === undefined ? [] : [toFirewallFinding(warning, [bridge, ...guests])]
}

/** Finds firewall rules that drop frames on these bridges, and unused rules of ours. */
export function findFirewallProblems(state: DoctorState, bridges: readonly string[]): readonly Finding[] {
  const sysctls = state.brNetfilterFamilies.map(
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
  const found = bridges.flatMap((bridge) => findBlockedBridge(bridge, state))
  return [
    ...found,
    ...findBlockedForwarding(state),
    ...(sysctls.length > 0 && bridges.length > 0 ? [meeting] : []),
    ...findUnusedRules(state),
  ]
}

/** Finds forwarding that an attachment needs and the firewall drops. */
function findBlockedForwarding({ attachments, blockedForwarding }: DoctorState): readonly Finding[] {
  return attachments.flatMap(({ attachment, guest }) => {
    const warning = blockedForwarding.get(attachment)
    return warning === undefined ? [] : [toFirewallFinding(warning, [attachment.record.hostif, guest])]
  })
}

/** Rules of `--firewall allow` for bridges without attachments. */
function findUnusedRules(state: DoctorState): readonly Finding[] {
  const unused = state.acceptRules.filter(({ bridge }) => listAttachmentsOn(bridge, state).length === 0)
  return unused.map((installed) => ({
    id: 'rule-stray',
    severity: 'warning',
    line: `a rule of pipework accepts the frames of '${installed.bridge}', and nothing of pipework is attached there`,
    evidence: `chain ${installed.chain.name}, comment '${installed.rule.comment}'`,
    command: acceptRemovalCommand(installed, state.ruleset, state.toolOf),
    about: [installed.bridge],
  }))
}
