import { PipeworkError } from '../../model/errors'
import { validateAllowGlobs } from '../../model/labels'
import type { System } from '../../system/types'
import type { ReadOptions } from '../up/read-files'
import { createRestartBackoff } from './backoff'
import { followEngineEvents } from './engine-events'
import { createEventRouter, WATCHED_ENGINES } from './events'
import { listWatchedFiles, nothingToWatchError, readWatchedFiles } from './files'
import type { DesiredAttachment, LabelRules } from './labels'
import { createLogger, type Logger } from './log'
import { pollGuests } from './poll'
import { WorkQueues } from './queue'
import type { ReconcileContext } from './reconcile'
import { createSystemdNotifier } from './sd-notify'

/** The number of containers handled concurrently. */
const MAX_CONCURRENT = 8
/** Seconds after which a task frees its slot: most attaches are faster, but DHCP and address probes wait. */
const SHARE_SECONDS = 2
/** Seconds for the work on one container, including a DHCP request. */
const TASK_LIMIT_SECONDS = 90
/** Seconds after which the watch reports to systemd that it is ready, even if unfinished. */
const READY_LIMIT_SECONDS = 20

export interface WatchRequest {
  readonly files: readonly string[]
  readonly rules: LabelRules
}

export interface WatchOptions extends ReadOptions {
  readonly print: (text: string) => void
  readonly format: 'json' | 'text'
  /** Formats the error of a task for the log. */
  readonly formatError: (error: unknown) => string
}

/** Applies files and labels, now and whenever containers start, until the watch is stopped. */
export async function watchGuests({ files, rules }: WatchRequest, options: WatchOptions): Promise<void> {
  const { system } = options
  validateAllowGlobs(rules.allowed)
  const read = () => readWatchFiles(files, rules, options)
  const watched = { attachments: await read() }
  const release = await lockWatch(system)
  try {
    await system.limitHeapGrowth()
    await runWatch({ watched, read, rules }, options)
  } finally {
    release()
  }
}

async function lockWatch(system: System): Promise<() => void> {
  const release = await system.tryLock('watch')
  if (release !== undefined) return release
  const pid = system.findLockOwner('watch')
  throw new PipeworkError(`another watch runs already, as process ${pid}`, {
    hint: `Let it read its files again (kill -HUP ${pid}), or end it first (kill ${pid}).`,
  })
}

interface WatchFiles {
  attachments: readonly DesiredAttachment[]
}

/** Reads the attachments in the files. Throws when neither files nor labels request any. */
async function readWatchFiles(
  paths: readonly string[],
  { labels, envCompat }: LabelRules,
  options: ReadOptions,
): Promise<readonly DesiredAttachment[]> {
  const files = listWatchedFiles(paths, options.system)
  if (files.length === 0 && !labels && !envCompat) throw nothingToWatchError(paths)
  return readWatchedFiles(files, options)
}

function createQueues({ system, formatError }: WatchOptions, log: Logger): WorkQueues {
  return new WorkQueues({
    ...{ system, concurrency: MAX_CONCURRENT, slotTime: SHARE_SECONDS, timeout: TASK_LIMIT_SECONDS },
    onTimeout: (key) =>
      log({ level: 'warning', about: key, text: `takes longer than ${TASK_LIMIT_SECONDS} s, and is interrupted` }),
    onError: (key, error) => log({ level: 'error', about: key, text: formatError(error) }),
  })
}

interface WatchRun {
  readonly watched: WatchFiles
  readonly read: () => Promise<readonly DesiredAttachment[]>
  readonly rules: LabelRules
}

async function runWatch(run: WatchRun, options: WatchOptions): Promise<void> {
  const { system, parseLine, print, format } = options
  const { watched, rules } = run
  const stop = new AbortController()
  const log = createLogger(system, format, print)
  const queues = createQueues(options, log)
  const reconcile: ReconcileContext = {
    ...{ system, queues, log, labelRules: rules, parseLine },
    desired: () => watched.attachments,
    warnedBridges: new Set(),
  }
  const { listener, started, reconcileAll } = createEventRouter(reconcile, createRestartBackoff(system))
  const notifier = createSystemdNotifier(system, stop.signal, (text) => log({ level: 'warning', text }))
  system.forwardSignals((signal) => {
    if (signal !== 'SIGHUP') return stop.abort()
    void notifier
      .reloading()
      .then(() => reloadWatchFiles(run, log))
      .then(reconcileAll)
      .then(() => notifier.ready(describeWatchFiles(watched)))
  })
  log({ level: 'notice', text: `watches over ${describeWatchFiles(watched)}` })
  const context = { system, signal: stop.signal }
  const streams = [
    ...WATCHED_ENGINES.map((engine) => followEngineEvents(engine, listener, context)),
    pollGuests(reconcile, stop.signal),
  ]
  await Promise.race([started.then(() => queues.settled()), system.sleep(READY_LIMIT_SECONDS, stop.signal)])
  if (!stop.signal.aborted) await notifier.ready(describeWatchFiles(watched))
  await Promise.all(streams)
  log({ level: 'notice', text: 'ends' })
  await notifier.stopping()
  await queues.stop()
}

/** Reads the files again; on errors the previous lines stay in force. */
async function reloadWatchFiles({ watched, read }: WatchRun, log: Logger): Promise<void> {
  try {
    watched.attachments = await read()
    log({ level: 'notice', text: `has read its files again: ${describeWatchFiles(watched)}` })
  } catch (error) {
    if (!(error instanceof PipeworkError)) throw error
    log({ level: 'error', text: `keeps to what it has read before: ${error.message}`, hint: error.hint })
  }
}

function describeWatchFiles({ attachments }: WatchFiles): string {
  return `${attachments.length} attachment${attachments.length === 1 ? '' : 's'}`
}
