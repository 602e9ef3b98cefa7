import { networkContains } from '../../model/address'
import { MAX_CONCURRENT_PROBES, mapConcurrently } from '../../model/concurrency'
import { isDefaultRoute } from '../../network/default-route'
import { batchLine } from '../../system/batch'
import type { System } from '../../system/types'
import type { Finding } from './findings'
import {
  type DoctorAttachment,
  type DoctorScope,
  type DoctorState,
  formatGuestExec,
  listAttachmentsIn,
  listAttachmentsOn,
} from './state'

/** One probe: from a guest's interface to an address. */
export interface ProbeResult {
  readonly from: string
  readonly ifname: string
  readonly to: string
  /** The target: the gateway, or a guest by its name. */
  readonly who: string
  readonly ok: boolean
}

interface ProbeTarget {
  readonly seat: DoctorAttachment
  readonly netns: string
  readonly ifname: string
  readonly ip: string
  readonly who: string
}

/** Seconds to wait for the first answer. */
const PROBE_TIMEOUT = 3

function listGateways({ attachment: { record }, routes = [], inGuest: link }: DoctorAttachment): readonly string[] {
  const live = routes.filter(
    (route) => route.dev === link?.name && (isDefaultRoute(route, 4) || isDefaultRoute(route, 6)),
  )
  const typed = (record.addresses ?? []).flatMap(({ gateway }) => gateway ?? [])
  return [...new Set([...typed, ...live.flatMap(({ gateway }) => gateway ?? [])])]
}

/** One neighbour for each family: the first other guest in the subnet. */
function listNeighbours(
  seat: DoctorAttachment,
  hostif: string,
  survey: DoctorState,
): readonly { ip: string; who: string }[] {
  const own = seat.inGuest?.addresses.filter(({ isLinkLocal, isDuplicate }) => !isLinkLocal && !isDuplicate) ?? []
  const others = listAttachmentsOn(hostif, survey).filter(({ guest }) => guest !== seat.guest)
  return own.flatMap(({ ip: mine, prefix }) => {
    const near = others.flatMap(({ guest, inGuest: link }) =>
      (link?.addresses ?? [])
        .filter(
          ({ ip, isLinkLocal, isDuplicate }) =>
            !isLinkLocal && !isDuplicate && ip !== mine && networkContains(`${mine}/${prefix}`, ip),
        )
        .map(({ ip }) => ({ ip, who: guest })),
    )
    return near.slice(0, 1)
  })
}

function listProbeTargets(seat: DoctorAttachment, hostif: string, survey: DoctorState): readonly ProbeTarget[] {
  const { netns, inGuest: link } = seat
  if (netns === undefined || link === undefined) return []
  const gateways = listGateways(seat).map((ip) => ({ ip, who: 'gateway' }))
  return [...gateways, ...listNeighbours(seat, hostif, survey)].map((to) => ({ seat, netns, ifname: link.name, ...to }))
}

/** Probes the gateways and one neighbour of each guest, concurrently. */
export async function probeGuests(
  survey: DoctorState,
  span: DoctorScope,
  system: System,
): Promise<{ readonly probes: readonly ProbeResult[]; readonly findings: readonly Finding[] }> {
  if (!system.hasProgram('ping')) return { probes: [], findings: [] }
  const questions = listAttachmentsIn(survey, span).flatMap(({ seat, hostif }) =>
    listProbeTargets(seat, hostif, survey),
  )
  const asked = await mapConcurrently(questions, MAX_CONCURRENT_PROBES, (question) => runProbe(question, system))
  return { probes: asked.map((it) => it.probe), findings: asked.flatMap((it) => it.finding ?? []) }
}

async function runProbe(
  question: ProbeTarget,
  system: System,
): Promise<{ readonly probe: ProbeResult; readonly finding?: Finding }> {
  const { seat, netns, ifname, ip, who } = question
  const ping = ['ping', '-n', '-q', '-c', '1', '-i', '0.5', '-w', `${PROBE_TIMEOUT}`, '-I', ifname, ip]
  const { code } = await system
    .run(['nsenter', `--net=/run/netns/${netns}`, ...ping], PROBE_TIMEOUT + 10)
    .catch(() => ({ code: 1 }))
  const probe = { from: seat.guest, ifname, to: ip, who, ok: code === 0 }
  if (code === 0) return { probe }
  const { stdout } = await system.runIpBatch({
    netns,
    lines: [batchLine`neigh show to ${ip} dev ${ifname}`],
    output: 'text',
  })
  return { probe, finding: toProbeFinding(question, stdout.trim()) }
}

/** A gateway need not answer a ping. When its MAC address is known after the ping, it is reachable. */
function toProbeFinding({ seat, ifname, ip, who }: ProbeTarget, neighbour: string): Finding {
  const isKnown = /lladdr/.test(neighbour) && !/FAILED|INCOMPLETE|STALE/.test(neighbour)
  const isGateway = who === 'gateway'
  return {
    id: isGateway ? 'gateway-silent' : 'neighbour-silent',
    severity: isKnown && isGateway ? 'note' : 'error',
    line: `'${seat.guest}' gets no answer from ${isGateway ? 'its gateway' : `'${who}'`} ${ip} by ${ifname}`,
    evidence: isKnown
      ? `it is there (${neighbour}), and answers no ping`
      : `no answer within ${PROBE_TIMEOUT} s${neighbour === '' ? '' : `; ${neighbour}`}`,
    command: formatGuestExec(seat, 'ping', '-c', '3', '-I', ifname, ip),
    advice: 'If nothing above explains it: look what passes with tcpdump, at both ends.',
    about: [seat.attachment.record.hostif, seat.guest, ...(isGateway ? [] : [who])],
  }
}
