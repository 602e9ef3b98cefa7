import { PipeworkError } from '../errors'
import { execute } from '../execute'
import { type Facts, gatherFacts } from '../facts'
import { awaitGuest, type Guest, pinGuest } from '../guest'
import type { Pin } from '../host'
import { DEFAULT_MTU, readSeat, resolveHostif, type Seat } from '../hostlinks'
import type { Context } from '../links/kind'
import { isSeated, planAttach } from '../plan'
import { formatGuest } from '../record'
import { describe, formatStep, toAttachment, toScript } from '../report'
import { type AttachRequest, toRequest, toWords } from '../request'
import type { Plan } from '../step'
import { parseSeconds } from '../values'
import { type Call, type Outcome, refuseUnlessRoot } from './call'

/** How often a plan is made anew because another run changed the host in the meantime. */
const TRIES = 5

/** The main form: makes the attachment that the words ask for true. */
export async function run(call: Call): Promise<Outcome> {
  const { host } = call
  const typed = toRequest(call.words, {
    direct: call.flag('direct-phys'),
    kind: call.text('kind'),
    mode: call.text('mode'),
    i: call.text('i'),
    l: call.text('l'),
    a: call.text('a'),
    routes: call.texts('route'),
    metric: call.text('metric'),
    defaultRoute: !call.flag('no-default-route'),
    policyRoute: call.flag('policy-route'),
    mtu: call.text('mtu'),
    txOffload: call.text('tx-offload'),
    probe: !call.flag('no-probe'),
    vlanFiltering: call.flag('vlan-filtering'),
    force: call.flag('force'),
  })
  const request = resolveHostif(typed, host)
  const limit = parseSeconds(call.text('wait-guest') ?? '0', '--wait-guest')
  refuseUnlessRoot(call)
  const guest = await awaitGuest(request.guest, host, { limit, interrupt: call.io.interrupt })
  const pin = host.isRoot ? pinGuest(guest, host) : undefined
  try {
    if (pin === undefined || call.flag('dry-run')) return await printPlan(request, guest, { call, pin })
    return await converge(request, guest, { call, pin })
  } finally {
    pin?.release()
  }
}

interface Means<P> {
  readonly call: Call
  readonly pin: P
}

async function printPlan(
  request: AttachRequest,
  guest: Guest,
  { call, pin }: Means<Pin | undefined>,
): Promise<Outcome> {
  const facts = await gatherFacts(request, { guest, host: call.host, netns: pin?.netns })
  const plan = planAttach({ request, guest, facts })
  const notes =
    pin === undefined ? [`not root: the inside of ${guest.name} could not be read and is taken to be empty`] : []
  const script = toScript({ plan, guest, words: toWords(request), notes })
  return { text: script, json: { ok: true, dryRun: true, steps: plan.map(({ why }) => why), script }, wanted: true }
}

/** Seconds that a run waits for another one at the same interface: more than the slowest step may take. */
const LOCK_LIMIT = 60
/** Seconds between two looks at the lock. */
const LOCK_POLL = 0.01

/** One run at a time: what one finds half-made, and takes back to that when it fails, may be another's by then. */
async function lockLink({ ifname }: AttachRequest, guest: Guest, { call, pin }: Means<Pin>): Promise<() => void> {
  const { host, io } = call
  const deadline = host.elapsed() + LOCK_LIMIT * 1000
  for (;;) {
    const release = host.lock(`${pin.inode}-${ifname}`)
    if (release !== undefined) return release
    if (io.interrupt.heard) throw new PipeworkError('interrupted')
    if (host.elapsed() >= deadline)
      throw new PipeworkError(`another pipework has been at '${ifname}' of '${guest.name}' for ${LOCK_LIMIT} s`, {
        hint: 'Look what it is waiting for: pgrep -a -f pipework',
      })
    await host.sleep(LOCK_POLL)
  }
}

async function converge(request: AttachRequest, guest: Guest, means: Means<Pin>): Promise<Outcome> {
  const release = await lockLink(request, guest, means)
  try {
    return await convergeAlone(request, guest, means)
  } finally {
    release()
  }
}

/** Plans and acts; when that fails because the host has changed since it was looked at, looks and plans again. */
async function convergeAlone(request: AttachRequest, guest: Guest, means: Means<Pin>): Promise<Outcome> {
  const { call, pin } = means
  let failed: { readonly plan: Plan; readonly facts: Facts; readonly error: unknown } | undefined
  for (let tries = TRIES; ; tries -= 1) {
    const facts = await gatherFacts(request, { guest, host: call.host, netns: pin.netns })
    const plan = planAttach({ request, guest, facts })
    // A bridge of that name may be another one by now, which makes the same plan worth another try.
    const isSame = facts.hostif?.ifindex === failed?.facts.hostif?.ifindex && isSamePlan(plan, failed?.plan ?? [])
    if (failed !== undefined && (tries === 0 || isSame)) throw failed.error
    try {
      await act(plan, { request, guest, facts }, means)
      return toOutcome(plan, { request, guest, facts }, call)
    } catch (error) {
      if (!(error instanceof PipeworkError) || error.leftovers.length > 0 || call.io.interrupt.heard) throw error
      failed = { plan, facts, error }
    }
  }
}

function isSamePlan(a: Plan, b: Plan): boolean {
  return a.map(formatStep).join('') === b.map(formatStep).join('')
}

async function act(plan: Plan, context: Context, { call, pin }: Means<Pin>): Promise<void> {
  const { host, io } = call
  const { guest, request } = context
  await execute(plan, {
    host,
    guest,
    netns: pin.netns,
    interrupt: io.interrupt,
    ...(call.flag('verbose') ? { onStep: (step) => io.err(formatStep(step)) } : {}),
    verify: () => {
      if (host.inode(guest.nsPath) !== pin.inode)
        throw new PipeworkError(`'${guest.name}' stopped while it was being attached`, {
          hint: 'Start it and run the command again.',
        })
      if (!isSeated(context, hostEndOf(context, call)))
        throw new PipeworkError(`the bridge '${request.hostif}' was removed while '${guest.name}' was being attached`)
    },
  })
}

/** The link's end in the host, when the kind has one and it is there. */
function hostEndOf({ request, facts }: Context, { host }: Call): Seat | undefined {
  // One that was made anew has the name that its kind gives, whatever it had before.
  const names = [request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName, facts.hostEndName]
  return names.map((name) => readSeat(name, host)).find((seat) => seat !== undefined)
}

function toOutcome(plan: Plan, context: Context, call: Call): Outcome {
  const { request, guest, facts } = context
  const hostEnd = hostEndOf(context, call)
  const { kind, name, id } = guest
  const { ifname, hostif, addresses, words } = request
  const record = { kind: 'link', ifname, hostif, addresses, words, previous: [] } as const
  const attachment = toAttachment(
    { ...record, guest: { kind, name, ...(id === undefined ? {} : { id }) } },
    { mtu: request.mtu ?? facts.hostif?.mtu ?? DEFAULT_MTU, up: true },
    hostEnd?.name,
  )
  const changed = plan.length > 0
  const undo = `pipework disconnect ${formatGuest(guest)}${request.ifname === 'eth1' ? '' : ` ${request.ifname}`}`
  const { sharedWith } = guest
  const shared = sharedWith === undefined ? '' : `  ${name} shares the network of ${sharedWith}: both have it now\n`
  return {
    text: changed
      ? `${describe(attachment)} (${Math.round(call.host.elapsed())} ms)\n${shared}  undo: ${undo}\n`
      : `${describe(attachment)} already; nothing changed\n${shared}`,
    json: {
      ...{ ok: true, changed, attachment, steps: plan.map(({ why }) => why), undo },
      ...(sharedWith === undefined ? {} : { sharedWith }),
    },
  }
}
