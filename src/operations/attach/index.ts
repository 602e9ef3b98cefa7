import { findKind } from '../../drivers'
import { recordOf } from '../../drivers/claim'
import type { Context, LinkKind } from '../../drivers/types'
import type { Passenger } from '../../firewall/bridge-accept'
import { LEASES } from '../../model/address-sources'
import { PipeworkError } from '../../model/errors'
import { GUEST_KINDS } from '../../model/guest-name'
import { isConcerned, isForwarded, mayHaveOutside, wishesOf } from '../../model/host-services'
import type { AttachRequest } from '../../model/request'
import { execute, failWith, type Run, takeBack } from '../../plan/execute'
import type { Plan, Step } from '../../plan/step'
import type { Guest } from '../../runtimes/find'
import { readSeat, type Seat } from '../../state/host-links'
import type { Ahead } from '../../system/ahead'
import { lockLink, lockShared } from '../../system/locks'
import type { Host, Interrupt, Pin } from '../../system/types'
import { formatStep } from '../../ui/report'
import type { Connected } from '../uplink'
import { findMisfit, planAttach } from './plan'
import { gatherFacts } from './read'

/** A guest, and its namespace held for this run. */
export interface Pinned {
  readonly guest: Guest
  readonly pin: Pin
}

/** What a change is made with. */
export interface Means {
  readonly host: Host
  readonly interrupt: Interrupt
  /** Told of each step before it runs. */
  readonly onStep?: (step: Step) => void
  /** Told that the last so many of them were taken back, to be planned anew. */
  readonly onTakenBack?: (count: number) => void
  /** Where an `ip` may wait for the first lines. */
  readonly ahead?: Ahead
  /** Seconds in which somebody must confirm that an uplink works; without, its proof does. */
  readonly confirm?: number
  /** Tells of what is awaited. */
  readonly tell?: (text: string) => void
}

/** An attachment asked for, what was known when it was planned, and the steps that make it true. */
export interface Planned extends Context {
  readonly kind: LinkKind
  readonly plan: Plan
  /** Whether the plan begins with connecting its bridge: only who connects it, with care, may do that. */
  readonly isUnconnected: boolean
  /** What was done for the uplink of its bridge. */
  readonly connected?: Connected
}

/** How often a plan is made anew because another run changed the host in the meantime. */
const TRIES = 5

/** What would be done now. Without a pin (not root) the inside of the guest is taken to be empty. Throws refusals. */
export async function foresee(
  request: AttachRequest,
  { guest, pin }: { readonly guest: Guest; readonly pin: Pin | undefined },
  host: Host,
): Promise<Planned> {
  const found = await gatherFacts(request, { guest, host, netns: pin?.netns })
  const uplink = await foreseeUplink(request, host)
  // By then the bridge is there.
  const facts = found.hostif === undefined && uplink !== undefined ? { ...found, hostif: uplink.bridge } : found
  const context = { request, guest: toRecorded(guest, facts), facts, isUnconnected: (uplink?.plan.length ?? 0) > 0 }
  const kind = await findKind(context).load()
  const planRest = async (it: Context) => [
    ...(uplink?.plan ?? []),
    ...(await toPlan(it, kind)),
    ...(await toPassage(it, kind, host)),
    ...(await planBeside(it, host)),
    ...(await planBehind(it, host)),
  ]
  if (!mayLease(context, host)) return { ...context, kind, plan: await planRest(context) }
  const { foreseeLeases } = await import('../../network/dhcp/plan-leases')
  const isRemade = findMisfit(context, kind) !== undefined
  return { ...context, kind, ...(await foreseeLeases(context, { host, netns: pin?.netns, isRemade, planRest })) }
}

/** The guest under the name that its link was made with: by the one or the other, it is the same attachment. */
function toRecorded(guest: Guest, { recordedAs }: Context['facts']): Guest {
  const kind = GUEST_KINDS.find((it) => it === recordedAs?.kind)
  if (recordedAs === undefined || kind === undefined) return guest
  const { sharedWith: _, ...rest } = guest
  return { ...rest, ...recordedAs, kind }
}

/** What it takes to connect the bridge, and the bridge as it is then; nothing when it is connected. */
async function foreseeUplink({ hostif, uplink: wish, force }: AttachRequest, host: Host) {
  if (wish === undefined) return undefined
  const { foreseeBridge } = await import('../uplink/foresee')
  return foreseeBridge({ bridge: hostif, wish }, { force, writeUnmanaged: false }, { host })
}

/** Connects the bridge of a request to its uplink, when it asks for one and is not. */
async function connectUplink(
  { hostif, uplink: wish, force }: AttachRequest,
  means: Turn,
): Promise<Connected | undefined> {
  if (wish === undefined) return undefined
  const { connect } = await import('../uplink')
  return connect({ bridge: hostif, wish }, { force, writeUnmanaged: false }, { tell: () => {}, ...means })
}

async function toPlan(context: Context, kind: LinkKind): Promise<Plan> {
  const misfit = findMisfit(context, kind)
  if (misfit === undefined) return planAttach(context, kind)
  const { planRemake } = await import('./recreate')
  return planRemake(context, kind, misfit)
}

/** Whether the request, or what the attachment was before, needs more of the host than a link. */
function concernsHost({ request, facts }: Context): boolean {
  const record = recordOf(facts)
  return isConcerned(request) || (record !== undefined && isConcerned(wishesOf(record)))
}

/** What is needed of the host beside the link; nothing is loaded for who needs nothing. */
async function planBeside(context: Context, host: Host): Promise<Plan> {
  if (!concernsHost(context)) return []
  const { planOutside } = await import('../../network/host-services')
  return planOutside(context, host)
}

/** With --force a link may leave what pipework made for it. */
async function planBehind(context: Context, host: Host): Promise<Plan> {
  if (!context.request.force || recordOf(context.facts) === undefined) return []
  const { planMoved } = await import('../detach/gc')
  return planMoved(context, host)
}

/** With --firewall allow and --strict the firewall is looked at before the first change, and not after the last. */
async function toPassage(context: Context, kind: LinkKind, host: Host): Promise<Plan> {
  const { firewall, strict } = context.request
  if (!host.isRoot || !(strict || firewall === 'allow')) return []
  const passenger = await toPassenger({ ...context, kind }, host)
  if (!kind.isBridged && passenger.forwarding === undefined) return []
  const { planPassage } = await import('../../firewall/bridge-accept')
  return planPassage(passenger, host)
}

/** The attachment with what the host is to forward for it; who asks for nothing of the kind loads nothing. */
export async function toPassenger(planned: Context & Pick<Planned, 'kind'>, host: Host): Promise<Passenger> {
  if (!isForwarded(planned.request)) return planned
  const { forwardingFor } = await import('../../network/host-services')
  const forwarding = forwardingFor(planned, host)
  return { ...planned, forwarding }
}

/** Whether leases are asked for, or were: nobody else waits for what knows of them. */
function mayLease({ request, facts }: Context, host: Host): boolean {
  return request.sources.length > 0 || recordOf(facts)?.sources !== undefined || (host.list(LEASES) ?? []).length > 0
}

/**
 * Makes what is asked of one guest true: all of it, or nothing. The requests have interfaces of their own each. Throws
 * the first refusal or failure, the guest being as it was then; or what is left.
 */
export async function converge(
  requests: readonly AttachRequest[],
  pinned: Pinned,
  means: Means,
): Promise<readonly Planned[]> {
  const locks: (() => void)[] = []
  try {
    // In one order, so that no two runs wait for each other.
    for (const ifname of requests.map((it) => it.ifname).sort()) locks.push(await lockLink(ifname, pinned, means))
    const isShared = requests.some((it) => it.firewall === 'allow' || isConcerned(it))
    if (isShared || mayHaveOutside(means.host)) locks.push(await lockShared(means))
    // What one of several cannot have is refused before the first of them is made.
    if (requests.length > 1) await Promise.all(requests.map((it) => foresee(it, pinned, means.host)))
    return await convergeInTurn(requests, pinned, means)
  } finally {
    for (const release of locks) release()
  }
}

/** One after the other, so that each sees the routes and bridges that the one before has made. */
async function convergeInTurn(
  requests: readonly AttachRequest[],
  pinned: Pinned,
  means: Means,
): Promise<readonly Planned[]> {
  const done: Planned[] = []
  const connections: Connected[] = []
  for (const request of requests) {
    const steps = [...done, ...connections].reduce((sum, { plan }) => sum + plan.length, 0)
    try {
      const connected = await connectUplink(request, { ...means, before: steps })
      if (connected !== undefined) connections.push(connected)
      const before = steps + (connected?.plan.length ?? 0)
      const planned = await convergeOne(request, pinned, { ...means, before })
      done.push({ ...planned, ...(connected === undefined ? {} : { connected }) })
    } catch (error) {
      const run = toRun(pinned, { ...means, before: steps })
      const left = error instanceof PipeworkError ? [...error.leftovers] : []
      for (const { plan } of [...done].reverse()) left.push(...(await takeBack(plan, run)))
      for (const connected of [...connections].reverse()) left.push(...(await connected.undo()))
      throw failWith(error, left)
    }
  }
  return done
}

interface Turn extends Means {
  /** Steps that the same change has done before. */
  readonly before: number
}

/** Plans and acts; when that fails because the host has changed since it was looked at, looks and plans again. */
async function convergeOne(request: AttachRequest, pinned: Pinned, turn: Turn): Promise<Planned> {
  let failed: (Planned & { readonly error: unknown; readonly told: number }) | undefined
  for (let tries = TRIES; ; tries -= 1) {
    const planned = await foresee(request, pinned, turn.host)
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
      await act(planned, pinned, { ...turn, onStep })
      return planned
    } catch (error) {
      if (!(error instanceof PipeworkError) || error.leftovers.length > 0 || turn.interrupt.heard) throw error
      failed = { ...planned, error, told: told.steps }
    }
  }
}

function isSamePlan(a: Plan, b: Plan): boolean {
  return a.map(formatStep).join('') === b.map(formatStep).join('')
}

function toRun({ guest, pin }: Pinned, turn: Turn): Run {
  return { ...turn, guest, netns: pin.netns }
}

async function act(planned: Planned, pinned: Pinned, turn: Turn): Promise<void> {
  const { host } = turn
  const { guest, request, plan } = planned
  if (planned.isUnconnected)
    throw new PipeworkError(
      `the uplink of '${request.hostif}' was taken away while '${guest.name}' was being attached`,
      {
        hint: 'Run the command again, if it is to be there.',
      },
    )
  await execute(plan, {
    ...toRun(pinned, turn),
    verify: () => {
      if (host.inode(guest.nsPath) !== pinned.pin.inode)
        throw new PipeworkError(`'${guest.name}' stopped while it was being attached`, {
          hint: 'Start it and run the command again.',
        })
      if (!isSeated(planned, host)) throw unseated(planned, host)
    },
  })
}

/** Whether the link's end in the host, if its kind has one, is there and hangs where it shall. */
function isSeated(planned: Planned, host: Host): boolean {
  const { kind } = planned
  const hostEnd = hostEndOf(planned, host)
  return kind.isSeated === undefined || (hostEnd !== undefined && kind.isSeated(planned, hostEnd))
}

/** Why a link that was made is not where it was put. */
function unseated({ request, guest, facts }: Context, host: Host): PipeworkError {
  const hostEnd = request.hostEnd ?? facts.hostEndName
  // Entering a network namespace alone (nsenter --net) leaves the /sys of the one before in place.
  const names: readonly string[] = host.read('/proc/self/net/dev')?.match(/[^\s:]+(?=:)/g) ?? []
  if (names.includes(hostEnd) && host.inode(`/sys/class/net/${hostEnd}`) === undefined)
    return new PipeworkError('/sys shows another network namespace than the one that pipework runs in', {
      hint: 'Enter it with ip netns exec, or nsenter --net --mount, or mount sysfs on /sys there.',
    })
  return new PipeworkError(`the bridge '${request.hostif}' was removed while '${guest.name}' was being attached`, {
    hint: 'Find out who removes it, and run the command again.',
  })
}

/** The link's end in the host, when the kind has one and it is there. */
export function hostEndOf({ request, facts }: Context, host: Host): Seat | undefined {
  // One that was made anew has the name that its kind gives, whatever it had before.
  const names = [request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName, facts.hostEndName]
  return names.map((name) => readSeat(name, host)).find((seat) => seat !== undefined)
}
