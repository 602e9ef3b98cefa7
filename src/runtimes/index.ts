import { docker } from './docker'
import { lxc } from './lxc'
import { nerdctl } from './nerdctl'
import { netns } from './netns'
import { pid } from './pid'
import { podman } from './podman'
import type { Finder, Runtime } from './types'

/** Asked about a bare name, in this order. A namespace or a process is never meant by one: any word may be its name. */
export const RUNTIMES: readonly [Runtime, ...(readonly Runtime[])] = [docker, podman, lxc, nerdctl]

/** All that a prefix can choose. */
export const FINDERS: readonly Finder[] = [...RUNTIMES, netns, pid]
