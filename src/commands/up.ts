import { converge, foresee } from '../converge'
import { PipeworkError } from '../errors'
import { formatGuest } from '../record'
import { parseSeconds } from '../values'
import { toMeans } from './attached'
import { type Call, type Outcome, refuseUnlessRoot } from './call'
import { toDetachScript } from './disconnect'
import { readFiles, type Wish } from './file'
import { type Action, forEachGuest, reachGuests, type Told } from './guests'
import { type Pruned, prune } from './prune'
import { toScripts, toUpOutcome } from './told'

/** Makes true what files ask for: what is right is left alone, what one guest cannot have does not stop the others. */
export async function run(call: Call): Promise<Outcome> {
  const wishes = await readFiles(call)
  refuseUnlessRoot(call)
  const isDry = call.flag('dry-run')
  const patience = parseSeconds(call.text('wait-guest') ?? '0', '--wait-guest')
  const { groups, told } = await reachGuests(wishes, call, patience)
  // First, so that an address that has moved from one guest to another is free.
  const known = { wishes, guests: groups.map(({ guest }) => guest) }
  const pruned = call.flag('prune') ? await prune(known, call) : []
  const progress = await createProgress(call, groups.length)
  const done = await forEachGuest(groups, call, { action: isDry ? look(call) : act(call), onDone: progress.step })
  progress.end()
  const all = inOrder(wishes, [...told, ...done.flat()])
  if (isDry) return toScripts(all, pruned.flatMap(toPruneScript))
  return toUpOutcome({ all, pruned, isAwaited: patience > 0 }, call)
}

function toPruneScript(pruned: Pruned): readonly string[] {
  if (pruned.state === 'failed') return []
  return [toDetachScript(pruned.taken, ['disconnect', formatGuest(pruned.record.guest), pruned.record.ifname])]
}

/** Makes all that the lines of one guest ask for true, or nothing of it. */
function act(call: Call): Action {
  return (requests, { guest, pin }) => {
    if (pin === undefined) throw new PipeworkError('only root can change network interfaces')
    return converge(requests, { guest, pin }, toMeans(call))
  }
}

/** What that would be. */
export function look({ host }: Pick<Call, 'host'>): Action {
  return (requests, held) => Promise.all(requests.map((request) => foresee(request, held, host)))
}

/** What was told, in the order of the lines. */
export function inOrder(wishes: readonly Wish[], told: readonly Told[]): readonly Told[] {
  return wishes.flatMap((wish) => told.find((it) => it.wish === wish) ?? [])
}

interface Progress {
  step(): void
  end(): void
}

/** How many guests are done, where somebody watches. */
async function createProgress({ host, io, flag }: Call, count: number): Promise<Progress> {
  const isSilent = flag('quiet') || flag('verbose') || flag('json') || flag('dry-run') || !(await host.isTerminal(2))
  if (isSilent) return { step: () => {}, end: () => {} }
  const done = { count: 0 }
  return {
    step: () => {
      done.count += 1
      io.err(`\r${done.count} of ${count} guests`)
    },
    end: () => io.err('\r\u001b[K'),
  }
}
