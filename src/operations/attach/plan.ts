import { findLinkRecord, planFinalRecord } from '../../drivers/claim'
import type { AttachContext, LinkDriver } from '../../drivers/types'
import { planAddresses } from '../../network/addresses'
import type { Plan } from '../../plan/step'

/** The steps that make the request true; none when it is. Throws every refusal, changes nothing. */
export function planLinkAndAddresses(context: AttachContext, kind: LinkDriver): Plan {
  return [...kind.plan(context), ...planAddresses(context), ...planFinalRecord(context)]
}

/** Why a link of ours that is in the guest cannot become the one asked for, if it cannot: see remake.ts. */
export function findIncompatibility(context: AttachContext, kind: LinkDriver): string | undefined {
  const { inGuest } = context.facts
  return inGuest === undefined || findLinkRecord(context.facts) === undefined
    ? undefined
    : kind.incompatibility(context, inGuest)
}
