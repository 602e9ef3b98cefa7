import type { PipeworkError } from '../model/errors'
import { hostServicesOf, needsForwarding, needsHostServices } from '../model/host-services'
import type { AttachmentReport, LeaseReport, Warning } from '../model/report'
import { DHCP_DIR } from '../network/dhcp/state'
import { type ExistingAttachment, scanAttachments } from '../state/attachments'
import type { LinkRecord } from '../state/record'
import type { System } from '../system/types'
import { toAttachmentReport } from './attachment-report'

/** The readable attachments, and an error when some are unreadable. */
export interface AttachmentList {
  readonly attachments: readonly AttachmentReport[]
  readonly error?: PipeworkError
}

/** Reads all attachments of this host. */
export async function listAttachments(system: System): Promise<AttachmentList> {
  const { attachments: all, error } = await scanAttachments(system)
  const [readLeases, lacking, barred] = await Promise.all([
    createLeaseReader(system),
    findMissingServices(all, system),
    findFirewallDrops(all, system),
  ])
  const attachments = all
    .map((attached) => {
      const { record, hostEnd, inGuest } = attached
      const [missing, firewall] = [lacking.get(attached), barred.get(attached)]
      return {
        ...toAttachmentReport(record, hostEnd ?? inGuest, hostEnd?.name),
        ...(record.sources === undefined ? {} : { leases: readLeases(record) }),
        ...(missing === undefined ? {} : { missing }),
        ...(firewall === undefined ? {} : { firewall }),
      }
    })
    .sort((a, b) => compareCodeUnits(a.guest.name, b.guest.name) || compareCodeUnits(a.ifname, b.ifname))
  return { attachments, error }
}

/** Returns a reader for leases. Also removes the state of DHCP clients that no longer run. */
export async function createLeaseReader(system: System): Promise<(record: LinkRecord) => readonly LeaseReport[]> {
  if (!system.isRoot || (system.list(DHCP_DIR) ?? []).length === 0) return () => []
  const [{ readLeaseReports }, { cleanUpDhcpClients }] = await Promise.all([
    import('../network/dhcp/report'),
    import('../network/dhcp/cleanup'),
  ])
  await cleanUpDhcpClients(system)
  return (record) => readLeaseReports(record, system)
}

/** The missing host services of each attachment; reads nothing when no attachment has any. */
export async function findMissingServices(
  all: readonly ExistingAttachment[],
  system: System,
): Promise<ReadonlyMap<ExistingAttachment, readonly string[]>> {
  if (!system.isRoot || !all.some(({ record }) => needsHostServices(hostServicesOf(record)))) return new Map()
  const [{ readCurrentState }, { listMissingServices }] = await Promise.all([
    import('../network/host-services/current'),
    import('../network/host-services'),
  ])
  const live = await readCurrentState(system)
  const entries = all.map((attached) => [attached, listMissingServices(attached, live, system)] as const)
  return new Map(entries.filter(([, missing]) => missing.length > 0))
}

/**
 * The firewall rules that drop an attachment's forwarded traffic; reads nothing when no attachment needs forwarding.
 */
export async function findFirewallDrops(
  all: readonly ExistingAttachment[],
  system: System,
): Promise<ReadonlyMap<ExistingAttachment, Warning>> {
  if (!system.isRoot || !all.some(({ record }) => needsForwarding(hostServicesOf(record)))) return new Map()
  const [{ readRuleset }, { listBlockedForwarding }] = await Promise.all([
    import('../firewall/read'),
    import('../network/host-services'),
  ])
  return listBlockedForwarding(all, await readRuleset(system), system)
}

/** Compares by code units, so that the order does not depend on the locale. */
function compareCodeUnits(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
