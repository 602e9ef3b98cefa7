import { type PipeworkError, usageError } from '../../model/errors'
import { parseGuestName } from '../../model/guest-name'
import type { HeldNetns, System } from '../../system/types'
import { findAddressProblems } from './addresses'
import { findTakenAddresses } from './duplicates'
import type { Finding } from './findings'
import { findFirewallProblems } from './firewall'
import { findMachineProblems } from './host'
import { findLeftoverProblems } from './leftovers'
import { findLinkProblems } from './links'
import { type ProbeResult, probeGuests } from './probe'
import { readDoctorState } from './read'
import { type DoctorScope, type DoctorState, listBridges } from './state'
import { findUplinkProblems } from './uplink'

/** The findings, the most severe first. */
export interface Diagnosis {
  readonly findings: readonly Finding[]
  readonly probes: readonly ProbeResult[]
}

/** Looks for whatever stops traffic, on the whole host or around one bridge or guest. */
export async function diagnose(name: string | undefined, system: System): Promise<Diagnosis> {
  const held: HeldNetns[] = []
  try {
    const state = await readDoctorState({ system, heldNetns: held })
    const target = parseDoctorTarget(name, state)
    const [duplicates, probed] = await Promise.all([
      findTakenAddresses(state, target, system),
      probeGuests(state, target, system),
    ])
    const findings = [...collectFindings(target, duplicates), ...probed.findings]
    return { findings: findings.sort(bySeverity), probes: probed.probes }
  } finally {
    for (const netns of held) netns.release()
  }
}

/** The scope of the check: everything of pipework's, or one bridge or guest; the host is always included. */
interface DoctorTarget extends DoctorScope {
  readonly state: DoctorState
}

function parseDoctorTarget(name: string | undefined, state: DoctorState): DoctorTarget {
  const { attachments } = state
  const hostifOf = ({ attachment, hostEnd }: DoctorState['attachments'][number]) =>
    hostEnd?.master ?? attachment.record.hostif
  const used = [...new Set(attachments.flatMap((it) => [hostifOf(it), it.attachment.record.hostif]))]
  if (name === undefined) return { state, hostifs: used }
  if (used.includes(name) || listBridges(state).some((bridge) => bridge.name === name))
    return { state, hostifs: [name], names: [name] }
  const { kind = 'docker', name: bare } = parseGuestName(name)
  const typed = kind === 'docker' ? bare : `${kind}:${bare}`
  const attached = attachments.filter(
    ({ guest, attachment }) => guest === typed || (!name.includes(':') && attachment.record.guest.name === name),
  )
  const [first] = attached
  if (first === undefined) throw unknownNameError(name, state)
  return { state, hostifs: [...new Set(attached.map(hostifOf))], names: [first.guest] }
}

function unknownNameError(name: string, state: DoctorState): PipeworkError {
  const names = [...listBridges(state).map((bridge) => bridge.name), ...state.attachments.map(({ guest }) => guest)]
  return usageError(
    `'${name}' is neither a bridge of this host nor a guest that pipework attached`,
    names.length === 0 ? 'There are none yet.' : `There are ${[...new Set(names)].join(', ')}.`,
  )
}

const SEVERITY_ORDER = ['error', 'warning', 'note'] as const

const bySeverity = (a: Finding, b: Finding) => SEVERITY_ORDER.indexOf(a.severity) - SEVERITY_ORDER.indexOf(b.severity)

function collectFindings({ state, hostifs, names }: DoctorTarget, duplicates: readonly Finding[]): readonly Finding[] {
  const all = [
    ...findLinkProblems(state, hostifs),
    ...findFirewallProblems(
      state,
      listBridges(state).flatMap(({ name }) => (hostifs.includes(name) ? [name] : [])),
    ),
    ...findAddressProblems(state, hostifs),
    ...duplicates,
    ...findUplinkProblems(state, hostifs),
    ...findMachineProblems(state),
    ...findLeftoverProblems(state),
  ]
  const concerns = ({ about }: Finding) =>
    names === undefined || about.length === 0 || about.some((it) => names.includes(it))
  // Two findings with the same fix are one problem.
  const isFirst = ({ id, command }: Finding, index: number) =>
    all.findIndex((it) => it.id === id && it.command === command) === index
  return all.filter(isFirst).filter(concerns)
}
