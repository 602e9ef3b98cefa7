import type { AttachRequest } from '../model/request'
import type { Guest } from '../runtimes/types'
import type { PortVlans } from './bridge-vlans'
import type { GuestLink, GuestRoute } from './guest'
import type { HostLink } from './host-links'
import type { NicFacts } from './nic-facts'
import type { OvsState } from './ovsdb'
import type { PolicyRouting } from './policy-rules'
import type { LinkRecord } from './record'
import type { SavedNic } from './saved-link'

/** Names and MAC addresses of new links and bridges: the same at each run. */
export interface DerivedNames {
  /** The host end's name, unless the user gives one. */
  readonly hostEndName: string
  /** The MAC address for the interface in the guest; derived unless the user gave one. */
  readonly mac: string
  /** The MAC address for the bridge, should it be made. */
  readonly bridgeMac: string
}

/** What is known of the host and the guest when the plan is made. */
export interface AttachFacts extends NicFacts, DerivedNames {
  /** The host interface of the request, when it exists. */
  readonly hostif?: HostLink
  /** The interface of that name in the guest, when there is one. */
  readonly inGuest?: GuestLink
  /** The host's end of that interface, when it is a veth of this host. */
  readonly hostEnd?: HostLink
  /** The guest in the link's record, where that is another name for the same namespace. */
  readonly recordedGuest?: LinkRecord['guest']
  /** The VLANs of that end, where its bridge keeps VLANs apart or is to do so. */
  readonly portVlans?: PortVlans
  /** Open vSwitch, where the request or the link that is there may concern it. */
  readonly ovs?: OvsState
  /** What the link in the guest hangs on, where that is not a veth's other end: a macvlan's NIC. */
  readonly parent?: HostLink
  /** The guest's links. */
  readonly links: readonly GuestLink[]
  /** The NIC of that name, when it is in a guest. */
  readonly nicElsewhere?: SavedNic
  /** Names that the host's interfaces have, where nothing has the one that was typed, and nothing is made of it. */
  readonly similarNames?: readonly string[]
  /** With --direct-phys: the NIC, when it is in the guest under another name. */
  readonly nicOtherName?: GuestLink
  /** A link of the host that bears the name wanted for the host end and is not it. */
  readonly nameConflict?: HostLink
  /** Whether the holder of that name has its other end in this guest, and the interface's name there. */
  readonly conflictPeer?: string
  /** What the container is called now that the holder of that name was made for, where it runs on under another name. */
  readonly renamedTo?: string
  /** The guest's main routing table. */
  readonly routes: readonly GuestRoute[]
  /** Rules and routes for replies that leave where they came in, and what is left of such for links that are gone. */
  readonly policy?: PolicyRouting
  /** With --policy-route: the file that says that this guest has rules. */
  readonly rulesFile?: string
  /** The MTU that the bridge has without this link, where that is not to choose its own any more. */
  readonly otherPortsMtu?: number
  /** Where --tx-offload is given, or was: whether there is an ethtool, and what it says of the link that is there. */
  readonly offload?: { readonly ethtool: boolean; readonly state?: 'on' | 'off' }
  /** sysctls of the interface in the guest; empty while it does not exist, or needs no new address. */
  readonly sysctls: Readonly<Record<string, string>>
  /** False where the kernel knows no IPv6. */
  readonly hasIpv6: boolean
  /** Whether iputils' arping is there to ask for an IPv4 address. */
  readonly hasArping: boolean
}

/** What a plan is made from. */
export interface AttachContext {
  readonly request: AttachRequest
  readonly guest: Guest
  readonly facts: AttachFacts
}

/** The record of the attachment: on a veth's host end, where the guest cannot write, else on the link itself. */
export function findLinkRecord({ hostEnd, inGuest }: Pick<AttachFacts, 'hostEnd' | 'inGuest'>): LinkRecord | undefined {
  const { record } = hostEnd ?? inGuest ?? {}
  return record?.kind === 'link' ? record : undefined
}
