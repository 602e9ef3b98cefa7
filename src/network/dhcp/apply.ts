import { PipeworkError } from '../../model/errors'
import { toBatchLine } from '../../plan/step'
import { type GuestState, readGuestState } from '../../state/guest'
import { type BatchLine, batchLine } from '../../system/batch'
import { acquireLock } from '../../system/locks'
import type { CommandResult, HeldNetns, Interrupt, System } from '../../system/types'
import { DHCP_CLIENT_TABLE } from './clients'
import { planLeaseCommands, planRecordUpdate, type RecordUpdate } from './lease-commands'
import { parseLeaseEvent } from './parse-lease'
import { bootSeconds, type ClientState, type DhcpClientSpec, type Lease, readClientState, supervisorPid } from './state'
import { stopSupervisorArgv } from './supervisor'

/** Seconds between two checks of the client or of a lock. */
const POLL_INTERVAL = 0.05
/** Milliseconds for which a read of the guest stays valid: the lock keeps other runs from the interface. */
const GUEST_STATE_TTL = 1000

const SUCCESS: CommandResult = { code: 0, stdout: '', stderr: '' }

interface LeaseContext {
  readonly clientState: ClientState
  readonly heldNetns: HeldNetns
  readonly system: System
  readGuestState(): Promise<GuestState>
}

function requireClientState(directory: string, system: System): ClientState {
  const state = readClientState(directory, system)
  if (state === undefined) throw new PipeworkError(`there is no DHCP client in '${directory}'`)
  return state
}

/** Runs the action with the guest's namespace. The supervisor holds it open, also after the guest has stopped. */
async function withNamespace<T>(
  state: ClientState,
  system: System,
  action: (context: LeaseContext) => Promise<T>,
): Promise<T> {
  const supervisor = supervisorPid(state.directory, system)
  if (supervisor === undefined) throw new PipeworkError(`the DHCP client of '${state.client.ifname}' has ended`)
  const held = system.holdNetns(`/proc/${supervisor}/fd/9`)
  try {
    if (held.inode !== state.client.netns) throw new PipeworkError(`'${state.client.ifname}' is in another namespace`)
    return await action({
      clientState: state,
      heldNetns: held,
      system,
      readGuestState: () => readGuestState(held.netns, system),
    })
  } finally {
    held.release()
  }
}

/** Waits for the first lease and applies it. Without one: exit code 1, the log on stdout, the reason on stderr. */
export async function waitForLease(
  directory: string,
  { limit, interrupt }: { readonly limit: number; readonly interrupt: Interrupt },
  system: System,
): Promise<CommandResult> {
  const deadline = system.elapsed() + limit * 1000
  const hasEnded = () =>
    system.read(`${directory}/failed`) !== undefined || supervisorPid(directory, system) === undefined
  const giveUp = (reason: string): CommandResult => ({
    code: 1,
    stdout: system.read(`${directory}/log`) ?? '',
    stderr: reason,
  })
  if (hasEnded()) return giveUp('ended')
  const changes = system.watchDirectory(directory)
  try {
    return await withNamespace(requireClientState(directory, system), system, async (context) => {
      const ready = prereadGuestState(context)
      for (;;) {
        const text = system.read(`${directory}/event`)
        const event = text === undefined ? undefined : parseLeaseEvent(text, bootSeconds(system))
        if (event?.kind === 'leased') {
          await applyLease(event.lease, ready)
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

/** Reads the state of the guest while the server answers. */
function prereadGuestState(context: LeaseContext): LeaseContext {
  const { system } = context
  const began = system.elapsed()
  const firstRead = context.readGuestState()
  // Its error is thrown where the result is used.
  firstRead.catch(() => {})
  return {
    ...context,
    readGuestState: () => (system.elapsed() - began < GUEST_STATE_TTL ? firstRead : context.readGuestState()),
  }
}

/** Applies an event of the client; called by the supervisor. */
export async function applyLeaseEvent(directory: string, system: System): Promise<void> {
  const state = requireClientState(directory, system)
  const event = parseLeaseEvent(system.read(`${directory}/taken`) ?? '', bootSeconds(system))
  if (event.kind === 'none') return
  const { netns, ifname, guest } = state.client
  const unlock = await acquireLock(
    { name: `${netns}-${ifname}`, subject: `'${ifname}' of '${guest.name}'` },
    { system, interrupt: { requested: false } },
  )
  try {
    await withNamespace(state, system, async (context) => {
      if (event.kind === 'leased') await applyLease(event.lease, context)
      else await recordLostLease(context)
    })
  } finally {
    unlock()
  }
}

/** Removes a withdrawn or expired lease. The client keeps asking for a new one. */
async function recordLostLease(context: LeaseContext): Promise<void> {
  const { clientState, system } = context
  system.writeFile(`${clientState.directory}/lost`, `${bootSeconds(system)}`)
  await removeLease(context)
}

/** Removes the leased address from the link; the kernel removes its routes. */
async function removeLease(context: LeaseContext): Promise<void> {
  const { client, lease } = context.clientState
  if (lease === undefined) return
  const guest = await context.readGuestState()
  const live = guest.links.find(({ name }) => name === client.ifname)
  const hasAddress = live?.addresses.some((it) => it.ip === lease.ip && it.prefix === lease.prefix) ?? false
  const lines = hasAddress ? [batchLine`addr del ${lease.ip}/${lease.prefix} dev ${client.ifname}`] : []
  await runLeaseBatch(lines, planRecordUpdate(undefined, guest, context), context)
}

/** Undoes a first lease: stops the client, releases and removes the lease. */
export async function rollBackLease(directory: string, system: System): Promise<CommandResult> {
  const state = readClientState(directory, system)
  if (state?.lease === undefined || !state.isRunning) return SUCCESS
  await withNamespace(state, system, async (context) => {
    await system.run(stopSupervisorArgv({ directory }))
    const inGuest = ['nsenter', `--net=/run/netns/${context.heldNetns.netns}`]
    await system.run([...inGuest, ...system.selfCommand, '__dhcp', 'release', directory])
    await removeLease(context)
  })
  system.writeFile(`${directory}/lease`, undefined)
  return SUCCESS
}

/** Configures the link by the lease, and records it. */
async function applyLease(lease: Lease, context: LeaseContext): Promise<void> {
  const { clientState, heldNetns, system } = context
  const { directory, client } = clientState
  const guest = await context.readGuestState()
  const lines = planLeaseCommands(lease, clientState, guest).map((command) =>
    toBatchLine(command, { netns: heldNetns.netns, pid: system.pid }),
  )
  const { code, stderr } = await runLeaseBatch(lines, planRecordUpdate(lease, guest, context), context)
  if (code !== 0) {
    const current = await readGuestState(heldNetns.netns, system)
    await runLeaseBatch([], planRecordUpdate(clientState.lease, current, context), context)
    throw new PipeworkError(`the lease of ${lease.ip} cannot be applied to '${client.ifname}': ${stderr.trim()}`)
  }
  if (client.resolvConf !== undefined) await writeResolvConf(lease, client.resolvConf, system)
  system.writeFile(`${directory}/lease`, JSON.stringify(lease))
  system.writeFile(`${directory}/lost`, undefined)
  system.writeFile(`${directory}/renew`, renewTicks(lease, client))
}

/** Runs the lines in the guest and updates the link record at the same time. Returns the result of the guest. */
async function runLeaseBatch(
  lines: readonly BatchLine[],
  record: RecordUpdate | undefined,
  context: LeaseContext,
): Promise<CommandResult> {
  const { heldNetns, system } = context
  const inGuest = record?.in === 'guest' ? [...lines, record.line] : lines
  const [result] = await Promise.all([
    inGuest.length === 0 ? SUCCESS : system.runIpBatch({ netns: heldNetns.netns, lines: inGuest }),
    record?.in === 'host' && system.runIpBatch({ lines: [record.line] }),
  ])
  return result
}

/** Ticks of the supervisor (half seconds) after which the client renews a short lease: half its duration. */
function renewTicks(
  { seconds = Number.POSITIVE_INFINITY }: Lease,
  { program, family }: DhcpClientSpec,
): string | undefined {
  const isShort = family === 4 && seconds < DHCP_CLIENT_TABLE[program].minLease
  return isShort ? `${Math.max(1, seconds)}` : undefined
}

/** Overwrites the file in place: a container has it mounted, and would not see a new file. */
async function writeResolvConf({ dns, domain }: Lease, path: string, system: System): Promise<void> {
  if (dns.length === 0) return
  const lines = [...(domain === undefined ? [] : [`search ${domain}`]), ...dns.map((server) => `nameserver ${server}`)]
  system.overwriteFile(path, `${lines.join('\n')}\n`)
}
