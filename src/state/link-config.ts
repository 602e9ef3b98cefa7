import type { Family } from '../model/address'
import { type JsonValue, parseChoice, parseCount, parseList, parseObject, parseOptional, parseText } from './json-file'

/** A word of `ip -batch`: neither white space nor quotes, backslashes, # or control characters (see plan/step.ts). */
const SAFE_WORD = /^[^\s"'#\\\p{Cc}]+$/u
/** What messages may show. */
const LABEL = /^[^\p{Cc}]*$/u

/**
 * Stands for the link that holds it, at the beginning of a word: what is written down of one link can then be given to
 * another.
 */
export const DEV_PLACEHOLDER = '@'

/** Something that a link holds and that can be moved to another one: the words of `ip`, but for the link's name. */
export interface LinkConfigItem {
  readonly kind: 'address' | 'route' | 'neighbour' | 'rule'
  readonly family: Family
  /** As messages name it: `the address 10.0.0.2/24`. */
  readonly description: string
  /** Command lines that give it to a link. */
  readonly add: readonly (readonly string[])[]
  /** The one that takes it away. */
  readonly del: readonly string[]
  /** Seconds that it is valid and preferred, or that a route lasts; absent for ever. */
  readonly lifetimes?: { readonly valid: number; readonly preferred?: number }
  /** Of a route: what it has in common with those that stand behind it, in the order in which they were made. */
  readonly routeKey?: string
  /** Of a route: the router it leads to. */
  readonly gateway?: string
  readonly isDefault?: true
  /** Of a default route: a router has announced it, or it stands in until that is heard again. */
  readonly announced?: 'heard' | 'stand-in'
  /** Of an address: what takes away the route to its subnet, which the kernel keeps until the lifetime has run out. */
  readonly leftover?: readonly string[]
}

/** The key of an item: the same on whatever link it is. */
export function configKeyOf({ kind, family, del, announced, gateway }: LinkConfigItem): string {
  // A stand-in counts as the route that it stands in for.
  return `${kind} ${family} ${announced === undefined ? del.join(' ') : `announced by ${gateway}`}`
}

/** One item for each key: an announced route and its stand-in are moved as one. */
export function uniqueConfigItems(items: readonly LinkConfigItem[]): readonly LinkConfigItem[] {
  const ids = items.map(configKeyOf)
  return items.filter((_, index) => ids.indexOf(ids[index] ?? '') === index)
}

/** Its words for that link, `age` seconds after they were written down. */
export function toAddArgs(item: LinkConfigItem, dev: string, age: number): readonly (readonly string[])[] {
  const { lifetimes } = item
  // What has run out meanwhile would have gone by itself.
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

/** Whether it is an address that begins anew on each link, IPv6's own. */
export function isLinkLocalItem({ kind, del }: LinkConfigItem): boolean {
  return kind === 'address' && /^fe[89ab].:/.test(del[2] ?? '')
}

/** The words that take what an address leaves on that link, if anything. */
export function toLeftoverArgs({ leftover = [] }: LinkConfigItem, dev: string): readonly string[] {
  return leftover.map((word) => replaceDev(word, dev))
}

/** The words that take it from that link. */
export function toDelArgs({ del }: LinkConfigItem, dev: string): readonly string[] {
  return del.map((word) => replaceDev(word, dev))
}

/** What `ip` prints for a lifetime without end. */
export const INFINITE_LIFETIME = 4294967295

const formatLifetime = (seconds: number, left: (seconds: number) => string) =>
  seconds >= INFINITE_LIFETIME ? 'forever' : left(seconds)

function replaceDev(word: string, dev: string): string {
  return word.startsWith(DEV_PLACEHOLDER) ? dev + word.slice(1) : word
}

const CONFIG_KINDS = ['address', 'route', 'neighbour', 'rule'] as const
const COMMANDS = ['addr', 'route', 'neigh', 'rule'] as const

/** A command line of an item: its words must be safe in a batch of `ip`, and begin as those of an item do. */
function parseConfigArgs(json: JsonValue): readonly string[] {
  const words = parseList(json, (word) => parseText(word, SAFE_WORD))
  parseChoice({ value: words[0], at: `${json.at}[0]` }, COMMANDS)
  return words
}

function parseLifetimes(json: JsonValue): NonNullable<LinkConfigItem['lifetimes']> {
  const of = parseObject(json)
  return { valid: parseCount(of('valid')), preferred: parseOptional(of('preferred'), parseCount) }
}

/** An item out of a state file. Files of the version before have other names for some of its fields. */
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
