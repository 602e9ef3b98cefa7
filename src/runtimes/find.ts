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

/** A finder and its answer. */
interface FinderReply {
  readonly finder: GuestFinder | ContainerRuntime
  readonly lookup: GuestLookup | { readonly state: 'silent'; readonly error: PipeworkError }
}

/** A guest that the name may mean. */
interface GuestMatch extends Required<GuestName>, Pick<GuestCandidate, 'id'> {
  /** The guest, or why it cannot be used; absent for a mere candidate. */
  readonly result?: Guest | PipeworkError
}

/**
 * Finds the guest of that name. Throws when there is none, when the name is ambiguous, or when the guest cannot be
 * used.
 *
 * The first runtime with a container of exactly that name or id wins. Docker is asked first and alone: its socket is
 * much faster than the other runtimes' commands. The other installed runtimes are asked in parallel when Docker has no
 * exact match: `db` and `cafe` may begin an id in Docker and still name a container in Podman. A text that begins
 * several ids is ambiguous.
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

/** The twelve digits that runtimes print, or more, count as the whole id. */
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
  // A runtime that is not installed is mentioned only when no other is installed.
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
  // Rootless containers are visible only to their user's own podman and lxc-info.
  const rootless = runtimes.some(({ kind: it }) => it !== 'docker')
  const unseen = system.isRoot
    ? "A user's rootless container is not found by its name: take its process, pid:N."
    : "Without root only your own rootless containers are found here, and none of root's."
  return [...see, ...(rootless ? [unseen] : [])].join('\n') || undefined
}

/** How long to wait for a guest, and what ends the wait early. */
export interface WaitOptions {
  /** Seconds; 0 for no wait. */
  readonly timeout: number
  readonly interrupt: Interrupt
}

/** Seconds between two checks of an awaited guest. */
const GUEST_POLL_INTERVAL = 0.1

/** Waits until the guest runs; at the limit, throws the reason with exit code 124. */
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
 * Holds the guest's namespace for this run, so that a restart or a reused PID cannot replace it. Throws when the
 * namespace is not the guest's, or is the host's own.
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
  // Without a sandbox to compare with, the cgroup's path identifies the process. Runtimes put the id there; LXC puts
  // the name there, with a number after it when an old cgroup exists.
  const [own, pattern] =
    guest.kind === 'lxc' ? [`lxc.payload.${guest.name}`, /lxc\.payload\.[^/\n]+/g] : [guest.id ?? '', /[0-9a-f]{64}/g]
  const owners: readonly string[] = system.read(`/proc/${guest.pid}/cgroup`)?.match(pattern) ?? []
  if (owners.length > 0 && !owners.some((owner) => owner.startsWith(own))) throw restartedGuestError(guest)
}

/**
 * Where a record's guest is, seen from the namespace of the record's link: here (containers share it, or two engines
 * know the container), elsewhere, or gone.
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
