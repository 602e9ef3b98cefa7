import { PipeworkError } from '../../model/errors'
import type { System } from '../../system/types'

/** What systemd is told of a service of `Type=notify` (sd_notify(3)). */
export interface SystemdNotifier {
  ready(status: string): Promise<void>
  reloading(): Promise<void>
  stopping(): Promise<void>
}

/** Microseconds in a second. */
const MICROSECONDS = 1e6

/**
 * Tells systemd how the watch is, and that it is alive, for as long as the signal lets it; without systemd nothing at
 * all. The socket takes datagrams, which Node cannot send over Unix sockets: systemd's own program does it, in the name
 * of its parent, which is the service's main process. At one call in half the watchdog's time that is no load.
 */
export function createSystemdNotifier(
  system: System,
  signal: AbortSignal,
  onError: (why: string) => void,
): SystemdNotifier {
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = system.env
  const broken = { told: false }
  const tell = async (...words: readonly string[]) => {
    if (!NOTIFY_SOCKET) return
    const why = await system.run(['systemd-notify', ...words], 10).then(
      ({ code, stderr }) => (code === 0 ? undefined : stderr.trim() || `exit code ${code}`),
      (error: unknown) => (error instanceof PipeworkError ? error.message : String(error)),
    )
    if (why !== undefined && !broken.told) onError(`systemd cannot be told how it is: ${why}`)
    broken.told = why !== undefined
  }
  const period = Number(WATCHDOG_USEC) / MICROSECONDS / 2
  const isMeant = !WATCHDOG_PID || WATCHDOG_PID === `${system.pid}`
  const keepAlive = async () => {
    while (!signal.aborted) {
      await system.sleep(period, signal)
      if (!signal.aborted) await tell('WATCHDOG=1')
    }
  }
  if (NOTIFY_SOCKET && isMeant && period > 0) void keepAlive()
  return {
    ready: (status) => tell('--ready', `--status=${status}`),
    reloading: () => tell('RELOADING=1'),
    stopping: () => tell('STOPPING=1'),
  }
}
