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

/** Seconds to wait for an answer; a neighbour answers much faster. */
const ARP_TIMEOUT = 1

/** Probes the LAN for each guest's own IPv4 addresses (RFC 5227): any answer means a duplicate. */
export async function findTakenAddresses(
  survey: DoctorState,
  span: DoctorScope,
  system: System,
): Promise<readonly Finding[]> {
  if (!system.hasProgram('arping')) return []
  const questions = listAttachmentsIn(survey, span).flatMap(({ seat, hostif }) => {
    const addresses = seat.inGuest?.addresses.filter(({ family }) => family === 4) ?? []
    // An ipvlan shares its MAC address with others, so their answers look the same.
    if (seat.inGuest?.kind === 'ipvlan') return []
    return addresses.map((address) => ({
      ...{ seat, address },
      expectedMacs: listExpectedMacs(address, { seat, hostif }, survey),
    }))
  })
  const found = await mapConcurrently(questions, MAX_CONCURRENT_PROBES, (question) => checkDuplicate(question, system))
  return found.flatMap((finding) => finding ?? [])
}

/**
 * MAC addresses whose answer is expected: all interfaces of the guest (Linux answers on each for all its addresses),
 * and duplicates on the same bridge, which another finding reports.
 */
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
  /** MAC addresses whose answer is not a duplicate. */
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
  // The answer as iputils prints it; Habets' arping has another -D and other output.
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
