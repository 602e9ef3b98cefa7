import { readRecordedLinks } from '../../state/host-links'
import { formatGuest, type LinkRecord } from '../../state/record'
import type { System } from '../../system/types'
import type { CompletionItem } from './candidate'

/** The records on the host's links, which every user can read. */
export function listHostRecords(system: System): readonly LinkRecord[] {
  return readRecordedLinks(system).flatMap(({ record }) => (record?.kind === 'link' ? [record] : []))
}

/** The guests with an attachment, as a user types them. */
export function listAttachedGuests(system: System): readonly CompletionItem[] {
  return toGuestItems(listHostRecords(system))
}

/** The guests in the records, each described by its attachments. */
export function toGuestItems(records: readonly LinkRecord[]): readonly CompletionItem[] {
  const names = [...new Set(records.map(({ guest }) => formatGuest(guest)))]
  return names.map((value) => {
    const own = records.filter(({ guest }) => formatGuest(guest) === value)
    return { value, text: own.map(({ ifname, hostif }) => `${ifname} on ${hostif}`).join(', ') }
  })
}
