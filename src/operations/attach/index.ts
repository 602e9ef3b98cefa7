import { findDriver } from '../../drivers'
import type { LinkDriver } from '../../drivers/types'
import type { FirewallSubject } from '../../firewall/bridge-accept'
import { PipeworkError } from '../../model/errors'
import { GUEST_KINDS } from '../../model/guest-name'
import { hostServicesOf, needsForwarding, needsHostServices } from '../../model/host-services'
import type { AttachRequest } from '../../model/request'
import { DHCP_DIR } from '../../network/dhcp/state'
import { type ExecuteOptions, executePlan, undoPlan, withLeftovers } from '../../plan/execute'
import { formatStep } from '../../plan/script'
import type { Plan, Step } from '../../plan/step'
import type { Guest } from '../../runtimes/find'
import type { AttachContext } from '../../state/attach-facts'
import { findLinkRecord } from '../../state/attach-facts'
import { type HostEnd, readHostEnd } from '../../state/host-links'
import { mayHaveHostServices } from '../../state/marker'
import { lockHostServices, lockLink } from '../../system/locks'
import type { HeldNetns, Interrupt, System } from '../../system/types'
import type { UplinkChange } from '../uplink'
import { findIncompatibility, planLinkAndAddresses } from './plan'
import { readAttachFacts } from './read'

/** A guest, and its namespace held for this run. */
export interface PinnedGuest {
  readonly guest: Guest
  readonly pin: HeldNetns
}

/** What a change is made with. */
export interface ApplyOptions {
  readonly system: System
  readonly interrupt: Interrupt
  /** Told of each step before it runs. */
  readonly onStep?: (step: Step) => void
  /** Told that the last so many of them were taken back, to be planned anew. */
  readonly onTakenBack?: (count: number) => void
  /** Seconds in which somebody must confirm that an uplink works; without, its proof does. */
  readonly confirm?: number
  /** Tells of what is awaited. */
  readonly notify?: (text: string) => void
}

/** An attachment asked for, what was known when it was planned, and the steps that make it true. */
export interface AttachPlan extends AttachContext {
  readonly kind: LinkDriver
  readonly plan: Plan
  /** Whether the plan begins with connecting its bridge: only who connects it, with care, may do that. */
  readonly needsUplink: boolean
  /** What was done for the uplink of its bridge. */
  readonly uplinkChange?: UplinkChange
}

/** How often a plan is made anew because another run changed the host in the meantime. */
const MAX_TRIES = 5

/** What would be done now. Without a pin (not root) the inside of the guest is taken to be empty. Throws refusals. */
export async function planAttachment(
  request: AttachRequest,
  { guest, pin }: { readonly guest: Guest; readonly pin: HeldNetns | undefined },
  system: System,
): Promise<AttachPlan> {
  const found = await readAttachFacts(request, { guest, system, netns: pin?.netns })
  const uplink = await planRequestUplink(request, system)
  // By then the bridge is there.
  const facts = found.hostif === undefined && uplink !== undefined ? { ...found, hostif: uplink.bridge } : found
  const context = { request, guest: toRecordedGuest(guest, facts), facts, needsUplink: (uplink?.plan.length ?? 0) > 0 }
  const kind = await findDriver(context).load()
  const planRest = async (it: AttachContext) => [
    ...(uplink?.plan ?? []),
    ...(await planLinkChange(it, kind)),
    ...(await planFirewall(it, kind, system)),
    ...(await planServices(it, system)),
    ...(await planParentGc(it, system)),
  ]
  if (!mayUseDhcp(context, system)) return { ...context, kind, plan: await planRest(context) }
  const { planLeases } = await import('../../network/dhcp/plan-leases')
  const isRemade = findIncompatibility(context, kind) !== undefined
  return {
    ...context,
    kind,
    ...(await planLeases(context, { system, netns: pin?.netns, isRecreated: isRemade, planRest })),
  }
}

/** The guest under the name that its link was made with: by the one or the other, it is the same attachment. */
function toRecordedGuest(guest: Guest, { recordedGuest }: AttachContext['facts']): Guest {
  const kind = GUEST_KINDS.find((it) => it === recordedGuest?.kind)
  if (recordedGuest === undefined || kind === undefined) return guest
  const { sharedWith: _, ...rest } = guest
  return { ...rest, ...recordedGuest, kind }
}

/** What it takes to connect the bridge, and the bridge as it is then; nothing when it is connected. */
async function planRequestUplink({ hostif, uplink: wish, force }: AttachRequest, system: System) {
  if (wish === undefined) return undefined
  const { planUplinkBridge } = await import('../uplink/foresee')
  return planUplinkBridge({ bridge: hostif, spec: wish }, { force, writeUnmanaged: false }, { system })
}

/** Connects the bridge of a request to its uplink, when it asks for one and is not. */
async function ensureUplink(
  { hostif, uplink: wish, force }: AttachRequest,
  means: ApplyStepOptions,
): Promise<UplinkChange | undefined> {
  if (wish === undefined) return undefined
  const { connectUplink } = await import('../uplink')
  return connectUplink({ bridge: hostif, spec: wish }, { force, writeUnmanaged: false }, { notify: () => {}, ...means })
}

async function planLinkChange(context: AttachContext, kind: LinkDriver): Promise<Plan> {
  const misfit = findIncompatibility(context, kind)
  if (misfit === undefined) return planLinkAndAddresses(context, kind)
  const { planRecreate } = await import('./recreate')
  return planRecreate(context, kind, misfit)
}

/** Whether the request, or what the attachment was before, needs more of the host than a link. */
function usesHostServices({ request, facts }: AttachContext): boolean {
  const record = findLinkRecord(facts)
  return needsHostServices(request) || (record !== undefined && needsHostServices(hostServicesOf(record)))
}

/** What is needed of the host beside the link; nothing is loaded for who needs nothing. */
async function planServices(context: AttachContext, system: System): Promise<Plan> {
  if (!usesHostServices(context)) return []
  const { planHostServices } = await import('../../network/host-services')
  return planHostServices(context, system)
}

/** With --force a link may leave what pipework made for it. */
async function planParentGc(context: AttachContext, system: System): Promise<Plan> {
  if (!context.request.force || findLinkRecord(context.facts) === undefined) return []
  const { planMovedLinkGc } = await import('../detach/gc')
  return planMovedLinkGc(context, system)
}

/** With --firewall allow and --strict the firewall is looked at before the first change, and not after the last. */
async function planFirewall(context: AttachContext, kind: LinkDriver, system: System): Promise<Plan> {
  const { firewall, strict } = context.request
  if (!system.isRoot || !(strict || firewall === 'allow')) return []
  const subject = await toFirewallSubject({ ...context, kind }, system)
  if (subject.port === undefined && subject.forwarding === undefined) return []
  const { planBridgeAccept } = await import('../../firewall/bridge-accept')
  return planBridgeAccept(subject, firewall === 'allow', system)
}

/** The attachment as the firewall is asked about it. */
export async function toFirewallSubject(
  planned: AttachContext & Pick<AttachPlan, 'kind'>,
  system: System,
): Promise<FirewallSubject> {
  const { request, facts, kind } = planned
  const port = kind.isBridged && {
    bridge: request.hostif,
    port: request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName,
    ips: request.addresses.map(({ ip }) => ip),
  }
  if (!needsForwarding(request)) return { port }
  const { requestedForwarding } = await import('../../network/host-services')
  return { port, forwarding: requestedForwarding(planned, system) }
}

/** Whether leases are asked for, or were: nobody else waits for what knows of them. */
function mayUseDhcp({ request, facts }: AttachContext, system: System): boolean {
  return (
    request.sources.length > 0 ||
    findLinkRecord(facts)?.sources !== undefined ||
    (system.list(DHCP_DIR) ?? []).length > 0
  )
}

/**
 * Makes what is asked of one guest true: all of it, or nothing. The requests have interfaces of their own each. Throws
 * the first refusal or failure, the guest being as it was then; or what is left.
 */
export async function applyAttachments(
  requests: readonly AttachRequest[],
  pinned: PinnedGuest,
  means: ApplyOptions,
): Promise<readonly AttachPlan[]> {
  const locks: (() => void)[] = []
  try {
    // In one order, so that no two runs wait for each other.
    for (const ifname of requests.map((it) => it.ifname).sort()) locks.push(await lockLink(ifname, pinned, means))
    const isShared = requests.some((it) => it.firewall === 'allow' || needsHostServices(it))
    if (isShared || mayHaveHostServices(means.system)) locks.push(await lockHostServices(means))
    // What one of several cannot have is refused before the first of them is made.
    if (requests.length > 1) await Promise.all(requests.map((it) => planAttachment(it, pinned, means.system)))
    return await applySequentially(requests, pinned, means)
  } finally {
    for (const release of locks) release()
  }
}

/** One after the other, so that each sees the routes and bridges that the one before has made. */
async function applySequentially(
  requests: readonly AttachRequest[],
  pinned: PinnedGuest,
  means: ApplyOptions,
): Promise<readonly AttachPlan[]> {
  const done: AttachPlan[] = []
  const connections: UplinkChange[] = []
  for (const request of requests) {
    const steps = [...done, ...connections].reduce((sum, { plan }) => sum + plan.length, 0)
    try {
      const connected = await ensureUplink(request, { ...means, stepsBefore: steps })
      if (connected !== undefined) connections.push(connected)
      const before = steps + (connected?.plan.length ?? 0)
      const planned = await applyWithRetry(request, pinned, { ...means, stepsBefore: before })
      done.push({ ...planned, ...(connected === undefined ? {} : { uplinkChange: connected }) })
    } catch (error) {
      const run = toExecuteOptions(pinned, { ...means, stepsBefore: steps })
      const left = error instanceof PipeworkError ? [...error.leftovers] : []
      for (const { plan } of [...done].reverse()) left.push(...(await undoPlan(plan, run)))
      for (const connected of [...connections].reverse()) left.push(...(await connected.undo()))
      throw withLeftovers(error, left)
    }
  }
  return done
}

interface ApplyStepOptions extends ApplyOptions {
  /** Steps that the same change has done before. */
  readonly stepsBefore: number
}

/** Plans and acts; when that fails because the host has changed since it was looked at, looks and plans again. */
async function applyWithRetry(
  request: AttachRequest,
  pinned: PinnedGuest,
  turn: ApplyStepOptions,
): Promise<AttachPlan> {
  let failed: (AttachPlan & { readonly error: unknown; readonly told: number }) | undefined
  for (let tries = MAX_TRIES; ; tries -= 1) {
    const planned = await planAttachment(request, pinned, turn.system)
    // A bridge of that name may be another one by now, which makes the same plan worth another try.
    const isSame =
      planned.facts.hostif?.ifindex === failed?.facts.hostif?.ifindex && isSamePlan(planned.plan, failed?.plan ?? [])
    if (failed !== undefined && (tries === 0 || isSame)) throw failed.error
    if (failed !== undefined) turn.onTakenBack?.(failed.told)
    const told = { steps: 0 }
    const onStep = (step: Step) => {
      told.steps += 1
      turn.onStep?.(step)
    }
    try {
      await executeAttach(planned, pinned, { ...turn, onStep })
      return planned
    } catch (error) {
      if (!(error instanceof PipeworkError) || error.leftovers.length > 0 || turn.interrupt.requested) throw error
      failed = { ...planned, error, told: told.steps }
    }
  }
}

function isSamePlan(a: Plan, b: Plan): boolean {
  return a.map(formatStep).join('') === b.map(formatStep).join('')
}

function toExecuteOptions({ guest, pin }: PinnedGuest, turn: ApplyStepOptions): ExecuteOptions {
  return {
    ...turn,
    guest,
    netns: pin.netns,
    runLease: async (argv, run) => (await import('../../network/dhcp/internal')).runInternalDhcp(argv, run),
  }
}

async function executeAttach(planned: AttachPlan, pinned: PinnedGuest, turn: ApplyStepOptions): Promise<void> {
  const { system } = turn
  const { guest, request, plan } = planned
  if (planned.needsUplink)
    throw new PipeworkError(
      `the uplink of '${request.hostif}' was taken away while '${guest.name}' was being attached`,
      {
        hint: 'Run the command again, if it is to be there.',
      },
    )
  await executePlan(plan, {
    ...toExecuteOptions(pinned, turn),
    verify: () => {
      if (system.inode(guest.nsPath) !== pinned.pin.inode)
        throw new PipeworkError(`'${guest.name}' stopped while it was being attached`, {
          hint: 'Start it and run the command again.',
        })
      if (!isAttached(planned, system)) throw notAttachedError(planned, system)
    },
  })
}

/** Whether the link's end in the host, if its kind has one, is there and hangs where it shall. */
function isAttached(planned: AttachPlan, system: System): boolean {
  const { kind } = planned
  const hostEnd = findCurrentHostEnd(planned, system)
  return kind.isAttached === undefined || (hostEnd !== undefined && kind.isAttached(planned, hostEnd))
}

/** Why a link that was made is not where it was put. */
function notAttachedError({ request, guest, facts }: AttachContext, system: System): PipeworkError {
  const hostEnd = request.hostEnd ?? facts.hostEndName
  // Entering a network namespace alone (nsenter --net) leaves the /sys of the one before in place.
  const names: readonly string[] = system.read('/proc/self/net/dev')?.match(/[^\s:]+(?=:)/g) ?? []
  if (names.includes(hostEnd) && system.inode(`/sys/class/net/${hostEnd}`) === undefined)
    return new PipeworkError('/sys shows another network namespace than the one that pipework runs in', {
      hint: 'Enter it with ip netns exec, or nsenter --net --mount, or mount sysfs on /sys there.',
    })
  return new PipeworkError(`the bridge '${request.hostif}' was removed while '${guest.name}' was being attached`, {
    hint: 'Find out who removes it, and run the command again.',
  })
}

/** The link's end in the host, when the kind has one and it is there. */
export function findCurrentHostEnd({ request, facts }: AttachContext, system: System): HostEnd | undefined {
  // One that was made anew has the name that its kind gives, whatever it had before.
  const names = [request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName, facts.hostEndName]
  return names.map((name) => readHostEnd(name, system)).find((seat) => seat !== undefined)
}
