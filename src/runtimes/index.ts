import { dockerRuntime } from './docker'
import { lxcRuntime } from './lxc'
import { nerdctlRuntime } from './nerdctl'
import { netnsFinder } from './netns'
import { pidFinder } from './pid'
import { podmanRuntime } from './podman'
import type { ContainerRuntime, GuestFinder } from './types'

/** Asked about a bare name, in this order. A namespace or a process is never meant by one: any word may be its name. */
export const CONTAINER_RUNTIMES: readonly [ContainerRuntime, ...(readonly ContainerRuntime[])] = [
  dockerRuntime,
  podmanRuntime,
  lxcRuntime,
  nerdctlRuntime,
]

/** All that a prefix can choose. */
export const GUEST_FINDERS: readonly GuestFinder[] = [...CONTAINER_RUNTIMES, netnsFinder, pidFinder]
