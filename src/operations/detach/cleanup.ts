import type { GuestName } from '../../model/guest-name'
import { planPolicyRemoval } from '../../network/policy-routing'
import { executePlan } from '../../plan/execute'
import type { Plan } from '../../plan/step'
import type { Guest } from '../../runtimes/find'
import { readGuestState } from '../../state/guest'
import { mayHaveHostServices } from '../../state/marker'
import { mayHavePolicyRules, readPolicyRouting } from '../../state/policy-rules'
import { formatGuest } from '../../state/record'
import { lockHostServices } from '../../system/locks'
import type { System } from '../../system/types'
import { resolveTargetGuest } from '../look'
import type { ChangeOptions } from '../types'

/** A placeholder: these steps run on the host only. */
const NO_GUEST = { kind: 'docker', name: 'none', nsPath: '/proc/self/ns/net' } as const

/** Leftovers of removed attachments, and the steps that removed them. */
export interface CleanupResult {
  readonly plan: Plan
  readonly title: string
  /** The guest that the steps run in; absent for the host. */
  readonly guest?: Guest
}

/** Removes what the host still has for stopped guests; undefined when there is nothing. */
export async function cleanUpHost(options: ChangeOptions): Promise<CleanupResult | undefined> {
  const { system, interrupt } = options
  if (!system.isRoot || !mayHaveHostServices(system)) return undefined
  const { planServiceCleanup } = await import('../../network/host-services')
  const release = await lockHostServices({ system, interrupt })
  try {
    const title = 'removed from this host, left by guests that have ended:'
    return await runCleanup({ plan: await planServiceCleanup(system), title }, '', options)
  } finally {
    release()
  }
}

/** Removes policy rules of deleted interfaces from a guest; undefined when there are none. */
export async function cleanUpGuestRules(wanted: GuestName, options: ChangeOptions): Promise<CleanupResult | undefined> {
  const { system } = options
  if (!system.isRoot || !mayHavePolicyRules(system)) return undefined
  const reached = await resolveTargetGuest(wanted, system)
  if (reached.guest === undefined || reached.pin === undefined) return undefined
  const { guest, pin } = reached
  try {
    const title = `removed from ${formatGuest(guest)}, left by interfaces that are gone:`
    return await runCleanup({ plan: await planRuleCleanup(pin.netns, system), title, guest }, pin.netns, options)
  } finally {
    pin.release()
  }
}

async function planRuleCleanup(netns: string, system: System): Promise<Plan> {
  const { links } = await readGuestState(netns, system)
  return planPolicyRemoval(await readPolicyRouting({ links }, netns, system))
}

async function runCleanup(
  cleanup: CleanupResult,
  netns: string,
  { system, interrupt, dryRun, onStep }: ChangeOptions,
): Promise<CleanupResult | undefined> {
  const { plan, guest = NO_GUEST } = cleanup
  if (plan.length === 0) return undefined
  if (!dryRun) await executePlan(plan, { system, guest, netns, interrupt, onStep })
  return cleanup
}
