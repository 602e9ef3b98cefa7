import type { Facts } from '../facts'
import type { Guest } from '../guest'
import type { Seat } from '../hostlinks'
import type { GuestLink } from '../inside'
import type { AttachRequest } from '../request'
import type { Plan } from '../step'

/** What a plan is made from. */
export interface Context {
  readonly request: AttachRequest
  readonly guest: Guest
  readonly facts: Facts
}

/** One kind of host interface. */
export interface LinkKind {
  /** On a Linux bridge, whose frames may meet the host's firewall (br_netfilter). */
  readonly isBridged?: true
  /** Whether a link's end in the host hangs where it shall; absent where links have no such end. */
  isSeated?(context: Context, hostEnd: Seat): boolean
  /** What makes a link of ours that is in the guest unfit to be changed into the one asked for, if anything does. */
  misfit(context: Context, inGuest: GuestLink): string | undefined
  /** Steps after which the link is in the guest, named, with its MAC address and MTU, and recorded. Throws refusals. */
  plan(context: Context): Plan
}
