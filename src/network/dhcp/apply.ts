import { isOnLink } from '../../model/address'
import { PipeworkError } from '../../model/errors'
import { type IpCommand, ip, toBatchLine } from '../../plan/step'
import { readHostAttachments } from '../../state/attachments'
import { type GuestState, readGuestState } from '../../state/guest'
import { encodeRecord, type LinkRecord } from '../../state/record'
import { type BatchLine, batchLine } from '../../system/batch'
import type { CommandResult, HeldNetns, Interrupt, System } from '../../system/types'
import { parseLeaseEvent } from './parse-lease'
import {
  type ClientState,
  type DhcpClientSpec,
  guestKey,
  type Lease,
  type LeasedRoute,
  readClientState,
  supervisorPid,
} from './state'

/** Seconds between two looks whether the client still runs, and for a lock that somebody has. */
const POLL_INTERVAL = 0.05
/** Milliseconds for which what was seen of a guest counts as what is there: nobody else is at the interface meanwhile. */
const GUEST_STATE_TTL = 1000
/** The number that `ip route` shows as dhcp. */
const ROUTE_PROTO_DHCP = '16'

const now = () => Math.floor(Date.now() / 1000)
const SUCCESS: CommandResult = { code: 0, stdout: '', stderr: '' }

/** What a lease is applied with. */
interface LeaseContext {
  readonly clientState: ClientState
  readonly heldNetns: HeldNetns
  readonly system: System
  /** The inside of the guest. */
  readGuestState(): Promise<GuestState>
}

function requireClientState(directory: string, system: System): ClientState {
  const tenant = readClientState(directory, system)
  if (tenant === undefined) throw new PipeworkError(`there is no DHCP client in '${directory}'`)
  return tenant
}

/** Runs the action where the guest's namespace has a name. The keeper holds it open, whatever became of the guest. */
async function withNamespace<T>(
  tenant: ClientState,
  system: System,
  action: (place: LeaseContext) => Promise<T>,
): Promise<T> {
  const keeper = supervisorPid(tenant.directory, system)
  if (keeper === undefined) throw new PipeworkError(`the DHCP client of '${tenant.client.ifname}' has ended`)
  const pin = system.holdNetns(`/proc/${keeper}/fd/9`)
  try {
    if (pin.inode !== tenant.client.netns) throw new PipeworkError(`'${tenant.client.ifname}' is in another namespace`)
    return await action({
      clientState: tenant,
      heldNetns: pin,
      system,
      readGuestState: () => readGuestState(pin.netns, system),
    })
  } finally {
    pin.release()
  }
}

// --- the first lease --------------------------------------------------------------------------------------------------

/** Waits until the client has an address, and gives it to the link: exit status 1, and why, when that comes to nothing. */
export async function waitForLease(
  directory: string,
  { limit, interrupt }: { readonly limit: number; readonly interrupt: Interrupt },
  system: System,
): Promise<CommandResult> {
  const deadline = system.elapsed() + limit * 1000
  const hasEnded = () =>
    system.read(`${directory}/failed`) !== undefined || supervisorPid(directory, system) === undefined
  const giveUp = (why: string): CommandResult => ({
    code: 1,
    stdout: system.read(`${directory}/log`) ?? '',
    stderr: why,
  })
  if (hasEnded()) return giveUp('ended')
  const changes = system.watchDirectory(directory)
  try {
    return await withNamespace(requireClientState(directory, system), system, async (place) => {
      const ready = prereadGuestState(place)
      for (;;) {
        const text = system.read(`${directory}/event`)
        const news = text === undefined ? undefined : parseLeaseEvent(text, now())
        if (news?.kind === 'leased') {
          await applyLease(news.lease, ready)
          system.writeFile(`${directory}/event`, undefined)
          return SUCCESS
        }
        if (interrupt.requested) throw new PipeworkError('interrupted')
        if (hasEnded()) return giveUp('ended')
        if (system.elapsed() >= deadline) return giveUp('')
        await changes.nextChange(POLL_INTERVAL)
      }
    })
  } finally {
    changes.close()
  }
}

/** Reads the state of the guest while client and server speak. */
function prereadGuestState(place: LeaseContext): LeaseContext {
  const { system } = place
  const began = system.elapsed()
  const seen = place.readGuestState()
  // Its reader gets the error.
  seen.catch(() => {})
  return {
    ...place,
    readGuestState: () => (system.elapsed() - began < GUEST_STATE_TTL ? seen : place.readGuestState()),
  }
}

// --- later --------------------------------------------------------------------------------------------------------------

/** What the keeper calls for: the client has news of its lease. */
export async function applyLeaseEvent(directory: string, system: System): Promise<void> {
  const tenant = requireClientState(directory, system)
  const news = parseLeaseEvent(system.read(`${directory}/taken`) ?? '', now())
  if (news.kind === 'none') return
  const unlock = await lockInterface(tenant.client, system)
  try {
    await withNamespace(tenant, system, async (place) => {
      if (news.kind === 'leased') await applyLease(news.lease, place)
      else await recordLostLease(place)
    })
  } finally {
    unlock()
  }
}

/** Seconds that news wait for an attach that is at the same interface. */
const LOCK_TIMEOUT = 60

/** The lock of an attach: neither shall find what the other has half done. */
async function lockInterface({ netns, ifname }: DhcpClientSpec, system: System): Promise<() => void> {
  const deadline = system.elapsed() + LOCK_TIMEOUT * 1000
  for (;;) {
    const unlock = system.tryLock(`${netns}-${ifname}`)
    if (unlock !== undefined) return unlock
    if (system.elapsed() >= deadline)
      throw new PipeworkError(`another pipework has been at '${ifname}' for ${LOCK_TIMEOUT} s`)
    await system.sleep(POLL_INTERVAL)
  }
}

/** The lease is no more: what came with it goes. The client asks again for as long as it runs. */
async function recordLostLease(place: LeaseContext): Promise<void> {
  const { clientState, system } = place
  system.writeFile(`${clientState.directory}/lost`, `${now()}`)
  await removeLease(place)
}

/** Takes the lease from the link: its address, and its routes where these do not go with that. */
async function removeLease(place: LeaseContext): Promise<void> {
  const { client, lease } = place.clientState
  if (lease === undefined) return
  const state = await place.readGuestState()
  const live = state.links.find(({ name }) => name === client.ifname)
  const isThere = live?.addresses.some((it) => it.ip === lease.ip && it.prefix === lease.prefix) ?? false
  const lines = isThere ? [batchLine`addr del ${lease.ip}/${lease.prefix} dev ${client.ifname}`] : []
  await runLeaseBatch(lines, planRecordUpdate(undefined, state, place), place)
}

/** Gives back what a client was given, and ends it: the inverse of a first lease. */
export async function rollBackLease(directory: string, system: System): Promise<CommandResult> {
  const tenant = readClientState(directory, system)
  if (tenant?.lease === undefined || !tenant.isRunning) return SUCCESS
  await withNamespace(tenant, system, async (place) => {
    await system.run(['sh', `${directory}/keep`, '--stop'])
    const self = ['nsenter', `--net=/run/netns/${place.heldNetns.netns}`, ...system.selfCommand]
    await system.run([...self, '__dhcp', 'release', directory])
    await removeLease(place)
  })
  system.writeFile(`${directory}/lease`, undefined)
  return SUCCESS
}

// --- the link -----------------------------------------------------------------------------------------------------------

/** Makes the link what the lease says, and writes it down. */
async function applyLease(lease: Lease, place: LeaseContext): Promise<void> {
  const { clientState, heldNetns, system, readGuestState: look } = place
  const { directory, client } = clientState
  const state = await look()
  const lines = planLeaseCommands(lease, clientState, state).map((command) =>
    toBatchLine(command, { netns: heldNetns.netns, pid: system.pid }),
  )
  const { code, stderr } = await runLeaseBatch(lines, planRecordUpdate(lease, state, place), place)
  if (code !== 0) {
    await runLeaseBatch(
      [],
      planRecordUpdate(clientState.lease, await readGuestState(heldNetns.netns, system), place),
      place,
    )
    throw new PipeworkError(`the lease of ${lease.ip} could not be given to '${client.ifname}': ${stderr.trim()}`)
  }
  if (client.resolvConf !== undefined) await writeResolvConf(lease, client.resolvConf, system)
  system.writeFile(`${directory}/lease`, JSON.stringify(lease))
  system.writeFile(`${directory}/lost`, undefined)
  system.writeFile(`${directory}/renew`, renewTicks(lease, client))
}

/** Lines for the guest and the record of its link, side by side; answers what became of those for the guest. */
async function runLeaseBatch(
  lines: readonly BatchLine[],
  record: RecordUpdate | undefined,
  place: LeaseContext,
): Promise<CommandResult> {
  const { heldNetns, system } = place
  const inGuest = record?.in === 'guest' ? [...lines, record.line] : lines
  const [result] = await Promise.all([
    inGuest.length === 0 ? SUCCESS : system.runIpBatch({ netns: heldNetns.netns, lines: inGuest }),
    record?.in === 'host' && system.runIpBatch({ lines: [record.line] }),
  ])
  return result
}

/** Seconds of a lease below which a client asks too late for more: busybox waits for fourteen of ten, dhcpcd for ten. */
const SHORT_LEASE: Readonly<Record<DhcpClientSpec['program'], number>> = {
  udhcpc: 60,
  image: 60,
  dhcpcd: 20,
  dhclient: 0,
}

/** After how many looks of the keeper, two in a second, a client is told to renew a short lease: at half its time. */
function renewTicks(
  { seconds = Number.POSITIVE_INFINITY }: Lease,
  { program, family }: DhcpClientSpec,
): string | undefined {
  const isLate = family === 4 && seconds < SHORT_LEASE[program]
  return isLate ? `${Math.max(1, seconds)}` : undefined
}

/** What `ip` is told: the old address goes before the new one comes, which would be its secondary and go with it. */
function planLeaseCommands(
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
    ...wanted.filter((route) => !isOthers(route)).flatMap((route) => planLeaseRoute(route, lease, client)),
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

/** The addresses of a link's record, with those of the lease in the place of an earlier one's. */
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

/** What writes a record, and where. */
interface RecordUpdate {
  readonly in: 'host' | 'guest'
  readonly line: BatchLine
}

/** Writes on the link what it has now: on the host's end, or on the link in the guest where that has the record. */
function planRecordUpdate(
  lease: Lease | undefined,
  { links }: GuestState,
  { clientState: { client }, system }: LeaseContext,
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

/** Into the guest's own file, in its place: containers have it mounted, and another file of that name is not theirs. */
async function writeResolvConf({ dns, domain }: Lease, path: string, system: System): Promise<void> {
  if (dns.length === 0) return
  const lines = [...(domain === undefined ? [] : [`search ${domain}`]), ...dns.map((server) => `nameserver ${server}`)]
  system.overwriteFile(path, `${lines.join('\n')}\n`)
}
