import { PipeworkError } from '../../model/errors'
import type { GuestName } from '../../model/guest-name'
import type { AttachRequest } from '../../model/request'
import { findGuest, type Guest, NoSuchGuest, pinGuest } from '../../runtimes/find'
import { NotRunning } from '../../runtimes/types'
import { resolveHostif } from '../../state/host-links'
import type { Host, Pin } from '../../system/types'
import type { Call } from '../../ui/command'
import type { Planned } from '../attach'
import type { Wish } from './read-files'

/** What came of a wish: what was planned for it, or why nothing was. */
export type Told = { readonly wish: Wish; readonly guest?: Guest } & (
  | { readonly state: 'planned'; readonly guest: Guest; readonly planned: Planned }
  /** The guest does not run. */
  | { readonly state: 'absent'; readonly why: PipeworkError }
  | { readonly state: 'failed'; readonly why: unknown }
)

/** Wishes of one guest, which succeed together or not at all. */
interface Group {
  readonly wishes: readonly Wish[]
  readonly guest: Guest
}

/** What is done with the wishes of a guest. */
export type Action = (
  requests: readonly AttachRequest[],
  held: { readonly guest: Guest; readonly pin: Pin | undefined },
) => Promise<readonly Planned[]>

/** How many guests are changed at once. Four take as long as 32, but for what waits: the LAN to answer, IPv6's detection. */
const CHANGED_AT_ONCE = 32
/** How many are looked for at once: one that Docker does not know is a `podman` of 40 MB for each. */
const SOUGHT_AT_ONCE = 8

/** Runs the action for each item, so many at once; the results in the order of the items. */
async function inParallel<T, R>(
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
export async function reachGuests(
  wishes: readonly Wish[],
  { host }: Pick<Call, 'host'>,
): Promise<{ readonly groups: readonly Group[]; readonly told: readonly Told[] }> {
  const byName = groupBy(wishes, ({ request }) => nameOf(request.guest))
  const found = await inParallel([...byName.values()], SOUGHT_AT_ONCE, async (group) => ({
    group,
    reached: await reach(group, host),
  }))
  const told = found.flatMap(({ group, reached }) =>
    'guest' in reached ? [] : group.map((wish): Told => ({ wish, ...reached })),
  )
  const reached = found.flatMap(({ group, reached }) =>
    'guest' in reached ? group.map((wish) => ({ wish, guest: reached.guest })) : [],
  )
  // `web`, `docker:web` and the beginning of its id may stand in one file.
  const groups = [...groupBy(reached, ({ guest }) => `${guest.kind}:${guest.name} ${guest.id}`).values()].flatMap(
    (group) => (group[0] === undefined ? [] : [{ guest: group[0].guest, wishes: group.map(({ wish }) => wish) }]),
  )
  return { groups, told }
}

function nameOf({ kind, name }: GuestName): string {
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

type Reached =
  | { readonly guest: Guest }
  | { readonly state: 'absent'; readonly why: PipeworkError }
  | { readonly state: 'failed'; readonly why: unknown }

async function reach([first]: readonly Wish[], host: Host): Promise<Reached> {
  if (first === undefined) throw new TypeError('a guest without wishes')
  try {
    return { guest: await findGuest(first.request.guest, host) }
  } catch (why) {
    return why instanceof NoSuchGuest || why instanceof NotRunning ? { state: 'absent', why } : { state: 'failed', why }
  }
}

/** Does the action for each guest, many at once; what one cannot have does not stop the others. */
export function forEachGuest(
  groups: readonly Group[],
  call: Call,
  { action, onDone }: { readonly action: Action; readonly onDone?: (lines: number) => void },
): Promise<readonly (readonly Told[])[]> {
  return inParallel(groups, CHANGED_AT_ONCE, async (group) => {
    const told = await tell(group, call, action)
    onDone?.(group.wishes.length)
    return told
  })
}

async function tell({ wishes, guest }: Group, { host, io }: Call, action: Action): Promise<readonly Told[]> {
  try {
    if (io.interrupt.heard) throw new PipeworkError('interrupted')
    const requests = wishes.map(({ request }) => resolveHostif(request, host))
    refuseTwice(requests, guest)
    const planned = await hold(guest, host, (pin) => action(requests, { guest, pin }))
    return wishes.flatMap((wish, index): Told[] => {
      const one = planned[index]
      return one === undefined ? [] : [{ wish, guest, state: 'planned', planned: one }]
    })
  } catch (why) {
    return wishes.map((wish) => ({ wish, guest, state: 'failed', why }))
  }
}

/** One guest may stand in the files under several names. */
function refuseTwice(requests: readonly AttachRequest[], { name }: Guest): void {
  const names = requests.map(({ ifname }) => ifname)
  const twice = names.find((ifname, index) => names.indexOf(ifname) !== index)
  if (twice !== undefined)
    throw new PipeworkError(`two lines are about '${twice}' of '${name}'`, {
      hint: 'Leave one of them out, or give it another interface with -i.',
    })
}

async function hold<T>(guest: Guest, host: Host, action: (pin: Pin | undefined) => Promise<T>): Promise<T> {
  const pin = host.isRoot ? pinGuest(guest, host) : undefined
  try {
    return await action(pin)
  } finally {
    pin?.release()
  }
}
