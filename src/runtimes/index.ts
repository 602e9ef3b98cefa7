import { dockerRuntime } from './docker'
import { lxcRuntime } from './lxc'
import { nerdctlRuntime } from './nerdctl'
import { netnsFinder } from './netns'
import { pidFinder } from './pid'
import { podmanRuntime } from './podman'
import type { ContainerRuntime, GuestFinder } from './types'

/**
 * The runtimes that are asked about a name without prefix, in this order. Namespaces and processes need a prefix: any
 * word may be their name.
 */
export const CONTAINER_RUNTIMES: readonly [ContainerRuntime, ...(readonly ContainerRuntime[])] = [
  dockerRuntime,
  podmanRuntime,
  lxcRuntime,
  nerdctlRuntime,
]

/** All kinds that a prefix can choose. */
export const GUEST_FINDERS: readonly GuestFinder[] = [...CONTAINER_RUNTIMES, netnsFinder, pidFinder]
