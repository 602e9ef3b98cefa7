import { planSettled, recordOf } from '../../drivers/claim'
import type { Context, LinkKind } from '../../drivers/types'
import { planAddresses } from '../../network/addresses'
import type { Plan } from '../../plan/step'

/** The steps that make the request true; none when it is. Throws every refusal, changes nothing. */
export function planAttach(context: Context, kind: LinkKind): Plan {
  return [...kind.plan(context), ...planAddresses(context), ...planSettled(context)]
}

/** Why a link of ours that is in the guest cannot become the one asked for, if it cannot: see remake.ts. */
export function findMisfit(context: Context, kind: LinkKind): string | undefined {
  const { inGuest } = context.facts
  return inGuest === undefined || recordOf(context.facts) === undefined ? undefined : kind.misfit(context, inGuest)
}
