import { PipeworkError } from '../../model/errors'
import type { System } from '../../system/types'

/** Status messages to systemd from a service of `Type=notify` (sd_notify(3)). */
export interface SystemdNotifier {
  ready(status: string): Promise<void>
  reloading(): Promise<void>
  stopping(): Promise<void>
}

const MICROSECONDS = 1e6

/**
 * Reports status and watchdog pings to systemd until the signal aborts; does nothing without systemd. The socket takes
 * datagrams, which Node cannot send over Unix sockets, so systemd-notify sends them on behalf of its parent, the main
 * process. One call in half the watchdog's period is cheap.
 */
export function createSystemdNotifier(
  system: System,
  signal: AbortSignal,
  onError: (why: string) => void,
): SystemdNotifier {
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = system.env
  const broken = { reported: false }
  const tell = async (...words: readonly string[]) => {
    if (!NOTIFY_SOCKET) return
    const why = await system.run(['systemd-notify', ...words], 10).then(
      ({ code, stderr }) => (code === 0 ? undefined : stderr.trim() || `exit code ${code}`),
      (error: unknown) => (error instanceof PipeworkError ? error.message : String(error)),
    )
    if (why !== undefined && !broken.reported) onError(`systemd cannot be told how it is: ${why}`)
    broken.reported = why !== undefined
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
