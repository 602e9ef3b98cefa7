import type { InstalledAccept } from '../../firewall/bridge-accept'
import type { ToolResolver } from '../../firewall/read'
import type { Ruleset } from '../../firewall/rule'
import type { Family } from '../../model/address'
import type { PipeworkError } from '../../model/errors'
import type { Warning } from '../../model/report'
import { shellQuote } from '../../model/shell'
import type { Guest } from '../../runtimes/types'
import type { ExistingAttachment } from '../../state/attachments'
import type { GuestRoute } from '../../state/guest'
import type { ManagedLink } from '../../state/network-managers'

/** An address as `ip` shows it. */
export interface DoctorAddress {
  readonly family: Family
  readonly ip: string
  readonly prefix: number
  readonly isLinkLocal: boolean
  /** IPv6 duplicate address detection has found another owner. */
  readonly isDuplicate: boolean
}

/** A link of the host or a guest. */
export interface DoctorLink {
  readonly name: string
  readonly ifindex: number
  readonly kind: string
  readonly mac: string
  readonly mtu: number
  readonly isUp: boolean
  readonly hasCarrier: boolean
  readonly isWireless: boolean
  /** Whether pipework created it and it belongs to no guest, like a bridge. */
  readonly isOwned: boolean
  readonly master?: string
  /** The index of a veth's peer, or of a macvlan's parent. */
  readonly peerIndex?: number
  /** For a bridge: whether spanning tree is on. For a port: its state, like `forwarding`. */
  readonly hasStp?: boolean
  readonly portState?: string
  readonly addresses: readonly DoctorAddress[]
}

/** An attachment with its record, both ends, and its guest. */
export interface DoctorAttachment {
  readonly attachment: ExistingAttachment
  /** The guest as the user types it. */
  readonly guest: string
  readonly hostEnd?: DoctorLink
  readonly inGuest?: DoctorLink
  /** Reverse path filtering in the guest; 1 is strict (RFC 3704). */
  readonly rpFilter?: number
  /** The guest's main routing table; absent when the guest is unreachable. */
  readonly routes?: readonly GuestRoute[]
  /** The guest's name for `ip -n` while its namespace is held. */
  readonly netns?: string
  /** Why the guest is unreachable, and whether it is gone. */
  readonly unreachable?: { readonly message: string; readonly hint?: string; readonly isGone: boolean }
  readonly resolvedGuest?: Guest
}

/** Facts about the host other than links. */
export interface MachineState {
  /** Maker and model according to DMI; may be empty. */
  readonly vendor: string
  readonly product: string
  readonly missingTools: readonly string[]
  /** Link kinds that the kernel does not support. */
  readonly missingKinds: readonly string[]
  readonly docker?: { readonly kind: 'remote' | 'rootless'; readonly evidence: string; readonly command: string }
  /** Why Open vSwitch does not answer, when an attachment needs it. */
  readonly ovs?: { readonly message: string; readonly hint: string }
}

/** All facts for the findings, read at one time. */
export interface DoctorState {
  readonly links: readonly DoctorLink[]
  readonly attachments: readonly DoctorAttachment[]
  /** Set when some namespaces could not be read. */
  readonly scanError?: PipeworkError
  readonly ruleset: Ruleset
  /** The families whose bridged frames pass the IP firewall (br_netfilter). */
  readonly brNetfilterFamilies: readonly Family[]
  readonly toolOf: ToolResolver
  readonly acceptRules: readonly InstalledAccept[]
  readonly managers: readonly ManagedLink[]
  readonly machine: MachineState
  readonly danglingNetns: readonly string[]
  /** Host services of attachments that were removed by hand: rules, routes, addresses, sysctls. */
  readonly missingServices: ReadonlyMap<ExistingAttachment, readonly string[]>
  /** Firewall rules that drop what the host must forward for an attachment. */
  readonly blockedForwarding: ReadonlyMap<ExistingAttachment, Warning>
}

/** The bridges of the host. */
export function listBridges({ links }: DoctorState): readonly DoctorLink[] {
  return links.filter(({ kind }) => kind === 'bridge')
}

/** The ports of a bridge. */
export function listBridgePorts(bridge: string, { links }: DoctorState): readonly DoctorLink[] {
  return links.filter(({ master }) => master === bridge)
}

/** The attachments on a host interface. */
export function listAttachmentsOn(hostif: string, { attachments }: DoctorState): readonly DoctorAttachment[] {
  return attachments.filter(({ attachment: { record }, hostEnd }) => (hostEnd?.master ?? record.hostif) === hostif)
}

/** The host interfaces in scope, and optionally only the guests with these names on them. */
export interface DoctorScope {
  readonly hostifs: readonly string[]
  readonly names?: readonly string[]
}

/** The attachments in scope, each with its host interface. */
export function listAttachmentsIn(survey: DoctorState, { hostifs, names }: DoctorScope) {
  return hostifs.flatMap((hostif) =>
    listAttachmentsOn(hostif, survey)
      .filter(({ guest }) => names === undefined || names.includes(hostif) || names.includes(guest))
      .map((seat) => ({ seat, hostif })),
  )
}

/**
 * The command line that runs a program in the guest's network; the words are quoted, because a guest can choose any
 * link name.
 */
export function formatGuestExec({ guest }: DoctorAttachment, ...words: readonly string[]): string {
  return ['pipework', 'exec', guest, ...words].map(shellQuote).join(' ')
}
