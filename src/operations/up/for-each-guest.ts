import { PipeworkError } from '../../model/errors'
import type { GuestName } from '../../model/guest-name'
import type { AttachRequest } from '../../model/request'
import { findGuest, type Guest, GuestNotFoundError, holdGuestNetns } from '../../runtimes/find'
import { GuestNotRunningError } from '../../runtimes/types'
import { resolveHostif } from '../../state/host-links'
import type { HeldNetns, System } from '../../system/types'
import type { CommandContext } from '../../ui/command'
import type { AttachPlan } from '../attach'
import type { AttachmentLine } from './read-files'

/** What came of a wish: what was planned for it, or why nothing was. */
export type LineResult = { readonly line: AttachmentLine; readonly guest?: Guest } & (
  | { readonly state: 'planned'; readonly guest: Guest; readonly attachPlan: AttachPlan }
  /** The guest does not run. */
  | { readonly state: 'absent'; readonly error: PipeworkError }
  | { readonly state: 'failed'; readonly error: unknown }
)

/** Wishes of one guest, which succeed together or not at all. */
interface GuestLines {
  readonly lines: readonly AttachmentLine[]
  readonly guest: Guest
}

/** What is done with the wishes of a guest. */
export type GuestAction = (
  requests: readonly AttachRequest[],
  held: { readonly guest: Guest; readonly pin: HeldNetns | undefined },
) => Promise<readonly AttachPlan[]>

/** How many guests are changed at once. Four take as long as 32, but for what waits: the LAN to answer, IPv6's detection. */
const MAX_CONCURRENT_GUESTS = 32
/** How many are looked for at once: one that Docker does not know is a `podman` of 40 MB for each. */
const MAX_CONCURRENT_LOOKUPS = 8

/** Runs the action for each item, so many at once; the results in the order of the items. */
async function mapConcurrently<T, R>(
  items: readonly T[],
  limit: number,
  action: (item: T) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = []
  const rest = [...items.entries()]
  const work = async () => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) results[next[0]] = await action(next[1])
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, work))
  return results
}

/** The guests of the wishes, each looked up once; what does not run or cannot be found is told. */
export async function resolveGuests(
  wishes: readonly AttachmentLine[],
  { system }: Pick<CommandContext, 'system'>,
): Promise<{ readonly groups: readonly GuestLines[]; readonly told: readonly LineResult[] }> {
  const byName = groupBy(wishes, ({ request }) => guestKey(request.guest))
  const found = await mapConcurrently([...byName.values()], MAX_CONCURRENT_LOOKUPS, async (group) => ({
    group,
    reached: await lookUpGuest(group, system),
  }))
  const told = found.flatMap(({ group, reached }) =>
    'guest' in reached ? [] : group.map((wish): LineResult => ({ line: wish, ...reached })),
  )
  const reached = found.flatMap(({ group, reached }) =>
    'guest' in reached ? group.map((wish) => ({ wish, guest: reached.guest })) : [],
  )
  // `web`, `docker:web` and the beginning of its id may stand in one file.
  const groups = [...groupBy(reached, ({ guest }) => `${guest.kind}:${guest.name} ${guest.id}`).values()].flatMap(
    (group) => (group[0] === undefined ? [] : [{ guest: group[0].guest, lines: group.map(({ wish }) => wish) }]),
  )
  return { groups, told }
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
  if (first === undefined) throw new TypeError('a guest without wishes')
  try {
    return { guest: await findGuest(first.request.guest, system) }
  } catch (why) {
    return why instanceof GuestNotFoundError || why instanceof GuestNotRunningError
      ? { state: 'absent', error: why }
      : { state: 'failed', error: why }
  }
}

/** Does the action for each guest, many at once; what one cannot have does not stop the others. */
export function forEachGuest(
  groups: readonly GuestLines[],
  call: CommandContext,
  { action, onDone }: { readonly action: GuestAction; readonly onDone?: (lines: number) => void },
): Promise<readonly (readonly LineResult[])[]> {
  return mapConcurrently(groups, MAX_CONCURRENT_GUESTS, async (group) => {
    const told = await runForGuest(group, call, action)
    onDone?.(group.lines.length)
    return told
  })
}

async function runForGuest(
  { lines, guest }: GuestLines,
  { system, io }: CommandContext,
  action: GuestAction,
): Promise<readonly LineResult[]> {
  try {
    if (io.interrupt.requested) throw new PipeworkError('interrupted')
    const requests = lines.map(({ request }) => resolveHostif(request, system))
    validateDistinctIfnames(requests, guest)
    const planned = await withPinnedGuest(guest, system, (pin) => action(requests, { guest, pin }))
    return lines.flatMap((wish, index): LineResult[] => {
      const one = planned[index]
      return one === undefined ? [] : [{ line: wish, guest, state: 'planned', attachPlan: one }]
    })
  } catch (why) {
    return lines.map((wish) => ({ line: wish, guest, state: 'failed', error: why }))
  }
}

/** One guest may stand in the files under several names. */
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
