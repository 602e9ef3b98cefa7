import type { Host } from '../host'
import { readHostLink } from '../hostlinks'
import type { LinkRecord } from '../record'
import { type Command, ip, type Plan, rows } from '../step'
import { fingerprint, isOnLink } from '../values'
import { directoryOf, expiryOf, listTenants, readTenant, type Tenant } from './client'
import { planEnd, planForget, planRelease } from './plan'

/** A link that goes, and the namespace that it is in, if that is still there. */
interface Departure {
  readonly record: LinkRecord
  /** The inode of the guest's namespace, when it can be reached. */
  readonly netns?: number
}

/** The plan that takes a link away, with what ends its clients before, and gives their addresses back. */
export function planDeparture(plan: Plan, { record, netns }: Departure, host: Host): Plan {
  const tenants = ([4, 6] as const).flatMap(
    (family) => readTenant(directoryOf(record.guest, record.ifname, family), host) ?? [],
  )
  const here = tenants.filter(({ client }) => client.netns === netns)
  return [
    ...tenants.flatMap(planEnd),
    ...here.flatMap((tenant) => planRelease(tenant, host.program)),
    ...plan,
    // Of a guest that is gone the lease is still to be given back, and its files say which.
    ...(netns === undefined ? [] : tenants.flatMap(planForget)),
  ]
}

/** What is left of clients whose link went with its guest. */
export interface Left {
  readonly tenant: Tenant
  readonly plan: Plan
  /** What is left to do where the lease cannot be given back: it runs out. */
  readonly forget: Plan
}

/** The leases of guests that are gone: of those that `isMeant` says, with the steps that give each back. */
export function listLeft(isMeant: (client: Tenant['client']) => boolean, host: Host): readonly Left[] {
  return listTenants(host)
    .filter(({ client, isKept }) => !isKept && isMeant(client))
    .map((tenant) => ({ tenant, plan: planLeft(tenant, host), forget: planForget(tenant) }))
}

function planLeft(tenant: Tenant, host: Host): Plan {
  const { lease } = tenant
  const isOver = lease === undefined || expiryOf(lease) <= Date.now() / 1000
  return [...(isOver ? [] : planStandIn(tenant, host)), ...planForget(tenant)]
}

/**
 * A lease is given back from the address that it is of. So a namespace stands in for the guest for a moment, with a link
 * like the one that it had; nothing else of the host is touched.
 */
function planStandIn(tenant: Tenant, host: Host): Plan {
  const { client, lease, directory } = tenant
  const below = readHostLink(client.hostif, host)
  // A port in a VLAN, or of Open vSwitch, is more than a moment's work: such a lease runs out.
  const isPlain = !client.wish.slice(1).some((word) => word.includes('@'))
  if (lease === undefined || below === undefined || !isPlain || client.family === 6) return []
  const key = fingerprint(directory).slice(0, 8)
  const [netns, end] = [`pipework-release-${key}`, `vrl${key}`]
  const inside = (words: readonly string[]) => ip`netns exec ${netns} ip ${words}`
  const { ifname, mac } = client
  const isFar = !isOnLink({ family: 4, ip: lease.ip, prefix: lease.prefix }, lease.server)
  const link =
    below.kind === 'bridge'
      ? ip`link add dev ${end} master ${below.name} type veth peer name ${ifname} address ${mac} netns ${netns}`
      : ip`link add link ${below.name} name ${ifname} address ${mac} netns ${netns} type macvlan mode bridge`
  const gone: Command = ip`netns del ${netns}`
  const release: Command = {
    kind: 'run',
    in: 'host',
    argv: ['ip', 'netns', 'exec', netns, ...host.program, '__dhcp', 'release', directory],
  }
  return rows(
    { why: `make a namespace that stands in for ${client.guest.name}`, command: ip`netns add ${netns}`, undo: gone },
    { why: `give it the ${ifname} that ${client.guest.name} had`, command: link },
    { why: 'with its address', command: inside(['addr', 'add', `${lease.ip}/${lease.prefix}`, 'dev', ifname]) },
    { why: 'up', command: inside(['link', 'set', 'dev', ifname, 'up']) },
    below.kind === 'bridge' && { why: 'its end in the host, too', command: ip`link set dev ${end} up` },
    isFar &&
      lease.router !== undefined && {
        why: 'and the way to the server',
        command: inside(['route', 'add', 'default', 'via', lease.router, 'dev', ifname]),
      },
    { why: `give ${lease.ip} back to the DHCP server ${lease.server}`, command: release },
    { why: `remove what stood in for ${client.guest.name}`, command: gone },
  )
}
