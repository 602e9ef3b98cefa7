import { fnv1aHash } from '../../model/hash'
import { isDefaultRoute } from '../../network/default-route'
import type { Finding } from './findings'
import {
  type DoctorAttachment,
  type DoctorLink,
  type DoctorState,
  formatGuestExec,
  listAttachmentsOn,
  listBridgePorts,
} from './state'

/** Finds duplicate addresses, and packets that a guest drops because they arrive on the wrong interface. */
export function findAddressProblems(survey: DoctorState, hostifs: readonly string[]): readonly Finding[] {
  return [
    ...hostifs.flatMap((hostif) => [...findDuplicateMacs(hostif, survey), ...findDuplicateIps(hostif, survey)]),
    ...survey.attachments.flatMap((seat) => [...findDadFailures(seat), ...findRpFilterDrops(seat)]),
  ]
}

/** An interface with its own address on the segment: in a guest, or the bridge itself. */
interface AddressHolder {
  readonly name: string
  readonly link: DoctorLink
  /** Absent for the host. */
  readonly seat?: DoctorAttachment
}

function listHolders(hostif: string, survey: DoctorState): readonly AddressHolder[] {
  const bridge = survey.links.find(({ name }) => name === hostif)
  return [
    ...(bridge === undefined ? [] : [{ name: `the host's ${hostif}`, link: bridge }]),
    ...listAttachmentsOn(hostif, survey).flatMap((seat) =>
      seat.inGuest === undefined ? [] : [{ name: `${seat.inGuest.name} of '${seat.guest}'`, link: seat.inGuest, seat }],
    ),
  ]
}

/** Pairs that share something, the earlier one first: the finding suggests changing the later one. */
function findPairs<T>(all: readonly T[], shares: (a: T, b: T) => boolean): readonly (readonly [T, T])[] {
  return all.flatMap((later, index) => {
    const earlier = all.slice(0, index).find((it) => shares(it, later))
    return earlier === undefined ? [] : [[earlier, later] as const]
  })
}

/** A switch sends a frame to one port only: with a duplicate MAC address, to the port that sent last. */
function findDuplicateMacs(hostif: string, survey: DoctorState): readonly Finding[] {
  // An ipvlan has the MAC address of its NIC, and a bridge may have the address of a port.
  const holders = listHolders(hostif, survey).filter(({ link, seat }) => seat !== undefined && link.kind !== 'ipvlan')
  const ports = listBridgePorts(hostif, survey).map((link): AddressHolder => ({ name: `the port ${link.name}`, link }))
  const isTwin = (a: AddressHolder, b: AddressHolder) => a.link.mac === b.link.mac && a.link.mac !== ''
  return findPairs([...ports, ...holders], isTwin).flatMap(([a, { name, link, seat }]): readonly Finding[] => {
    if (seat === undefined) return []
    const fresh = `02:${(fnv1aHash(`${link.mac} ${name}`).slice(0, 10).match(/../g) ?? []).join(':')}`
    return [
      {
        id: 'mac-duplicate',
        severity: 'error',
        line: `${name} has the same MAC address as ${a.name}`,
        evidence: `both have ${link.mac}`,
        command: formatGuestExec(seat, 'ip', 'link', 'set', 'dev', link.name, 'address', fresh),
        about: [hostif, seat.guest, ...(a.seat === undefined ? [] : [a.seat.guest])],
      },
    ]
  })
}

function findDuplicateIps(hostif: string, survey: DoctorState): readonly Finding[] {
  const all = listHolders(hostif, survey).flatMap((holder) =>
    holder.link.addresses.filter(({ isLinkLocal }) => !isLinkLocal).map((address) => ({ ...holder, address })),
  )
  return findPairs(all, (a, b) => a.address.ip === b.address.ip).flatMap(
    ([a, { name, link, seat, address }]): readonly Finding[] => {
      if (seat === undefined) return []
      return [
        {
          id: 'address-duplicate',
          severity: 'error',
          line: `${name} has the same address as ${a.name}`,
          evidence: `both have ${address.ip}`,
          command: formatGuestExec(seat, 'ip', 'address', 'del', `${address.ip}/${address.prefix}`, 'dev', link.name),
          about: [hostif, seat.guest, ...(a.seat === undefined ? [] : [a.seat.guest])],
        },
      ]
    },
  )
}

/** Duplicate address detection (RFC 4862) keeps a duplicate IPv6 address configured, but unused. */
function findDadFailures(seat: DoctorAttachment): readonly Finding[] {
  const failed = seat.inGuest?.addresses.filter(({ isDuplicate }) => isDuplicate) ?? []
  return failed.map(({ ip, prefix }) => ({
    id: 'address-duplicate',
    severity: 'error',
    line: `${seat.inGuest?.name} of '${seat.guest}' does not use ${ip}: somebody else on the link has it`,
    evidence: 'ip address show: dadfailed',
    command: formatGuestExec(seat, 'ip', 'address', 'del', `${ip}/${prefix}`, 'dev', seat.inGuest?.name ?? ''),
    about: [seat.attachment.record.hostif, seat.guest],
  }))
}

/**
 * Strict reverse path filtering drops packets from outside the subnet unless the route back uses the same interface.
 */
function findRpFilterDrops(seat: DoctorAttachment): readonly Finding[] {
  const { attachment, inGuest: link, routes = [], rpFilter } = seat
  const { record } = attachment
  const gateway = record.addresses?.find((address) => address.family === 4)?.gateway
  if (rpFilter !== 1 || link === undefined || gateway === undefined || record.words.includes('--policy-route'))
    return []
  const [best] = routes.filter((route) => isDefaultRoute(route, 4)).sort((a, b) => a.metric - b.metric)
  if (best === undefined || best.dev === link.name) return []
  return [
    {
      id: 'rp-filter',
      severity: 'error',
      line: `'${seat.guest}' drops what comes through the gateway ${gateway} by ${link.name}: its own way back is ${best.dev}`,
      evidence: `rp_filter of ${link.name} is 1, and the default route goes by ${best.dev}`,
      command: formatGuestExec(seat, 'sysctl', '-w', `net/ipv4/conf/${link.name}/rp_filter=2`),
      advice: 'Or attach it with --policy-route: then replies leave by it.',
      about: [record.hostif, seat.guest],
    },
  ]
}
