import type { LeaseReport } from '../../model/report'
import type { LinkRecord } from '../../state/record'
import type { System } from '../../system/types'
import { bootSeconds, type ClientState, clientDirectory, isExpired, leaseExpiry, readClientState } from './state'

function leaseState({ client, lease, isRunning, isLost }: ClientState, system: System): LeaseReport['state'] {
  const isOver = lease === undefined || isLost || isExpired(lease, system)
  if (isRunning) return isOver ? 'lost' : 'kept'
  return client.once && !isOver ? 'once' : 'ended'
}

function toLeaseReport(clientState: ClientState, system: System): LeaseReport {
  const { client, lease } = clientState
  const state = leaseState(clientState, system)
  const secondsLeft = lease === undefined ? Number.POSITIVE_INFINITY : leaseExpiry(lease) - bootSeconds(system)
  return {
    family: client.family,
    client: client.program === 'image' ? 'busybox image' : client.program,
    address: lease === undefined || state === 'lost' ? null : `${lease.ip}/${lease.prefix}`,
    router: lease?.router ?? null,
    server: lease?.server || null,
    dns: lease?.dns ?? [],
    expires: Number.isFinite(secondsLeft) ? new Date(system.now() + secondsLeft * 1000).toISOString() : null,
    state,
  }
}

/** The leases of an attachment. */
export function readLeaseReports(
  { guest, ifname }: Pick<LinkRecord, 'guest' | 'ifname'>,
  system: System,
): readonly LeaseReport[] {
  return ([4, 6] as const).flatMap((family) => {
    const state = readClientState(clientDirectory(guest, ifname, family), system)
    return state === undefined ? [] : [toLeaseReport(state, system)]
  })
}
