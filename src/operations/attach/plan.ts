import type { LinkDriver } from '../../drivers/types'
import { planFinalRecord } from '../../drivers/update-link'
import { planAddresses } from '../../network/addresses'
import type { Plan } from '../../plan/step'
import type { AttachContext } from '../../state/attach-facts'
import { findLinkRecord } from '../../state/attach-facts'

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
