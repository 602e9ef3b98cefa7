import { PipeworkError } from '../model/errors'
import type { GuestKind } from '../model/guest-name'
import type { System } from '../system/types'

/** The guest is there, and does not run now: it may later. */
export class GuestNotRunningError extends PipeworkError {}

/** A guest whose network namespace can be named. */
export interface Guest {
  readonly kind: GuestKind
  readonly name: string
  /** The full id, where the runtime has ids; of a process, when it started: two with the same number differ there. */
  readonly id?: string
  readonly pid?: number
  /** The file of its network namespace. */
  readonly nsPath: string
  /** Where the runtime mounts the same namespace, if it does. */
  readonly sandbox?: string
  /** The guest whose network namespace it is, when it is another's (`--network container:…`, a pod). */
  readonly sharedWith?: string
}

/** What a name may mean. */
export interface GuestCandidate {
  readonly name: string
  readonly id?: string
}

/** What a runtime says of a name. */
export type GuestLookup =
  | { readonly state: 'found'; readonly guest: Guest }
  /** It is there, but cannot be used as it is. */
  | { readonly state: 'refused'; readonly candidate: GuestCandidate; readonly error: PipeworkError }
  /** The ids of several begin like that. */
  | { readonly state: 'several'; readonly candidates: readonly GuestCandidate[] }
  /** No such guest, and the names of those there are. */
  | { readonly state: 'unknown'; readonly names: readonly string[] }

/** One kind of guest: how a name becomes a process or a namespace. */
export interface GuestFinder {
  readonly kind: GuestKind
  readonly noun: 'container' | 'network namespace' | 'process'
  /** Looks for the guest of that name. Throws when nobody answers. */
  find(name: string, system: System): Promise<GuestLookup>
}

/** A container runtime: what a bare name is looked for in. */
export interface ContainerRuntime extends GuestFinder {
  /** How messages call it. */
  readonly title: string
  /** Its own command: where that is not installed, a bare name is not looked for. */
  readonly program: string
  /** The command that lists its guests. */
  readonly listCommand: string
}
