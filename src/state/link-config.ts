import type { Family } from '../model/address'

/**
 * Stands for the link that holds it, at the beginning of a word: what is written down of one link can then be given to
 * another.
 */
export const DEV_PLACEHOLDER = '@'

/** Something that a link holds and that can be moved to another one: the words of `ip`, but for the link's name. */
export interface LinkConfigItem {
  readonly kind: 'address' | 'route' | 'neighbour' | 'rule'
  readonly family: Family
  /** What it is to people. */
  readonly what: string
  /** Command lines that give it to a link. */
  readonly add: readonly (readonly string[])[]
  /** The one that takes it away. */
  readonly del: readonly string[]
  /** Seconds that it is valid and preferred, or that a route lasts; absent for ever. */
  readonly lifetimes?: { readonly valid: number; readonly preferred?: number }
  /** Of a route: what it has in common with those that stand behind it, in the order in which they were made. */
  readonly rank?: string
  /** Of a route: the router it leads to. */
  readonly gateway?: string
  readonly isDefault?: true
  /** Of a default route: a router has announced it, or it stands in until that is heard again. */
  readonly announced?: 'heard' | 'standing in'
  /** Of an address: what takes away the route to its subnet, which the kernel keeps until the lifetime has run out. */
  readonly remnant?: readonly string[]
}

/** What tells a holding from the others of a link, and finds it again on another. */
export function configKeyOf({ kind, family, del, announced, gateway }: LinkConfigItem): string {
  // One that stands in is the same to whoever moves it.
  return `${kind} ${family} ${announced === undefined ? del.join(' ') : `announced by ${gateway}`}`
}

/** One of each id: a route that a router has announced and the one that stands in for it are moved as one. */
export function uniqueConfigItems(holdings: readonly LinkConfigItem[]): readonly LinkConfigItem[] {
  const ids = holdings.map(configKeyOf)
  return holdings.filter((_, index) => ids.indexOf(ids[index] ?? '') === index)
}

/** Its words for that link, `age` seconds after they were written down. */
export function toAddArgs(holding: LinkConfigItem, dev: string, age: number): readonly (readonly string[])[] {
  const { lifetimes } = holding
  // What has run out meanwhile would have gone by itself.
  if (lifetimes !== undefined && lifetimes.valid <= age) return []
  const left = (seconds: number) => `${Math.max(0, Math.round(seconds - age))}`
  return holding.add.map((words) => [
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
export function toLeftoverArgs({ remnant = [] }: LinkConfigItem, dev: string): readonly string[] {
  return remnant.map((word) => replaceDev(word, dev))
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
