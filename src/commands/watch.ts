import { PipeworkError, usageError } from '../model/errors'
import { validateAllowGlobs } from '../model/labels'
import { createRestartBackoff } from '../operations/watch/backoff'
import { followEngineEvents } from '../operations/watch/engine-events'
import { createEventRouter, WATCHED_ENGINES } from '../operations/watch/events'
import { listWatchedFiles, readWatchedFiles } from '../operations/watch/files'
import type { DesiredAttachment } from '../operations/watch/labels'
import { createLogger, type Logger } from '../operations/watch/log'
import { pollGuests } from '../operations/watch/poll'
import { WorkQueues } from '../operations/watch/queue'
import type { ReconcileContext } from '../operations/watch/reconcile'
import { createSystemdNotifier } from '../operations/watch/sd-notify'
import type { System } from '../system/types'
import { type CommandContext, type CommandOutcome, validateRoot } from '../ui/command'
import { formatError } from '../ui/report'

/** Containers that are worked on side by side. */
const MAX_CONCURRENT = 8
/** Seconds of that: an attach takes a tenth, but where a DHCP server or a neighbour is waited for. */
const SHARE_SECONDS = 2
/** Seconds that the work for one container may take: a DHCP server has its time in it. */
const TASK_LIMIT_SECONDS = 90
/** Seconds after which systemd is told that the watch is ready, whatever is still waited for. */
const READY_LIMIT_SECONDS = 20

/** Keeps what files and labels ask for true, until it is told to end. */
export async function run(call: CommandContext): Promise<CommandOutcome> {
  validateRoot(call)
  const { system } = call
  validateAllowGlobs(call.stringOptions('allow'))
  const book = { attachments: await readWatchFiles(call) }
  const release = lockWatch(system)
  try {
    await system.limitHeapGrowth()
    await runWatch(call, book)
  } finally {
    release()
  }
  return { text: '', json: { ok: true, ended: true } }
}

function lockWatch(system: System): () => void {
  const release = system.tryLock('watch')
  if (release !== undefined) return release
  const pid = system.readLink('/run/pipework/watch.lock')?.split('-')[0]
  throw new PipeworkError(`another watch runs already, as process ${pid}`, {
    hint: `Let it read its files again (kill -HUP ${pid}), or end it first (kill ${pid}).`,
  })
}

interface WatchFiles {
  attachments: readonly DesiredAttachment[]
}

async function readWatchFiles(call: CommandContext): Promise<readonly DesiredAttachment[]> {
  const files = listWatchedFiles(call.positionals, call.system)
  const hasLabels = call.hasFlag('labels') || call.hasFlag('env-compat')
  if (files.length === 0 && !hasLabels)
    throw usageError(
      call.positionals.length === 0
        ? 'there is nothing to watch'
        : `there is no file in '${call.positionals.join("', '")}'`,
      'Name a file, put one into /etc/pipework (its name ends in .pipework), or let labels ask: --labels.',
    )
  return readWatchedFiles(files, call)
}

function createQueues(system: System, log: Logger): WorkQueues {
  return new WorkQueues({
    ...{ system, concurrency: MAX_CONCURRENT, slotTime: SHARE_SECONDS, timeout: TASK_LIMIT_SECONDS },
    onTimeout: (key) =>
      log({ level: 'warning', about: key, text: `takes longer than ${TASK_LIMIT_SECONDS} s, and is interrupted` }),
    onError: (key, error) => log({ level: 'error', about: key, text: formatError(error) }),
  })
}

async function runWatch(call: CommandContext, book: WatchFiles): Promise<void> {
  const { system, io } = call
  const stop = new AbortController()
  const log = createLogger(system, call.hasFlag('json') ? 'json' : 'text', io.out)
  const queues = createQueues(system, log)
  const rules = {
    labels: call.hasFlag('labels'),
    envCompat: call.hasFlag('env-compat'),
    allowed: call.stringOptions('allow'),
  }
  const means: ReconcileContext = {
    system,
    queues,
    log,
    labelRules: rules,
    desired: () => book.attachments,
    warnedBridges: new Set(),
    parseLine: call.parse,
  }
  const { listener, started, reconcileAll } = createEventRouter(means, createRestartBackoff(system))
  const notifier = createSystemdNotifier(system, stop.signal, (text) => log({ level: 'warning', text }))
  system.forwardSignals((signal) => {
    if (signal !== 'SIGHUP') return stop.abort()
    void notifier
      .reloading()
      .then(() => reloadWatchFiles(call, book, log))
      .then(reconcileAll)
      .then(() => notifier.ready(describeWatchFiles(book)))
  })
  log({ level: 'notice', text: `watches over ${describeWatchFiles(book)}` })
  const context = { system, signal: stop.signal }
  const streams = [
    ...WATCHED_ENGINES.map((engine) => followEngineEvents(engine, listener, context)),
    pollGuests(means, stop.signal),
  ]
  await Promise.race([started.then(() => queues.settled()), system.sleep(READY_LIMIT_SECONDS, stop.signal)])
  if (!stop.signal.aborted) await notifier.ready(describeWatchFiles(book))
  await Promise.all(streams)
  log({ level: 'notice', text: 'ends' })
  await notifier.stopping()
  await queues.stop()
}

/** Reads the files again. Where they have mistakes, what was read before holds. */
async function reloadWatchFiles(call: CommandContext, book: WatchFiles, log: Logger): Promise<void> {
  try {
    book.attachments = await readWatchFiles(call)
    log({ level: 'notice', text: `has read its files again: ${describeWatchFiles(book)}` })
  } catch (error) {
    if (!(error instanceof PipeworkError)) throw error
    log({ level: 'error', text: `keeps to what it has read before: ${error.message}`, hint: error.hint })
  }
}

function describeWatchFiles({ attachments }: WatchFiles): string {
  return `${attachments.length} attachment${attachments.length === 1 ? '' : 's'}`
}
