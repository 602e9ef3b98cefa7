import type { Ruleset } from '../../firewall/ruleset'
import type { Opening, ToolOf } from '../../firewall/suggest'
import type { Family } from '../../model/address'
import { quote } from '../../plan/step'
import type { Guest } from '../../runtimes/types'
import type { Route } from '../../state/guest'
import type { Manager } from '../../state/network-managers'
import type { Warning } from '../../ui/report'
import type { Attached } from '../detach/plan'

/** An address as `ip` shows it. */
export interface SurveyAddress {
  readonly family: Family
  readonly ip: string
  readonly prefix: number
  readonly isLinkLocal: boolean
  /** IPv6's own detection has found somebody who has it. */
  readonly isDuplicate: boolean
}

/** A link of the host or of a guest. */
export interface SurveyLink {
  readonly name: string
  readonly ifindex: number
  readonly kind: string
  readonly mac: string
  readonly mtu: number
  readonly up: boolean
  readonly hasCarrier: boolean
  readonly isWireless: boolean
  /** Whether pipework made it, as a bridge that has no guest's record. */
  readonly isMade: boolean
  readonly master?: string
  /** The index of the other end of a veth, or of what a macvlan hangs on. */
  readonly peerIndex?: number
  /** Of a bridge: whether spanning tree is on. Of a port: its state, like `forwarding`. */
  readonly stp?: boolean
  readonly portState?: string
  readonly addresses: readonly SurveyAddress[]
}

/** An attachment as it is: its record, its ends, and the guest it is in. */
export interface SurveySeat {
  readonly attached: Attached
  /** The guest as one types it. */
  readonly guest: string
  readonly hostEnd?: SurveyLink
  readonly inGuest?: SurveyLink
  /** Whether the guest drops what arrives by an interface that is not the way back: 1 for strict (RFC 3704). */
  readonly rpFilter?: number
  /** The guest's main table; absent when it cannot be reached. */
  readonly routes?: readonly Route[]
  /** The guest's name for `ip -n`, while it is held. */
  readonly netns?: string
  /** Why the guest cannot be reached, and whether that is because it is gone. */
  readonly away?: { readonly message: string; readonly hint?: string; readonly isGone: boolean }
  readonly found?: Guest
}

/** What the host is, apart from its links. */
export interface Machine {
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
export interface Survey {
  readonly links: readonly SurveyLink[]
  readonly seats: readonly SurveySeat[]
  readonly ruleset: Ruleset
  /** The families in which bridges' frames meet the firewall of IP. */
  readonly families: readonly Family[]
  readonly toolOf: ToolOf
  readonly openings: readonly Opening[]
  readonly managers: readonly Manager[]
  readonly machine: Machine
  readonly pins: readonly string[]
  /** What of the host's side of an attachment somebody has taken away: rules, routes, addresses, sysctls. */
  readonly lacking: ReadonlyMap<Attached, readonly string[]>
  /** What somebody's rules do to what the host is to forward for an attachment. */
  readonly barred: ReadonlyMap<Attached, Warning>
}

/** The bridges of the host. */
export function bridgesOf({ links }: Survey): readonly SurveyLink[] {
  return links.filter(({ kind }) => kind === 'bridge')
}

/** The ports of a bridge. */
export function portsOf(bridge: string, { links }: Survey): readonly SurveyLink[] {
  return links.filter(({ master }) => master === bridge)
}

/** The attachments on a host interface. */
export function seatsOn(hostif: string, { seats }: Survey): readonly SurveySeat[] {
  return seats.filter(({ attached: { record }, hostEnd }) => (hostEnd?.master ?? record.hostif) === hostif)
}

/** What is looked at: these host interfaces, and on them the guests with one of the names, or all. */
export interface Span {
  readonly hostifs: readonly string[]
  readonly names?: readonly string[]
}

/** The attachments that are looked at, each with its host interface. */
export function seatsWithin(survey: Survey, { hostifs, names }: Span) {
  return hostifs.flatMap((hostif) =>
    seatsOn(hostif, survey)
      .filter(({ guest }) => names === undefined || names.includes(hostif) || names.includes(guest))
      .map((seat) => ({ seat, hostif })),
  )
}

/** The command that runs another in the network of the attachment's guest; a guest may call its links what it likes. */
export function inGuest({ guest }: SurveySeat, ...words: readonly string[]): string {
  return ['pipework', 'exec', guest, ...words].map(quote).join(' ')
}
