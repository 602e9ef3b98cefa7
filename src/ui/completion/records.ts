import { readOurLinks } from '../../state/host-links'
import { formatGuest, type LinkRecord } from '../../state/record'
import type { Host } from '../../system/types'
import type { Candidate } from './candidate'

/** The records on the host's links: what is attached, as far as everybody may know. */
export function listRecords(host: Host): readonly LinkRecord[] {
  return readOurLinks(host).flatMap(({ record }) => (record?.kind === 'link' ? [record] : []))
}

/** The guests with an attachment, as one types them. */
export function listAttached(host: Host): readonly Candidate[] {
  return toGuests(listRecords(host))
}

/** The guests that records speak of, each with what it has. */
export function toGuests(records: readonly LinkRecord[]): readonly Candidate[] {
  const names = [...new Set(records.map(({ guest }) => formatGuest(guest)))]
  return names.map((value) => {
    const own = records.filter(({ guest }) => formatGuest(guest) === value)
    return { value, text: own.map(({ ifname, hostif }) => `${ifname} on ${hostif}`).join(', ') }
  })
}
