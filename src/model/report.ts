import type { Family } from './address'

/** A lease as `ls` and the attach tell of it. */
export interface LeaseReport {
  readonly family: Family
  readonly client: string
  /** Null where the server has given nothing, or taken it back. */
  readonly address: string | null
  readonly router: string | null
  readonly server: string | null
  readonly dns: readonly string[]
  /** When it runs out, in UTC; null for never. */
  readonly expires: string | null
  /** `kept`: renewed in time. `once`: nobody renews it. `lost`: asked for again. `ended`: it has no client any more. */
  readonly state: 'kept' | 'once' | 'lost' | 'ended'
}

/** An attachment as it is now: what `ls` shows, and what an attach has made true. */
export interface AttachmentReport {
  readonly guest: { readonly kind: string; readonly name: string; readonly id?: string }
  /** The interface's name in the guest. */
  readonly ifname: string
  /** `ip/prefix[@gateway]`, or null when the record had no room for them. */
  readonly addresses: readonly string[] | null
  /** The host interface it hangs on. */
  readonly hostif: string
  /** What that was to be connected to: a NIC, a VXLAN. */
  readonly uplink?: string
  /** The other words that asked for it. */
  readonly words: readonly string[]
  /** The name of the link's end in the host, or null when it has none. */
  readonly hostEnd: string | null
  readonly mtu: number
  /** `stray`: a NIC that was moved into a guest, and fell back into the host when that ended. */
  readonly state: 'up' | 'down' | 'stray'
  /** The words that say where other addresses come from. */
  readonly sources?: readonly string[]
  /** What DHCP servers gave; present where they are asked. */
  readonly leases?: readonly LeaseReport[]
  /** What this host should have for it and has not: rules, addresses, routes, sysctls; the same command mends it. */
  readonly missing?: readonly string[]
  /** What a rule of somebody else's does to what this host is to forward for it. */
  readonly firewall?: Warning
}

/** Something that is true and should not be, in one line: with the command that mends it. */
export interface Warning {
  readonly message: string
  readonly command?: string
}

/** How a warning reads: in one line. */
export function formatWarning({ message, command }: Warning): string {
  const line = `pipework: warning: ${message}${command === undefined ? '' : `; mend it: ${command}`}`
  return `${escapeControls(line)}\n`
}

/** A text that a terminal shows and does not obey. */
export function escapeControls(text: string): string {
  return text.replaceAll(CONTROL_CHARS, escapeControl)
}

// A word that is quoted in a message may come from anywhere, and a terminal obeys what stands in it.
const CONTROL_CHARS = /(?!\n)\p{Cc}/gu
const escapeControl = (char: string) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`
