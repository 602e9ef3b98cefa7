import type { Family } from '../model/address'
import { type JsonValue, parseChoice, parseCount, parseList, parseObject, parseOptional, parseText } from './json-file'

/** A word of `ip -batch`: neither white space nor quotes, backslashes, # or control characters (see plan/step.ts). */
const SAFE_WORD = /^[^\s"'#\\\p{Cc}]+$/u
/** Text that is safe in messages. */
const LABEL = /^[^\p{Cc}]*$/u

/** Placeholder for the link's name at the start of a word, so that saved items can be added to another link. */
export const DEV_PLACEHOLDER = '@'

/** An item of a link's configuration that can move to another link: the words of `ip` without the link's name. */
export interface LinkConfigItem {
  readonly kind: 'address' | 'route' | 'neighbour' | 'rule'
  readonly family: Family
  /** Its name in messages: `the address 10.0.0.2/24`. */
  readonly description: string
  /** Command lines that add it to a link. */
  readonly add: readonly (readonly string[])[]
  /** The command line that removes it. */
  readonly del: readonly string[]
  /** Seconds that it is valid and preferred, or that a route lasts; absent when it does not expire. */
  readonly lifetimes?: { readonly valid: number; readonly preferred?: number }
  /** For a route: the key that it shares with appended routes, in the order in which they were added. */
  readonly routeKey?: string
  /** For a route: its gateway. */
  readonly gateway?: string
  readonly isDefault?: true
  /**
   * For a default route: announced by a router (`heard`), or our replacement until the next advertisement (`stand-in`).
   */
  readonly announced?: 'heard' | 'stand-in'
  /** For an address: the command that removes its subnet route, which the kernel keeps until the lifetime ends. */
  readonly leftover?: readonly string[]
}

/** The key of an item, the same on every link. */
export function configKeyOf({ kind, family, del, announced, gateway }: LinkConfigItem): string {
  // A replacement of an announced route has the same key as that route.
  return `${kind} ${family} ${announced === undefined ? del.join(' ') : `announced by ${gateway}`}`
}

/** One item for each key: an announced route and its replacement move as one. */
export function uniqueConfigItems(items: readonly LinkConfigItem[]): readonly LinkConfigItem[] {
  const ids = items.map(configKeyOf)
  return items.filter((_, index) => ids.indexOf(ids[index] ?? '') === index)
}

/** Its words for that link, `age` seconds after it was saved. */
export function toAddArgs(item: LinkConfigItem, dev: string, age: number): readonly (readonly string[])[] {
  const { lifetimes } = item
  // An item that has expired meanwhile is not restored.
  if (lifetimes !== undefined && lifetimes.valid <= age) return []
  const left = (seconds: number) => `${Math.max(0, Math.round(seconds - age))}`
  return item.add.map((words) => [
    ...words.map((word) => replaceDev(word, dev)),
    ...(lifetimes === undefined
      ? []
      : lifetimes.preferred === undefined
        ? ['expires', left(lifetimes.valid)]
        : ['valid_lft', left(lifetimes.valid), 'preferred_lft', formatLifetime(lifetimes.preferred, left)]),
  ])
}

/** Whether it is an IPv6 link-local address. */
export function isLinkLocalItem({ kind, del }: LinkConfigItem): boolean {
  return kind === 'address' && /^fe[89ab].:/.test(del[2] ?? '')
}

/** The words that remove an address's leftover route from that link, if any. */
export function toLeftoverArgs({ leftover = [] }: LinkConfigItem, dev: string): readonly string[] {
  return leftover.map((word) => replaceDev(word, dev))
}

/** The words that remove it from that link. */
export function toDelArgs({ del }: LinkConfigItem, dev: string): readonly string[] {
  return del.map((word) => replaceDev(word, dev))
}

/** The lifetime that `ip` prints for "forever". */
export const INFINITE_LIFETIME = 4294967295

const formatLifetime = (seconds: number, left: (seconds: number) => string) =>
  seconds >= INFINITE_LIFETIME ? 'forever' : left(seconds)

function replaceDev(word: string, dev: string): string {
  return word.startsWith(DEV_PLACEHOLDER) ? dev + word.slice(1) : word
}

const CONFIG_KINDS = ['address', 'route', 'neighbour', 'rule'] as const
const COMMANDS = ['addr', 'route', 'neigh', 'rule'] as const

/** Parses an item's command line: its words must be safe in an `ip` batch and start like an item's. */
function parseConfigArgs(json: JsonValue): readonly string[] {
  const words = parseList(json, (word) => parseText(word, SAFE_WORD))
  parseChoice({ value: words[0], at: `${json.at}[0]` }, COMMANDS)
  return words
}

function parseLifetimes(json: JsonValue): NonNullable<LinkConfigItem['lifetimes']> {
  const of = parseObject(json)
  return { valid: parseCount(of('valid')), preferred: parseOptional(of('preferred'), parseCount) }
}

/** Parses an item of a state file. Files of the previous version name some fields differently. */
export function parseLinkConfigItem(json: JsonValue): LinkConfigItem {
  const of = parseObject(json)
  const field = (key: string, before: string) => (of(key).value === undefined ? of(before) : of(key))
  const text = (it: JsonValue) => parseText(it, LABEL)
  const announced = of('announced')
  const family = parseCount(of('family'))
  return {
    kind: parseChoice(of('kind'), CONFIG_KINDS),
    family: family === 6 ? 6 : 4,
    description: text(field('description', 'what')),
    add: parseList(of('add'), parseConfigArgs),
    del: parseConfigArgs(of('del')),
    lifetimes: parseOptional(of('lifetimes'), parseLifetimes),
    routeKey: parseOptional(field('routeKey', 'rank'), text),
    gateway: parseOptional(of('gateway'), (it) => parseText(it, SAFE_WORD)),
    isDefault: of('isDefault').value === true ? true : undefined,
    announced:
      announced.value === 'standing in'
        ? 'stand-in'
        : parseOptional(announced, (it) => parseChoice(it, ['heard', 'stand-in'] as const)),
    leftover: parseOptional(field('leftover', 'remnant'), parseConfigArgs),
  }
}
