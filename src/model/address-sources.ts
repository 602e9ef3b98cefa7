import type { Family } from './address'
import { usageError } from './errors'

/** Where the DHCP clients of this host have their files. */
export const DHCP_DIR = '/run/pipework/dhcp'

/** A client by the name of its program; `dhcp` takes the first that is installed. */
export const DHCP_CLIENTS = ['udhcpc', 'dhcpcd', 'dhclient'] as const
export type DhcpClient = (typeof DHCP_CLIENTS)[number]

/** Where an address comes from that is not typed: a DHCP server, or the router's advertisements. */
export interface AddressSource {
  readonly kind: 'dhcp' | 'slaac'
  readonly family: Family
  /** The client asked for by name. */
  readonly client?: DhcpClient
  /** What stands after the colon, as the arguments it makes. */
  readonly options: readonly string[]
  /** As typed: it goes into the record. */
  readonly typed: string
}

const SOURCE_PATTERN = /^(dhcp6|dhcp|slaac|(?:udhcpc|dhclient|dhcpcd)(?:-f)?)(?::(.*))?$/s

/** Whether the word begins as one for a source does; what follows may be wrong. */
export function isAddressSource(word: string): boolean {
  return /^(dhcp|udhcpc|dhclient|slaac)/.test(word)
}

/** A word that says where an address comes from. Throws a usage error. */
export function parseAddressSource(typed: string): AddressSource {
  const [, name = '', options] = SOURCE_PATTERN.exec(typed) ?? []
  if (name === '')
    throw usageError(
      `'${typed}' is no way to an address`,
      'Write dhcp, udhcpc, dhclient or dhcpcd, with :options behind it or not; dhcp6 or slaac for IPv6; or IP/PREFIX.',
    )
  if (name === 'slaac' && options !== undefined)
    throw usageError(`'${typed}': slaac has no options`, 'The kernel itself listens to the router.')
  const program = name.replace(/-f$/, '')
  const client = DHCP_CLIENTS.find((it) => it === program)
  const family = name === 'dhcp6' || name === 'slaac' ? 6 : 4
  const args = options === undefined ? [] : splitShellWords(options, typed)
  // `dhcp` was busybox's udhcpc in the original, and so are its options; those of dhcp6 are dhclient's.
  validateDhcpOptions(args, client ?? (family === 6 ? 'dhclient' : 'udhcpc'), typed)
  return {
    kind: name === 'slaac' ? 'slaac' : 'dhcp',
    family,
    client,
    options: args,
    typed: typed,
  }
}

/** Splits at commas, but for those in quotes: `dhcp:'-x 60:a,b',fd00::5/64` is two. */
export function splitAddressList(typed: string): readonly string[] {
  return typed.match(/(?:[^,'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*"|['"\\])+|(?<=^|,)(?=,|$)/gs) ?? [typed]
}

/** Words as a POSIX shell splits them, quotes and backslashes taken away; nothing is expanded. */
function splitShellWords(text: string, typed: string): readonly string[] {
  const words: string[] = []
  let open: string | undefined
  const pieces = text.match(/\s+|'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^\s'"\\]+|./gs) ?? []
  for (const piece of pieces) {
    if (/^\s/.test(piece)) {
      if (open !== undefined) words.push(open)
      open = undefined
      continue
    }
    if (/^['"\\]$/.test(piece))
      throw usageError(`'${typed}': the ${piece} is not closed`, 'Close it, or write a backslash before it.')
    open = (open ?? '') + unquotePiece(piece)
  }
  const all = open === undefined ? words : [...words, open]
  const control = all.find((word) => /\p{Cc}/u.test(word))
  if (control !== undefined) throw usageError(`${JSON.stringify(typed)} has a control character`, 'Leave it out.')
  return all
}

function unquotePiece(piece: string): string {
  if (piece.startsWith("'")) return piece.slice(1, -1)
  if (piece.startsWith('"')) return piece.slice(1, -1).replaceAll(/\\(["\\$`])/g, '$1')
  return piece.startsWith('\\') ? piece.slice(1) : piece
}

/**
 * The options that are passed on, and whether they take a value. What is not here would run a program, write a file,
 * put the client into the background, choose another interface, or is not known to be harmless.
 */
const ALLOWED_OPTIONS: Readonly<Record<DhcpClient, Readonly<Record<string, 'flag' | 'value' | 'attached'>>>> = {
  udhcpc: {
    ...{ O: 'value', x: 'value', r: 'value', V: 'value', F: 'value', t: 'value', T: 'value', A: 'value' },
    ...{ B: 'flag', C: 'flag', o: 'flag', v: 'flag', a: 'attached' },
  },
  dhclient: { B: 'flag', C: 'value', F: 'value', H: 'value', R: 'value', V: 'value', D: 'value', v: 'flag' },
  dhcpcd: {
    ...{ o: 'value', O: 'value', Q: 'value', h: 'value', i: 'value', I: 'value', l: 'value', r: 'value' },
    ...{ u: 'value', v: 'value', X: 'value', W: 'value', y: 'value', D: 'flag', J: 'flag', A: 'flag' },
  },
}

/** What the original's users gave, and what pipework does by itself. */
const UNNEEDED_OPTIONS: Readonly<Record<string, string>> = {
  f: 'It stays in the foreground of its keeper anyway.',
  b: 'It stays in the background anyway.',
  q: 'To ask once and not renew: --dhcp-once.',
  '1': 'To ask once and not renew: --dhcp-once.',
  n: 'How long it is waited for says --dhcp-timeout.',
  R: 'disconnect releases the lease anyway.',
}

function validateDhcpOptions(args: readonly string[], client: DhcpClient, typed: string): void {
  const allowed = ALLOWED_OPTIONS[client]
  const names = Object.keys(allowed).map((name) => `-${name}`)
  let isValue = false
  for (const arg of args) {
    if (isValue) {
      isValue = false
      continue
    }
    if (!/^-[^-]/.test(arg))
      throw usageError(`'${typed}': '${arg}' is not passed on to ${client}`, `These are: ${names.join(' ')}.`)
    isValue = expectsValue(arg, { allowed, client, typed, hint: `These are: ${names.join(' ')}.` })
  }
  if (isValue)
    throw usageError(
      `'${typed}': the last option has no value`,
      "Write it behind the option, like udhcpc:'-x hostname:web'.",
    )
}

interface DhcpOptionRules {
  readonly allowed: Readonly<Record<string, string>>
  readonly client: DhcpClient
  readonly typed: string
  readonly hint: string
}

/** Whether the value of the last letter is the next word; letters may stand together, as getopt takes them. */
function expectsValue(arg: string, { allowed, client, typed, hint }: DhcpOptionRules): boolean {
  for (let index = 1; index < arg.length; index += 1) {
    const letter = arg.charAt(index)
    const takes = Object.hasOwn(allowed, letter) ? allowed[letter] : undefined
    if (takes === undefined || (client === 'dhclient' && arg.length > 2))
      throw usageError(
        `'${typed}': the option '${arg}' is not passed on to ${client}`,
        UNNEEDED_OPTIONS[letter] ?? hint,
      )
    if (takes === 'attached') return false
    if (takes === 'value') return index === arg.length - 1
  }
  return false
}
