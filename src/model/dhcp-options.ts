import { usageError } from './errors'

/** The DHCP clients by program name; `dhcp` uses the first that is installed. */
export const DHCP_CLIENTS = ['udhcpc', 'dhcpcd', 'dhclient'] as const
export type DhcpClient = (typeof DHCP_CLIENTS)[number]

/** Splits the text into words as a POSIX shell does, without any expansion. */
export function splitShellWords(text: string, typed: string): readonly string[] {
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
      throw usageError(`'${typed}': the ${piece} is not closed`, 'Close it, or put a backslash before it.')
    open = (open ?? '') + unquotePiece(piece)
  }
  const all = open === undefined ? words : [...words, open]
  const control = all.find((word) => /\p{Cc}/u.test(word))
  if (control !== undefined) throw usageError(`${JSON.stringify(typed)} contains a control character`, 'Leave it out.')
  return all
}

function unquotePiece(piece: string): string {
  if (piece.startsWith("'")) return piece.slice(1, -1)
  if (piece.startsWith('"')) return piece.slice(1, -1).replaceAll(/\\(["\\$`])/g, '$1')
  return piece.startsWith('\\') ? piece.slice(1) : piece
}

/**
 * The options that are passed on, and whether they take a value. Any other option could run a program, write a file,
 * send the client to the background or choose another interface.
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

/** Options that users of the original gave, and what pipework does instead. */
const UNNEEDED_OPTIONS: Readonly<Record<string, string>> = {
  f: 'pipework already runs the client in the foreground of its supervisor.',
  b: 'pipework already runs the client in the background.',
  q: 'For a lease that is not renewed: --dhcp-once.',
  '1': 'For a lease that is not renewed: --dhcp-once.',
  n: '--dhcp-timeout sets how long to wait.',
  R: 'disconnect already releases the lease.',
}

export function validateDhcpOptions(args: readonly string[], client: DhcpClient, typed: string): void {
  const allowed = ALLOWED_OPTIONS[client]
  const hint = `Allowed options: ${Object.keys(allowed)
    .map((name) => `-${name}`)
    .join(' ')}.`
  let isValue = false
  for (const arg of args) {
    if (isValue) {
      isValue = false
      continue
    }
    if (!/^-[^-]/.test(arg)) throw usageError(`'${typed}': '${arg}' is not passed on to ${client}`, hint)
    isValue = expectsValue(arg, { allowed, client, typed, hint })
  }
  if (isValue)
    throw usageError(
      `'${typed}': the last option has no value`,
      "Write the value after the option, like udhcpc:'-x hostname:web'.",
    )
}

interface DhcpOptionRules {
  readonly allowed: Readonly<Record<string, string>>
  readonly client: DhcpClient
  readonly typed: string
  readonly hint: string
}

/** Whether the next word is the value of the last letter; letters may be combined, as in getopt(3). */
function expectsValue(arg: string, { allowed, client, typed, hint }: DhcpOptionRules): boolean {
  for (let index = 1; index < arg.length; index += 1) {
    const letter = arg.charAt(index)
    const kind = Object.hasOwn(allowed, letter) ? allowed[letter] : undefined
    if (kind === undefined || (client === 'dhclient' && arg.length > 2))
      throw usageError(
        `'${typed}': the option '${arg}' is not passed on to ${client}`,
        UNNEEDED_OPTIONS[letter] ?? hint,
      )
    if (kind === 'attached') return false
    if (kind === 'value') return index === arg.length - 1
  }
  return false
}
