import { writeAll } from './system/files'

declare const PIPEWORK_VERSION: string

const interrupt = { requested: false }
const foreground: { tell?: (signal: NodeJS.Signals) => void } = {}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    if (foreground.tell !== undefined) return foreground.tell(signal)
    // Once: finish the running step and roll back. Twice: the user does not want to wait for that.
    if (interrupt.requested) process.exit(1)
    interrupt.requested = true
  })

/** What cron calls, and who became root by `su`, has no sbin on the PATH: there Debian has sysctl, nft and bridge. */
function addSbinDirs(path = ''): string {
  const dirs = path.split(':')
  const lacking = ['/usr/local', '/usr', ''].filter((it) => dirs.includes(`${it}/bin`) && !dirs.includes(`${it}/sbin`))
  return [path, ...lacking.map((it) => `${it}/sbin`)].join(':')
}

async function runProcess(argv: readonly string[]): Promise<number> {
  const [{ main }, { createSystem }] = await Promise.all([import('./cli'), import('./system/linux')])
  process.env.PATH = addSbinDirs(process.env.PATH)
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

  return main(argv, system, {
    out: (text) => system.write(1, text),
    err: (text) => system.write(2, text),
    interrupt,
  })
}

const [first = '', ...others] = process.argv.slice(2)
// Answered without loading anything.
if (others.length === 0 && ['--version', '-V'].includes(first)) writeAll(1, `${PIPEWORK_VERSION}\n`)
// Exit at once: open handles are not ours.
else void runProcess(process.argv.slice(2)).then((code) => process.exit(code))
