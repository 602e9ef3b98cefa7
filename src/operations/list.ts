import { LEASES } from '../model/address-sources'
import { isConcerned, isForwarded, wishesOf } from '../model/host-services'
import { readAttachments } from '../state/attachments'
import type { LinkRecord } from '../state/record'
import type { Host } from '../system/types'
import { type Attachment, type LeaseReport, toAttachment, type Warning } from '../ui/report'
import type { Attached } from './detach/plan'

/** Every attachment of this host, as `ls` tells of it. */
export async function listAttachments(host: Host): Promise<readonly Attachment[]> {
  const all = await readAttachments(host)
  const leases = loadLeases(host)
  const [readLeases, lacking, barred] = await Promise.all([leases, readLacking(all, host), readBarred(all, host)])
  return all
    .map((attached) => {
      const { record, hostEnd, inGuest } = attached
      const [missing, firewall] = [lacking.get(attached), barred.get(attached)]
      return {
        ...toAttachment(record, hostEnd ?? inGuest, hostEnd?.name),
        ...(record.sources === undefined ? {} : { leases: readLeases(record) }),
        ...(missing === undefined ? {} : { missing }),
        ...(firewall === undefined ? {} : { firewall }),
      }
    })
    .sort((a, b) => compare(a.guest.name, b.guest.name) || compare(a.ifname, b.ifname))
}

/** How leases are read, where there are any; those that nobody keeps any more are swept. */
export async function loadLeases(host: Host): Promise<(record: LinkRecord) => readonly LeaseReport[]> {
  if (!host.isRoot || (host.list(LEASES) ?? []).length === 0) return () => []
  const [{ readLeases }, { sweepClients }] = await Promise.all([
    import('../network/dhcp/report'),
    import('../network/dhcp/cleanup'),
  ])
  await sweepClients(host)
  return (record) => readLeases(record, host)
}

/** What of the host's side of the attachments is not there; nobody is asked where none has more than a link. */
export async function readLacking(
  all: readonly Attached[],
  host: Host,
): Promise<ReadonlyMap<Attached, readonly string[]>> {
  if (!host.isRoot || !all.some(({ record }) => isConcerned(wishesOf(record)))) return new Map()
  const [{ readLive }, { listLacking }] = await Promise.all([
    import('../network/host-services/current'),
    import('../network/host-services'),
  ])
  const live = await readLive(host)
  const entries = all.map((attached) => [attached, listLacking(attached, live, host)] as const)
  return new Map(entries.filter(([, missing]) => missing.length > 0))
}

/** For which attachments somebody drops what this host is to forward; nobody is asked where it forwards nothing. */
export async function readBarred(all: readonly Attached[], host: Host): Promise<ReadonlyMap<Attached, Warning>> {
  if (!host.isRoot || !all.some(({ record }) => isForwarded(wishesOf(record)))) return new Map()
  const [{ readRuleset }, { listBarred }] = await Promise.all([
    import('../firewall/read'),
    import('../network/host-services'),
  ])
  return listBarred(all, await readRuleset(host), host)
}

/** By code units: the order of a locale takes 7 ms to load. */
function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
