import { PipeworkError, usageError } from './errors'
import type { AttachRequest } from './request'

/** What a container says of itself: whoever may start one has written it, and is not trusted. */
export interface LabelledContainer {
  readonly name: string
  readonly id: string
  readonly hostname: string
  readonly labels: Readonly<Record<string, string>>
  /** `NAME=value`, as engines list it. */
  readonly env: readonly string[]
}

/** A text of a container's that asks for attachments, and the label or variable that it stands in. */
export interface LabelEntry {
  readonly key: string
  readonly text: string
}

/** The labels `pipework` and `pipework.<n>`, in the order of their numbers. */
export function listPipeworkLabels({ labels }: Pick<LabelledContainer, 'labels'>): readonly LabelEntry[] {
  const numberOf = (key: string) => (key === 'pipework' ? -1 : Number(key.slice('pipework.'.length)))
  return Object.entries(labels)
    .filter(([key]) => /^pipework(\.\d+)?$/.test(key))
    .map(([key, text]) => ({ key, text }))
    .sort((a, b) => numberOf(a.key) - numberOf(b.key))
}

/** The variables that dreamcat4's image reads, in the order of their names: whole command lines, with the guest. */
export function listEnvCommands({ env }: Pick<LabelledContainer, 'env'>): readonly LabelEntry[] {
  return env
    .flatMap((entry) => {
      const [, key, text] = /^([^=]*pipework_cmd[^=]*)=(.*)$/s.exec(entry) ?? []
      return key === undefined || text === undefined ? [] : [{ key, text: text.replace(/^\s*pipework\s/, '') }]
    })
    .sort((a, b) => (a.key < b.key ? -1 : Number(a.key > b.key)))
}

/**
 * A word of such a variable with what its macros stand for. The words are split before, so that no hostname or project
 * becomes more than part of one word.
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

/** The words of a label with the guest at its place in the grammar: behind the host interface. */
export function insertGuest([hostif, ...others]: readonly string[], guest: string): readonly string[] {
  return hostif === undefined ? [] : [hostif, guest, ...others]
}

/** Refuses a variable that speaks of another container than its own. */
export function validateOwnGuest(words: readonly string[], { name, id }: Pick<LabelledContainer, 'name' | 'id'>): void {
  const [, guest = ''] = words
  const typed = guest.replace(/^(docker|podman):/, '')
  if (typed === name || (typed.length >= 12 && id.startsWith(typed))) return
  throw new PipeworkError(`'${guest}' is not the container that this stands in, which is '${name}'`, {
    hint: 'Write @CONTAINER_NAME@ there. For other containers there are files: pipework up.',
  })
}

/** What is looked at before a label is obeyed: the words as they were typed, and what they mean. */
export interface LabelLine {
  /** The first word where it names a command. */
  readonly command: string
  readonly positionals: readonly string[]
  /** The options that were given, by their names without dashes. */
  readonly givenOptions: readonly string[]
  readonly request: AttachRequest
}

/** Options that concern the inside of the guest only. What is not among them has to be allowed by its name. */
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
/** Ways to share a NIC that leave it to its other users as it is. */
const SAFE_MODES = ['bridge', 'private', 'vepa', 'l2']
/** First words that are no interface, but mean something to the host. */
const HOSTIF_KEYWORDS = ['ptp', 'dummy']

/**
 * Refuses what a label may not ask for. `allowed` are globs for bridges and NICs (`br0`, `eth*`), with the VLANs behind
 * `@` where there may be any (`br0@10`, `br0@*`), and, literally, further options (`--publish`, `-l`) and keywords.
 * Everything is refused that is not known to be harmless: what the grammar learns later, too.
 */
export function validateLabel(line: LabelLine, allowed: readonly string[]): void {
  const { command, positionals, givenOptions, request } = line
  const [, , address = ''] = positionals
  if (command !== '')
    throw labelError(`'${command}' is a command, and a label may only ask for attachments`, 'Leave that word out.')
  const option = givenOptions.find(
    (it) => !SAFE_OPTIONS.includes(it) && !isSafeMode(it, request) && !includesWord(allowed, formatOption(it)),
  )
  if (option !== undefined)
    throw labelError(
      `a label may not use '${formatOption(option)}'`,
      `To let all labels: --allow=${formatOption(option)}`,
    )
  if (!isSafeAddress(address))
    throw labelError(
      `a label may not give '${address}' for an address`,
      'It takes addresses, 0/0, or dhcp without options.',
    )
  validateLabelHostif(positionals, request, allowed)
}

/** Refuses several globs in one word: no interface is called like that, and labels would be refused all alike. */
export function validateAllowGlobs(allowed: readonly string[]): void {
  const list = allowed.find((it) => /\s|^[^:]*,/.test(it))
  if (list !== undefined)
    throw usageError(`--allow '${list}' is more than one glob`, "Give each its own: --allow 'br*' --allow 'br0@10'")
}

function labelError(message: string, hint: string): PipeworkError {
  return new PipeworkError(message, { hint })
}

const includesWord = (allowed: readonly string[], word: string) => allowed.includes(word)
const formatOption = (name: string) => (name.length === 1 ? `-${name}` : `--${name}`)

function isSafeMode(option: string, { sharing }: AttachRequest): boolean {
  return option === 'mode' && SAFE_MODES.includes(sharing.mode)
}

/** Static addresses, or the bare name of a way to get one: what follows a colon would be handed to a program of root's. */
function isSafeAddress(word: string): boolean {
  return word.split(',').every((item) => /^[0-9a-fA-F.:/@]+$/.test(item) || /^[a-z][a-z0-9-]*$/.test(item))
}

function validateLabelHostif(
  words: readonly string[],
  { vlan, tag: typed }: AttachRequest,
  allowed: readonly string[],
): void {
  const [hostif = '', , , last = ''] = words
  // Of a bridge with an uplink it is the uplink's, and not the request's.
  const tag = typed ?? (last.includes('@') ? last.slice(last.lastIndexOf('@') + 1) : undefined)
  const names = tag === undefined ? [hostif] : expandVlanIds(vlan, tag).map((id) => `${hostif}@${id}`)
  const globs = allowed.filter((it) => !it.startsWith('-'))
  // `mac:…` and `br0@eth0` name a NIC that no glob has seen; `ptp` and `routed:eth0` change the host's routes.
  const isName = /^[\w.-]+$/.test(hostif) && !HOSTIF_KEYWORDS.includes(hostif)
  const isAllowed = (name: string) =>
    isName ? globs.some((glob) => globToPattern(glob).test(name)) : includesWord(globs, name)
  const refused = names.find((name) => !isAllowed(name))
  if (refused === undefined) return
  const given = globs.length === 0 ? 'nothing is allowed' : `allowed is ${globs.map((glob) => `'${glob}'`).join(', ')}`
  throw labelError(`a label may not use '${refused}': ${given}`, `To let all labels: --allow ${refused}`)
}

/** Each VLAN by itself: `10,20-22` is four of them. */
function expandVlanIds(vlan: AttachRequest['vlan'], tag: string): readonly string[] {
  if (vlan === undefined) return [tag]
  const ids = new Set<number>()
  if (vlan.native !== undefined) ids.add(vlan.native)
  for (const [from, to] of vlan.tagged) for (let id = from; id <= to; id += 1) ids.add(id)
  return [...ids].map(String)
}

/** `*` for any characters, `?` for one; everything else is itself. A VLAN is never matched by a glob without `@`. */
function globToPattern(glob: string): RegExp {
  const escaped = glob.replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
  return new RegExp(`^${escaped.replaceAll('*', '[^@]*').replaceAll('?', '[^@]')}$`)
}
