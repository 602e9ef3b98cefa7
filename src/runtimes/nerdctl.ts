import { inspectByCommand } from './engine'
import type { ContainerRuntime } from './types'

/** containerd, where nerdctl manages it; CONTAINERD_NAMESPACE says which of its namespaces. */
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
