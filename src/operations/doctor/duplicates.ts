import type { Host } from '../../system/types'
import type { Finding } from './findings'
import { inGuest, type Span, type Survey, type SurveyAddress, type SurveySeat, seatsOn, seatsWithin } from './state'

/** Seconds that an answer is waited for: a neighbour answers within milliseconds. */
const LIMIT = 1

/** Asks the LAN for each guest's own IPv4 addresses (RFC 5227): whoever answers has one of them as well. */
export async function findTaken(survey: Survey, span: Span, host: Host): Promise<readonly Finding[]> {
  if (!host.has('arping')) return []
  const found = await Promise.all(
    seatsWithin(survey, span).flatMap(({ seat, hostif }) => {
      const addresses = seat.inGuest?.addresses.filter(({ family }) => family === 4) ?? []
      // An ipvlan shares its MAC address with others, and so an answer with them.
      if (seat.inGuest?.kind === 'ipvlan') return []
      return addresses.map((address) => ask({ seat, address, told: listTold(address, { seat, hostif }, survey) }, host))
    }),
  )
  return found.flatMap((finding) => finding ?? [])
}

/** Whose answer is no news: the guest's own, which it gives by every interface for all its addresses, or of whom is told. */
function listTold(
  { ip }: SurveyAddress,
  { seat, hostif }: { readonly seat: SurveySeat; readonly hostif: string },
  survey: Survey,
): readonly (string | undefined)[] {
  const own = survey.seats.filter(({ guest }) => guest === seat.guest)
  const twins = seatsOn(hostif, survey).filter(({ inGuest }) => inGuest?.addresses.some((it) => it.ip === ip))
  return [...own, ...twins].map(({ inGuest }) => inGuest?.mac)
}

interface Question {
  readonly seat: SurveySeat
  readonly address: SurveyAddress
  /** The MAC addresses whose answer is no news. */
  readonly told: readonly (string | undefined)[]
}

async function ask({ seat, address, told }: Question, host: Host): Promise<Finding | undefined> {
  const { netns, inGuest: link, guest, attached } = seat
  const { ip, prefix } = address
  if (netns === undefined || link === undefined) return undefined
  const arping = ['arping', '-D', '-c', '1', '-w', `${LIMIT}`, '-I', link.name, ip]
  const { stdout } = await host
    .query(['nsenter', `--net=/run/netns/${netns}`, ...arping], LIMIT + 10)
    .catch(() => ({ stdout: '' }))
  // What iputils prints of an answer; Habets' arping means something else by -D, and prints otherwise.
  const mac = /^Unicast reply from \S+ \[([0-9A-F:]+)\]/im.exec(stdout)?.[1]?.toLowerCase()
  if (mac === undefined || told.includes(mac)) return undefined
  return {
    id: 'address-duplicate',
    severity: 'error',
    line: `somebody else on the LAN has the address of ${link.name} of '${guest}'`,
    evidence: `${mac} answers for ${ip}`,
    command: inGuest(seat, 'ip', 'address', 'del', `${ip}/${prefix}`, 'dev', link.name),
    advice: 'Take the address from one of the two.',
    about: [attached.record.hostif, guest],
  }
}
