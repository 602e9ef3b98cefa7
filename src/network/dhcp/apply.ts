import { isOnLink } from '../../model/address'
import { PipeworkError } from '../../model/errors'
import { type BatchLine, batchLine, type IpCommand, ip, type Result, toLine } from '../../plan/step'
import { readHostSide } from '../../state/attachments'
import { type GuestState, readGuest } from '../../state/guest'
import { encodeRecord, type LinkRecord } from '../../state/record'
import { type Ahead, createAhead } from '../../system/ahead'
import type { Host, Interrupt, Pin } from '../../system/types'
import { readNews } from './parse-lease'
import { type Client, keeperOf, type Lease, type LeasedRoute, readTenant, type Tenant, whoIs } from './state'

/** Seconds between two looks whether the client still runs, and for a lock that somebody has. */
const POLL = 0.05
/** Milliseconds for which what was seen of a guest counts as what is there: nobody else is at the interface meanwhile. */
const FRESH = 1000
/** The number that `ip route` shows as dhcp. */
const PROTOCOL = '16'

const now = () => Math.floor(Date.now() / 1000)
const OK: Result = { code: 0, stdout: '', stderr: '' }

/** What a lease is applied with. */
interface Place {
  readonly tenant: Tenant
  readonly pin: Pin
  readonly host: Host
  /** Where an `ip` may wait for the lines that are for the guest, and for the host. */
  readonly aheads: { readonly guest: Ahead; readonly host: Ahead }
  /** The inside of the guest. */
  look(): Promise<GuestState>
}

function openTenant(directory: string, host: Host): Tenant {
  const tenant = readTenant(directory, host)
  if (tenant === undefined) throw new PipeworkError(`there is no DHCP client in '${directory}'`)
  return tenant
}

/** Runs the action where the guest's namespace has a name. The keeper holds it open, whatever became of the guest. */
async function inNamespace<T>(tenant: Tenant, host: Host, action: (place: Place) => Promise<T>): Promise<T> {
  const keeper = keeperOf(tenant.directory, host)
  if (keeper === undefined) throw new PipeworkError(`the DHCP client of '${tenant.client.ifname}' has ended`)
  const pin = host.pin(`/proc/${keeper}/fd/9`)
  const aheads = { guest: createAhead(host), host: createAhead(host) }
  try {
    if (pin.inode !== tenant.client.netns) throw new PipeworkError(`'${tenant.client.ifname}' is in another namespace`)
    return await action({ tenant, pin, host, aheads, look: () => readGuest(pin.netns, host) })
  } finally {
    aheads.guest.dismiss()
    aheads.host.dismiss()
    pin.release()
  }
}

// --- the first lease --------------------------------------------------------------------------------------------------

/** Waits until the client has an address, and gives it to the link: exit status 1, and why, when that comes to nothing. */
export async function awaitLease(
  directory: string,
  { limit, interrupt }: { readonly limit: number; readonly interrupt: Interrupt },
  host: Host,
): Promise<Result> {
  const deadline = host.elapsed() + limit * 1000
  const hasEnded = () => host.read(`${directory}/failed`) !== undefined || keeperOf(directory, host) === undefined
  const giveUp = (why: string): Result => ({ code: 1, stdout: host.read(`${directory}/log`) ?? '', stderr: why })
  if (hasEnded()) return giveUp('ended')
  const changes = host.watch(directory)
  try {
    return await inNamespace(openTenant(directory, host), host, async (place) => {
      const ready = makeReady(place)
      for (;;) {
        const text = host.read(`${directory}/event`)
        const news = text === undefined ? undefined : readNews(text, now())
        if (news?.kind === 'leased') {
          await giveLease(news.lease, ready)
          host.save(`${directory}/event`, undefined)
          return OK
        }
        if (interrupt.heard) throw new PipeworkError('interrupted')
        if (hasEnded()) return giveUp('ended')
        if (host.elapsed() >= deadline) return giveUp('')
        await changes.next(POLL)
      }
    })
  } finally {
    changes.close()
  }
}

/** While client and server speak, what it takes to give the lease to the link is started, and the guest looked at. */
function makeReady(place: Place): Place {
  const { aheads, pin, host } = place
  const began = host.elapsed()
  const seen = place.look()
  // Whoever looks is told.
  seen.catch(() => {})
  aheads.guest.start(pin.netns)
  aheads.host.start()
  return { ...place, look: () => (host.elapsed() - began < FRESH ? seen : place.look()) }
}

// --- later --------------------------------------------------------------------------------------------------------------

/** What the keeper calls for: the client has news of its lease. */
export async function applyNews(directory: string, host: Host): Promise<void> {
  const tenant = openTenant(directory, host)
  const news = readNews(host.read(`${directory}/taken`) ?? '', now())
  if (news.kind === 'none') return
  const unlock = await lock(tenant.client, host)
  try {
    await inNamespace(tenant, host, async (place) => {
      if (news.kind === 'leased') await giveLease(news.lease, place)
      else await loseLease(place)
    })
  } finally {
    unlock()
  }
}

/** Seconds that news wait for an attach that is at the same interface. */
const LOCK_LIMIT = 60

/** The lock of an attach: neither shall find what the other has half done. */
async function lock({ netns, ifname }: Client, host: Host): Promise<() => void> {
  const deadline = host.elapsed() + LOCK_LIMIT * 1000
  for (;;) {
    const unlock = host.lock(`${netns}-${ifname}`)
    if (unlock !== undefined) return unlock
    if (host.elapsed() >= deadline)
      throw new PipeworkError(`another pipework has been at '${ifname}' for ${LOCK_LIMIT} s`)
    await host.sleep(POLL)
  }
}

/** The lease is no more: what came with it goes. The client asks again for as long as it runs. */
async function loseLease(place: Place): Promise<void> {
  const { tenant, host } = place
  host.save(`${tenant.directory}/lost`, `${now()}`)
  await takeLease(place)
}

/** Takes the lease from the link: its address, and its routes where these do not go with that. */
async function takeLease(place: Place): Promise<void> {
  const { client, lease } = place.tenant
  if (lease === undefined) return
  const state = await place.look()
  const live = state.links.find(({ name }) => name === client.ifname)
  const isThere = live?.addresses.some((it) => it.ip === lease.ip && it.prefix === lease.prefix) ?? false
  const lines = isThere ? [batchLine`addr del ${lease.ip}/${lease.prefix} dev ${client.ifname}`] : []
  await send(lines, toRecordLine(undefined, state, place), place)
}

/** Gives back what a client was given, and ends it: the inverse of a first lease. */
export async function dropLease(directory: string, host: Host): Promise<Result> {
  const tenant = readTenant(directory, host)
  if (tenant?.lease === undefined || !tenant.isKept) return OK
  await inNamespace(tenant, host, async (place) => {
    await host.run(['sh', `${directory}/keep`, '--stop'])
    const self = ['nsenter', `--net=/run/netns/${place.pin.netns}`, ...host.program]
    await host.run([...self, '__dhcp', 'release', directory])
    await takeLease(place)
  })
  host.save(`${directory}/lease`, undefined)
  return OK
}

// --- the link -----------------------------------------------------------------------------------------------------------

/** Makes the link what the lease says, and writes it down. */
async function giveLease(lease: Lease, place: Place): Promise<void> {
  const { tenant, pin, host, look } = place
  const { directory, client } = tenant
  const state = await look()
  const lines = toLines(lease, tenant, state).map((command) => toLine(command, { netns: pin.netns, pid: host.pid }))
  const { code, stderr } = await send(lines, toRecordLine(lease, state, place), place)
  if (code !== 0) {
    await send([], toRecordLine(tenant.lease, await readGuest(pin.netns, host), place), place)
    throw new PipeworkError(`the lease of ${lease.ip} could not be given to '${client.ifname}': ${stderr.trim()}`)
  }
  if (client.resolvConf !== undefined) await writeDns(lease, client.resolvConf, host)
  host.save(`${directory}/lease`, JSON.stringify(lease))
  host.save(`${directory}/lost`, undefined)
  host.save(`${directory}/renew`, toHaste(lease, client))
}

/** Lines for the guest and the record of its link, side by side; answers what became of those for the guest. */
async function send(lines: readonly BatchLine[], record: RecordLine | undefined, place: Place): Promise<Result> {
  const { pin, aheads } = place
  const inGuest = record?.in === 'guest' ? [...lines, record.line] : lines
  const [result] = await Promise.all([
    inGuest.length === 0 ? OK : aheads.guest.send(pin.netns, inGuest),
    record?.in === 'host' && aheads.host.send(undefined, [record.line]),
  ])
  return result
}

/** Seconds of a lease below which a client asks too late for more: busybox waits for fourteen of ten, dhcpcd for ten. */
const SHORT: Readonly<Record<Client['program'], number>> = { udhcpc: 60, image: 60, dhcpcd: 20, dhclient: 0 }

/** After how many looks of the keeper, two in a second, a client is told to renew a short lease: at half its time. */
function toHaste({ seconds = Number.POSITIVE_INFINITY }: Lease, { program, family }: Client): string | undefined {
  const isLate = family === 4 && seconds < SHORT[program]
  return isLate ? `${Math.max(1, seconds)}` : undefined
}

/** What `ip` is told: the old address goes before the new one comes, which would be its secondary and go with it. */
function toLines(lease: Lease, { client, lease: old }: Tenant, { links, routes }: GuestState): readonly IpCommand[] {
  const { ifname } = client
  const live = links.find(({ name }) => name === ifname)
  if (live === undefined) throw new PipeworkError(`the interface '${ifname}' is gone`)
  const has = (it: Lease) => live.addresses.some(({ ip: own, prefix }) => own === it.ip && prefix === it.prefix)
  const isMoved = old !== undefined && (old.ip !== lease.ip || old.prefix !== lease.prefix) && has(old)
  const lasts = client.once || lease.seconds === undefined ? 'forever' : `${lease.seconds}`
  const wanted = listRoutes(lease, client)
  const stale =
    isMoved || old === undefined
      ? []
      : listRoutes(old, client).filter((it) => !wanted.some(({ dst }) => dst === it.dst))
  const isOthers = ({ dst }: LeasedRoute) =>
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
    // An address that outlives its lease may be somebody else's: the kernel takes it away, should we not be there to.
    ip`addr replace ${lease.ip}/${lease.prefix} ${client.family === 4 && ['brd', '+']} dev ${ifname} valid_lft ${lasts} preferred_lft ${lasts}`,
    ...stale.flatMap(({ dst }) =>
      routes.some((it) => it.dev === ifname && it.dst === dst) ? [ip`route del ${dst} dev ${ifname}`] : [],
    ),
    // The server is not to take over what goes over another interface.
    ...wanted.filter((route) => !isOthers(route)).flatMap((route) => toRouteLines(route, lease, client)),
    ...(has(lease) || client.family === 6 || live.kind === 'ipvlan' || live.kind === 'ipoib'
      ? []
      : [ip`link set dev ${ifname} address ${live.mac}`]),
  ]
}

function listRoutes({ router, routes }: Lease, { defaultRoute }: Client): readonly LeasedRoute[] {
  return [...routes, ...(defaultRoute && router !== undefined ? [{ dst: 'default', via: router }] : [])]
}

function toRouteLines({ dst, via }: LeasedRoute, lease: Lease, { ifname, metric }: Client): readonly IpCommand[] {
  const isFar = via !== undefined && !isOnLink({ family: 4, ip: lease.ip, prefix: lease.prefix }, via)
  const preference = dst === 'default' && metric !== undefined && ['metric', `${metric}`]
  return [
    ...(isFar ? [ip`route replace ${via}/32 dev ${ifname} proto ${PROTOCOL}`] : []),
    ip`route replace ${dst} ${via !== undefined && ['via', via]} dev ${ifname} proto ${PROTOCOL} ${preference}`,
  ]
}

/** The addresses of a link's record, with those of the lease in the place of an earlier one's. */
function withLease(record: LinkRecord, lease: Lease | undefined, { family, defaultRoute }: Client): LinkRecord {
  const others = record.addresses?.filter((it) => !(it.leased && it.family === family))
  if (lease === undefined || others === undefined) return { ...record, addresses: others }
  const { ip: address, prefix, router } = lease
  const gateway = defaultRoute && router !== undefined ? { gateway: router } : {}
  return { ...record, addresses: [...others, { family, ip: address, prefix, ...gateway, leased: true }] }
}

/** What writes a record, and where. */
interface RecordLine {
  readonly in: 'host' | 'guest'
  readonly line: BatchLine
}

/** Writes on the link what it has now: on the host's end, or on the link in the guest where that has the record. */
function toRecordLine(
  lease: Lease | undefined,
  { links }: GuestState,
  { tenant: { client }, host }: Place,
): RecordLine | undefined {
  const isOurs = ({ guest, ifname }: LinkRecord) => ifname === client.ifname && whoIs(guest) === whoIs(client.guest)
  const end = readHostSide(host).find(({ record }) => isOurs(record))
  const link = links.find(({ name }) => name === client.ifname)
  const [dev, record] = end === undefined ? [client.ifname, link?.record] : [end.hostEnd.name, end.record]
  if (record?.kind !== 'link' || !isOurs(record)) return undefined
  const alias = encodeRecord(withLease(record, lease, client))
  if (alias === (end ?? link)?.alias) return undefined
  return { in: end === undefined ? 'guest' : 'host', line: batchLine`link set dev ${dev} alias ${alias}` }
}

/** Into the guest's own file, in its place: containers have it mounted, and another file of that name is not theirs. */
async function writeDns({ dns, domain }: Lease, path: string, host: Host): Promise<void> {
  if (dns.length === 0) return
  const lines = [...(domain === undefined ? [] : [`search ${domain}`]), ...dns.map((server) => `nameserver ${server}`)]
  host.overwrite(path, `${lines.join('\n')}\n`)
}
