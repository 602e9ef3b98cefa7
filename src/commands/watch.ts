import { PipeworkError, usageError } from '../model/errors'
import { refuseLists } from '../model/labels'
import { createDamper } from '../operations/watch/backoff'
import { followEngine } from '../operations/watch/engine-events'
import { createDispatch, ENGINES } from '../operations/watch/events'
import { listFiles, readBook } from '../operations/watch/files'
import type { Wish } from '../operations/watch/labels'
import { createLog, type Log } from '../operations/watch/log'
import { followOthers } from '../operations/watch/poll'
import { Queues } from '../operations/watch/queue'
import type { KeeperMeans } from '../operations/watch/reconcile'
import { createNotifier } from '../operations/watch/sd-notify'
import type { Host } from '../system/types'
import { type Call, type Outcome, refuseUnlessRoot } from '../ui/command'
import { formatError } from '../ui/report'

/** Containers that are worked on side by side. */
const AT_ONCE = 8
/** Seconds of that: an attach takes a tenth, but where a DHCP server or a neighbour is waited for. */
const SHARE = 2
/** Seconds that the work for one container may take: a DHCP server has its time in it. */
const LIMIT = 90
/** Seconds after which systemd is told that the watch is ready, whatever is still waited for. */
const READY_LIMIT = 20

/** Keeps what files and labels ask for true, until it is told to end. */
export async function run(call: Call): Promise<Outcome> {
  refuseUnlessRoot(call)
  const { host } = call
  refuseLists(call.texts('allow'))
  const book = { wishes: await readFiles(call) }
  const release = lockWatch(host)
  try {
    await host.staySmall()
    await watch(call, book)
  } finally {
    release()
  }
  return { text: '', json: { ok: true, ended: true } }
}

function lockWatch(host: Host): () => void {
  const release = host.lock('watch')
  if (release !== undefined) return release
  const pid = host.target('/run/pipework/watch.lock')?.split('-')[0]
  throw new PipeworkError(`another watch runs already, as process ${pid}`, {
    hint: `Let it read its files again (kill -HUP ${pid}), or end it first (kill ${pid}).`,
  })
}

interface Book {
  wishes: readonly Wish[]
}

async function readFiles(call: Call): Promise<readonly Wish[]> {
  const files = listFiles(call.words, call.host)
  const hasLabels = call.flag('labels') || call.flag('env-compat')
  if (files.length === 0 && !hasLabels)
    throw usageError(
      call.words.length === 0 ? 'there is nothing to watch' : `there is no file in '${call.words.join("', '")}'`,
      'Name a file, put one into /etc/pipework (its name ends in .pipework), or let labels ask: --labels.',
    )
  return readBook(files, call)
}

function createQueues(host: Host, log: Log): Queues {
  return new Queues({
    ...{ host, atOnce: AT_ONCE, share: SHARE, limit: LIMIT },
    onSlow: (key) => log({ level: 'warning', about: key, text: `takes longer than ${LIMIT} s, and is interrupted` }),
    onError: (key, error) => log({ level: 'error', about: key, text: formatError(error) }),
  })
}

async function watch(call: Call, book: Book): Promise<void> {
  const { host, io } = call
  const stop = new AbortController()
  const log = createLog(host, call.flag('json') ? 'json' : 'text', io.out)
  const queues = createQueues(host, log)
  const rules = { labels: call.flag('labels'), envCompat: call.flag('env-compat'), allowed: call.texts('allow') }
  const means: KeeperMeans = {
    host,
    queues,
    log,
    rules,
    wishes: () => book.wishes,
    warned: new Set(),
    parse: call.parse,
  }
  const { listener, begun, convergeAll } = createDispatch(means, createDamper(host))
  const notifier = createNotifier(host, stop.signal, (text) => log({ level: 'warning', text }))
  host.attendSignals((signal) => {
    if (signal !== 'SIGHUP') return stop.abort()
    void notifier
      .reloading()
      .then(() => reload(call, book, log))
      .then(convergeAll)
      .then(() => notifier.ready(describeBook(book)))
  })
  log({ level: 'notice', text: `watches over ${describeBook(book)}` })
  const context = { host, signal: stop.signal }
  const streams = [
    ...ENGINES.map((engine) => followEngine(engine, listener, context)),
    followOthers(means, stop.signal),
  ]
  await Promise.race([begun.then(() => queues.settled()), host.sleep(READY_LIMIT, stop.signal)])
  if (!stop.signal.aborted) await notifier.ready(describeBook(book))
  await Promise.all(streams)
  log({ level: 'notice', text: 'ends' })
  await notifier.stopping()
  await queues.stop()
}

/** Reads the files again. Where they have mistakes, what was read before holds. */
async function reload(call: Call, book: Book, log: Log): Promise<void> {
  try {
    book.wishes = await readFiles(call)
    log({ level: 'notice', text: `has read its files again: ${describeBook(book)}` })
  } catch (error) {
    if (!(error instanceof PipeworkError)) throw error
    log({ level: 'error', text: `keeps to what it has read before: ${error.message}`, hint: error.hint })
  }
}

function describeBook({ wishes }: Book): string {
  return `${wishes.length} attachment${wishes.length === 1 ? '' : 's'}`
}
