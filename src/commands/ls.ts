import { readAttachments } from '../attachments'
import type { Host } from '../host'
import type { LinkRecord } from '../record'
import { formatAttachments, type LeaseReport, toAttachment } from '../report'
import { LEASES } from '../sources'
import type { Call, Outcome } from './call'

/** Lists the attachments from the records on their links. */
export async function run({ host }: Call): Promise<Outcome> {
  const all = await readAttachments(host)
  const readLeases = await loadLeases(host)
  const attachments = all
    .map(({ record, hostEnd, inGuest }) => ({
      ...toAttachment(record, hostEnd ?? inGuest, hostEnd?.name),
      ...(record.sources === undefined ? {} : { leases: readLeases(record) }),
    }))
    .sort((a, b) => compare(a.guest.name, b.guest.name) || compare(a.ifname, b.ifname))
  return { text: formatAttachments(attachments), json: { ok: true, attachments }, wanted: true }
}

/** How leases are read, where there are any; those that nobody keeps any more are swept. */
async function loadLeases(host: Host): Promise<(record: LinkRecord) => readonly LeaseReport[]> {
  if (!host.isRoot || host.list(LEASES) === undefined) return () => []
  const [{ readLeases }, { sweepClients }] = await Promise.all([import('../dhcp/tell'), import('../dhcp/sweep')])
  await sweepClients(host)
  return (record) => readLeases(record, host)
}

/** By code units: the order of a locale takes 7 ms to load. */
function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
