import { ExitCode, PipeworkError, refuseSurplus, usageError } from '../model/errors'
import { parseGuest } from '../model/guest-name'
import { findAddresses } from '../operations/doctor/addresses'
import { findTaken } from '../operations/doctor/duplicates'
import type { Finding } from '../operations/doctor/findings'
import { findFirewall } from '../operations/doctor/firewall'
import { findMachine } from '../operations/doctor/host'
import { findLeftovers } from '../operations/doctor/leftovers'
import { findLinks } from '../operations/doctor/links'
import { type Probe, probe } from '../operations/doctor/probe'
import { readSurvey } from '../operations/doctor/read'
import { bridgesOf, type Span, type Survey } from '../operations/doctor/state'
import { findUplinks } from '../operations/doctor/uplink'
import type { Pin } from '../system/types'
import type { Call, Outcome } from '../ui/command'
import { escapeControls } from '../ui/report'
import { fitScreen, screenOf } from '../ui/terminal'

/** Looks for what makes traffic vanish, and names what mends it. Exit code 1 when there is something. */
export async function run({ words, host }: Call): Promise<Outcome> {
  const [name, ...rest] = words
  refuseSurplus(rest, 'pipework doctor [bridge|guest]')
  if (!host.isRoot) throw new PipeworkError('only root can look into guests and firewalls: run it with sudo')
  const pins: Pin[] = []
  try {
    const survey = await readSurvey({ host, pins })
    const scope = toScope(name, survey)
    const [taken, probed] = await Promise.all([findTaken(survey, scope, host), probe(survey, scope, host)])
    const outcome = toOutcome([...examine(scope, taken), ...probed.findings], probed.probes)
    return { ...outcome, text: fitScreen(outcome.text, screenOf(host)) }
  } finally {
    for (const pin of pins) pin.release()
  }
}

/** What is looked at: everything that concerns pipework, or one bridge or guest, and what there is about the host. */
interface Scope extends Span {
  readonly survey: Survey
}

function toScope(name: string | undefined, survey: Survey): Scope {
  const { seats } = survey
  const hostifOf = ({ attached, hostEnd }: Survey['seats'][number]) => hostEnd?.master ?? attached.record.hostif
  const used = [...new Set(seats.flatMap((seat) => [hostifOf(seat), seat.attached.record.hostif]))]
  if (name === undefined) return { survey, hostifs: used }
  if (used.includes(name) || bridgesOf(survey).some((bridge) => bridge.name === name))
    return { survey, hostifs: [name], names: [name] }
  const { kind = 'docker', name: bare } = parseGuest(name)
  const typed = kind === 'docker' ? bare : `${kind}:${bare}`
  const own = seats.filter(
    ({ guest, attached }) => guest === typed || (!name.includes(':') && attached.record.guest.name === name),
  )
  const [first] = own
  if (first === undefined) throw unknown(name, survey)
  return { survey, hostifs: [...new Set(own.map(hostifOf))], names: [first.guest] }
}

function unknown(name: string, survey: Survey): PipeworkError {
  const names = [...bridgesOf(survey).map((bridge) => bridge.name), ...survey.seats.map(({ guest }) => guest)]
  return usageError(
    `'${name}' is neither a bridge of this host nor a guest that pipework attached`,
    names.length === 0 ? 'There are none yet.' : `There are ${[...new Set(names)].join(', ')}.`,
  )
}

const ORDER = ['error', 'warning', 'note'] as const

function examine({ survey, hostifs, names }: Scope, taken: readonly Finding[]): readonly Finding[] {
  const all = [
    ...findLinks(survey, hostifs),
    ...findFirewall(
      survey,
      bridgesOf(survey).flatMap(({ name }) => (hostifs.includes(name) ? [name] : [])),
    ),
    ...findAddresses(survey, hostifs),
    ...taken,
    ...findUplinks(survey, hostifs),
    ...findMachine(survey),
    ...findLeftovers(survey),
  ]
  const isMeant = ({ about }: Finding) =>
    names === undefined || about.length === 0 || about.some((it) => names.includes(it))
  // Two ways to see one thing lead to one command.
  const isFirst = ({ id, command }: Finding, index: number) =>
    all.findIndex((it) => it.id === id && it.command === command) === index
  return all.filter(isFirst).filter(isMeant)
}

function toOutcome(found: readonly Finding[], probes: readonly Probe[]): Outcome {
  const findings = [...found].sort((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity))
  const serious = findings.filter(({ severity }) => severity !== 'note')
  const isHealthy = serious.length === 0
  return {
    text: escapeControls(
      [...findings.map(formatFinding), ...probes.map(formatProbe), formatSum(findings, serious)].join(''),
    ),
    json: { ok: isHealthy, findings, probes },
    wanted: true,
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

function formatProbe({ from, ifname, to, who, ok }: Probe): string {
  return `${from} ${ifname} → ${who === 'gateway' ? 'gateway' : who} ${to}: ${ok ? 'answers' : 'silent'}\n`
}

function formatSum(findings: readonly Finding[], serious: readonly Finding[]): string {
  const notes = findings.length - serious.length
  const also = notes === 0 ? '' : `, ${notes} ${notes === 1 ? 'note' : 'notes'}`
  if (serious.length === 0) return `nothing found that stops traffic${also}\n`
  return `${serious.length} ${serious.length === 1 ? 'finding' : 'findings'}${also}\n`
}
