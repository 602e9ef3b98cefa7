import { main } from './cli'
import { createHost } from './host/linux'

const interrupt = { heard: false }
const attended: { tell?: (signal: NodeJS.Signals) => void } = {}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    if (attended.tell !== undefined) return attended.tell(signal)
    // Once: finish the running step and roll back. Twice: the user does not want to wait for that.
    if (interrupt.heard) process.exit(1)
    interrupt.heard = true
  })

const host = createHost({
  pid: process.pid,
  program: [process.execPath, process.argv[1] ?? ''],
  uid: process.geteuid?.() ?? -1,
  env: process.env,
  // Setting up the stream takes 3 ms: only who lays out text asks.
  columns: () => process.stdout.columns,
  uptime: () => process.uptime(),
  kill: (pid) => process.kill(pid, 'SIGKILL'),
  relay: (tell) => {
    attended.tell = tell
    // Only then: nothing of ours could be rolled back after a core dump.
    process.on('SIGQUIT', tell)
  },
  onExit: (action) => process.on('exit', action),
})

void main(process.argv.slice(2), host, {
  out: (text) => host.write(1, text),
  err: (text) => host.write(2, text),
  interrupt,
}).then((code) => {
  process.exitCode = code
})
