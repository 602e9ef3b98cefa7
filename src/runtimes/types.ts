import { PipeworkError } from '../model/errors'
import type { GuestKind } from '../model/guest-name'
import type { Host } from '../system/types'

/** The guest is there, and does not run now: it may later. */
export class NotRunning extends PipeworkError {}

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
export interface Candidate {
  readonly name: string
  readonly id?: string
}

/** What a runtime says of a name. */
export type Answer =
  | { readonly state: 'found'; readonly guest: Guest }
  /** It is there, but cannot be used as it is. */
  | { readonly state: 'refused'; readonly candidate: Candidate; readonly why: PipeworkError }
  /** The ids of several begin like that. */
  | { readonly state: 'several'; readonly candidates: readonly Candidate[] }
  /** No such guest, and the names of those there are. */
  | { readonly state: 'unknown'; readonly names: readonly string[] }

/** One kind of guest: how a name becomes a process or a namespace. */
export interface Finder {
  readonly kind: GuestKind
  readonly noun: 'container' | 'network namespace' | 'process'
  /** Looks for the guest of that name. Throws when nobody answers. */
  find(name: string, host: Host): Promise<Answer>
}

/** A container runtime: what a bare name is looked for in. */
export interface Runtime extends Finder {
  /** How messages call it. */
  readonly title: string
  /** Its own command: where that is not installed, a bare name is not looked for. */
  readonly program: string
  /** The command that lists its guests. */
  readonly lists: string
}
