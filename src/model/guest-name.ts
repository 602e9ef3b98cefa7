import { usageError } from './errors'

/** The kinds of guest that a prefix can choose: `netns:blue`. */
export const GUEST_KINDS = ['docker', 'podman', 'lxc', 'nerdctl', 'netns', 'pid'] as const

export type GuestKind = (typeof GUEST_KINDS)[number]

/** A guest as typed: a name or id, and the kind from its prefix. */
export interface GuestName {
  readonly kind?: GuestKind
  readonly name: string
}

/** `[kind:]name`. LXC and `ip netns` allow any file name; only safe characters are accepted. */
export function parseGuestName(typed: string): GuestName {
  const [, prefix, rest = ''] = /^(?:([a-z]+):)?(.*)$/s.exec(typed) ?? []
  if (prefix !== undefined && !isGuestKind(prefix))
    throw usageError(`'${typed}': there is no guest kind '${prefix}'`, `The kinds are ${GUEST_KINDS.join(', ')}.`)
  if (!/^[A-Za-z0-9_][\w.@+-]*$/.test(rest) || rest.length > 255)
    throw usageError(
      `${JSON.stringify(typed)} is not a guest name`,
      'Give the name or id of a running container, or netns:NAME for a namespace of `ip netns`.',
    )
  if (prefix === 'pid' && !/^[1-9]\d{0,9}$/.test(rest))
    throw usageError(`'${typed}': '${rest}' is not a process id`, 'Write pid:N, like pid:1234.')
  return prefix === undefined ? { name: rest } : { kind: prefix, name: rest }
}

function isGuestKind(word: string): word is GuestKind {
  return (GUEST_KINDS as readonly string[]).includes(word)
}
