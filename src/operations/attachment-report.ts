import { formatAddress } from '../model/address'
import type { AttachmentReport } from '../model/report'
import { formatUplinkSpec } from '../model/uplink'
import { DEFAULT_MTU } from '../state/host-links'
import type { LinkRecord } from '../state/record'
import type { System } from '../system/types'
import { type AttachPlan, findCurrentHostEnd } from './attach'

/** Joins a record with the state of its link. */
export function toAttachmentReport(
  record: LinkRecord,
  link: { mtu: number; up: boolean } | undefined,
  hostEnd?: string,
): AttachmentReport {
  return {
    guest: record.guest,
    ifname: record.ifname,
    addresses: record.addresses?.map(formatAddress) ?? null,
    hostif: record.hostif,
    uplink: record.uplink,
    sources: record.sources,
    words: record.words,
    hostEnd: hostEnd ?? null,
    mtu: link?.mtu ?? 0,
    state: record.nic !== undefined && hostEnd !== undefined ? 'stray' : link?.up ? 'up' : 'down',
  }
}

/** Describes the attachment as it is now. */
export function describeAttachment(attachPlan: AttachPlan, system: System): AttachmentReport {
  const { request, guest, facts } = attachPlan
  const { ifname, hostif, addresses, words } = request
  const record: LinkRecord = {
    kind: 'link',
    guest: { kind: guest.kind, name: guest.name, id: guest.id },
    ifname,
    hostif,
    addresses,
    words,
    previous: [],
    uplink: request.uplink === undefined ? undefined : formatUplinkSpec(request.uplink),
    sources: request.sources.length === 0 ? undefined : request.sources.map(({ typed }) => typed),
  }
  const link = { mtu: request.mtu ?? facts.hostif?.mtu ?? DEFAULT_MTU, up: true }
  return toAttachmentReport(record, link, findCurrentHostEnd(attachPlan, system)?.name)
}
