import type { Plan } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import type { GuestLink } from '../state/guest'
import type { HostEnd } from '../state/host-links'

/** One kind of host interface. */
export interface LinkDriver {
  /** On a Linux bridge, whose frames may meet the host's firewall (br_netfilter). */
  readonly isBridged?: true
  /** Whether a link's end in the host hangs where it shall; absent where links have no such end. */
  isAttached?(context: AttachContext, hostEnd: HostEnd): boolean
  /** What makes a link of ours that is in the guest unfit to be changed into the one asked for, if anything does. */
  incompatibility(context: AttachContext, inGuest: GuestLink): string | undefined
  /** Steps after which the link is in the guest, named, with its MAC address and MTU, and recorded. Throws refusals. */
  plan(context: AttachContext): Plan
}
