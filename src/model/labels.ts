import { PipeworkError, usageError } from './errors'
import type { AttachRequest } from './request'

/** A container's own description. Whoever started the container wrote it, so it is not trusted. */
export interface LabelledContainer {
  readonly name: string
  readonly id: string
  readonly hostname: string
  readonly labels: Readonly<Record<string, string>>
  /** `NAME=value`. */
  readonly env: readonly string[]
}

/** A label or environment variable that requests attachments. */
export interface LabelEntry {
  readonly key: string
  readonly text: string
}

/** The labels `pipework` and `pipework.<n>`, sorted by number. */
export function listPipeworkLabels({ labels }: Pick<LabelledContainer, 'labels'>): readonly LabelEntry[] {
  const numberOf = (key: string) => (key === 'pipework' ? -1 : Number(key.slice('pipework.'.length)))
  return Object.entries(labels)
    .filter(([key]) => /^pipework(\.\d+)?$/.test(key))
    .map(([key, text]) => ({ key, text }))
    .sort((a, b) => numberOf(a.key) - numberOf(b.key))
}

/** The variables that dreamcat4's image reads, sorted by name: command lines that include the guest. */
export function listEnvCommands({ env }: Pick<LabelledContainer, 'env'>): readonly LabelEntry[] {
  return env
    .flatMap((entry) => {
      const [, key, text] = /^([^=]*pipework_cmd[^=]*)=(.*)$/s.exec(entry) ?? []
      return key === undefined || text === undefined ? [] : [{ key, text: text.replace(/^\s*pipework\s/, '') }]
    })
    .sort((a, b) => (a.key < b.key ? -1 : Number(a.key > b.key)))
}

/**
 * Expands the macros in one word of such a variable. Words are split before, so a value stays part of one word.
 */
export function expandMacros(word: string, { name, id, hostname, labels }: Omit<LabelledContainer, 'env'>): string {
  const values: Readonly<Record<string, string>> = {
    CONTAINER_NAME: name,
    CONTAINER_ID: id.slice(0, 12),
    HOSTNAME: hostname,
    INSTANCE: name.match(/\d+/g)?.at(-1) ?? '',
    COMPOSE_PROJECT_NAME: labels['com.docker.compose.project'] ?? '',
  }
  return word.replaceAll(/@([A-Z_]+)@/g, (macro, key: string) =>
    Object.hasOwn(values, key) ? (values[key] ?? '') : macro,
  )
}

/** The words of a label with the guest inserted after the host interface. */
export function insertGuest([hostif, ...others]: readonly string[], guest: string): readonly string[] {
  return hostif === undefined ? [] : [hostif, guest, ...others]
}

/** Refuses a variable that names another container than its own. */
export function validateOwnGuest(words: readonly string[], { name, id }: Pick<LabelledContainer, 'name' | 'id'>): void {
  const [, guest = ''] = words
  const typed = guest.replace(/^(docker|podman):/, '')
  if (typed === name || (typed.length >= 12 && id.startsWith(typed))) return
  throw new PipeworkError(`'${guest}' is not this container, '${name}'`, {
    hint: 'Write @CONTAINER_NAME@. For other containers use a file: pipework up.',
  })
}

/** The command line of a label: its words, and the request that they parse to. */
export interface LabelLine {
  /** Empty for an attach. */
  readonly command: string
  readonly positionals: readonly string[]
  /** Option names without dashes. */
  readonly givenOptions: readonly string[]
  readonly request: AttachRequest
}

/** Options that only affect the guest itself. All others must be allowed by name. */
const SAFE_OPTIONS = [
  'i',
  'a',
  'mtu',
  'metric',
  'no-default-route',
  'route',
  'policy-route',
  'tx-offload',
  'kind',
  'dhcp-timeout',
  'dhcp-once',
]
/** Sharing modes that do not affect other users of the NIC. */
const SAFE_MODES = ['bridge', 'private', 'vepa', 'l2']
/** Host interfaces that are keywords, not names. */
const HOSTIF_KEYWORDS = ['ptp', 'dummy']

/**
 * Refuses what a label may not request. `allowed` holds globs of bridges and NICs (`br0`, `eth*`), with allowed VLANs
 * after `@` (`br0@10`, `br0@*`), and, literally, further options (`--publish`, `-l`) and keywords.
 * Everything not known to be safe is refused, including options that are added later.
 */
export function validateLabel(line: LabelLine, allowed: readonly string[]): void {
  const { command, positionals, givenOptions, request } = line
  const [, , address = ''] = positionals
  if (command !== '')
    throw labelError(`'${command}' is a command, but a label can only request attachments`, 'Leave that word out.')
  const option = givenOptions.find(
    (it) => !SAFE_OPTIONS.includes(it) && !isSafeMode(it, request) && !includesWord(allowed, formatOption(it)),
  )
  if (option !== undefined)
    throw labelError(
      `a label may not use '${formatOption(option)}'`,
      `To allow it for all labels: --allow=${formatOption(option)}`,
    )
  if (!isSafeAddress(address))
    throw labelError(
      `a label may not use the address '${address}'`,
      'Allowed are addresses, 0/0, and dhcp without options.',
    )
  validateLabelHostif(positionals, request, allowed)
}

/** Refuses several globs in one word: no interface name could match it. */
export function validateAllowGlobs(allowed: readonly string[]): void {
  const several = allowed.find((it) => /\s|^[^:]*,/.test(it))
  if (several !== undefined)
    throw usageError(
      `--allow '${several}' is more than one glob`,
      "Give each its own option: --allow 'br*' --allow 'br0@10'",
    )
}

function labelError(message: string, hint: string): PipeworkError {
  return new PipeworkError(message, { hint })
}

const includesWord = (allowed: readonly string[], word: string) => allowed.includes(word)
const formatOption = (name: string) => (name.length === 1 ? `-${name}` : `--${name}`)

function isSafeMode(option: string, { sharing }: AttachRequest): boolean {
  return option === 'mode' && SAFE_MODES.includes(sharing.mode)
}

/** Static addresses, or an address source without options: those would be passed to a program that runs as root. */
function isSafeAddress(word: string): boolean {
  return word.split(',').every((item) => /^[0-9a-fA-F.:/@]+$/.test(item) || /^[a-z][a-z0-9-]*$/.test(item))
}

function validateLabelHostif(
  words: readonly string[],
  { vlan, tag: typed }: AttachRequest,
  allowed: readonly string[],
): void {
  const [hostif = '', , , last = ''] = words
  // With an uplink, the VLAN is the uplink's and not in the request.
  const tag = typed ?? (last.includes('@') ? last.slice(last.lastIndexOf('@') + 1) : undefined)
  const names = tag === undefined ? [hostif] : expandVlanIds(vlan, tag).map((id) => `${hostif}@${id}`)
  const globs = allowed.filter((it) => !it.startsWith('-'))
  // `mac:…` and `br0@eth0` name a NIC that the glob does not match; `ptp` and `routed:eth0` change the host's routes.
  const isName = /^[\w.-]+$/.test(hostif) && !HOSTIF_KEYWORDS.includes(hostif)
  const isAllowed = (name: string) =>
    isName ? globs.some((glob) => globToPattern(glob).test(name)) : includesWord(globs, name)
  const refused = names.find((name) => !isAllowed(name))
  if (refused === undefined) return
  const given = globs.length === 0 ? 'nothing is allowed' : `allowed: ${globs.map((glob) => `'${glob}'`).join(', ')}`
  throw labelError(`a label may not use '${refused}': ${given}`, `To allow it for all labels: --allow ${refused}`)
}

/** The single VLAN ids: `10,20-22` is four. */
function expandVlanIds(vlan: AttachRequest['vlan'], tag: string): readonly string[] {
  if (vlan === undefined) return [tag]
  const ids = new Set<number>()
  if (vlan.native !== undefined) ids.add(vlan.native)
  for (const [from, to] of vlan.tagged) for (let id = from; id <= to; id += 1) ids.add(id)
  return [...ids].map(String)
}

/** `*` matches any characters, `?` matches one. A glob without `@` matches no VLAN. */
function globToPattern(glob: string): RegExp {
  const escaped = glob.replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
  return new RegExp(`^${escaped.replaceAll('*', '[^@]*').replaceAll('?', '[^@]')}$`)
}
