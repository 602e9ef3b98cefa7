import { ExitCode, PipeworkError } from '../model/errors'
import type { GuestName } from '../model/guest-name'
import { type AttachmentLine, readAttachmentFiles } from '../operations/up/read-files'
import { GuestNotFoundError } from '../runtimes/find'
import type { ExistingAttachment } from '../state/attachments'
import { formatGuest } from '../state/record'
import { type CommandContext, type CommandOutcome, validateRoot } from '../ui/command'
import { errorToJson, formatError } from '../ui/report'
import { joinScripts } from '../ui/up-report'
import { type DetachResult, detachGuest, toDetachScript, toDisconnectResult } from './disconnect'

/** What came of the lines of one guest. */
interface DownResult {
  readonly guest: GuestName
  readonly ifnames: readonly string[]
  readonly result?: DetachResult
  readonly why?: unknown
}

/** Takes away what files ask for, whoever has attached it. */
export async function run(call: CommandContext): Promise<CommandOutcome> {
  const wishes = await readAttachmentFiles(call)
  validateRoot(call)
  const all: DownResult[] = []
  const isDry = call.hasFlag('dry-run')
  // One guest after the other: the last of them takes the bridge away.
  for (const { guest, ifnames } of groupLinesByGuest(wishes)) {
    const gone: readonly ExistingAttachment[] = all.flatMap(
      (it) => it.result?.detached.map(({ attachment }) => attachment) ?? [],
    )
    try {
      if (call.io.interrupt.requested) throw new PipeworkError('interrupted')
      all.push({
        guest,
        ifnames,
        result: await detachGuest({ guestName: guest, ifnames, gone: isDry ? gone : undefined }, call),
      })
    } catch (why) {
      all.push({ guest, ifnames, why: why instanceof GuestNotFoundError ? undefined : why })
    }
  }
  return isDry ? toDownScripts(all) : toDownResult(all, call)
}

function groupLinesByGuest(wishes: readonly AttachmentLine[]): readonly Pick<DownResult, 'guest' | 'ifnames'>[] {
  const names = [...new Set(wishes.map(({ request }) => formatGuestName(request.guest)))]
  return names.flatMap((name) => {
    const requests = wishes.map(({ request }) => request).filter(({ guest }) => formatGuestName(guest) === name)
    return requests[0] === undefined ? [] : [{ guest: requests[0].guest, ifnames: requests.map((it) => it.ifname) }]
  })
}

const formatGuestName = ({ kind = 'docker', name }: GuestName) => formatGuest({ kind, name })

function toDownScripts(all: readonly DownResult[]): CommandOutcome {
  const failed = all.filter(({ why }) => why !== undefined)
  const scripts = all.flatMap(({ result, guest, ifnames }) =>
    result === undefined || result.detached.length === 0
      ? []
      : [toDetachScript(result, ['disconnect', formatGuestName(guest), ...ifnames])],
  )
  const script = joinScripts(
    scripts,
    failed.map(({ guest, why }) => `${formatGuestName(guest)}: ${String(why)}`),
  )
  const steps = all.flatMap(
    ({ result }) => result?.detached.flatMap(({ plan }) => plan.map(({ description }) => description)) ?? [],
  )
  return {
    text: script,
    json: { ok: failed.length === 0, dryRun: true, steps, script },
    printWhenQuiet: true,
    exitCode: failed.length > 0 ? ExitCode.failed : undefined,
  }
}

function toDownResult(all: readonly DownResult[], { system, io, hasFlag }: CommandContext): CommandOutcome {
  const failures = all.flatMap(({ why }) => (why === undefined ? [] : [why]))
  if (!hasFlag('json')) for (const failure of failures) io.err(formatError(failure))
  const done = all.flatMap(({ result }) => result?.detached ?? [])
  const missing = all.reduce(
    (sum, { ifnames, result, why }) => sum + (why === undefined ? ifnames.length - (result?.detached.length ?? 0) : 0),
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
    text: `${toDisconnectResult(done).text}${told.join(', ') || 'nothing to do'} (${Math.round(system.elapsed())} ms)\n`,
    json: { ...toDisconnectResult(done).json, ok: failures.length === 0, failed: failures.map(errorToJson) },
    exitCode: isLeft ? ExitCode.leftover : failures.length > 0 ? ExitCode.failed : ExitCode.ok,
  }
}
