import { MAX_CONCURRENT_PROBES, mapConcurrently } from '../../model/concurrency'
import type { System } from '../../system/types'
import type { Finding } from './findings'
import {
  type DoctorAddress,
  type DoctorAttachment,
  type DoctorScope,
  type DoctorState,
  formatGuestExec,
  listAttachmentsIn,
  listAttachmentsOn,
} from './state'

/** Seconds that an answer is waited for: a neighbour answers within milliseconds. */
const ARP_TIMEOUT = 1

/** Asks the LAN for each guest's own IPv4 addresses (RFC 5227): whoever answers has one of them as well. */
export async function findTakenAddresses(
  survey: DoctorState,
  span: DoctorScope,
  system: System,
): Promise<readonly Finding[]> {
  if (!system.hasProgram('arping')) return []
  const questions = listAttachmentsIn(survey, span).flatMap(({ seat, hostif }) => {
    const addresses = seat.inGuest?.addresses.filter(({ family }) => family === 4) ?? []
    // An ipvlan shares its MAC address with others, and so an answer with them.
    if (seat.inGuest?.kind === 'ipvlan') return []
    return addresses.map((address) => ({
      ...{ seat, address },
      expectedMacs: listExpectedMacs(address, { seat, hostif }, survey),
    }))
  })
  const found = await mapConcurrently(questions, MAX_CONCURRENT_PROBES, (question) => checkDuplicate(question, system))
  return found.flatMap((finding) => finding ?? [])
}

/** Whose answer is no news: the guest's own, which it gives by every interface for all its addresses, or of whom is told. */
function listExpectedMacs(
  { ip }: DoctorAddress,
  { seat, hostif }: { readonly seat: DoctorAttachment; readonly hostif: string },
  survey: DoctorState,
): readonly (string | undefined)[] {
  const own = survey.attachments.filter(({ guest }) => guest === seat.guest)
  const twins = listAttachmentsOn(hostif, survey).filter(({ inGuest }) => inGuest?.addresses.some((it) => it.ip === ip))
  return [...own, ...twins].map(({ inGuest }) => inGuest?.mac)
}

interface DuplicateCheck {
  readonly seat: DoctorAttachment
  readonly address: DoctorAddress
  /** The MAC addresses whose answer is no news. */
  readonly expectedMacs: readonly (string | undefined)[]
}

async function checkDuplicate(
  { seat, address, expectedMacs }: DuplicateCheck,
  system: System,
): Promise<Finding | undefined> {
  const { netns, inGuest: link, guest, attachment } = seat
  const { ip, prefix } = address
  if (netns === undefined || link === undefined) return undefined
  const arping = ['arping', '-D', '-c', '1', '-w', `${ARP_TIMEOUT}`, '-I', link.name, ip]
  const { stdout } = await system
    .run(['nsenter', `--net=/run/netns/${netns}`, ...arping], ARP_TIMEOUT + 10)
    .catch(() => ({ stdout: '' }))
  // What iputils prints of an answer; Habets' arping means something else by -D, and prints otherwise.
  const mac = /^Unicast reply from \S+ \[([0-9A-F:]+)\]/im.exec(stdout)?.[1]?.toLowerCase()
  if (mac === undefined || expectedMacs.includes(mac)) return undefined
  return {
    id: 'address-duplicate',
    severity: 'error',
    line: `somebody else on the LAN has the address of ${link.name} of '${guest}'`,
    evidence: `${mac} answers for ${ip}`,
    command: formatGuestExec(seat, 'ip', 'address', 'del', `${ip}/${prefix}`, 'dev', link.name),
    advice: 'Take the address from one of the two.',
    about: [attachment.record.hostif, guest],
  }
}
