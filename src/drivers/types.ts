import type { AttachRequest } from '../model/request'
import type { Facts } from '../operations/attach/read'
import type { Plan } from '../plan/step'
import type { Guest } from '../runtimes/find'
import type { GuestLink } from '../state/guest'
import type { Seat } from '../state/host-links'

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
