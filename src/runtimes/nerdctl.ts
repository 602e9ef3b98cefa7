import { askCommand } from './engine'
import type { Runtime } from './types'

/** containerd, where nerdctl manages it; CONTAINERD_NAMESPACE says which of its namespaces. */
export const nerdctl: Runtime = {
  kind: 'nerdctl',
  noun: 'container',
  title: 'nerdctl',
  program: 'nerdctl',
  lists: 'nerdctl ps',
  find(name, host) {
    return askCommand(nerdctl, name, host)
  },
}
