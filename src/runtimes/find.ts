import { ExitCode, PipeworkError } from '../model/errors'
import { type GuestName, parseGuestName } from '../model/guest-name'
import { listClosest } from '../model/nearest'
import type { HeldNetns, Interrupt, System } from '../system/types'
import { CONTAINER_RUNTIMES, GUEST_FINDERS } from '.'
import { hostNetworkError } from './engine'
import {
  type ContainerRuntime,
  type Guest,
  type GuestCandidate,
  type GuestFinder,
  type GuestLookup,
  GuestNotRunningError,
} from './types'

export type { Guest } from './types'

/** No runtime knows a guest of that name. */
export class GuestNotFoundError extends PipeworkError {}

/** The name may mean several guests; the message lists them. */
export class AmbiguousGuestError extends PipeworkError {}

/** One finder, and what it said. */
interface FinderReply {
  readonly finder: GuestFinder | ContainerRuntime
  readonly lookup: GuestLookup | { readonly state: 'silent'; readonly error: PipeworkError }
}

/** One guest that the name may mean. */
interface GuestMatch extends Required<GuestName>, Pick<GuestCandidate, 'id'> {
  /** The guest, or why it cannot be used; a mere candidate has neither. */
  readonly result?: Guest | PipeworkError
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
export async function findGuest(wanted: GuestName, system: System): Promise<Guest> {
  if (wanted.kind !== undefined) {
    const finders = GUEST_FINDERS.filter(({ kind }) => kind === wanted.kind)
    return chooseGuest(
      await Promise.all(finders.map((finder) => queryFinder(finder, wanted.name, system))),
      wanted,
      system,
    )
  }
  const [first, ...others] = CONTAINER_RUNTIMES
  const reply = await queryFinder(first, wanted.name, system)
  if (toGuestMatches(reply).some((match) => isExactMatch(match, wanted.name)))
    return chooseGuest([reply], wanted, system)
  const installed = others.filter(({ program }) => system.hasProgram(program))
  const replies = await Promise.all(installed.map((runtime) => queryFinder(runtime, wanted.name, system)))
  return chooseGuest([reply, ...replies], wanted, system)
}

async function queryFinder(finder: GuestFinder | ContainerRuntime, name: string, system: System): Promise<FinderReply> {
  try {
    return { finder, lookup: await finder.find(name, system) }
  } catch (why) {
    if (why instanceof PipeworkError) return { finder, lookup: { state: 'silent', error: why } }
    throw why
  }
}

function toGuestMatches({ finder: { kind }, lookup }: FinderReply): readonly GuestMatch[] {
  if (lookup.state === 'found') return [{ ...lookup.guest, result: lookup.guest }]
  if (lookup.state === 'refused') return [{ kind, ...lookup.candidate, result: lookup.error }]
  return lookup.state === 'several' ? lookup.candidates.map((candidate) => ({ kind, ...candidate })) : []
}

/** The twelve digits that runtimes print, or more, are as good as the whole id. */
function isExactMatch({ name, id }: GuestMatch, wanted: string): boolean {
  return name === wanted || (wanted.length >= 12 && id !== undefined && id.startsWith(wanted))
}

function chooseGuest(replies: readonly FinderReply[], wanted: GuestName, system: System): Guest {
  const matches = replies.flatMap(toGuestMatches)
  const chosen =
    matches.find((match) => isExactMatch(match, wanted.name)) ?? (matches.length === 1 ? matches[0] : undefined)
  if (chosen?.result instanceof PipeworkError) throw chosen.result
  if (chosen?.result !== undefined) return chosen.result
  throw matches.length > 0 ? ambiguousGuestError(wanted, matches) : guestNotFoundError(replies, wanted, system)
}

function ambiguousGuestError({ name }: GuestName, matches: readonly GuestMatch[]): AmbiguousGuestError {
  const list = matches.map(
    ({ kind, name: it, id }) => `${kind}:${it}${id === undefined ? '' : ` (${id.slice(0, 12)})`}`,
  )
  return new AmbiguousGuestError(`'${name}' is ambiguous: it may mean ${list.join(' or ')}`, {
    hint: 'Write one of these, or more digits of the id.',
  })
}

function guestNotFoundError(replies: readonly FinderReply[], wanted: GuestName, system: System): PipeworkError {
  // A runtime that is not installed has nothing to say, and is mentioned only when no other is there.
  const silent = replies.flatMap(({ finder, lookup }) =>
    lookup.state === 'silent' ? [{ finder, why: lookup.error }] : [],
  )
  const [audible] = silent.filter(({ finder }) => !('program' in finder) || system.hasProgram(finder.program))
  const known = replies.filter(({ lookup }) => lookup.state === 'unknown')
  const [first] = known
  if (first === undefined)
    return (
      (audible ?? silent[0])?.why ??
      new PipeworkError(`nobody knows '${wanted.name}'`, { hint: 'Say of which kind it is, like netns:NAME.' })
    )
  const titles = known.flatMap(({ finder }) => ('title' in finder ? [finder.title] : []))
  const message = `there is no ${first.finder.noun} '${wanted.name}'${titles.every((it) => it === 'Docker') ? '' : ` in ${joinWords(titles, 'or')}`}`
  if (audible === undefined) return new GuestNotFoundError(message, { hint: suggestGuests(known, wanted, system) })
  return new PipeworkError(`${message}, and not all could be asked: ${audible.why.message}`, { hint: audible.why.hint })
}

function joinWords(words: readonly string[], last: 'or' | 'and'): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} ${last} ${words.at(-1)}`
}

function suggestGuests(known: readonly FinderReply[], { kind, name }: GuestName, system: System): string | undefined {
  const others = [
    ...(system.inode(`/run/netns/${name}`) === undefined ? [] : [`netns:${name}`]),
    ...(/^\d+$/.test(name) && system.read(`/proc/${name}/stat`) !== undefined ? [`pid:${name}`] : []),
  ]
  const names = known.flatMap(({ lookup }) => (lookup.state === 'unknown' ? lookup.names : []))
  if (kind === undefined && (/^(br|ovs)\d+$/.test(name) || system.inode(`/sys/class/net/${name}`) !== undefined))
    return `Should '${name}' be a bridge, it comes before the guest: pipework ${name} web 192.168.1.10/24`
  const near = [...(kind === undefined ? others : []), ...listClosest(name, names)]
  if (near.length > 0) return `Did you mean ${near.join(' or ')}?`
  const runtimes = known.flatMap(({ finder }) => ('listCommand' in finder ? [finder] : []))
  const lists = runtimes.map(({ listCommand: command }) => command)
  const see = lists.length === 0 ? [] : [`See what there is: ${joinWords(lists, 'and')}`]
  // Rootless containers are in a place of their user's own, where the user's own podman and lxc-info look.
  const rootless = runtimes.some(({ kind: it }) => it !== 'docker')
  const unseen = system.isRoot
    ? "A user's rootless container is not found by its name: take its process, pid:N."
    : "Without root only your own rootless containers are found here, and none of root's."
  return [...see, ...(rootless ? [unseen] : [])].join('\n') || undefined
}

/** How long a guest is waited for, and what ends the wait early. */
export interface WaitOptions {
  /** Seconds; 0 for not at all. */
  readonly timeout: number
  readonly interrupt: Interrupt
}

/** Seconds between two looks at a guest that is awaited. */
const GUEST_POLL_INTERVAL = 0.1

/** The guest as soon as it runs; after the limit the reason why it does not, with exit code 124. */
export async function waitForGuest(
  wanted: GuestName,
  system: System,
  { timeout, interrupt }: WaitOptions,
): Promise<Guest> {
  const deadline = system.elapsed() + timeout * 1000
  for (;;) {
    try {
      return await findGuest(wanted, system)
    } catch (error) {
      if (!(error instanceof PipeworkError) || timeout === 0) throw error
      if (interrupt.requested)
        throw new PipeworkError(`interrupted while waiting for '${wanted.name}'`, { cause: error })
      if (system.elapsed() >= deadline)
        throw new PipeworkError(`timed out after ${timeout} s: ${error.message}`, {
          hint: error.hint,
          exitCode: ExitCode.timeout,
          cause: error,
        })
      await system.sleep(GUEST_POLL_INTERVAL)
    }
  }
}

/**
 * Holds the guest's namespace for this run, so that neither a restart nor a reused PID can put another in its place.
 * Throws when it is not the guest's, or is the host's own.
 */
export function holdGuestNetns(guest: Guest, system: System): HeldNetns {
  const pin = holdNetnsPath(guest, system)
  try {
    validateHeldNetns(guest, pin, system)
    return pin
  } catch (error) {
    pin.release()
    throw error
  }
}

function holdNetnsPath(guest: Guest, system: System): HeldNetns {
  try {
    return system.holdNetns(guest.nsPath)
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

function validateHeldNetns(guest: Guest, pin: HeldNetns, system: System): void {
  if (pin.inode === system.inode('/proc/self/ns/net')) throw hostNetworkError(guest)
  const sandbox = guest.sandbox === undefined ? undefined : system.inode(guest.sandbox)
  if (sandbox !== undefined && guest.id !== undefined && sandbox !== pin.inode) throw restartedGuestError(guest)
  if (guest.pid === undefined || guest.kind === 'pid' || sandbox !== undefined) return
  // Without a sandbox to compare with, the cgroup's path tells whose process it is: runtimes put the id there, and LXC
  // the name, with a number behind it where an old cgroup is in the way.
  const [own, pattern] =
    guest.kind === 'lxc' ? [`lxc.payload.${guest.name}`, /lxc\.payload\.[^/\n]+/g] : [guest.id ?? '', /[0-9a-f]{64}/g]
  const owners: readonly string[] = system.read(`/proc/${guest.pid}/cgroup`)?.match(pattern) ?? []
  if (owners.length > 0 && !owners.some((owner) => owner.startsWith(own))) throw restartedGuestError(guest)
}

/**
 * Where the guest is that a record names, seen from a namespace in which the record's link is: here as well (containers
 * share it, or two engines know the container), elsewhere, or nowhere any more.
 */
export async function locateGuest(
  { kind, name }: { readonly kind: string; readonly name: string },
  inode: number | undefined,
  system: System,
): Promise<'here' | 'elsewhere' | 'gone'> {
  try {
    const { nsPath } = await findGuest(parseGuestName(`${kind}:${name}`), system)
    return inode !== undefined && system.inode(nsPath) === inode ? 'here' : 'elsewhere'
  } catch (error) {
    if (error instanceof GuestNotFoundError || error instanceof GuestNotRunningError) return 'gone'
    if (error instanceof PipeworkError) return 'elsewhere'
    throw error
  }
}

function restartedGuestError(guest: Guest): PipeworkError {
  return new PipeworkError(`process ${guest.pid} is no longer in the container '${guest.name}'`, {
    hint: 'It was restarted just now: run the command again.',
  })
}
