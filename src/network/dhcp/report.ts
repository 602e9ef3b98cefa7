import type { LeaseReport } from '../../model/report'
import type { LinkRecord } from '../../state/record'
import type { System } from '../../system/types'
import { type ClientState, clientDirectory, leaseExpiry, readClientState } from './state'

function leaseState({ client, lease, isRunning, isLost }: ClientState, now: number): LeaseReport['state'] {
  const isOver = lease === undefined || isLost || leaseExpiry(lease) <= now
  if (isRunning) return isOver ? 'lost' : 'kept'
  return client.once && !isOver ? 'once' : 'ended'
}

function toLeaseReport(tenant: ClientState): LeaseReport {
  const { client, lease } = tenant
  const state = leaseState(tenant, Date.now() / 1000)
  const expiry = lease === undefined ? Number.POSITIVE_INFINITY : leaseExpiry(lease)
  return {
    family: client.family,
    client: client.program === 'image' ? 'busybox image' : client.program,
    address: lease === undefined || state === 'lost' ? null : `${lease.ip}/${lease.prefix}`,
    router: lease?.router ?? null,
    server: lease?.server || null,
    dns: lease?.dns ?? [],
    expires: Number.isFinite(expiry) ? new Date(expiry * 1000).toISOString() : null,
    state,
  }
}

/** The leases of an attachment; none where it has typed addresses only. */
export function readLeaseReports(
  { guest, ifname }: Pick<LinkRecord, 'guest' | 'ifname'>,
  system: System,
): readonly LeaseReport[] {
  return ([4, 6] as const).flatMap((family) => {
    const tenant = readClientState(clientDirectory(guest, ifname, family), system)
    return tenant === undefined ? [] : [toLeaseReport(tenant)]
  })
}
