import { ExitCode, PipeworkError } from '../model/errors'
import { type GuestName, parseGuest } from '../model/guest-name'
import { listNearest } from '../model/nearest'
import type { Host, Interrupt, Pin } from '../system/types'
import { FINDERS, RUNTIMES } from '.'
import { hostNetwork } from './engine'
import { type Answer, type Candidate, type Finder, type Guest, NotRunning, type Runtime } from './types'

export type { Guest } from './types'

/** No runtime knows a guest of that name. */
export class NoSuchGuest extends PipeworkError {}

/** The name may mean several guests; the message lists them. */
export class AmbiguousGuest extends PipeworkError {}

/** One finder, and what it said. */
interface Reply {
  readonly finder: Finder | Runtime
  readonly answer: Answer | { readonly state: 'silent'; readonly why: PipeworkError }
}

/** One guest that the name may mean. */
interface Match extends Required<GuestName>, Pick<Candidate, 'id'> {
  /** The guest, or why it cannot be used; a mere candidate has neither. */
  readonly outcome?: Guest | PipeworkError
}

/**
 * The guest of that name. Throws when there is none, when the name may mean several, or when the guest cannot be used
 * as it is.
 *
 * The first runtime that has a container of exactly that name, or whose id it is, wins: an attach to a container of
 * Docker's asks nobody else (2 ms over its socket; podman inspect takes 60, lxc-info 25). The others, those that are
 * installed, are asked side by side when Docker has none, or when the name only begins an id of Docker's: `db` and
 * `cafe` may do that, and still mean the container of that name in Podman. The beginning of several ids is ambiguous.
 */
export async function findGuest(wanted: GuestName, host: Host): Promise<Guest> {
  if (wanted.kind !== undefined) {
    const finders = FINDERS.filter(({ kind }) => kind === wanted.kind)
    return choose(await Promise.all(finders.map((finder) => ask(finder, wanted.name, host))), wanted, host)
  }
  const [first, ...others] = RUNTIMES
  const reply = await ask(first, wanted.name, host)
  if (toMatches(reply).some((match) => isExact(match, wanted.name))) return choose([reply], wanted, host)
  const installed = others.filter(({ program }) => host.has(program))
  const replies = await Promise.all(installed.map((runtime) => ask(runtime, wanted.name, host)))
  return choose([reply, ...replies], wanted, host)
}

async function ask(finder: Finder | Runtime, name: string, host: Host): Promise<Reply> {
  try {
    return { finder, answer: await finder.find(name, host) }
  } catch (why) {
    if (why instanceof PipeworkError) return { finder, answer: { state: 'silent', why } }
    throw why
  }
}

function toMatches({ finder: { kind }, answer }: Reply): readonly Match[] {
  if (answer.state === 'found') return [{ ...answer.guest, outcome: answer.guest }]
  if (answer.state === 'refused') return [{ kind, ...answer.candidate, outcome: answer.why }]
  return answer.state === 'several' ? answer.candidates.map((candidate) => ({ kind, ...candidate })) : []
}

/** The twelve digits that runtimes print, or more, are as good as the whole id. */
function isExact({ name, id }: Match, wanted: string): boolean {
  return name === wanted || (wanted.length >= 12 && id !== undefined && id.startsWith(wanted))
}

function choose(replies: readonly Reply[], wanted: GuestName, host: Host): Guest {
  const matches = replies.flatMap(toMatches)
  const chosen = matches.find((match) => isExact(match, wanted.name)) ?? (matches.length === 1 ? matches[0] : undefined)
  if (chosen?.outcome instanceof PipeworkError) throw chosen.outcome
  if (chosen?.outcome !== undefined) return chosen.outcome
  throw matches.length > 0 ? ambiguous(wanted, matches) : noSuchGuest(replies, wanted, host)
}

function ambiguous({ name }: GuestName, matches: readonly Match[]): AmbiguousGuest {
  const list = matches.map(
    ({ kind, name: it, id }) => `${kind}:${it}${id === undefined ? '' : ` (${id.slice(0, 12)})`}`,
  )
  return new AmbiguousGuest(`'${name}' is ambiguous: it may mean ${list.join(' or ')}`, {
    hint: 'Write one of these, or more digits of the id.',
  })
}

function noSuchGuest(replies: readonly Reply[], wanted: GuestName, host: Host): PipeworkError {
  // A runtime that is not installed has nothing to say, and is mentioned only when no other is there.
  const silent = replies.flatMap(({ finder, answer }) =>
    answer.state === 'silent' ? [{ finder, why: answer.why }] : [],
  )
  const [audible] = silent.filter(({ finder }) => !('program' in finder) || host.has(finder.program))
  const known = replies.filter(({ answer }) => answer.state === 'unknown')
  const [first] = known
  if (first === undefined)
    return (
      (audible ?? silent[0])?.why ??
      new PipeworkError(`nobody knows '${wanted.name}'`, { hint: 'Say of which kind it is, like netns:NAME.' })
    )
  const titles = known.flatMap(({ finder }) => ('title' in finder ? [finder.title] : []))
  const message = `there is no ${first.finder.noun} '${wanted.name}'${titles.every((it) => it === 'Docker') ? '' : ` in ${join(titles, 'or')}`}`
  if (audible === undefined) return new NoSuchGuest(message, { hint: suggest(known, wanted, host) })
  return new PipeworkError(`${message}, and not all could be asked: ${audible.why.message}`, { hint: audible.why.hint })
}

function join(words: readonly string[], last: 'or' | 'and'): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} ${last} ${words.at(-1)}`
}

function suggest(known: readonly Reply[], { kind, name }: GuestName, host: Host): string | undefined {
  const others = [
    ...(host.inode(`/run/netns/${name}`) === undefined ? [] : [`netns:${name}`]),
    ...(/^\d+$/.test(name) && host.read(`/proc/${name}/stat`) !== undefined ? [`pid:${name}`] : []),
  ]
  const names = known.flatMap(({ answer }) => (answer.state === 'unknown' ? answer.names : []))
  if (kind === undefined && (/^(br|ovs)\d+$/.test(name) || host.inode(`/sys/class/net/${name}`) !== undefined))
    return `Should '${name}' be a bridge, it comes before the guest: pipework ${name} web 192.168.1.10/24`
  const near = [...(kind === undefined ? others : []), ...listNearest(name, names)]
  if (near.length > 0) return `Did you mean ${near.join(' or ')}?`
  const runtimes = known.flatMap(({ finder }) => ('lists' in finder ? [finder] : []))
  const lists = runtimes.map(({ lists: command }) => command)
  const see = lists.length === 0 ? [] : [`See what there is: ${join(lists, 'and')}`]
  // Rootless containers are in a place of their user's own, where the user's own podman and lxc-info look.
  const rootless = runtimes.some(({ kind: it }) => it !== 'docker')
  const unseen = host.isRoot
    ? "A user's rootless container is not found by its name: take its process, pid:N."
    : "Without root only your own rootless containers are found here, and none of root's."
  return [...see, ...(rootless ? [unseen] : [])].join('\n') || undefined
}

/** How long a guest is waited for, and what ends the wait early. */
export interface Patience {
  /** Seconds; 0 for not at all. */
  readonly limit: number
  readonly interrupt: Interrupt
}

/** Seconds between two looks at a guest that is awaited. */
const GUEST_POLL = 0.1

/** The guest as soon as it runs; after the limit the reason why it does not, with exit code 124. */
export async function awaitGuest(wanted: GuestName, host: Host, { limit, interrupt }: Patience): Promise<Guest> {
  const deadline = host.elapsed() + limit * 1000
  for (;;) {
    try {
      return await findGuest(wanted, host)
    } catch (error) {
      if (!(error instanceof PipeworkError) || limit === 0) throw error
      if (interrupt.heard) throw new PipeworkError(`interrupted while waiting for '${wanted.name}'`, { cause: error })
      if (host.elapsed() >= deadline)
        throw new PipeworkError(`waited ${limit} s in vain: ${error.message}`, {
          hint: error.hint,
          exitCode: ExitCode.timeout,
          cause: error,
        })
      await host.sleep(GUEST_POLL)
    }
  }
}

/**
 * Holds the guest's namespace for this run, so that neither a restart nor a reused PID can put another in its place.
 * Throws when it is not the guest's, or is the host's own.
 */
export function pinGuest(guest: Guest, host: Host): Pin {
  const pin = pinPath(guest, host)
  try {
    refuseForeign(guest, pin, host)
    return pin
  } catch (error) {
    pin.release()
    throw error
  }
}

function pinPath(guest: Guest, host: Host): Pin {
  try {
    return host.pin(guest.nsPath)
  } catch (cause) {
    const code = (cause as { code?: string }).code
    if (code === 'EINVAL' || code === 'ENOENT' || code === 'ESRCH')
      throw new PipeworkError(`the network namespace of '${guest.name}' is gone: '${guest.nsPath}'`, {
        hint:
          guest.pid === undefined
            ? undefined
            : 'It stopped just now, or its process is not among those seen here: in a container, pipework needs --pid=host.',
        cause,
      })
    if (code === undefined) throw cause
    throw new PipeworkError(
      `the network namespace of '${guest.name}' cannot be given a name in /run/netns: ${(cause as Error).message}`,
      { hint: code === 'EROFS' ? 'ip -n looks for it there: make /run/netns writable.' : undefined, cause },
    )
  }
}

function refuseForeign(guest: Guest, pin: Pin, host: Host): void {
  if (pin.inode === host.inode('/proc/self/ns/net')) throw hostNetwork(guest)
  const sandbox = guest.sandbox === undefined ? undefined : host.inode(guest.sandbox)
  if (sandbox !== undefined && guest.id !== undefined && sandbox !== pin.inode) throw stranger(guest)
  if (guest.pid === undefined || guest.kind === 'pid' || sandbox !== undefined) return
  // Without a sandbox to compare with, the cgroup's path tells whose process it is: runtimes put the id there, and LXC
  // the name, with a number behind it where an old cgroup is in the way.
  const [own, pattern] =
    guest.kind === 'lxc' ? [`lxc.payload.${guest.name}`, /lxc\.payload\.[^/\n]+/g] : [guest.id ?? '', /[0-9a-f]{64}/g]
  const owners: readonly string[] = host.read(`/proc/${guest.pid}/cgroup`)?.match(pattern) ?? []
  if (owners.length > 0 && !owners.some((owner) => owner.startsWith(own))) throw stranger(guest)
}

/**
 * Where the guest is that a record names, seen from a namespace in which the record's link is: here as well (containers
 * share it, or two engines know the container), elsewhere, or nowhere any more.
 */
export async function whereIs(
  { kind, name }: { readonly kind: string; readonly name: string },
  inode: number | undefined,
  host: Host,
): Promise<'here' | 'elsewhere' | 'gone'> {
  try {
    const { nsPath } = await findGuest(parseGuest(`${kind}:${name}`), host)
    return inode !== undefined && host.inode(nsPath) === inode ? 'here' : 'elsewhere'
  } catch (error) {
    if (error instanceof NoSuchGuest || error instanceof NotRunning) return 'gone'
    if (error instanceof PipeworkError) return 'elsewhere'
    throw error
  }
}

function stranger(guest: Guest): PipeworkError {
  return new PipeworkError(`process ${guest.pid} is no longer in the container '${guest.name}'`, {
    hint: 'It was restarted just now: run the command again.',
  })
}
