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
  /** IPv6's own detection has found somebody who has it. */
  readonly isDuplicate: boolean
}

/** A link of the host or of a guest. */
export interface DoctorLink {
  readonly name: string
  readonly ifindex: number
  readonly kind: string
  readonly mac: string
  readonly mtu: number
  readonly isUp: boolean
  readonly hasCarrier: boolean
  readonly isWireless: boolean
  /** Whether pipework made it, as a bridge that has no guest's record. */
  readonly isOwned: boolean
  readonly master?: string
  /** The index of the other end of a veth, or of what a macvlan hangs on. */
  readonly peerIndex?: number
  /** Of a bridge: whether spanning tree is on. Of a port: its state, like `forwarding`. */
  readonly hasStp?: boolean
  readonly portState?: string
  readonly addresses: readonly DoctorAddress[]
}

/** An attachment as it is: its record, its ends, and the guest it is in. */
export interface DoctorAttachment {
  readonly attachment: ExistingAttachment
  /** The guest as one types it. */
  readonly guest: string
  readonly hostEnd?: DoctorLink
  readonly inGuest?: DoctorLink
  /** Whether the guest drops what arrives by an interface that is not the way back: 1 for strict (RFC 3704). */
  readonly rpFilter?: number
  /** The guest's main table; absent when it cannot be reached. */
  readonly routes?: readonly GuestRoute[]
  /** The guest's name for `ip -n`, while it is held. */
  readonly netns?: string
  /** Why the guest cannot be reached, and whether that is because it is gone. */
  readonly unreachable?: { readonly message: string; readonly hint?: string; readonly isGone: boolean }
  readonly resolvedGuest?: Guest
}

/** What the host is, apart from its links. */
export interface MachineState {
  /** What DMI says of maker and model, where it says anything. */
  readonly vendor: string
  readonly product: string
  /** Programs that are not there. */
  readonly missingTools: readonly string[]
  /** Kinds of links that the kernel does not know. */
  readonly missingKinds: readonly string[]
  readonly docker?: { readonly kind: 'remote' | 'rootless'; readonly evidence: string; readonly command: string }
  /** Why Open vSwitch does not answer, where something of ours needs it. */
  readonly ovs?: { readonly message: string; readonly hint: string }
}

/** Everything that was asked, side by side, before a finding is made. */
export interface DoctorState {
  readonly links: readonly DoctorLink[]
  readonly attachments: readonly DoctorAttachment[]
  /** Set when some namespaces could not be looked into. */
  readonly scanError?: PipeworkError
  readonly ruleset: Ruleset
  /** The families in which bridges' frames meet the firewall of IP. */
  readonly brNetfilterFamilies: readonly Family[]
  readonly toolOf: ToolResolver
  readonly acceptRules: readonly InstalledAccept[]
  readonly managers: readonly ManagedLink[]
  readonly machine: MachineState
  readonly danglingNetns: readonly string[]
  /** What of the host's side of an attachment somebody has taken away: rules, routes, addresses, sysctls. */
  readonly missingServices: ReadonlyMap<ExistingAttachment, readonly string[]>
  /** What somebody's rules do to what the host is to forward for an attachment. */
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

/** What is looked at: these host interfaces, and on them the guests with one of the names, or all. */
export interface DoctorScope {
  readonly hostifs: readonly string[]
  readonly names?: readonly string[]
}

/** The attachments that are looked at, each with its host interface. */
export function listAttachmentsIn(survey: DoctorState, { hostifs, names }: DoctorScope) {
  return hostifs.flatMap((hostif) =>
    listAttachmentsOn(hostif, survey)
      .filter(({ guest }) => names === undefined || names.includes(hostif) || names.includes(guest))
      .map((seat) => ({ seat, hostif })),
  )
}

/** The command that runs another in the network of the attachment's guest; a guest may call its links what it likes. */
export function formatGuestExec({ guest }: DoctorAttachment, ...words: readonly string[]): string {
  return ['pipework', 'exec', guest, ...words].map(shellQuote).join(' ')
}
