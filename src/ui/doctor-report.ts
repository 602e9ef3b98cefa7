import { ExitCode } from '../model/errors'
import { escapeControls } from '../model/report'
import type { Diagnosis } from '../operations/doctor'
import type { Finding } from '../operations/doctor/findings'
import type { ProbeResult } from '../operations/doctor/probe'
import type { Output } from './output'

/** Formats the findings as text and JSON; exit code 1 when there are any. */
export function toDoctorOutput({ findings, probes }: Diagnosis): Output {
  const serious = findings.filter(({ severity }) => severity !== 'note')
  const isHealthy = serious.length === 0
  const parts = [...findings.map(formatFinding), ...probes.map(formatProbe), formatSummary(findings, serious)]
  return {
    text: escapeControls(parts.join('')),
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
