import type { Plan } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import type { ExistingAttachment, OvsRemoval } from '../state/attachments'
import type { PortVlans } from '../state/bridge-vlans'
import type { GuestLink, GuestState } from '../state/guest'
import type { HostState } from '../state/host'
import type { HostEnd, HostLink } from '../state/host-links'
import type { SavedNic } from '../state/saved-link'

/** A link to remove, and what the undo needs. */
export interface LinkRemoval {
  readonly attachment: ExistingAttachment
  /** The guest's links and routes, when its namespace can be read. */
  readonly guestState?: GuestState
  readonly sysctls: Readonly<Record<string, string>>
  /** The VLANs of the host end. */
  readonly portVlans?: PortVlans
  /** Its Open vSwitch port. */
  readonly ovsRemoval?: OvsRemoval
  /** The NIC or VLAN device under a macvlan. */
  readonly parent?: HostLink
  /** The saved configuration of a NIC that was moved into the guest. */
  readonly savedNic?: SavedNic
  /** The host's links, for a NIC that returns to them. */
  readonly hostState?: HostState
}

/** One kind of link. */
export interface Driver {
  /** The host end is a port of a Linux bridge, whose frames may meet the host's firewall (br_netfilter). */
  readonly isBridged?: true
  /** The link shares a NIC: --kind and --mode apply. */
  readonly sharesNic?: true
  /** The kernel or the hardware sets the MAC address, and it cannot be changed. */
  readonly hasFixedMac?: true
  /** Whether it serves the requested host interface. */
  matches(context: AttachContext): boolean
  /** Throws every refusal. */
  validate(context: AttachContext): void
  /** The steps after which the link is in the guest, with its name, MAC address, MTU and record. */
  plan(context: AttachContext): Plan
  /** The steps that remove the link. Throws when it is not what its record says. */
  planRemoval(removal: LinkRemoval): Plan
  /** Why a link that pipework made before must be recreated, if it cannot become the requested one. */
  incompatibility(context: AttachContext, inGuest: GuestLink): string | undefined
  /** Whether the host end is where the plan put it; absent where links have none. */
  isAttached?(context: AttachContext, hostEnd: HostEnd): boolean
}
