import type { BatchLine, CommandResult } from '../plan/step'
import type { PrespawnedIp, System } from './types'

/**
 * An `ip -batch` that is started before there is anything to tell it: its start takes as long as most of what it is
 * told, and there is something else to wait for meanwhile.
 */
export interface IpPrespawner {
  /** Starts one for that namespace (the host's own when absent), unless one waits already. */
  start(netns?: string): void
  /** Sends lines to the one that waits, if it is for that namespace, else to a new one. */
  send(netns: string | undefined, lines: readonly BatchLine[]): Promise<CommandResult>
  /** Ends the one that waits. From then on none is started ahead: nobody would be left to end it. */
  dismiss(): void
}

/** Nothing waits yet. */
export function createIpPrespawner(system: System): IpPrespawner {
  const waiting: { ip?: Promise<PrespawnedIp>; netns?: string | undefined; isOver?: true } = {}
  const drop = () => {
    // One that could not be started says so to whoever sends it something.
    void waiting.ip?.then((ip) => ip.cancel()).catch(() => {})
    delete waiting.ip
  }
  return {
    start: (netns) => {
      if (waiting.ip !== undefined || waiting.isOver) return
      waiting.netns = netns
      waiting.ip = system.startIpBatch(netns)
      waiting.ip.catch(() => {})
    },
    send: async (netns, lines) => {
      const { ip, netns: place } = waiting
      if (ip === undefined || place !== netns) {
        drop()
        return system.runIpBatch({ netns, lines })
      }
      delete waiting.ip
      return (await ip).send(lines)
    },
    dismiss: () => {
      waiting.isOver = true
      drop()
    },
  }
}
