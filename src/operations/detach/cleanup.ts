import type { GuestName } from '../../model/guest-name'
import { planPolicyRemoval } from '../../network/policy-routing'
import { executePlan } from '../../plan/execute'
import { formatScript, formatStep } from '../../plan/script'
import type { Plan } from '../../plan/step'
import type { Guest } from '../../runtimes/find'
import { readGuestState } from '../../state/guest'
import { mayHaveHostServices } from '../../state/marker'
import { mayHavePolicyRules, readPolicyRouting } from '../../state/policy-rules'
import { formatGuest } from '../../state/record'
import { lockHostServices } from '../../system/locks'
import type { System } from '../../system/types'
import type { CommandContext, CommandOutcome } from '../../ui/command'
import { resolveTargetGuest } from '../look'

/** Stands for guests that have ended: nothing of this runs in one. */
const NO_GUEST = { kind: 'docker', name: 'nobody', nsPath: '/proc/self/ns/net' } as const

/** What is left of what is gone, and how that is told. */
interface Leftovers {
  readonly plan: Plan
  readonly title: string
  /** Where the steps run; absent for the host. */
  readonly guestContext?: { readonly guest: Guest; readonly netns: string }
}

/** Takes away what the host still has for guests that have ended; undefined when there is no such thing. */
export async function cleanUpHost(call: CommandContext): Promise<CommandOutcome | undefined> {
  const { system, io } = call
  if (!system.isRoot || !mayHaveHostServices(system)) return undefined
  const { planServiceCleanup } = await import('../../network/host-services')
  const release = await lockHostServices({ system, interrupt: io.interrupt })
  try {
    const title = 'what this host had for guests that have ended is gone:'
    return await runCleanup({ plan: await planServiceCleanup(system), title }, call)
  } finally {
    release()
  }
}

/** Takes the rules away that a guest still has for interfaces of ours that somebody has deleted; undefined for none. */
export async function cleanUpGuestRules(wanted: GuestName, call: CommandContext): Promise<CommandOutcome | undefined> {
  const { system } = call
  if (!system.isRoot || !mayHavePolicyRules(system)) return undefined
  const reached = await resolveTargetGuest(wanted, system)
  if (reached.guest === undefined || reached.pin === undefined) return undefined
  const { guest, pin } = reached
  try {
    const title = `what ${formatGuest(guest)} had for interfaces that are gone is gone:`
    return await runCleanup(
      { plan: await planRuleCleanup(pin.netns, system), title, guestContext: { guest, netns: pin.netns } },
      call,
    )
  } finally {
    pin.release()
  }
}

async function planRuleCleanup(netns: string, system: System): Promise<Plan> {
  const { links } = await readGuestState(netns, system)
  return planPolicyRemoval(await readPolicyRouting({ links }, netns, system))
}

async function runCleanup(
  { plan, title, guestContext }: Leftovers,
  { system, io, hasFlag, positionals }: CommandContext,
): Promise<CommandOutcome | undefined> {
  if (plan.length === 0) return undefined
  const steps = plan.map(({ description }) => description)
  if (hasFlag('dry-run')) {
    const of = guestContext === undefined ? {} : { guest: guestContext.guest }
    const script = formatScript({ plan, ...of, words: ['disconnect', ...positionals] })
    return { text: script, json: { ok: true, dryRun: true, steps, script }, printWhenQuiet: true }
  }
  const onStep = hasFlag('verbose') ? { onStep: (step: Plan[number]) => io.err(formatStep(step)) } : {}
  await executePlan(plan, { system, guest: NO_GUEST, netns: '', ...guestContext, interrupt: io.interrupt, ...onStep })
  return {
    text: [title, ...steps.map((step) => `  ${step}`)].map((line) => `${line}\n`).join(''),
    json: { ok: true, changed: true, detached: [], steps },
  }
}
