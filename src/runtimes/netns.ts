import type { GuestFinder } from './types'

/** A namespace of `ip netns`. */
export const netnsFinder: GuestFinder = {
  kind: 'netns',
  noun: 'network namespace',
  find(name, system) {
    const nsPath = `/run/netns/${name}`
    if (system.inode(nsPath) !== undefined)
      return Promise.resolve({ state: 'found', guest: { kind: 'netns', name, nsPath } })
    const names = (system.list('/run/netns') ?? []).filter((other) => !other.startsWith('pipework-'))
    return Promise.resolve({ state: 'unknown', names })
  },
}
