import { sharingOf } from '../model/attach-options'
import { parseGuest } from '../model/guest-name'
import { vlansOf } from '../model/request'
import { findGuest, pinGuest } from '../runtimes/find'
import { findLower, type GuestLink, readGuest } from '../state/guest'
import { findByIndex } from '../state/host-links'
import type { LinkRecord } from '../state/record'
import { readNic } from '../state/saved-link'
import type { Host } from '../system/types'
import type { Attached } from './detach/plan'

/** Options that concern the inside of a guest only, which it may as well do by itself. */
const INSIDE = /^--(mtu=|metric=|no-default-route$|route=|policy-route$|tx-offload=|dhcp-timeout=|dhcp-once$)/

/**
 * Why the record of a link inside a guest is not believed: the guest may have written it, and who saves it gives it to
 * `up`, which root runs. So it must say what the link is, on the interface of the host that it hangs on, and ask for
 * nothing of the host beside.
 */
export async function findDoubt({ record, hostEnd, inGuest }: Attached, host: Host): Promise<string | undefined> {
  if (hostEnd !== undefined || inGuest === undefined) return undefined
  return findWrong(record, inGuest, host) ?? (await findStranger(record, inGuest, host))
}

function findWrong(record: LinkRecord, link: GuestLink, host: Host): string | undefined {
  const { sources = [], uplink, nic, hostif } = record
  if (uplink !== undefined) return 'an uplink is not for such a link'
  if (sources.some((word) => word.includes(':'))) return 'it gives options to a DHCP client, which runs on the host'
  if (nic !== undefined) return findWrongNic(record, host)
  if (link.kind === 'macvlan' || link.kind === 'ipvlan') return findWrongShare(record, link, host)
  const isThere = link.kind === 'ipoib' && findByIndex(link.peerIndex, host)?.name === hostif
  if (!isThere && (link.kind !== 'dummy' || hostif !== 'dummy')) return `it is not on ${hostif}`
  return findForeign(record, [])
}

/** A word that is none of these, and does not concern the inside only. */
function findForeign({ words }: LinkRecord, fitting: readonly string[]): string | undefined {
  const word = words.find((it) => it.startsWith('--') && !INSIDE.test(it) && !fitting.includes(it))
  return word && `${word} is not for such a link`
}

function findWrongNic(record: LinkRecord, host: Host): string | undefined {
  const { nic = '', hostif, guest } = record
  const isHis = nic === hostif && readNic(nic, host)?.guest === `${guest.kind}:${guest.name}`
  return isHis ? findForeign(record, ['--direct-phys']) : `${nic} was not moved there`
}

/** A macvlan or ipvlan: what it hangs on, its VLAN and its mode are those of the link. */
function findWrongShare(record: LinkRecord, { kind, mode = '', ...link }: GuestLink, host: Host): string | undefined {
  const { words, hostif } = record
  const lower = findLower({ ...link, kind }, host)?.name ?? ''
  const id = /\bVID: (\d+)/.exec(host.read(`/proc/net/vlan/${lower}`) ?? '')?.[1]
  const isVlan = id !== undefined && host.inode(`/sys/class/net/${lower}/lower_${hostif}`) !== undefined
  if (lower !== hostif && !isVlan) return `it is not on ${hostif}`
  const vlan = lower === hostif ? undefined : id
  if (`${vlansOf(words)?.native}` !== `${vlan}`)
    return vlan === undefined ? 'it is in no VLAN' : `it is in VLAN ${vlan}`
  const sharing = sharingOf(words)
  if (sharing.kind !== kind || sharing.mode !== mode) return `it is a ${kind} in the mode ${mode}`
  const isReached = (host.list(`/sys/class/net/${lower}`) ?? []).some((it) => it.startsWith('upper_pw-'))
  return findForeign(record, [`--kind=${kind}`, `--mode=${mode}`, ...(isReached ? ['--host-access'] : [])])
}

/** Whether the link is in the guest that the record names. */
async function findStranger({ guest }: LinkRecord, link: GuestLink, host: Host): Promise<string | undefined> {
  const pin = pinGuest(await findGuest(parseGuest(`${guest.kind}:${guest.name}`), host), host)
  try {
    const { links } = await readGuest(pin.netns, host)
    const isHere = links.some(({ ifindex, alias }) => ifindex === link.ifindex && alias === link.alias)
    return isHere ? undefined : 'no such link is there'
  } finally {
    pin.release()
  }
}
