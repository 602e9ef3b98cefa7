import { ExitCode, PipeworkError } from '../model/errors'
import type { GuestName } from '../model/guest-name'
import type { Attached } from '../operations/detach/plan'
import { readFiles, type Wish } from '../operations/up/read-files'
import { NoSuchGuest } from '../runtimes/find'
import { formatGuest } from '../state/record'
import { type Call, type Outcome, refuseUnlessRoot } from '../ui/command'
import { errorToJson, formatError } from '../ui/report'
import { joinScripts } from '../ui/up-report'
import { detach, type Taken, toDetachScript, toOutcome } from './disconnect'

/** What came of the lines of one guest. */
interface Fallen {
  readonly guest: GuestName
  readonly ifnames: readonly string[]
  readonly taken?: Taken
  readonly why?: unknown
}

/** Takes away what files ask for, whoever has attached it. */
export async function run(call: Call): Promise<Outcome> {
  const wishes = await readFiles(call)
  refuseUnlessRoot(call)
  const all: Fallen[] = []
  const isDry = call.flag('dry-run')
  // One guest after the other: the last of them takes the bridge away.
  for (const { guest, ifnames } of groupWishes(wishes)) {
    const gone: readonly Attached[] = all.flatMap((it) => it.taken?.done.map(({ attached }) => attached) ?? [])
    try {
      if (call.io.interrupt.heard) throw new PipeworkError('interrupted')
      all.push({
        guest,
        ifnames,
        taken: await detach({ wanted: guest, ifnames, gone: isDry ? gone : undefined }, call),
      })
    } catch (why) {
      all.push({ guest, ifnames, why: why instanceof NoSuchGuest ? undefined : why })
    }
  }
  return isDry ? toScripts(all) : toDownOutcome(all, call)
}

function groupWishes(wishes: readonly Wish[]): readonly Pick<Fallen, 'guest' | 'ifnames'>[] {
  const names = [...new Set(wishes.map(({ request }) => formatName(request.guest)))]
  return names.flatMap((name) => {
    const requests = wishes.map(({ request }) => request).filter(({ guest }) => formatName(guest) === name)
    return requests[0] === undefined ? [] : [{ guest: requests[0].guest, ifnames: requests.map((it) => it.ifname) }]
  })
}

const formatName = ({ kind = 'docker', name }: GuestName) => formatGuest({ kind, name })

function toScripts(all: readonly Fallen[]): Outcome {
  const failed = all.filter(({ why }) => why !== undefined)
  const scripts = all.flatMap(({ taken, guest, ifnames }) =>
    taken === undefined || taken.done.length === 0
      ? []
      : [toDetachScript(taken, ['disconnect', formatName(guest), ...ifnames])],
  )
  const script = joinScripts(
    scripts,
    failed.map(({ guest, why }) => `${formatName(guest)}: ${String(why)}`),
  )
  const steps = all.flatMap(({ taken }) => taken?.done.flatMap(({ plan }) => plan.map(({ why }) => why)) ?? [])
  return {
    text: script,
    json: { ok: failed.length === 0, dryRun: true, steps, script },
    wanted: true,
    exitCode: failed.length > 0 ? ExitCode.failed : undefined,
  }
}

function toDownOutcome(all: readonly Fallen[], { host, io, flag }: Call): Outcome {
  const failures = all.flatMap(({ why }) => (why === undefined ? [] : [why]))
  if (!flag('json')) for (const failure of failures) io.err(formatError(failure))
  const done = all.flatMap(({ taken }) => taken?.done ?? [])
  const missing = all.reduce(
    (sum, { ifnames, taken, why }) => sum + (why === undefined ? ifnames.length - (taken?.done.length ?? 0) : 0),
    0,
  )
  const counts = [
    [done.length, 'taken away'],
    [missing, 'not there'],
    [failures.length, 'failed'],
  ] as const
  const told = counts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`)
  const isLeft = failures.some((it) => it instanceof PipeworkError && it.leftovers.length > 0)
  return {
    text: `${toOutcome(done).text}${told.join(', ') || 'nothing to do'} (${Math.round(host.elapsed())} ms)\n`,
    json: { ...toOutcome(done).json, ok: failures.length === 0, failed: failures.map(errorToJson) },
    exitCode: isLeft ? ExitCode.leftover : failures.length > 0 ? ExitCode.failed : ExitCode.ok,
  }
}
