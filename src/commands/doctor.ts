import { ExitCode, PipeworkError, usageError, validateNoExtraArgs } from '../model/errors'
import { parseGuestName } from '../model/guest-name'
import { escapeControls } from '../model/report'
import { findAddressProblems } from '../operations/doctor/addresses'
import { findTakenAddresses } from '../operations/doctor/duplicates'
import type { Finding } from '../operations/doctor/findings'
import { findFirewallProblems } from '../operations/doctor/firewall'
import { findMachineProblems } from '../operations/doctor/host'
import { findLeftoverProblems } from '../operations/doctor/leftovers'
import { findLinkProblems } from '../operations/doctor/links'
import { type ProbeResult, probeGuests } from '../operations/doctor/probe'
import { readDoctorState } from '../operations/doctor/read'
import { type DoctorScope, type DoctorState, listBridges } from '../operations/doctor/state'
import { findUplinkProblems } from '../operations/doctor/uplink'
import type { HeldNetns } from '../system/types'
import type { CommandContext, CommandOutcome } from '../ui/command'
import { toTerminal, wrapToTerminal } from '../ui/terminal'

/** Looks for what makes traffic vanish, and names what mends it. Exit code 1 when there is something. */
export async function run({ positionals, system }: CommandContext): Promise<CommandOutcome> {
  const [name, ...rest] = positionals
  validateNoExtraArgs(rest, 'pipework doctor [bridge|guest]')
  if (!system.isRoot) throw new PipeworkError('only root can look into guests and firewalls: run it with sudo')
  const pins: HeldNetns[] = []
  try {
    const survey = await readDoctorState({ system, heldNetns: pins })
    const scope = parseDoctorTarget(name, survey)
    const [taken, probed] = await Promise.all([
      findTakenAddresses(survey, scope, system),
      probeGuests(survey, scope, system),
    ])
    const outcome = toDoctorResult([...collectFindings(scope, taken), ...probed.findings], probed.probes)
    return { ...outcome, text: wrapToTerminal(outcome.text, toTerminal(system)) }
  } finally {
    for (const pin of pins) pin.release()
  }
}

/** What is looked at: everything that concerns pipework, or one bridge or guest, and what there is about the host. */
interface DoctorTarget extends DoctorScope {
  readonly survey: DoctorState
}

function parseDoctorTarget(name: string | undefined, survey: DoctorState): DoctorTarget {
  const { attachments } = survey
  const hostifOf = ({ attachment, hostEnd }: DoctorState['attachments'][number]) =>
    hostEnd?.master ?? attachment.record.hostif
  const used = [...new Set(attachments.flatMap((seat) => [hostifOf(seat), seat.attachment.record.hostif]))]
  if (name === undefined) return { survey, hostifs: used }
  if (used.includes(name) || listBridges(survey).some((bridge) => bridge.name === name))
    return { survey, hostifs: [name], names: [name] }
  const { kind = 'docker', name: bare } = parseGuestName(name)
  const typed = kind === 'docker' ? bare : `${kind}:${bare}`
  const own = attachments.filter(
    ({ guest, attachment }) => guest === typed || (!name.includes(':') && attachment.record.guest.name === name),
  )
  const [first] = own
  if (first === undefined) throw unknownNameError(name, survey)
  return { survey, hostifs: [...new Set(own.map(hostifOf))], names: [first.guest] }
}

function unknownNameError(name: string, survey: DoctorState): PipeworkError {
  const names = [...listBridges(survey).map((bridge) => bridge.name), ...survey.attachments.map(({ guest }) => guest)]
  return usageError(
    `'${name}' is neither a bridge of this host nor a guest that pipework attached`,
    names.length === 0 ? 'There are none yet.' : `There are ${[...new Set(names)].join(', ')}.`,
  )
}

const SEVERITY_ORDER = ['error', 'warning', 'note'] as const

function collectFindings({ survey, hostifs, names }: DoctorTarget, taken: readonly Finding[]): readonly Finding[] {
  const all = [
    ...findLinkProblems(survey, hostifs),
    ...findFirewallProblems(
      survey,
      listBridges(survey).flatMap(({ name }) => (hostifs.includes(name) ? [name] : [])),
    ),
    ...findAddressProblems(survey, hostifs),
    ...taken,
    ...findUplinkProblems(survey, hostifs),
    ...findMachineProblems(survey),
    ...findLeftoverProblems(survey),
  ]
  const isMeant = ({ about }: Finding) =>
    names === undefined || about.length === 0 || about.some((it) => names.includes(it))
  // Two ways to see one thing lead to one command.
  const isFirst = ({ id, command }: Finding, index: number) =>
    all.findIndex((it) => it.id === id && it.command === command) === index
  return all.filter(isFirst).filter(isMeant)
}

function toDoctorResult(found: readonly Finding[], probes: readonly ProbeResult[]): CommandOutcome {
  const findings = [...found].sort((a, b) => SEVERITY_ORDER.indexOf(a.severity) - SEVERITY_ORDER.indexOf(b.severity))
  const serious = findings.filter(({ severity }) => severity !== 'note')
  const isHealthy = serious.length === 0
  return {
    text: escapeControls(
      [...findings.map(formatFinding), ...probes.map(formatProbe), formatSummary(findings, serious)].join(''),
    ),
    json: { ok: isHealthy, findings, probes },
    printWhenQuiet: true,
    exitCode: isHealthy ? undefined : ExitCode.failed,
  }
}

function formatFinding({ id, severity, line, evidence, command, advice }: Finding): string {
  return [
    `${id} (${severity})`,
    `  ${line}`,
    `  seen: ${evidence}`,
    ...(advice === undefined ? [] : [`  ${advice}`]),
    ...(command === undefined ? [] : [`  do: ${command}`]),
    '',
    '',
  ].join('\n')
}

function formatProbe({ from, ifname, to, who, ok }: ProbeResult): string {
  return `${from} ${ifname} → ${who === 'gateway' ? 'gateway' : who} ${to}: ${ok ? 'answers' : 'silent'}\n`
}

function formatSummary(findings: readonly Finding[], serious: readonly Finding[]): string {
  const notes = findings.length - serious.length
  const also = notes === 0 ? '' : `, ${notes} ${notes === 1 ? 'note' : 'notes'}`
  if (serious.length === 0) return `nothing found that stops traffic${also}\n`
  return `${serious.length} ${serious.length === 1 ? 'finding' : 'findings'}${also}\n`
}
