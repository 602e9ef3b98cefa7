import type { LinkRecord } from '../../state/record'
import type { Host } from '../../system/types'
import type { LeaseReport } from '../../ui/report'
import { directoryOf, expiryOf, readTenant, type Tenant } from './state'

function stateOf({ client, lease, isKept, isLost }: Tenant, now: number): LeaseReport['state'] {
  const isOver = lease === undefined || isLost || expiryOf(lease) <= now
  if (isKept) return isOver ? 'lost' : 'kept'
  return client.once && !isOver ? 'once' : 'ended'
}

function toReport(tenant: Tenant): LeaseReport {
  const { client, lease } = tenant
  const state = stateOf(tenant, Date.now() / 1000)
  const expiry = lease === undefined ? Number.POSITIVE_INFINITY : expiryOf(lease)
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
export function readLeases(
  { guest, ifname }: Pick<LinkRecord, 'guest' | 'ifname'>,
  host: Host,
): readonly LeaseReport[] {
  return ([4, 6] as const).flatMap((family) => {
    const tenant = readTenant(directoryOf(guest, ifname, family), host)
    return tenant === undefined ? [] : [toReport(tenant)]
  })
}
