import type { GuestName } from '../../model/guest-name'
import { mayHaveOutside } from '../../model/host-services'
import { planNoPolicy } from '../../network/policy-routing'
import { execute } from '../../plan/execute'
import type { Plan } from '../../plan/step'
import type { Guest } from '../../runtimes/find'
import { readGuest } from '../../state/guest'
import { mayHaveRules, readPolicy } from '../../state/policy-rules'
import { formatGuest } from '../../state/record'
import { lockShared } from '../../system/locks'
import type { Host } from '../../system/types'
import type { Call, Outcome } from '../../ui/command'
import { formatStep, toScript } from '../../ui/report'
import { reachGuest } from '../look'

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
  const { planSweep } = await import('../../network/host-services')
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
