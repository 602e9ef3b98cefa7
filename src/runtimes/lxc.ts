import { PipeworkError } from '../model/errors'
import type { System } from '../system/types'
import { type ContainerRuntime, type GuestLookup, GuestNotRunningError } from './types'

/** Seconds to wait for an LXC command. */
const LXC_TIMEOUT = 10

/** LXC in its configured path; unprivileged containers use other paths and are not searched. */
export const lxcRuntime: ContainerRuntime = {
  kind: 'lxc',
  noun: 'container',
  title: 'LXC',
  program: 'lxc-info',
  listCommand: 'lxc-ls --fancy',
  async find(name, system) {
    const { code, stdout, stderr } = await system.run(['lxc-info', '-n', name, '-s', '-p'], LXC_TIMEOUT)
    if (code === 0) return parseLxcInfo(name, stdout)
    if (!/doesn't exist/.test(stderr))
      throw new PipeworkError(`lxc-info failed: ${stderr.trim() || `exit code ${code}`}`, {
        hint: 'See what there is: lxc-ls --fancy',
      })
    return { state: 'unknown', names: await listLxcNames(system) }
  },
}

function parseLxcInfo(name: string, stdout: string): GuestLookup {
  const state = /^State:\s*(\S+)/m.exec(stdout)?.[1] ?? 'UNKNOWN'
  const pid = Number(/^PID:\s*(\d+)/m.exec(stdout)?.[1] ?? 0)
  if (state === 'RUNNING' && pid > 0)
    return { state: 'found', guest: { kind: 'lxc', name, pid, nsPath: `/proc/${pid}/ns/net` } }
  const refuse = (what: string, hint: string): GuestLookup => ({
    state: 'refused',
    candidate: { name },
    error: new GuestNotRunningError(`the LXC container '${name}' is ${what}`, { hint }),
  })
  return state === 'FROZEN'
    ? refuse('frozen', `Wake it up first: lxc-unfreeze -n ${name}`)
    : refuse(
        `not running (${state.toLowerCase()})`,
        `Start it (lxc-start -n ${name}), or wait for it with --wait-guest SECONDS.`,
      )
}

async function listLxcNames(system: System): Promise<readonly string[]> {
  const { stdout } = await system.run(['lxc-ls', '-1'], LXC_TIMEOUT)
  return stdout
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
}
