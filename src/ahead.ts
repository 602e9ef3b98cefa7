import type { Host, ReadyIp, ReadyScript } from './host'
import type { BatchLine, Result } from './step'

/**
 * What is started before there is anything to tell it, an `ip -batch` and a script of ours: its start takes as long as
 * most of what it is told, and there is something else to wait for meanwhile.
 */
export interface Ahead {
  /** Starts one for that namespace (the host's own when absent), unless one waits already. */
  start(netns?: string): void
  /** Sends lines to the one that waits, if it is for that namespace, else to a new one. */
  send(netns: string | undefined, lines: readonly BatchLine[]): Promise<Result>
  /** Starts a script, unless one waits already. */
  startScript(argv: readonly string[]): void
  /** Lets the script go that waits, if it is that one, else starts it; resolves when it has ended. */
  runScript(argv: readonly string[]): Promise<Result>
  /** Ends what waits. From then on nothing is started ahead: nobody would be left to end it. */
  dismiss(): void
}

/** Nothing waits yet. */
export function createAhead(host: Host): Ahead {
  const waiting: {
    ip?: Promise<ReadyIp>
    netns?: string | undefined
    script?: Promise<ReadyScript>
    words?: string
    isOver?: true
  } = {}
  // One that could not be started says so to whoever tells it something.
  const end = (one?: Promise<{ dismiss(): void }>) => void one?.then((it) => it.dismiss()).catch(() => {})
  const drop = () => {
    end(waiting.ip)
    delete waiting.ip
  }
  return {
    start: (netns) => {
      if (waiting.ip !== undefined || waiting.isOver) return
      waiting.netns = netns
      waiting.ip = host.startIp(netns)
      waiting.ip.catch(() => {})
    },
    send: async (netns, lines) => {
      const { ip, netns: place } = waiting
      if (ip === undefined || place !== netns) {
        drop()
        return host.ip({ ...(netns === undefined ? {} : { netns }), lines })
      }
      delete waiting.ip
      return (await ip).send(lines)
    },
    startScript: (argv) => {
      if (waiting.script !== undefined || waiting.isOver) return
      waiting.words = argv.join(' ')
      waiting.script = host.startScript(argv)
      waiting.script.catch(() => {})
    },
    runScript: async (argv) => {
      const { script, words } = waiting
      if (words !== argv.join(' ') || script === undefined) return (await host.startScript(argv)).go()
      delete waiting.script
      return (await script).go()
    },
    dismiss: () => {
      waiting.isOver = true
      drop()
      end(waiting.script)
      delete waiting.script
    },
  }
}
