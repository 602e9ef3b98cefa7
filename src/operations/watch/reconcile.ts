import { watchFirewall } from '../../commands/attached'
import { formatAddress } from '../../model/address'
import { ExitCode, PipeworkError } from '../../model/errors'
import type { GuestKind } from '../../model/guest-name'
import { findGuest, NoSuchGuest, pinGuest } from '../../runtimes/find'
import { isEventful, readConfig } from '../../runtimes/running'
import { NotRunning } from '../../runtimes/types'
import { resolveHostif } from '../../state/host-links'
import { formatGuest } from '../../state/record'
import type { Host, Interrupt } from '../../system/types'
import type { Line } from '../../ui/command'
import { converge, type Planned } from '../attach'
import { isMeant, type LabelRules, type LabelWishes, readLabelWishes, type Wish } from './labels'
import type { Log } from './log'
import type { Ending, Queues } from './queue'

/** A container whose attachments are kept. */
export interface Kept {
  readonly kind: GuestKind
  readonly id: string
  readonly name: string
}

/** What a keeper works with. */
export interface KeeperMeans {
  readonly host: Host
  readonly queues: Queues
  readonly log: Log
  readonly rules: LabelRules
  /** The lines of the files, as they are now. */
  wishes(): readonly Wish[]
  /** Bridges of which was told that a firewall eats their frames. */
  readonly warned: Set<string>
  parse(argv: readonly string[]): Promise<Line>
}

/** Seconds until the next try of what failed, the last for all further ones. */
const PAUSES = [0.25, 1, 4, 15, 60] as const

/** How many tries there were, and what went wrong at the last. */
interface Try {
  readonly count: number
  readonly said: readonly string[]
}

export const keyOf = ({ kind, id }: Pick<Kept, 'kind' | 'id'>) => `${kind}:${id}`

/** Puts into the container's queue that it gets what is wished for it. */
export function keep(container: Kept, means: KeeperMeans, delay = 0): void {
  const work = (last: Try) => (interrupt: Ending) => attempt(container, { means, interrupt, last, again })
  const again = (next: Try) => {
    const pause = PAUSES[Math.min(next.count, PAUSES.length) - 1] ?? 60
    means.queues.put(keyOf(container), work(next), pause)
  }
  means.queues.put(keyOf(container), work({ count: 0, said: [] }), delay)
}

interface Attempt {
  readonly means: KeeperMeans
  readonly interrupt: Ending
  readonly last: Try
  again(next: Try): void
}

async function attempt(container: Kept, { means, interrupt, last, again }: Attempt): Promise<void> {
  const { host, log } = means
  const failed: PipeworkError[] = []
  const fail = (error: unknown) => {
    if (!(error instanceof PipeworkError)) throw error
    failed.push(error)
  }
  try {
    // A label that cannot be had is no reason not to have what the files say.
    for (const wishes of await findWishes(container, { means, isFirst: last.count === 0 }))
      if (wishes.length > 0 && !interrupt.heard) await attach(wishes, container, { ...means, interrupt }).catch(fail)
  } catch (error) {
    fail(error)
  }
  // A newer event, if there is one, is worked on next; what has ended starts with an event of its own.
  const hasEnded = failed.length > 0 && !(await mayRun(container, host))
  const isPast = hasEnded || (interrupt.heard && !interrupt.isLate)
  if (failed.length === 0 || (isPast && failed.every(({ leftovers }) => leftovers.length === 0))) return
  const said = failed.map(describeFailure)
  for (const [index, { hint }] of failed.entries()) {
    const text = said[index] ?? ''
    if (!last.said.includes(text)) log({ level: 'error', about: formatGuest(container), text, hint })
  }
  // Words that make no sense make none later.
  if (!isPast && failed.some(({ exitCode }) => exitCode !== ExitCode.usage)) again({ count: last.count + 1, said })
}

function describeFailure({ message, leftovers }: PipeworkError): string {
  return [message, ...leftovers.map(({ what, command }) => `left: ${what}, take it back with: ${command}`)].join('; ')
}

/** Whether the container still runs, as far as can be told. */
async function mayRun({ kind, id }: Kept, host: Host): Promise<boolean> {
  try {
    await findGuest({ kind, name: id }, host)
    return true
  } catch (error) {
    return !(error instanceof NotRunning || error instanceof NoSuchGuest)
  }
}

/** Whether anything may be wished for the container, as far as its name tells. */
export function mayConcern(container: Kept, { rules, wishes }: KeeperMeans): boolean {
  return rules.labels || rules.envCompat || wishes().some(({ request }) => isMeant(request.guest, container))
}

interface Search {
  readonly means: KeeperMeans
  /** Whether refusals are news. */
  readonly isFirst: boolean
}

/** What files and labels wish for the container. Where two speak of one interface, the first has the say. */
async function findWishes(container: Kept, { means, isFirst }: Search): Promise<readonly (readonly Wish[])[]> {
  const { host } = means
  const warn = (text: string, hint?: string) => {
    if (isFirst) means.log({ level: 'warning', about: formatGuest(container), text, hint })
  }
  const fromFiles: Wish[] = []
  for (const wish of means.wishes())
    if (isMeant(wish.request.guest, container) && (await isOwner(wish, container, host))) fromFiles.push(wish)
  const { wishes: fromLabels, refused } = await askContainer(container, means)
  for (const { where, why } of refused) warn(`${where} is refused: ${why.message}`, why.hint)
  const taken = new Map<string, string>()
  const isFree = ({ request, where }: Wish) => {
    const { ifname } = resolveHostif(request, host)
    const rival = taken.get(ifname)
    if (rival === undefined) taken.set(ifname, where)
    else warn(`${where} is left out: ${rival} has ${ifname}, and goes first`)
    return rival === undefined
  }
  return [fromFiles.filter(isFree), fromLabels.filter(isFree)]
}

async function askContainer({ kind, id }: Kept, { host, rules, parse }: KeeperMeans): Promise<LabelWishes> {
  const isAsked = isEventful(kind) && (rules.labels || rules.envCompat)
  const config = isAsked ? await readConfig(kind, id, host).catch(toSilent) : undefined
  return config === undefined ? { wishes: [], refused: [] } : readLabelWishes(config, rules, parse)
}

/** An engine that dies while it answers: another try will tell. */
function toSilent(cause: unknown): never {
  const why = cause instanceof Error ? cause.message : String(cause)
  throw new PipeworkError(`its labels cannot be read: ${why}`, { cause })
}

/** A bare name means a container of Podman only where Docker has none of that name. */
async function isOwner({ request: { guest } }: Wish, { kind, id }: Kept, host: Host): Promise<boolean> {
  if (guest.kind !== undefined || kind === 'docker') return true
  const owner = await findGuest(guest, host).catch(() => undefined)
  return owner?.id === id
}

/** Makes the wishes true, as one change, and tells so. */
async function attach(wishes: readonly Wish[], container: Kept, means: AttachMeans): Promise<void> {
  const { host, log, interrupt } = means
  const began = host.elapsed()
  const guest = await findGuest({ kind: container.kind, name: container.id }, host)
  // Renamed while this waited: what its new name is to have is another piece of work.
  if (isEventful(guest.kind) && guest.name !== container.name) return
  const pin = pinGuest(guest, host)
  try {
    const requests = wishes.map(({ request }) => resolveHostif(request, host))
    const done = await converge(requests, { guest, pin }, { host, interrupt })
    const changed = done.some(({ plan }) => plan.length > 0)
    const ms = Math.round(host.elapsed() - began)
    const text = `${done.map(describeDone).join('; ')}${changed ? ` (${ms} ms)` : ''}`
    log({ level: 'info', about: formatGuest(guest), text, details: { changed, ms } })
    if (changed) await warn(done, means)
  } finally {
    pin.release()
  }
}

interface AttachMeans extends KeeperMeans {
  readonly interrupt: Interrupt
}

/** Tells once of each bridge whose frames a firewall drops, as an attach by hand does. */
async function warn(done: readonly Planned[], { host, log, warned }: KeeperMeans): Promise<void> {
  for (const planned of done) {
    const { request } = planned
    const isAsked = request.firewall === 'warn' && !request.strict
    if (!isAsked || warned.has(request.hostif)) continue
    const warning = await (await watchFirewall([request], host))?.(planned)
    if (warning === undefined) continue
    warned.add(request.hostif)
    const { message: text, command } = warning
    log({ level: 'warning', about: request.hostif, text, hint: command && `mend it: ${command}` })
  }
}

function describeDone({ request: { ifname, hostif, addresses, sources }, plan }: Planned): string {
  const list = [...addresses.map(formatAddress), ...sources.map(({ word }) => word)].join(',') || 'no address'
  return `${ifname} on ${hostif}, ${list}${plan.length === 0 ? ' already' : ''}`
}
