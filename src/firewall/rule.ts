import { type Family, fingerprint } from '../model/address'

/** A rule of the host's firewall, whatever program writes it. What is absent matches everything. */
export interface Rule {
  readonly family: Family
  /** Accept what is forwarded; masquerade what leaves; send elsewhere what comes for the host; drop what arrives. */
  readonly act: 'accept' | 'masquerade' | 'dnat' | 'drop'
  /** Whose it is, for who reads the firewall: the bridge, or a link's end in the host. */
  readonly owner: string
  readonly in?: string
  readonly out?: string
  readonly notOut?: string
  /** `ip` or `ip/prefix`. */
  readonly from?: string
  /** `ip`, `ip/prefix`, or any address of the host itself. */
  readonly to?: string
  /** `known`: replies, and what belongs to a connection. `sent`: what a rule of the act dnat has sent here. */
  readonly state?: 'known' | 'sent'
  readonly protocol?: 'tcp' | 'udp'
  /** A port, or `first-last`. */
  readonly ports?: string
  /** Of a dnat: the address, and the port where it is another. */
  readonly target?: { readonly ip: string; readonly port?: string }
}

/** Stands in `to` for any address of the host itself. */
export const ANY_LOCAL = 'the host'

/** What every comment of ours begins with. */
export const COMMENT = 'pipework '

/** nft takes 128 bytes, the end of the string among them. */
const MAX_COMMENT = 120

/**
 * The comment on a rule: what it is for. Two rules with one comment are the same rule, so what is missing or too many
 * is found by it, however the program words the rule itself.
 */
export function commentOf(rule: Rule): string {
  const { family, act, owner, state, protocol, ports, target } = rule
  const said = (['in', 'out', 'notOut', 'from', 'to'] as const).flatMap((key) =>
    rule[key] === undefined ? [] : [key === 'notOut' ? 'not out' : key, rule[key]],
  )
  const words = [
    ...said,
    ...[state, protocol, ports].filter((word) => word !== undefined),
    `${act}${family}`,
    ...(target === undefined ? [] : [target.ip, ...(target.port === undefined ? [] : [target.port])]),
  ]
  const full = `${COMMENT}${owner}: ${words.join(' ')}`
  return full.length <= MAX_COMMENT ? full : `${COMMENT}${owner}: ${act}${family} ${fingerprint(full)}`
}

/** Frames from port to port of a bridge, which Docker's firewall drops where bridges obey it. */
export function acceptBridged(bridge: string): readonly Rule[] {
  return ([4, 6] as const).map((family) => ({ family, act: 'accept', owner: bridge, in: bridge, out: bridge }))
}
