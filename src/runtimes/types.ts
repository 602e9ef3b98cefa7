import { PipeworkError } from '../model/errors'
import type { GuestKind } from '../model/guest-name'
import type { System } from '../system/types'

/** The guest exists but is not running. */
export class GuestNotRunningError extends PipeworkError {}

/** A guest whose network namespace is known. */
export interface Guest {
  readonly kind: GuestKind
  readonly name: string
  /** The full id, where the runtime has ids; for a process its start time, which differs when a PID is reused. */
  readonly id?: string
  readonly pid?: number
  /** The path of its network namespace. */
  readonly nsPath: string
  /** The path where the runtime mounts the same namespace. */
  readonly sandbox?: string
  /** The guest that owns the network namespace, when it is shared (`--network container:…`, a pod). */
  readonly sharedWith?: string
}

/** A guest that a name may mean. */
export interface GuestCandidate {
  readonly name: string
  readonly id?: string
}

/** A runtime's answer about a name. */
export type GuestLookup =
  | { readonly state: 'found'; readonly guest: Guest }
  /** It exists, but cannot be used. */
  | { readonly state: 'refused'; readonly candidate: GuestCandidate; readonly error: PipeworkError }
  /** Several ids start with the text. */
  | { readonly state: 'several'; readonly candidates: readonly GuestCandidate[] }
  /** No such guest, and the names of the existing ones. */
  | { readonly state: 'unknown'; readonly names: readonly string[] }

/** One kind of guest: resolves a name to a process or a namespace. */
export interface GuestFinder {
  readonly kind: GuestKind
  readonly noun: 'container' | 'network namespace' | 'process'
  /** Looks for the guest of that name. Throws when the runtime does not answer. */
  find(name: string, system: System): Promise<GuestLookup>
}

/** A container runtime, where names without prefix are looked up. */
export interface ContainerRuntime extends GuestFinder {
  /** Its name in messages. */
  readonly title: string
  /** Its own command; when that is not installed, the runtime is not searched for names without prefix. */
  readonly program: string
  readonly listCommand: string
}
