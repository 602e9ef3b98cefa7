import type { Family } from './address'

/** A lease as `ls` and an attach report it. */
export interface LeaseReport {
  readonly family: Family
  readonly client: string
  /** Null when the server gave none, or withdrew it. */
  readonly address: string | null
  readonly router: string | null
  readonly server: string | null
  readonly dns: readonly string[]
  /** When it expires, in UTC; null for never. */
  readonly expires: string | null
  /** `kept`: renewed in time. `once`: not renewed. `lost`: requested again. `ended`: without a client. */
  readonly state: 'kept' | 'once' | 'lost' | 'ended'
}

/** An attachment as `ls` shows it and an attach reports it. */
export interface AttachmentReport {
  readonly guest: { readonly kind: string; readonly name: string; readonly id?: string }
  /** The interface's name in the guest. */
  readonly ifname: string
  /** `ip/prefix[@gateway]`, or null when the record had no room for them. */
  readonly addresses: readonly string[] | null
  /** The host interface it is attached to. */
  readonly hostif: string
  /** The requested uplink of the bridge: a NIC or a VXLAN. */
  readonly uplink?: string
  /** The other words of the request. */
  readonly words: readonly string[]
  /** The name of the link's host end; null when it has none. */
  readonly hostEnd: string | null
  readonly mtu: number
  /** `stray`: a NIC that returned to the host when its container stopped. */
  readonly state: 'up' | 'down' | 'stray'
  /** The address sources as typed: dhcp, slaac. */
  readonly sources?: readonly string[]
  /** The DHCP leases; absent without a DHCP source. */
  readonly leases?: readonly LeaseReport[]
  /** Host rules, addresses, routes and sysctls that are missing; the same command restores them. */
  readonly missing?: readonly string[]
  /** A firewall rule that drops packets which the host should forward for it. */
  readonly firewall?: Warning
}

/** What is wrong, in one line, and the command that fixes it. */
export interface Warning {
  readonly message: string
  readonly command?: string
}

/** Formats a warning in one line. */
export function formatWarning({ message, command }: Warning): string {
  const line = `pipework: warning: ${message}${command === undefined ? '' : `; fix: ${command}`}`
  return `${escapeControls(line)}\n`
}

/** Escapes control characters, which a terminal would interpret. */
export function escapeControls(text: string): string {
  return text.replaceAll(CONTROL_CHARS, escapeControl)
}

// Quoted words may come from anywhere, and a terminal interprets control characters.
const CONTROL_CHARS = /(?!\n)\p{Cc}/gu
const escapeControl = (char: string) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`
