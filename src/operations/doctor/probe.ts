import { isDefault } from '../../drivers/claim'
import { isWithin } from '../../model/address'
import { batchLine } from '../../plan/step'
import type { Host } from '../../system/types'
import type { Finding } from './findings'
import { inGuest, type Span, type Survey, type SurveySeat, seatsOn, seatsWithin } from './state'

/** One question put on the wire: from a guest's interface to an address. */
export interface Probe {
  readonly from: string
  readonly ifname: string
  readonly to: string
  /** What answers there: the gateway, or a guest by its name. */
  readonly who: string
  readonly ok: boolean
}

interface Question {
  readonly seat: SurveySeat
  readonly netns: string
  readonly ifname: string
  readonly ip: string
  readonly who: string
}

/** Seconds that a probe waits for the first answer. */
const LIMIT = 3

function gatewaysOf({ attached: { record }, routes = [], inGuest: link }: SurveySeat): readonly string[] {
  const live = routes.filter((route) => route.dev === link?.name && (isDefault(route, 4) || isDefault(route, 6)))
  const typed = (record.addresses ?? []).flatMap(({ gateway }) => gateway ?? [])
  return [...new Set([...typed, ...live.flatMap(({ gateway }) => gateway ?? [])])]
}

/** One neighbour for each family: the first other guest in the same subnet. */
function neighboursOf(seat: SurveySeat, hostif: string, survey: Survey): readonly { ip: string; who: string }[] {
  const own = seat.inGuest?.addresses.filter(({ isLinkLocal, isDuplicate }) => !isLinkLocal && !isDuplicate) ?? []
  const others = seatsOn(hostif, survey).filter(({ guest }) => guest !== seat.guest)
  return own.flatMap(({ ip: mine, prefix }) => {
    const near = others.flatMap(({ guest, inGuest: link }) =>
      (link?.addresses ?? [])
        .filter(
          ({ ip, isLinkLocal, isDuplicate }) =>
            !isLinkLocal && !isDuplicate && ip !== mine && isWithin(`${mine}/${prefix}`, ip),
        )
        .map(({ ip }) => ({ ip, who: guest })),
    )
    return near.slice(0, 1)
  })
}

function questionsOf(seat: SurveySeat, hostif: string, survey: Survey): readonly Question[] {
  const { netns, inGuest: link } = seat
  if (netns === undefined || link === undefined) return []
  const gateways = gatewaysOf(seat).map((ip) => ({ ip, who: 'gateway' }))
  return [...gateways, ...neighboursOf(seat, hostif, survey)].map((to) => ({ seat, netns, ifname: link.name, ...to }))
}

/** Asks the gateways and one neighbour of each guest, all at once. */
export async function probe(
  survey: Survey,
  span: Span,
  host: Host,
): Promise<{ readonly probes: readonly Probe[]; readonly findings: readonly Finding[] }> {
  if (!host.has('ping')) return { probes: [], findings: [] }
  const questions = seatsWithin(survey, span).flatMap(({ seat, hostif }) => questionsOf(seat, hostif, survey))
  const asked = await Promise.all(questions.map((question) => ask(question, host)))
  return { probes: asked.map((it) => it.probe), findings: asked.flatMap((it) => it.finding ?? []) }
}

async function ask(question: Question, host: Host): Promise<{ readonly probe: Probe; readonly finding?: Finding }> {
  const { seat, netns, ifname, ip, who } = question
  const ping = ['ping', '-n', '-q', '-c', '1', '-i', '0.5', '-w', `${LIMIT}`, '-I', ifname, ip]
  const { code } = await host
    .query(['nsenter', `--net=/run/netns/${netns}`, ...ping], LIMIT + 10)
    .catch(() => ({ code: 1 }))
  const probe = { from: seat.guest, ifname, to: ip, who, ok: code === 0 }
  if (code === 0) return { probe }
  const { stdout } = await host.ip({ netns, lines: [batchLine`neigh show to ${ip} dev ${ifname}`], answer: 'text' })
  return { probe, finding: toFinding(question, stdout.trim()) }
}

/** A gateway need not answer a ping: when its MAC address is known now, frames do get there and back. */
function toFinding({ seat, ifname, ip, who }: Question, neighbour: string): Finding {
  const isKnown = /lladdr/.test(neighbour) && !/FAILED|INCOMPLETE|STALE/.test(neighbour)
  const isGateway = who === 'gateway'
  return {
    id: isGateway ? 'gateway-silent' : 'neighbour-silent',
    severity: isKnown && isGateway ? 'note' : 'error',
    line: `'${seat.guest}' gets no answer from ${isGateway ? 'its gateway' : `'${who}'`} ${ip} by ${ifname}`,
    evidence: isKnown
      ? `it is there (${neighbour}), and answers no ping`
      : `no answer within ${LIMIT} s${neighbour === '' ? '' : `; ${neighbour}`}`,
    command: inGuest(seat, 'ping', '-c', '3', '-I', ifname, ip),
    advice: 'If nothing above explains it: look what passes with tcpdump, at both ends.',
    about: [seat.attached.record.hostif, seat.guest, ...(isGateway ? [] : [who])],
  }
}
