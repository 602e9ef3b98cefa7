import { formatAddress, toCidr } from '../../model/address'
import { shellQuote } from '../../model/shell'
import { isDefaultRoute } from '../../network/default-route'
import { formatHostif } from '../../state/record'
import type { Finding } from './findings'
import type { DoctorAttachment, DoctorState } from './state'

/** Finds leftovers of pipework itself. */
export function findLeftoverProblems(survey: DoctorState): readonly Finding[] {
  const { attachments, danglingNetns } = survey
  const orphans = attachments.filter(
    ({ unreachable, attachment }) => unreachable?.isGone && attachment.record.nic === undefined,
  )
  const strays = attachments.filter(
    ({ attachment }) => attachment.record.nic !== undefined && attachment.hostEnd !== undefined,
  )
  return [
    ...attachments.flatMap((seat) => [...findLostServices(seat, survey), ...findLostAddresses(seat)]),
    ...findUnreachableGuests(survey),
    ...findHiddenNamespaces(survey),
    ...orphans.map(describeOrphan),
    ...strays.map(describeOrphanedNic),
    ...(danglingNetns.length === 0 ? [] : [describeDanglingNetns(danglingNetns)]),
  ]
}

function findHiddenNamespaces({ scanError }: DoctorState): readonly Finding[] {
  if (scanError === undefined) return []
  const { message: line, hint = '' } = scanError
  return [{ id: 'namespace-hidden', severity: 'warning', line, evidence: hint, about: [] }]
}

const formatDisconnect = ({ attachment: { record }, guest }: DoctorAttachment) =>
  ['pipework', 'disconnect', guest, record.ifname].map(shellQuote).join(' ')

function describeOrphan(seat: DoctorAttachment): Finding {
  const {
    attachment: { record, hostEnd },
    guest,
    unreachable,
  } = seat
  return {
    id: 'link-orphan',
    severity: 'warning',
    line: `'${hostEnd?.name ?? record.ifname}' was attached to '${guest}', which is gone`,
    evidence: unreachable?.message ?? '',
    command: formatDisconnect(seat),
    about: [record.hostif, guest],
  }
}

function describeOrphanedNic(seat: DoctorAttachment): Finding {
  const {
    attachment: { record, hostEnd },
    guest,
  } = seat
  return {
    id: 'nic-stray',
    severity: 'warning',
    line: `the NIC '${record.nic}' fell back into the host as '${hostEnd?.name}', without its addresses`,
    evidence: `it was in '${guest}', which has ended`,
    command: formatDisconnect(seat),
    about: [guest],
  }
}

function describeDanglingNetns(pins: readonly string[]): Finding {
  const [names, are] = pins.length === 1 ? ['a name', 'is'] : [`${pins.length} names`, 'are']
  return {
    id: 'pin-dangling',
    severity: 'note',
    line: `${names} in /run/netns ${are} left from runs that were killed`,
    evidence: pins.join(', '),
    command: `rm ${pins.map((name) => `/run/netns/${name}`).join(' ')}`,
    about: [],
  }
}

/** The command that repeats the attach, and so restores everything that belongs to it. */
function formatReattach({ attachment: { record }, guest }: DoctorAttachment): string {
  const { ifname, addresses = [], sources = [], words } = record
  const [options, others] = [words.filter((it) => it.startsWith('--')), words.filter((it) => !it.startsWith('--'))]
  const name = ifname === 'eth1' ? [] : ['-i', ifname]
  const list = [...sources, ...addresses.filter(({ leased }) => !leased).map(formatAddress)].join(',') || '0/0'
  return ['pipework', formatHostif(record), ...name, guest, list, ...others, ...options].map(shellQuote).join(' ')
}

/**
 * Finds addresses and routes that root in the guest has removed. A link that is down loses them too, but has a finding
 * of its own.
 */
function findLostAddresses(seat: DoctorAttachment): readonly Finding[] {
  const { attachment, guest, inGuest: link, routes = [] } = seat
  const { addresses = [], hostif, ifname, words } = attachment.record
  if (link?.isUp !== true) return []
  const typed = addresses.filter(({ leased }) => !leased)
  const lost = typed.filter(({ ip, prefix }) => !link.addresses.some((it) => it.ip === ip && it.prefix === prefix))
  // Another interface's default route may have replaced this one.
  const wayless = typed.filter(
    ({ family, gateway }) =>
      gateway !== undefined &&
      !words.includes('--no-default-route') &&
      !routes.some((route) => isDefaultRoute(route, family)),
  )
  const missing = [...lost.map(toCidr), ...wayless.map(({ gateway }) => `the default route via ${gateway}`)]
  return missing.length === 0
    ? []
    : [
        {
          id: 'address-lost',
          severity: 'error',
          line: `${ifname} of '${guest}' no longer has what it was attached with`,
          evidence: `missing: ${missing.join(', ')}`,
          ...suggestReattach(seat),
          about: [hostif, guest],
        },
      ]
}

/** Suggests to attach again. A record inside the guest is not trusted, because the guest can write it. */
function suggestReattach(seat: DoctorAttachment): Pick<Finding, 'command' | 'advice'> {
  return seat.attachment.hostEnd === undefined
    ? { advice: 'Attach it again, with the words that it was attached with.' }
    : { command: formatReattach(seat) }
}

/** Finds host services that were removed by hand, by a firewall flush or a sysctl change for example. */
function findLostServices(seat: DoctorAttachment, { missingServices }: DoctorState): readonly Finding[] {
  const { attachment, guest } = seat
  const missing = missingServices.get(attachment)
  if (missing === undefined) return []
  return [
    {
      id: 'rule-lost',
      severity: 'error',
      line: `what '${guest}' needs of this host for ${attachment.record.ifname} is not all there`,
      evidence: `missing: ${missing.join(', ')}`,
      ...suggestReattach(seat),
      about: [attachment.record.hostif, guest],
    },
  ]
}

/** Finds guests whose runtime does not answer, so that their state is unknown. */
function findUnreachableGuests({ attachments }: DoctorState): readonly Finding[] {
  return attachments.flatMap(({ unreachable, attachment: { record }, guest }): readonly Finding[] =>
    unreachable === undefined || unreachable.isGone
      ? []
      : [
          {
            id: 'guest-hidden',
            severity: 'warning',
            line: `'${guest}' cannot be looked into: ${unreachable.message}`,
            evidence: `${record.ifname} on ${record.hostif}`,
            advice: unreachable.hint,
            about: [record.hostif, guest],
          },
        ],
  )
}
