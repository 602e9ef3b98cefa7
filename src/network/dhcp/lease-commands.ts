import { isOnLink } from '../../model/address'
import { PipeworkError } from '../../model/errors'
import { type IpCommand, ip } from '../../plan/step'
import { readHostAttachments } from '../../state/attachments'
import type { GuestState } from '../../state/guest'
import { encodeRecord, type LinkRecord } from '../../state/record'
import { type BatchLine, batchLine } from '../../system/batch'
import type { System } from '../../system/types'
import { type ClientState, type DhcpClientSpec, guestKey, type Lease, type LeasedRoute } from './state'

/** RTPROT_DHCP. */
const ROUTE_PROTO_DHCP = '16'

/** The `ip` commands of a lease. The old address goes first: a new one in its subnet would be its secondary. */
export function planLeaseCommands(
  lease: Lease,
  { client, lease: old }: ClientState,
  { links, routes }: GuestState,
): readonly IpCommand[] {
  const { ifname } = client
  const live = links.find(({ name }) => name === ifname)
  if (live === undefined) throw new PipeworkError(`the interface '${ifname}' is gone`)
  const has = (it: Lease) => live.addresses.some(({ ip: own, prefix }) => own === it.ip && prefix === it.prefix)
  const isMoved = old !== undefined && (old.ip !== lease.ip || old.prefix !== lease.prefix) && has(old)
  const lasts = client.once || lease.seconds === undefined ? 'forever' : `${lease.seconds}`
  const wanted = listLeaseRoutes(lease, client)
  const stale =
    isMoved || old === undefined
      ? []
      : listLeaseRoutes(old, client).filter((it) => !wanted.some(({ dst }) => dst === it.dst))
  const isOtherDevs = ({ dst }: LeasedRoute) =>
    dst !== 'default' &&
    routes.some(
      (it) =>
        it.family === 4 &&
        `${it.dst}${it.dst.includes('/') ? '' : '/32'}` === dst &&
        it.dev !== ifname &&
        it.metric === 0,
    )
  return [
    ...(isMoved ? [ip`addr del ${old.ip}/${old.prefix} dev ${ifname}`] : []),
    ...(lease.mtu !== undefined && lease.mtu !== live.mtu ? [ip`link set dev ${ifname} mtu ${lease.mtu}`] : []),
    // The kernel removes the address at the end of the lease, even if pipework does not run then.
    ip`addr replace ${lease.ip}/${lease.prefix} ${client.family === 4 && ['brd', '+']} dev ${ifname} valid_lft ${lasts} preferred_lft ${lasts}`,
    ...stale.flatMap(({ dst }) =>
      routes.some((it) => it.dev === ifname && it.dst === dst) ? [ip`route del ${dst} dev ${ifname}`] : [],
    ),
    // A lease must not take over routes of other interfaces.
    ...wanted.filter((route) => !isOtherDevs(route)).flatMap((route) => planLeaseRoute(route, lease, client)),
    ...(has(lease) || client.family === 6 || live.kind === 'ipvlan' || live.kind === 'ipoib'
      ? []
      : [ip`link set dev ${ifname} address ${live.mac}`]),
  ]
}

function listLeaseRoutes({ router, routes }: Lease, { defaultRoute }: DhcpClientSpec): readonly LeasedRoute[] {
  return [...routes, ...(defaultRoute && router !== undefined ? [{ dst: 'default', via: router }] : [])]
}

function planLeaseRoute(
  { dst, via }: LeasedRoute,
  lease: Lease,
  { ifname, metric }: DhcpClientSpec,
): readonly IpCommand[] {
  const isFar = via !== undefined && !isOnLink({ family: 4, ip: lease.ip, prefix: lease.prefix }, via)
  const preference = dst === 'default' && metric !== undefined && ['metric', `${metric}`]
  return [
    ...(isFar ? [ip`route replace ${via}/32 dev ${ifname} proto ${ROUTE_PROTO_DHCP}`] : []),
    ip`route replace ${dst} ${via !== undefined && ['via', via]} dev ${ifname} proto ${ROUTE_PROTO_DHCP} ${preference}`,
  ]
}

/** The link record with the address of the lease. */
function withLeasedAddress(
  record: LinkRecord,
  lease: Lease | undefined,
  { family, defaultRoute }: DhcpClientSpec,
): LinkRecord {
  const others = record.addresses?.filter((it) => !(it.leased && it.family === family))
  if (lease === undefined || others === undefined) return { ...record, addresses: others }
  const { ip: address, prefix, router } = lease
  const gateway = defaultRoute && router !== undefined ? { gateway: router } : {}
  return { ...record, addresses: [...others, { family, ip: address, prefix, ...gateway, leased: true }] }
}

export interface RecordUpdate {
  readonly in: 'host' | 'guest'
  readonly line: BatchLine
}

/** Updates the link record, on the host end or on the link in the guest. */
export function planRecordUpdate(
  lease: Lease | undefined,
  { links }: GuestState,
  { clientState: { client }, system }: { readonly clientState: ClientState; readonly system: System },
): RecordUpdate | undefined {
  const isOurs = ({ guest, ifname }: LinkRecord) =>
    ifname === client.ifname && guestKey(guest) === guestKey(client.guest)
  const end = readHostAttachments(system).find(({ record }) => isOurs(record))
  const link = links.find(({ name }) => name === client.ifname)
  const [dev, record] = end === undefined ? [client.ifname, link?.record] : [end.hostEnd.name, end.record]
  if (record?.kind !== 'link' || !isOurs(record)) return undefined
  const alias = encodeRecord(withLeasedAddress(record, lease, client))
  if (alias === (end ?? link)?.alias) return undefined
  return { in: end === undefined ? 'guest' : 'host', line: batchLine`link set dev ${dev} alias ${alias}` }
}
