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
  /** The MAC address of the bridge, if it has to be created. */
  readonly bridgeMac: string
}

/** The facts about host and guest that a plan is made from. */
export interface AttachFacts extends NicFacts, DerivedNames {
  /** The host interface of the request, when it exists. */
  readonly hostif?: HostLink
  /** The existing interface of that name in the guest. */
  readonly inGuest?: GuestLink
  /** The host end of that interface, when it is a veth of this host. */
  readonly hostEnd?: HostLink
  /** The guest in the link's record, where that is another name for the same namespace. */
  readonly recordedGuest?: LinkRecord['guest']
  /** The VLANs of that end, when its bridge has VLAN filtering or will get it. */
  readonly portVlans?: PortVlans
  /** Open vSwitch, when the request or the existing link may concern it. */
  readonly ovs?: OvsState
  /** The parent of the link in the guest, when it has one: a macvlan's NIC. */
  readonly parent?: HostLink
  readonly links: readonly GuestLink[]
  /** The saved NIC of that name, when it is in a guest. */
  readonly nicElsewhere?: SavedNic
  /** Names of host interfaces to suggest, when the typed one does not exist and will not be created. */
  readonly similarNames?: readonly string[]
  /** With --direct-phys: the NIC, when it is in the guest under another name. */
  readonly nicOtherName?: GuestLink
  /** Another host link that has the name wanted for the host end. */
  readonly nameConflict?: HostLink
  /** The name of that link's other end, when that is in this guest. */
  readonly conflictPeer?: string
  /** The current name of the container that this link was created for, when it was renamed and still runs. */
  readonly renamedTo?: string
  /** The guest's main routing table. */
  readonly routes: readonly GuestRoute[]
  /** Rules and routes of --policy-route, including leftovers of links that are gone. */
  readonly policy?: PolicyRouting
  /** With --policy-route: the file that marks this guest as having rules. */
  readonly rulesFile?: string
  /** The MTU that the bridge has without this link, when it no longer chooses its own. */
  readonly otherPortsMtu?: number
  /** For --tx-offload, requested now or before: whether ethtool is installed, and the state of the existing link. */
  readonly offload?: { readonly ethtool: boolean; readonly state?: 'on' | 'off' }
  /** sysctls of the interface in the guest; empty while it does not exist, or needs no new address. */
  readonly sysctls: Readonly<Record<string, string>>
  /** False when the kernel has no IPv6. */
  readonly hasIpv6: boolean
  /** Whether iputils' arping is installed, to probe for duplicate IPv4 addresses. */
  readonly hasArping: boolean
}

/** The inputs of a plan. */
export interface AttachContext {
  readonly request: AttachRequest
  readonly guest: Guest
  readonly facts: AttachFacts
}

/** The attachment's record: on a veth's host end, where the guest cannot write, else on the link itself. */
export function findLinkRecord({ hostEnd, inGuest }: Pick<AttachFacts, 'hostEnd' | 'inGuest'>): LinkRecord | undefined {
  const { record } = hostEnd ?? inGuest ?? {}
  return record?.kind === 'link' ? record : undefined
}
