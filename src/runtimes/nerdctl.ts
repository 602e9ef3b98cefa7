import { inspectByCommand } from './engine'
import type { ContainerRuntime } from './types'

/** containerd as managed by nerdctl; CONTAINERD_NAMESPACE selects its namespace. */
export const nerdctlRuntime: ContainerRuntime = {
  kind: 'nerdctl',
  noun: 'container',
  title: 'nerdctl',
  program: 'nerdctl',
  listCommand: 'nerdctl ps',
  find(name, system) {
    return inspectByCommand(nerdctlRuntime, name, system)
  },
}
