import { parseSeconds } from '../model/address'
import { PipeworkError } from '../model/errors'
import { converge as attachAll, foresee } from '../operations/attach'
import { type Action, forEachGuest, reachGuests, type Told } from '../operations/up/for-each-guest'
import { type Pruned, prune } from '../operations/up/prune'
import { readFiles, type Wish } from '../operations/up/read-files'
import { formatGuest } from '../state/record'
import { shareHost } from '../state/together'
import { type Call, type Outcome, openTranscripts, refuseUnlessRoot } from '../ui/command'
import type { Warning } from '../ui/report'
import { toScripts, toUpOutcome } from '../ui/up-report'
import { toMeans, watchFirewall } from './attached'
import { toDetachScript } from './disconnect'

/** Makes true what files ask for: what is right is left alone, what one guest cannot have does not stop the others. */
export async function run(typed: Call): Promise<Outcome> {
  const wishes = await readFiles(typed)
  refuseUnlessRoot(typed)
  const call = { ...typed, host: shareHost(typed.host) }
  const isDry = call.flag('dry-run')
  const patience = parseSeconds(call.text('wait-guest') ?? '0', '--wait-guest')
  const first = await reachGuests(wishes, call)
  // First, so that an address that has moved from one guest to another is free.
  const known = { wishes, guests: first.groups.map(({ guest }) => guest) }
  const pruned = call.flag('prune') ? await prune(known, call) : []
  const requests = wishes.map(({ request }) => request)
  const warn = isDry ? undefined : await watchFirewall(requests, call.host)
  const all = inOrder(wishes, await converge({ wishes, first, patience }, call))
  if (isDry) return toScripts(all, pruned.flatMap(toPruneScript))
  const warnings = warn === undefined ? [] : await listWarnings(all, warn)
  return toUpOutcome({ all, pruned, patience, warnings }, call)
}

type Warn = NonNullable<Awaited<ReturnType<typeof watchFirewall>>>

/** What the firewall does on these bridges, once for each of them. */
async function listWarnings(all: readonly Told[], warn: Warn): Promise<readonly Warning[]> {
  const bridges = new Map<string, Warning | undefined>()
  for (const told of all) {
    if (told.state !== 'planned') continue
    const { hostif, firewall, strict } = told.planned.request
    if (firewall === 'warn' && !strict && bridges.get(hostif) === undefined)
      bridges.set(hostif, await warn(told.planned))
  }
  return [...bridges.values()].filter((it) => it !== undefined)
}

/** Seconds between two looks at guests that are awaited. */
const POLL = 0.5

interface Work {
  readonly wishes: readonly Wish[]
  readonly first: Awaited<ReturnType<typeof reachGuests>>
  /** Seconds. */
  readonly patience: number
}

/** Those who run at once, and those who are awaited as they come. */
async function converge({ wishes, first, patience }: Work, call: Call): Promise<readonly Told[]> {
  const { host, io } = call
  const progress = await createProgress(call, wishes.length)
  const action = call.flag('dry-run')
    ? look(call)
    : act(call, await openTranscripts(call, wishes.length > 1 ? 'many' : 'one'))
  const all: Told[] = []
  for (let now = first; ; ) {
    const done = await forEachGuest(now.groups, call, { action, onDone: progress.step })
    all.push(...done.flat(), ...now.told.filter(({ state }) => state !== 'absent'))
    const absent = now.told.filter(({ state }) => state === 'absent')
    const isAwaited = ({ wish }: Told) => host.elapsed() < 1000 * Math.max(patience, wish.patience)
    const awaited = io.interrupt.heard ? [] : absent.filter(isAwaited)
    all.push(...absent.filter((it) => !awaited.includes(it)))
    if (awaited.length === 0) break
    await host.sleep(POLL)
    now = await reachGuests(
      awaited.map(({ wish }) => wish),
      call,
    )
  }
  progress.end()
  return all
}

function toPruneScript(pruned: Pruned): readonly string[] {
  if (pruned.state === 'failed') return []
  return [toDetachScript(pruned.taken, ['disconnect', formatGuest(pruned.record.guest), pruned.record.ifname])]
}

/** Makes all that the lines of one guest ask for true, or nothing of it. */
function act(call: Call, transcripts: Awaited<ReturnType<typeof openTranscripts>>): Action {
  return (requests, { guest, pin }) => {
    if (pin === undefined)
      throw new PipeworkError('only root can change network interfaces: run it with sudo, or look with --dry-run')
    const transcript = transcripts?.(guest)
    return attachAll(requests, { guest, pin }, toMeans(call, transcript)).finally(() => transcript?.end())
  }
}

/** What that would be. */
export function look({ host }: Pick<Call, 'host'>): Action {
  return (requests, held) => Promise.all(requests.map((request) => foresee(request, held, host)))
}

/** What was told, in the order of the lines. */
export function inOrder(wishes: readonly Wish[], told: readonly Told[]): readonly Told[] {
  const byWish = new Map(told.map((it) => [it.wish, it]))
  return wishes.flatMap((wish) => byWish.get(wish) ?? [])
}

interface Progress {
  step(lines: number): void
  end(): void
}

/** How many lines are done, where somebody watches. */
async function createProgress({ host, io, flag }: Call, count: number): Promise<Progress> {
  const isSilent = flag('quiet') || flag('verbose') || flag('json') || flag('dry-run') || !(await host.isTerminal(2))
  if (isSilent) return { step: () => {}, end: () => {} }
  const done = { count: 0 }
  return {
    step: (lines) => {
      done.count += lines
      io.err(`\r${done.count} of ${count}`)
    },
    end: () => io.err('\r\u001b[K'),
  }
}
