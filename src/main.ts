import { isHangupIgnored, writeAll } from './system/files'

declare const PIPEWORK_VERSION: string

const interrupt = { requested: false }
const foreground: { tell?: (signal: NodeJS.Signals) => void } = {}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    if (foreground.tell !== undefined) return foreground.tell(signal)
    if (signal === 'SIGHUP' && isHangupIgnored(process.ppid)) return
    // Once: finish the running step and roll back. Twice: the user does not want to wait for that.
    if (interrupt.requested) process.exit(1)
    interrupt.requested = true
  })

/** The PATH where there is none, and the directories that cron and `su` leave out: Debian has sysctl and nft there. */
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** The PATH for the programs that run as root: with the sbin directories, without what depends on the current one. */
function sanitizePath(path: string | undefined): string {
  const dirs = (path || DEFAULT_PATH).split(':').filter((dir) => dir.startsWith('/'))
  const missing = ['/usr/local', '/usr', ''].filter((it) => dirs.includes(`${it}/bin`) && !dirs.includes(`${it}/sbin`))
  return [...dirs, ...missing.map((it) => `${it}/sbin`)].join(':') || DEFAULT_PATH
}

/** Standard output. A result that could not be written is a failure, whatever the command made of it. */
function createOutput(write: (fd: 1 | 2, text: string) => void) {
  const state = { hasFailed: false }
  const out = (text: string) => {
    try {
      write(1, text)
    } catch (error) {
      if (!state.hasFailed) err(`pipework: could not write the result: ${(error as Error).message}\n`)
      state.hasFailed = true
    }
  }
  const err = (text: string) => {
    try {
      write(2, text)
    } catch {} // There is nowhere left to say so.
  }
  return { state, out, err }
}

async function runProcess(argv: readonly string[]): Promise<number> {
  const [{ main }, { createSystem }] = await Promise.all([import('./cli'), import('./system/linux')])
  process.env.PATH = sanitizePath(process.env.PATH)
  const system = createSystem({
    pid: process.pid,
    selfCommand: [process.execPath, process.argv[1] ?? ''],
    uid: process.geteuid?.() ?? -1,
    env: process.env,
    // Only on demand: setting up the stream is slow.
    terminalColumns: () => process.stdout.columns,
    uptime: () => process.uptime(),
    kill: (pid, signal) => process.kill(pid, signal),
    forwardSignals: (tell) => {
      foreground.tell = tell
      // Only then: nothing of ours could be rolled back after a core dump.
      process.on('SIGQUIT', tell)
    },
    onExit: (action) => process.on('exit', action),
  })

  const { state, out, err } = createOutput(system.write)
  const code = await main(argv, system, { out, err, interrupt })
  return state.hasFailed && code === 0 ? 1 : code
}

const [first = '', ...others] = process.argv.slice(2)
// Answered without loading anything.
if (others.length === 0 && ['--version', '-V'].includes(first)) {
  const { state, out } = createOutput(writeAll)
  out(`${PIPEWORK_VERSION}\n`)
  if (state.hasFailed) process.exitCode = 1
}
// Exit at once: open handles are not ours.
else void runProcess(process.argv.slice(2)).then((code) => process.exit(code))
