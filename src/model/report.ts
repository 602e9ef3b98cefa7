import type { Family } from './address'

/** A lease as `ls` and an attach report it. */
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
  /** What this host should have for it and has not: rules, addresses, routes, sysctls; the same command restores it. */
  readonly missing?: readonly string[]
  /** A firewall rule that drops what this host should forward for it. */
  readonly firewall?: Warning
}

/** What is wrong, in one line, and the command that fixes it. */
export interface Warning {
  readonly message: string
  readonly command?: string
}

/** How a warning reads: in one line. */
export function formatWarning({ message, command }: Warning): string {
  const line = `pipework: warning: ${message}${command === undefined ? '' : `; fix: ${command}`}`
  return `${escapeControls(line)}\n`
}

/** Text without control characters, which a terminal would obey. */
export function escapeControls(text: string): string {
  return text.replaceAll(CONTROL_CHARS, escapeControl)
}

// A quoted word may come from anywhere, and a terminal obeys control characters.
const CONTROL_CHARS = /(?!\n)\p{Cc}/gu
const escapeControl = (char: string) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`
