import { parseRecordSharing } from '../model/attach-options'
import { parseGuestName } from '../model/guest-name'
import { parseRecordVlans } from '../model/request'
import { findGuest, holdGuestNetns } from '../runtimes/find'
import type { ExistingAttachment } from '../state/attachments'
import { findMacvlanParent, type GuestLink, readGuestState } from '../state/guest'
import { findLinkByIndex } from '../state/host-links'
import type { LinkRecord } from '../state/record'
import { readSavedNic } from '../state/saved-link'
import type { System } from '../system/types'

/** Options that only affect the inside of a guest, which root in the guest could set as well. */
const GUEST_ONLY_OPTIONS =
  /^--(mtu=|metric=|no-default-route$|route=|policy-route$|tx-offload=|dhcp-timeout=|dhcp-once$)/

/**
 * The reason to distrust the record of a link without a host end: the guest can write such a record, `save` copies it,
 * and `up` runs it as root. So the record must describe the actual link on its actual parent, and must request nothing
 * else of the host.
 */
export async function validateGuestRecord(
  { record, hostEnd, inGuest }: ExistingAttachment,
  system: System,
): Promise<string | undefined> {
  if (hostEnd !== undefined || inGuest === undefined) return undefined
  return validateRecordedLink(record, inGuest, system) ?? (await validateRecordedGuest(record, inGuest, system))
}

function validateRecordedLink(record: LinkRecord, link: GuestLink, system: System): string | undefined {
  const { sources = [], uplink, nic, hostif } = record
  if (uplink !== undefined) return 'an uplink is not for such a link'
  if (sources.some((word) => word.includes(':'))) return 'it gives options to a DHCP client, which runs on the host'
  if (nic !== undefined) return validateRecordedNic(record, system)
  if (link.kind === 'macvlan' || link.kind === 'ipvlan') return validateRecordedMacvlan(record, link, system)
  const isThere = link.kind === 'ipoib' && findLinkByIndex(link.peerIndex, system)?.name === hostif
  if (!isThere && (link.kind !== 'dummy' || hostif !== 'dummy')) return `it is not on ${hostif}`
  return findDisallowedOption(record, [])
}

/** The first option that is neither in `fitting` nor limited to the inside of the guest. */
function findDisallowedOption({ words }: LinkRecord, fitting: readonly string[]): string | undefined {
  const word = words.find((it) => it.startsWith('--') && !GUEST_ONLY_OPTIONS.test(it) && !fitting.includes(it))
  return word && `${word} is not for such a link`
}

function validateRecordedNic(record: LinkRecord, system: System): string | undefined {
  const { nic = '', hostif, guest } = record
  const isHis = nic === hostif && readSavedNic(nic, system)?.guest === `${guest.kind}:${guest.name}`
  return isHis ? findDisallowedOption(record, ['--direct-phys']) : `${nic} was not moved there`
}

/** Checks a macvlan or ipvlan: parent, VLAN and mode must be those of the link. */
function validateRecordedMacvlan(
  record: LinkRecord,
  { kind, mode = '', ...link }: GuestLink,
  system: System,
): string | undefined {
  const { words, hostif } = record
  const lower = findMacvlanParent({ ...link, kind }, system)?.name ?? ''
  const id = /\bVID: (\d+)/.exec(system.read(`/proc/net/vlan/${lower}`) ?? '')?.[1]
  const isVlan = id !== undefined && system.inode(`/sys/class/net/${lower}/lower_${hostif}`) !== undefined
  if (lower !== hostif && !isVlan) return `it is not on ${hostif}`
  const vlan = lower === hostif ? undefined : id
  if (`${parseRecordVlans(words)?.native}` !== `${vlan}`)
    return vlan === undefined ? 'it is in no VLAN' : `it is in VLAN ${vlan}`
  const sharing = parseRecordSharing(words)
  if (sharing.kind !== kind || sharing.mode !== mode) return `it is a ${kind} in the mode ${mode}`
  const isReached = (system.list(`/sys/class/net/${lower}`) ?? []).some((it) => it.startsWith('upper_pw-'))
  return findDisallowedOption(record, [`--kind=${kind}`, `--mode=${mode}`, ...(isReached ? ['--host-access'] : [])])
}

/** Checks that the link is in the recorded guest. */
async function validateRecordedGuest(
  { guest }: LinkRecord,
  link: GuestLink,
  system: System,
): Promise<string | undefined> {
  const pin = holdGuestNetns(await findGuest(parseGuestName(`${guest.kind}:${guest.name}`), system), system)
  try {
    const { links } = await readGuestState(pin.netns, system)
    const isHere = links.some(({ ifindex, alias }) => ifindex === link.ifindex && alias === link.alias)
    return isHere ? undefined : 'no such link is there'
  } finally {
    pin.release()
  }
}
