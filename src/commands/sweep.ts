import { execute } from '../execute'
import type { Guest } from '../guest'
import type { GuestName } from '../guestname'
import type { Host } from '../host'
import { readGuest } from '../inside'
import { lockShared } from '../locks'
import { mayHaveOutside } from '../outside/wish'
import { planNoPolicy } from '../policy'
import { formatGuest } from '../record'
import { formatStep, toScript } from '../report'
import { mayHaveRules, readPolicy } from '../rules'
import type { Plan } from '../step'
import type { Call, Outcome } from './call'
import { reachGuest } from './look'

/** Stands for guests that have ended: nothing of this runs in one. */
const NOBODY = { kind: 'docker', name: 'nobody', nsPath: '/proc/self/ns/net' } as const

/** What is left of what is gone, and how that is told. */
interface Litter {
  readonly plan: Plan
  readonly title: string
  /** Where the steps run; absent for the host. */
  readonly inside?: { readonly guest: Guest; readonly netns: string }
}

/** Takes away what the host still has for guests that have ended; undefined when there is no such thing. */
export async function sweepHost(call: Call): Promise<Outcome | undefined> {
  const { host, io } = call
  if (!host.isRoot || !mayHaveOutside(host)) return undefined
  const { planSweep } = await import('../outside/plan')
  const release = await lockShared({ host, interrupt: io.interrupt })
  try {
    const title = 'what this host had for guests that have ended is gone:'
    return await clear({ plan: await planSweep(host), title }, call)
  } finally {
    release()
  }
}

/** Takes the rules away that a guest still has for interfaces of ours that somebody has deleted; undefined for none. */
export async function sweepRules(wanted: GuestName, call: Call): Promise<Outcome | undefined> {
  const { host } = call
  if (!host.isRoot || !mayHaveRules(host)) return undefined
  const reached = await reachGuest(wanted, host)
  if (reached.guest === undefined || reached.pin === undefined) return undefined
  const { guest, pin } = reached
  try {
    const title = `what ${formatGuest(guest)} had for interfaces that are gone is gone:`
    return await clear({ plan: await planNoRules(pin.netns, host), title, inside: { guest, netns: pin.netns } }, call)
  } finally {
    pin.release()
  }
}

async function planNoRules(netns: string, host: Host): Promise<Plan> {
  const { links } = await readGuest(netns, host)
  return planNoPolicy(await readPolicy({ links }, netns, host))
}

async function clear({ plan, title, inside }: Litter, { host, io, flag, words }: Call): Promise<Outcome | undefined> {
  if (plan.length === 0) return undefined
  const steps = plan.map(({ why }) => why)
  if (flag('dry-run')) {
    const of = inside === undefined ? {} : { guest: inside.guest }
    const script = toScript({ plan, ...of, words: ['disconnect', ...words] })
    return { text: script, json: { ok: true, dryRun: true, steps, script }, wanted: true }
  }
  const onStep = flag('verbose') ? { onStep: (step: Plan[number]) => io.err(formatStep(step)) } : {}
  await execute(plan, { host, guest: NOBODY, netns: '', ...inside, interrupt: io.interrupt, ...onStep })
  return {
    text: [title, ...steps.map((step) => `  ${step}`)].map((line) => `${line}\n`).join(''),
    json: { ok: true, changed: true, detached: [], steps },
  }
}
