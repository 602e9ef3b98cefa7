import { PipeworkError } from '../model/errors'
import type { Host } from '../system/types'
import { type Answer, NotRunning, type Runtime } from './types'

/** Seconds that it may take; a healthy one takes a hundredth. */
const LIMIT = 10

/** LXC, in its configured path; unprivileged containers have paths of their own and are not asked for. */
export const lxc: Runtime = {
  kind: 'lxc',
  noun: 'container',
  title: 'LXC',
  program: 'lxc-info',
  lists: 'lxc-ls --fancy',
  async find(name, host) {
    const { code, stdout, stderr } = await host.run(['lxc-info', '-n', name, '-s', '-p'], LIMIT)
    if (code === 0) return toAnswer(name, stdout)
    if (!/doesn't exist/.test(stderr))
      throw new PipeworkError(`lxc-info failed: ${stderr.trim() || `exit code ${code}`}`, {
        hint: 'See what there is: lxc-ls --fancy',
      })
    return { state: 'unknown', names: await listNames(host) }
  },
}

function toAnswer(name: string, stdout: string): Answer {
  const state = /^State:\s*(\S+)/m.exec(stdout)?.[1] ?? 'UNKNOWN'
  const pid = Number(/^PID:\s*(\d+)/m.exec(stdout)?.[1] ?? 0)
  if (state === 'RUNNING' && pid > 0)
    return { state: 'found', guest: { kind: 'lxc', name, pid, nsPath: `/proc/${pid}/ns/net` } }
  const refuse = (what: string, hint: string): Answer => ({
    state: 'refused',
    candidate: { name },
    why: new NotRunning(`the LXC container '${name}' is ${what}`, { hint }),
  })
  return state === 'FROZEN'
    ? refuse('frozen', `Wake it up first: lxc-unfreeze -n ${name}`)
    : refuse(
        `not running (${state.toLowerCase()})`,
        `Start it (lxc-start -n ${name}), or wait for it with --wait-guest SECONDS.`,
      )
}

async function listNames(host: Host): Promise<readonly string[]> {
  const { stdout } = await host.run(['lxc-ls', '-1'], LIMIT)
  return stdout
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
}
