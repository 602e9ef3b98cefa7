import { formatAddress } from '../model/address'
import type { AttachmentReport } from '../model/report'
import type { LinkRecord } from '../state/record'

/** A record and the state of its link, joined. */
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
