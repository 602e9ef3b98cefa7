import type { Family } from '../model/address'
import { fnv1aHash } from '../model/hash'

/** A rule of the host's firewall, whatever program writes it. What is absent matches everything. */
export interface FirewallRule {
  readonly family: Family
  /** Accept what is forwarded; masquerade what leaves; send elsewhere what comes for the host; drop what arrives. */
  readonly action: 'accept' | 'masquerade' | 'dnat' | 'drop'
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
  readonly dnatTarget?: { readonly ip: string; readonly port?: string }
}

/** Stands in `to` for any address of the host itself. */
export const ANY_LOCAL_ADDRESS = 'the host'

/** What every comment of ours begins with. */
export const COMMENT_PREFIX = 'pipework '

/** nft takes 128 bytes, the end of the string among them. */
const MAX_COMMENT = 120

/**
 * The comment on a rule: what it is for. Two rules with one comment are the same rule, so what is missing or too many
 * is found by it, however the program words the rule itself.
 */
export function formatRuleComment(rule: FirewallRule): string {
  const { family, action, owner, state, protocol, ports, dnatTarget } = rule
  const said = (['in', 'out', 'notOut', 'from', 'to'] as const).flatMap((key) =>
    rule[key] === undefined ? [] : [key === 'notOut' ? 'not out' : key, rule[key]],
  )
  const words = [
    ...said,
    ...[state, protocol, ports].filter((word) => word !== undefined),
    `${action}${family}`,
    ...(dnatTarget === undefined ? [] : [dnatTarget.ip, ...(dnatTarget.port === undefined ? [] : [dnatTarget.port])]),
  ]
  const full = `${COMMENT_PREFIX}${owner}: ${words.join(' ')}`
  return full.length <= MAX_COMMENT ? full : `${COMMENT_PREFIX}${owner}: ${action}${family} ${fnv1aHash(full)}`
}

/** Frames from port to port of a bridge, which Docker's firewall drops where bridges obey it. */
export function bridgedAcceptRules(bridge: string): readonly FirewallRule[] {
  return ([4, 6] as const).map((family) => ({ family, action: 'accept', owner: bridge, in: bridge, out: bridge }))
}
