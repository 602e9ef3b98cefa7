import { findDriver } from '../../drivers'
import type { Driver } from '../../drivers/types'
import type { FirewallSubject } from '../../firewall/check'
import { PipeworkError } from '../../model/errors'
import { GUEST_KINDS } from '../../model/guest-name'
import { hostServicesOf, needsForwarding, needsHostServices } from '../../model/host-services'
import type { AttachRequest } from '../../model/request'
import { DHCP_DIR } from '../../network/dhcp/state'
import { type ExecuteOptions, executePlan, undoPlan, withLeftovers } from '../../plan/execute'
import { formatStep } from '../../plan/script'
import type { Plan, Step } from '../../plan/step'
import type { Guest } from '../../runtimes/find'
import { type AttachContext, type AttachFacts, findLinkRecord } from '../../state/attach-facts'
import { type HostEnd, readHostEnd } from '../../state/host-links'
import { mayHaveHostServices } from '../../state/marker'
import { lockHostServices, lockLink } from '../../system/locks'
import type { HeldNetns, Interrupt, System } from '../../system/types'
import type { UplinkChange } from '../uplink'
import { findIncompatibility, planLinkAndAddresses } from './plan'
import { readAttachFacts } from './read'

/** A guest and its held network namespace. */
export interface PinnedGuest {
  readonly guest: Guest
  readonly pin: HeldNetns
}

export interface ApplyOptions {
  readonly system: System
  readonly interrupt: Interrupt
  /** Called before each step. */
  readonly onStep?: (step: Step) => void
  /** Called when the last `count` steps were rolled back before another plan. */
  readonly onTakenBack?: (count: number) => void
  /** Seconds in which the user must confirm a new uplink. */
  readonly confirm?: number
  /** Called with a text that says what pipework waits for. */
  readonly notify?: (text: string) => void
}

/** A requested attachment: the facts at planning time, and the steps. */
export interface AttachPlan extends AttachContext {
  readonly driver: Driver
  readonly plan: Plan
  /** Whether the bridge has no uplink yet. Only `ensureUplink` may connect it. */
  readonly needsUplink: boolean
  /** The uplink that this run connected. */
  readonly uplinkChange?: UplinkChange
}

interface AttachStepOptions extends ApplyOptions {
  /** Number of steps done earlier in the same run. */
  readonly stepsBefore: number
}

/** How often an attachment is planned again when another process changes the host meanwhile. */
const MAX_TRIES = 5

/**
 * Attaches one guest as requested: all of it, or nothing. Each request has its own interface.
 * @throws PipeworkError when refused, or failed with the guest unchanged or with leftovers.
 */
export async function attachGuests(
  requests: readonly AttachRequest[],
  pinned: PinnedGuest,
  options: ApplyOptions,
): Promise<readonly AttachPlan[]> {
  const locks: (() => void)[] = []
  try {
    // Lock in sorted order, so that two runs never deadlock.
    for (const ifname of requests.map((it) => it.ifname).sort()) locks.push(await lockLink(ifname, pinned, options))
    const isShared = requests.some((it) => it.firewall === 'allow' || needsHostServices(it))
    if (isShared || mayHaveHostServices(options.system)) locks.push(await lockHostServices(options))
    // Plan all requests first, so that a refusal comes before the first change.
    if (requests.length > 1) await Promise.all(requests.map((it) => planAttachment(it, pinned, options.system)))
    return await attachSequentially(requests, pinned, options)
  } finally {
    for (const release of locks) release()
  }
}

/**
 * Attaches one interface after the other: each plan must see the routes and bridges of the previous one. A failure
 * rolls back all of them.
 */
async function attachSequentially(
  requests: readonly AttachRequest[],
  pinned: PinnedGuest,
  options: ApplyOptions,
): Promise<readonly AttachPlan[]> {
  const done: AttachPlan[] = []
  const uplinks: UplinkChange[] = []
  const countSteps = () => [...done, ...uplinks].reduce((sum, { plan }) => sum + plan.length, 0)
  for (const request of requests) {
    try {
      const uplinkChange = await ensureUplink(request, { ...options, stepsBefore: countSteps() })
      if (uplinkChange !== undefined) uplinks.push(uplinkChange)
      const attachPlan = await attachWithRetry(request, pinned, { ...options, stepsBefore: countSteps() })
      done.push({ ...attachPlan, uplinkChange })
    } catch (error) {
      const executeOptions = toExecuteOptions(pinned, { ...options, stepsBefore: countSteps() })
      const leftovers = error instanceof PipeworkError ? [...error.leftovers] : []
      for (const { plan } of [...done].reverse()) leftovers.push(...(await undoPlan(plan, executeOptions)))
      for (const uplink of [...uplinks].reverse()) leftovers.push(...(await uplink.undo()))
      throw withLeftovers(error, leftovers)
    }
  }
  return done
}

/** Plans and executes; tries again when the host has changed since the facts were read. */
async function attachWithRetry(
  request: AttachRequest,
  pinned: PinnedGuest,
  options: AttachStepOptions,
): Promise<AttachPlan> {
  let failed: (AttachPlan & { readonly error: unknown; readonly stepCount: number }) | undefined
  for (let tries = MAX_TRIES; ; tries -= 1) {
    const attachPlan = await planAttachment(request, pinned, options.system)
    if (failed !== undefined && (tries === 0 || isSamePlan(attachPlan, failed))) throw failed.error
    if (failed !== undefined) options.onTakenBack?.(failed.stepCount)
    let stepCount = 0
    const onStep = (step: Step) => {
      stepCount += 1
      options.onStep?.(step)
    }
    try {
      await executeAttachPlan(attachPlan, pinned, { ...options, onStep })
      return attachPlan
    } catch (error) {
      if (!(error instanceof PipeworkError) || error.leftovers.length > 0 || options.interrupt.requested) throw error
      failed = { ...attachPlan, error, stepCount }
    }
  }
}

/** Retrying the same steps is pointless, unless a bridge of that name has been recreated meanwhile. */
function isSamePlan(a: AttachPlan, b: AttachPlan): boolean {
  const format = ({ plan }: AttachPlan) => plan.map(formatStep).join('')
  return a.facts.hostif?.ifindex === b.facts.hostif?.ifindex && format(a) === format(b)
}

/**
 * Reads the facts and plans the steps; throws refusals. Without a namespace (not root) the guest is assumed to be
 * empty.
 */
export async function planAttachment(
  request: AttachRequest,
  { guest, pin }: { readonly guest: Guest; readonly pin: HeldNetns | undefined },
  system: System,
): Promise<AttachPlan> {
  const netns = pin?.netns
  const uplink = await planRequestUplink(request, system)
  const facts = await readAttachFacts(request, { guest, system, netns, newBridge: uplink?.bridge })
  const found = { request, guest: toRecordedGuest(guest, facts), facts }
  const driver = findDriver(found)
  const isRecreated = findIncompatibility(found, driver) !== undefined
  const { context, beforeLink, afterLink } = await planDhcp(found, { system, netns, isRecreated })
  const plan = [
    ...beforeLink,
    ...(uplink?.plan ?? []),
    ...planLinkAndAddresses(context, driver),
    ...(await planFirewall(context, driver, system)),
    ...(await planServices(context, system)),
    ...(await planParentGc(context, system)),
    ...afterLink,
  ]
  return { ...context, driver, plan, needsUplink: (uplink?.plan.length ?? 0) > 0 }
}

async function executeAttachPlan(
  attachPlan: AttachPlan,
  pinned: PinnedGuest,
  options: AttachStepOptions,
): Promise<void> {
  const { guest, request, plan, needsUplink } = attachPlan
  if (needsUplink)
    throw new PipeworkError(`the uplink of '${request.hostif}' was removed while '${guest.name}' was being attached`, {
      hint: 'Run the command again to connect it again.',
    })
  const verify = () => verifyAttached(attachPlan, pinned, options.system)
  await executePlan(plan, { ...toExecuteOptions(pinned, options), verify })
}

/** Throws unless the guest is still there, and the host end is where the plan put it. */
function verifyAttached(attachPlan: AttachPlan, { pin }: PinnedGuest, system: System): void {
  const { guest, driver } = attachPlan
  if (system.inode(guest.nsPath) !== pin.inode)
    throw new PipeworkError(`'${guest.name}' stopped while it was being attached`, {
      hint: 'Start it and run the command again.',
    })
  if (driver.isAttached === undefined) return
  const hostEnd = findCurrentHostEnd(attachPlan, system)
  if (hostEnd === undefined || !driver.isAttached(attachPlan, hostEnd)) throw notAttachedError(attachPlan, system)
}

function toExecuteOptions({ guest, pin }: PinnedGuest, options: AttachStepOptions): ExecuteOptions {
  return {
    ...options,
    guest,
    netns: pin.netns,
    runLease: async (argv, run) => (await import('../../network/dhcp/internal')).runInternalDhcp(argv, run),
  }
}

/** The guest by the name in the link's record: one namespace can have several names. */
function toRecordedGuest(guest: Guest, { recordedGuest }: AttachFacts): Guest {
  const kind = GUEST_KINDS.find((it) => it === recordedGuest?.kind)
  if (recordedGuest === undefined || kind === undefined) return guest
  const { sharedWith: _, ...rest } = guest
  return { ...rest, ...recordedGuest, kind }
}

/** The steps that connect the requested bridge to its uplink, and the bridge after them. */
async function planRequestUplink({ hostif, uplink, force }: AttachRequest, system: System) {
  if (uplink === undefined) return undefined
  const { planUplinkBridge } = await import('../uplink')
  return planUplinkBridge({ bridge: hostif, spec: uplink }, { force, writeUnmanaged: false }, system)
}

/** Connects the requested bridge to its uplink, unless it is connected. */
async function ensureUplink(
  { hostif, uplink, force }: AttachRequest,
  options: AttachStepOptions,
): Promise<UplinkChange | undefined> {
  if (uplink === undefined) return undefined
  const { connectUplink } = await import('../uplink')
  const connection = { bridge: hostif, spec: uplink }
  return connectUplink(connection, { force, writeUnmanaged: false }, { notify: () => {}, ...options })
}

interface DhcpPlanOptions {
  readonly system: System
  readonly netns: string | undefined
  readonly isRecreated: boolean
}

/** The steps for DHCP leases; empty when the attachment has no lease and had none. */
async function planDhcp(context: AttachContext, options: DhcpPlanOptions) {
  const mayHaveLeases =
    context.request.sources.length > 0 ||
    findLinkRecord(context.facts)?.sources !== undefined ||
    (options.system.list(DHCP_DIR) ?? []).length > 0
  if (!mayHaveLeases) return { context, beforeLink: [], afterLink: [] }
  const { planLeases } = await import('../../network/dhcp/plan')
  return planLeases(context, options)
}

/** The host services that the request needs or that the attachment needed before. */
async function planServices(context: AttachContext, system: System): Promise<Plan> {
  const record = findLinkRecord(context.facts)
  const hadServices = record !== undefined && needsHostServices(hostServicesOf(record))
  if (!needsHostServices(context.request) && !hadServices) return []
  const { planHostServices } = await import('../../network/host-services')
  return planHostServices(context, system)
}

/** With --force a link can leave a bridge or VLAN device that pipework created for it. */
async function planParentGc(context: AttachContext, system: System): Promise<Plan> {
  if (!context.request.force || findLinkRecord(context.facts) === undefined) return []
  const { planMovedLinkGc } = await import('../detach/gc')
  return planMovedLinkGc(context, system)
}

/** --firewall allow and --strict check the firewall before the first change; the warning comes after the last one. */
async function planFirewall(context: AttachContext, driver: Driver, system: System): Promise<Plan> {
  const { firewall, strict } = context.request
  if (!system.isRoot || !(strict || firewall === 'allow')) return []
  const subject = await toFirewallSubject({ ...context, driver }, system)
  if (subject.port === undefined && subject.forwarding === undefined) return []
  const { planBridgeAccept } = await import('../../firewall/bridge-accept')
  return planBridgeAccept(subject, firewall === 'allow', system)
}

/** The attachment's bridge port and its forwarded traffic. */
export async function toFirewallSubject(
  { driver, ...context }: AttachContext & Pick<AttachPlan, 'driver'>,
  system: System,
): Promise<FirewallSubject> {
  const { request, facts } = context
  const port = driver.isBridged && {
    bridge: request.hostif,
    port: request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName,
    ips: request.addresses.map(({ ip }) => ip),
  }
  if (!needsForwarding(request)) return { port }
  const { requestedForwarding } = await import('../../network/host-services')
  return { port, forwarding: requestedForwarding(context, system) }
}

/** Explains why the host end is not where the plan put it. */
function notAttachedError({ request, guest, facts }: AttachContext, system: System): PipeworkError {
  const hostEnd = request.hostEnd ?? facts.hostEndName
  // `nsenter --net` keeps the /sys of the previous namespace.
  const names: readonly string[] = system.read('/proc/self/net/dev')?.match(/[^\s:]+(?=:)/g) ?? []
  if (names.includes(hostEnd) && system.inode(`/sys/class/net/${hostEnd}`) === undefined)
    return new PipeworkError('/sys shows another network namespace than the one that pipework runs in', {
      hint: 'Enter it with ip netns exec, or nsenter --net --mount, or mount sysfs on /sys there.',
    })
  return new PipeworkError(`the bridge '${request.hostif}' was removed while '${guest.name}' was being attached`, {
    hint: 'Find out what removes it, and run the command again.',
  })
}

/** The current host end of the link, if the link has one. */
export function findCurrentHostEnd({ request, facts }: AttachContext, system: System): HostEnd | undefined {
  // A recreated link always has the derived name.
  const names = [request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName, facts.hostEndName]
  return names.map((name) => readHostEnd(name, system)).find((hostEnd) => hostEnd !== undefined)
}
