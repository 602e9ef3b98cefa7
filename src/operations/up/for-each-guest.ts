import { MAX_CONCURRENT_READS, mapConcurrently } from '../../model/concurrency'
import { PipeworkError } from '../../model/errors'
import type { GuestName } from '../../model/guest-name'
import type { AttachRequest } from '../../model/request'
import { findGuest, type Guest, GuestNotFoundError, holdGuestNetns } from '../../runtimes/find'
import { GuestNotRunningError } from '../../runtimes/types'
import { resolveHostif } from '../../state/host-links'
import type { HeldNetns, System } from '../../system/types'
import type { AttachPlan } from '../attach'
import type { ChangeOptions } from '../types'
import type { AttachmentLine } from './read-files'

/** The result of a line: its plan, or the error. */
export type LineResult = { readonly line: AttachmentLine; readonly guest?: Guest } & (
  | { readonly state: 'planned'; readonly guest: Guest; readonly attachPlan: AttachPlan }
  /** The guest is not running. */
  | { readonly state: 'absent'; readonly error: PipeworkError }
  | { readonly state: 'failed'; readonly error: unknown }
)

/** The lines of one guest, which succeed or fail together. */
interface GuestLines {
  readonly lines: readonly AttachmentLine[]
  readonly guest: Guest
}

/** The action for the lines of one guest. */
export type GuestAction = (
  requests: readonly AttachRequest[],
  held: { readonly guest: Guest; readonly pin: HeldNetns | undefined },
) => Promise<readonly AttachPlan[]>

/** The work itself gains nothing beyond four guests at once, but address probes and IPv6 DAD mostly wait. */
const MAX_CONCURRENT_GUESTS = 32

/** Looks up each guest of the lines once; reports guests that are stopped or missing. */
export async function resolveGuests(
  lines: readonly AttachmentLine[],
  { system }: Pick<ChangeOptions, 'system'>,
): Promise<{ readonly groups: readonly GuestLines[]; readonly results: readonly LineResult[] }> {
  const byName = groupBy(lines, ({ request }) => guestKey(request.guest))
  const found = await mapConcurrently([...byName.values()], MAX_CONCURRENT_READS, async (group) => ({
    group,
    reached: await lookUpGuest(group, system),
  }))
  const results = found.flatMap(({ group, reached }) =>
    'guest' in reached ? [] : group.map((line): LineResult => ({ line, ...reached })),
  )
  const reached = found.flatMap(({ group, reached }) =>
    'guest' in reached ? group.map((line) => ({ line, guest: reached.guest })) : [],
  )
  // One file can name a guest as `web`, as `docker:web` and by its id.
  const groups = [...groupBy(reached, ({ guest }) => `${guest.kind}:${guest.name} ${guest.id}`).values()].flatMap(
    (group) => (group[0] === undefined ? [] : [{ guest: group[0].guest, lines: group.map(({ line }) => line) }]),
  )
  return { groups, results }
}

function guestKey({ kind, name }: GuestName): string {
  return `${kind ?? ''}:${name}`
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const key = keyOf(item)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [item])
    else group.push(item)
  }
  return groups
}

type GuestLookup =
  | { readonly guest: Guest }
  | { readonly state: 'absent'; readonly error: PipeworkError }
  | { readonly state: 'failed'; readonly error: unknown }

async function lookUpGuest([first]: readonly AttachmentLine[], system: System): Promise<GuestLookup> {
  if (first === undefined) throw new TypeError('a guest without lines')
  try {
    return { guest: await findGuest(first.request.guest, system) }
  } catch (error) {
    return error instanceof GuestNotFoundError || error instanceof GuestNotRunningError
      ? { state: 'absent', error }
      : { state: 'failed', error }
  }
}

/** Runs the action for all guests concurrently; a failure of one does not stop the others. */
export function forEachGuest(
  groups: readonly GuestLines[],
  options: Pick<ChangeOptions, 'system' | 'interrupt'>,
  { action, onDone }: { readonly action: GuestAction; readonly onDone?: (lines: number) => void },
): Promise<readonly (readonly LineResult[])[]> {
  return mapConcurrently(groups, MAX_CONCURRENT_GUESTS, async (group) => {
    const results = await runForGuest(group, options, action)
    onDone?.(group.lines.length)
    return results
  })
}

async function runForGuest(
  { lines, guest }: GuestLines,
  { system, interrupt }: Pick<ChangeOptions, 'system' | 'interrupt'>,
  action: GuestAction,
): Promise<readonly LineResult[]> {
  try {
    if (interrupt.requested) throw new PipeworkError('interrupted')
    const requests = lines.map(({ request }) => resolveHostif(request, system))
    validateDistinctIfnames(requests, guest)
    const planned = await withPinnedGuest(guest, system, (pin) => action(requests, { guest, pin }))
    return lines.flatMap((line, index): LineResult[] => {
      const one = planned[index]
      return one === undefined ? [] : [{ line, guest, state: 'planned', attachPlan: one }]
    })
  } catch (error) {
    return lines.map((line) => ({ line, guest, state: 'failed', error }))
  }
}

/** The files can name one guest in several ways, so two lines may mean the same interface. */
function validateDistinctIfnames(requests: readonly AttachRequest[], { name }: Guest): void {
  const names = requests.map(({ ifname }) => ifname)
  const twice = names.find((ifname, index) => names.indexOf(ifname) !== index)
  if (twice !== undefined)
    throw new PipeworkError(`two lines are about '${twice}' of '${name}'`, {
      hint: 'Leave one of them out, or give it another interface with -i.',
    })
}

async function withPinnedGuest<T>(
  guest: Guest,
  system: System,
  action: (pin: HeldNetns | undefined) => Promise<T>,
): Promise<T> {
  const pin = system.isRoot ? holdGuestNetns(guest, system) : undefined
  try {
    return await action(pin)
  } finally {
    pin?.release()
  }
}
