import { type Blockage, describeBlockages, findBlockages, flowsOf, mendCommand } from '../../firewall/drops'
import { tagOf, toArgv } from '../../firewall/suggest'
import { FAMILIES } from '../../model/ip'
import { quote } from '../../plan/step'
import type { Finding } from './findings'
import { portsOf, type Survey, type SurveyLink, seatsOn } from './state'

/** The addresses behind a port, where it is one of ours. */
function ipsOf(port: SurveyLink, survey: Survey): readonly string[] {
  const seat = survey.seats.find(({ hostEnd }) => hostEnd?.name === port.name)
  return seat?.inGuest?.addresses.filter(({ isLinkLocal }) => !isLinkLocal).map(({ ip }) => ip) ?? []
}

function blockagesOn(bridge: string, survey: Survey): readonly Blockage[] {
  const ports = portsOf(bridge, survey)
  const names = ports.map(({ name }) => name)
  // In tables for bridges every frame is seen, in those of IP only where the kernel shows them there.
  const judge = (ruleset: Survey['ruleset'], families: Survey['families']) => {
    const of = (port: string | undefined, ips: readonly string[]) =>
      flowsOf(bridge, { ips, port }, { families, others: names.filter((it) => it !== port) })
    const flows = ports.length === 0 ? of(undefined, []) : ports.flatMap((port) => of(port.name, ipsOf(port, survey)))
    return findBlockages(ruleset, flows)
  }
  const ofBridges = survey.ruleset.filter(({ family }) => family === 'bridge')
  const unseen = FAMILIES.filter((family) => !survey.families.includes(family))
  return [...judge(survey.ruleset, survey.families), ...judge(ofBridges, unseen)]
}

function toFinding(bridge: string, survey: Survey): readonly Finding[] {
  const blockages = blockagesOn(bridge, survey)
  const [first] = blockages
  if (first === undefined) return []
  const command = mendCommand(blockages, survey.toolOf)
  const [line = '', evidence = ''] = describeBlockages(blockages).split(/: (.*)/s)
  const isSure = first.fate === 'dropped'
  return [
    {
      id: isSure ? 'firewall-drop' : 'firewall-maybe',
      severity: isSure ? 'error' : 'warning',
      line,
      evidence,
      ...(command === undefined ? { advice: 'Change that rule.' } : { command }),
      about: [bridge, ...seatsOn(bridge, survey).map(({ guest }) => guest)],
    },
  ]
}

/** What the rules of the host do to the frames of these bridges, and the rules of ours that serve nobody. */
export function findFirewall(survey: Survey, bridges: readonly string[]): readonly Finding[] {
  const sysctls = survey.families.map(
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
  const found = bridges.flatMap((bridge) => toFinding(bridge, survey))
  return [
    ...found,
    ...findBarred(survey),
    ...(sysctls.length > 0 && bridges.length > 0 ? [meeting] : []),
    ...findStrayRules(survey),
  ]
}

/** What the host does not forward for an attachment, though it is to. */
function findBarred({ seats, barred }: Survey): readonly Finding[] {
  return seats.flatMap(({ attached, guest }) => {
    const { message = '', command } = barred.get(attached) ?? {}
    if (message === '') return []
    const [line = '', evidence = ''] = message.split(/: (.*)/s)
    return [
      {
        ...(/ may drop /.test(line)
          ? ({ id: 'firewall-maybe', severity: 'warning' } as const)
          : ({ id: 'firewall-drop', severity: 'error' } as const)),
        ...{ line, evidence, about: [attached.record.hostif, guest] },
        ...(command === undefined ? { advice: 'Change that rule.' } : { command }),
      },
    ]
  })
}

function findStrayRules(survey: Survey): readonly Finding[] {
  const stray = survey.openings.filter(({ bridge }) => seatsOn(bridge, survey).length === 0)
  return stray.map((opening) => {
    const argv = toArgv('-D', opening, { tool: survey.toolOf(opening.chain), tag: tagOf(opening.bridge) })
    return {
      id: 'rule-stray',
      severity: 'warning',
      line: `a rule of ours lets the frames of '${opening.bridge}' pass, and nothing of ours is attached there`,
      evidence: `chain ${opening.chain.name}, comment '${tagOf(opening.bridge)}'`,
      command: argv.map(quote).join(' '),
      about: [opening.bridge],
    }
  })
}
