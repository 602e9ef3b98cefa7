import type { Family } from '../model/address'
import { PipeworkError } from '../model/errors'
import { type BatchLine, batchLine, isSafeWord } from '../system/batch'
import type { CommandResult, System } from '../system/types'

/** An address of a link, as `ip -j -d address` prints it (iproute2 5.10 and later). */
export interface IpAddress {
  readonly family: 'inet' | 'inet6'
  readonly local: string
  readonly prefixlen: number
  readonly scope: string
  /** The peer address on a point-to-point link. */
  readonly address?: string
  readonly broadcast?: string
  readonly anycast?: string
  readonly label?: string
  readonly metric?: number
  readonly protocol?: string
  readonly valid_life_time?: number
  readonly preferred_life_time?: number
  /** The flags: present and true, or absent. */
  readonly dynamic?: boolean
  readonly tentative?: boolean
  readonly dadfailed?: boolean
  readonly nodad?: boolean
  readonly home?: boolean
  readonly mngtmpaddr?: boolean
  readonly noprefixroute?: boolean
  readonly autojoin?: boolean
}

/** What `-d` adds: details of the link's kind, and of its role as a bridge port. */
export interface IpLinkInfo {
  readonly info_kind?: string
  /** Each kind has its own fields, and two kinds may use one name for different things. */
  readonly info_data?: Readonly<Record<string, unknown>>
  readonly info_slave_data?: Readonly<Record<string, unknown>>
}

/** One link as `ip -j -d address` or `ip -j -d link` prints it. */
export interface IpLink {
  readonly ifindex: number
  readonly ifname: string
  readonly flags: readonly string[]
  readonly mtu: number
  readonly address?: string
  readonly ifalias?: string
  readonly altnames?: readonly string[]
  /** The device of a real NIC on its bus, like the PCI address 0000:00:1f.6. */
  readonly parentdev?: string
  /** The MAC address from the driver, when the link has another one now. */
  readonly permaddr?: string
  readonly group?: string
  readonly master?: string
  /** The link below or at the other end: its name in this namespace, or its index in another one. */
  readonly link?: string
  readonly link_index?: number
  readonly link_netnsid?: number
  readonly linkinfo?: IpLinkInfo
  /** Empty for `ip link`. */
  readonly addr_info: readonly IpAddress[]
}

export interface IpNextHop {
  readonly gateway?: string
  readonly via?: { readonly family: string; readonly host: string }
  readonly dev?: string
  readonly weight?: number
  readonly flags?: readonly string[]
}

/** One route as `ip -j -d route` prints it. */
export interface IpRoute extends IpNextHop {
  readonly dst: string
  readonly type?: string
  readonly tos?: string
  readonly table?: string
  readonly protocol?: string
  readonly scope?: string
  readonly prefsrc?: string
  readonly metric?: number
  readonly metrics?: readonly Readonly<Record<string, unknown>>[]
  readonly pref?: string
  readonly expires?: number
  readonly nexthops?: readonly IpNextHop[]
}

/** One rule as `ip -j -d rule` prints it. */
export interface IpRule {
  readonly priority: number
  /** Present, and null, for a rule that is negated. */
  readonly not?: unknown
  readonly src?: string
  readonly srclen?: number
  readonly dst?: string
  readonly dstlen?: number
  readonly tos?: string
  readonly fwmark?: string
  readonly fwmask?: string
  readonly iif?: string
  readonly oif?: string
  readonly table?: string
  readonly suppress_prefixlen?: number
  readonly protocol?: string
  readonly ipproto?: string
}

/** One neighbour, or proxied address, as `ip -j neigh` prints it. */
export interface IpNeighbour {
  readonly dst: string
  readonly dev?: string
  readonly lladdr?: string
  /** Present, and null, for a router. */
  readonly router?: unknown
  readonly state?: readonly string[]
  readonly protocol?: string
}

/** One nexthop object as `ip -j nexthop` prints it. */
export interface IpNexthopObject {
  readonly id: number
  readonly dev?: string
}

/** The VLANs of a port as `bridge -j vlan` prints them; with `-c`, ranges. */
export interface IpBridgePort {
  readonly vlans?: readonly { readonly vlan: number; readonly vlanEnd?: number; readonly flags?: readonly string[] }[]
}

/** The error in a value, or undefined. */
type Check = (value: unknown, path: string) => string | undefined

const text: Check = (value, path) => (typeof value === 'string' ? undefined : `${path} is not a string`)
const number: Check = (value, path) => (typeof value === 'number' ? undefined : `${path} is not a number`)
const flag: Check = (value, path) => (typeof value === 'boolean' ? undefined : `${path} is not true or false`)
const anything: Check = () => undefined

const optional =
  (check: Check): Check =>
  (value, path) =>
    value === undefined ? undefined : check(value, path)

const listOf =
  (check: Check): Check =>
  (value, path) =>
    Array.isArray(value)
      ? value.map((it, index) => check(it, `${path}[${index}]`)).find((problem) => problem !== undefined)
      : `${path} is not a list`

/** Checks every field of the type, and ignores other fields. */
const object =
  <T>(fields: { readonly [K in keyof T]-?: Check }): Check =>
  (value, path) => {
    if (typeof value !== 'object' || value === null) return `${path} is not an object`
    const entries = Object.entries<Check>(fields)
    return entries
      .map(([key, check]) => check((value as Readonly<Record<string, unknown>>)[key], `${path}.${key}`))
      .find((problem) => problem !== undefined)
  }

const [maybeText, maybeNumber, maybeFlag] = [optional(text), optional(number), optional(flag)]
const maybeTexts = optional(listOf(text))

const checkAddress = object<IpAddress>({
  ...{ family: text, local: text, prefixlen: number, scope: text },
  ...{ address: maybeText, broadcast: maybeText, anycast: maybeText, label: maybeText, protocol: maybeText },
  ...{ metric: maybeNumber, valid_life_time: maybeNumber, preferred_life_time: maybeNumber },
  ...{ dynamic: maybeFlag, tentative: maybeFlag, dadfailed: maybeFlag, nodad: maybeFlag, home: maybeFlag },
  ...{ mngtmpaddr: maybeFlag, noprefixroute: maybeFlag, autojoin: maybeFlag },
})

const checkLinkInfo = object<IpLinkInfo>({
  info_kind: maybeText,
  info_data: optional(object({})),
  info_slave_data: optional(object({})),
})

const checkLink = object<IpLink>({
  ...{ ifindex: number, ifname: text, flags: listOf(text), mtu: number },
  ...{ address: maybeText, ifalias: maybeText, group: maybeText, master: maybeText, link: maybeText },
  ...{ altnames: maybeTexts, parentdev: maybeText, permaddr: maybeText },
  ...{ link_index: maybeNumber, link_netnsid: maybeNumber, linkinfo: optional(checkLinkInfo) },
  addr_info: optional(listOf(checkAddress)),
})

const NEXT_HOP = {
  ...{ gateway: maybeText, dev: maybeText, weight: maybeNumber, flags: maybeTexts },
  via: optional(object<NonNullable<IpNextHop['via']>>({ family: text, host: text })),
}

const checkRoute = object<IpRoute>({
  ...NEXT_HOP,
  // For a route with `encap`, iproute2 prints the tunnel's fields under the same names.
  ...{ dst: text, type: maybeText, tos: anything, table: maybeText, protocol: maybeText, scope: maybeText },
  ...{ prefsrc: maybeText, metric: maybeNumber, pref: maybeText, expires: maybeNumber },
  metrics: optional(listOf(object({}))),
  nexthops: optional(listOf(object<IpNextHop>(NEXT_HOP))),
})

const checkRule = object<IpRule>({
  ...{ priority: number, not: anything, src: maybeText, srclen: maybeNumber, dst: maybeText, dstlen: maybeNumber },
  ...{ tos: maybeText, fwmark: maybeText, fwmask: maybeText, iif: maybeText, oif: maybeText, table: maybeText },
  ...{ suppress_prefixlen: maybeNumber, protocol: maybeText, ipproto: maybeText },
})

const checkNeighbour = object<IpNeighbour>({
  ...{ dst: text, dev: maybeText, lladdr: maybeText, router: anything, state: maybeTexts, protocol: maybeText },
})

const checkNexthop = object<IpNexthopObject>({ id: number, dev: maybeText })

const checkBridgePort = object<IpBridgePort>({
  vlans: optional(listOf(object({ vlan: number, vlanEnd: maybeNumber, flags: maybeTexts }))),
})

/** A line of `ip -batch` and the parser of its answer. */
export interface IpQuery<T> {
  readonly line: BatchLine
  /** @throws Error that describes the invalid answer. */
  readonly parse: (answer: unknown) => readonly T[]
}

/** Some versions of iproute2 print `{}` for each item that a filter removed. */
function withoutEmptyObjects(value: unknown): unknown {
  if (!Array.isArray(value)) return value
  return value.filter((it) => typeof it !== 'object' || it === null || Object.keys(it).length > 0)
}

function createParser<T>(check: Check): IpQuery<T>['parse'] {
  return (answer) => {
    const items = withoutEmptyObjects(answer)
    const problem = listOf(check)(items, 'the answer')
    if (problem !== undefined) throw new Error(problem)
    return items as readonly T[]
  }
}

const parseRawLinks = createParser<Omit<IpLink, 'addr_info'> & { readonly addr_info?: readonly IpAddress[] }>(checkLink)

function parseLinks(answer: unknown): readonly IpLink[] {
  const items = withoutEmptyObjects(answer)
  const links = Array.isArray(items)
    ? // An unknown lower link is null.
      items.map((it) => ({ ...it, link: it?.link ?? undefined, addr_info: withoutEmptyObjects(it?.addr_info ?? []) }))
    : items
  return parseRawLinks(links).map((link) => ({
    ...link,
    addr_info: (link.addr_info ?? []).filter(({ family }) => family === 'inet' || family === 'inet6'),
  }))
}

const toQuery =
  <T>(parse: IpQuery<T>['parse']) =>
  (line: BatchLine): IpQuery<T> => ({ line, parse })

/** The batch lines for links, routes, rules and so on. */
export const ipQuery = {
  links: toQuery(parseLinks),
  routes: toQuery(createParser<IpRoute>(checkRoute)),
  rules: toQuery(createParser<IpRule>(checkRule)),
  neighbours: toQuery(createParser<IpNeighbour>(checkNeighbour)),
  nexthops: toQuery(createParser<IpNexthopObject>(checkNexthop)),
  bridgePorts: toQuery(createParser<IpBridgePort>(checkBridgePort)),
} as const

/** A list of items for each query, in the same order. */
type IpAnswers<Q extends readonly IpQuery<unknown>[]> = {
  readonly [K in keyof Q]: Q[K] extends IpQuery<infer T> ? readonly T[] : never
}

/** The owner of the network, for an error message. */
const ownerOf = (netns: string | undefined) => (netns === undefined ? "the host's" : "the guest's")

function unreadableError(netns: string | undefined, reason: string): PipeworkError {
  const hint =
    netns === undefined
      ? 'See what `ip address` and `ip rule` print.'
      : 'It may have stopped just now. Otherwise see what `ip address` prints in it.'
  return new PipeworkError(`${ownerOf(netns)} network cannot be read: ${reason}`, { hint })
}

/**
 * Parses and checks the output of `ip -j`: a line of JSON for each query.
 * @throws PipeworkError that names the network's owner, when `ip` failed or printed something else.
 */
export function parseIpOutput<const Q extends readonly IpQuery<unknown>[]>(
  { code, stdout, stderr }: CommandResult,
  queries: Q,
  netns: string | undefined,
): IpAnswers<Q> {
  if (code !== 0) throw unreadableError(netns, stderr.trim())
  const lines = stdout.split('\n').filter((line) => line.trim() !== '')
  if (lines.length !== queries.length)
    throw unreadableError(
      netns,
      `ip printed ${lines.length} answers to ${queries.length} question${queries.length === 1 ? '' : 's'}`,
    )
  return queries.map(({ line, parse }, index) => {
    try {
      return parse(JSON.parse(lines[index] ?? ''))
    } catch (cause) {
      const problem = cause instanceof Error ? cause.message : String(cause)
      throw unreadableError(netns, `unexpected output of 'ip ${line.join(' ')}': ${problem}`)
    }
  }) as unknown as IpAnswers<Q>
}

/**
 * Queries a network namespace, or our own, with one process.
 * @throws PipeworkError that names the network's owner, when `ip` fails or prints something else.
 */
export async function readIp<const Q extends readonly IpQuery<unknown>[]>(
  queries: Q,
  { netns, system }: { readonly netns?: string | undefined; readonly system: System },
): Promise<IpAnswers<Q>> {
  const lines = queries.map(({ line }) => line)
  return parseIpOutput(await system.runIpBatch({ netns, lines, output: 'json' }), queries, netns)
}

/** The links of a namespace with their addresses. */
export async function readLinks(netns: string | undefined, system: System): Promise<readonly IpLink[]> {
  const [links] = await readIp([ipQuery.links(batchLine`address show`)], { netns, system })
  return links
}

/**
 * Whether a name in the output can be a word of a command. A guest can give its links any name: `a"b`, or one that is
 * not UTF-8, which reads as U+FFFD and matches no link.
 */
export function isUsableWord(word: string): boolean {
  return isSafeWord(word) && !word.includes('\ufffd')
}

/** The family of an address as `ip` names it. */
export function toFamily(family: IpAddress['family']): Family {
  return family === 'inet' ? 4 : 6
}
