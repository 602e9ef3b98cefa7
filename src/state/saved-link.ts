import type { System } from '../system/types'
import type { DefaultRoute } from './record'

/** A route of the host over a NIC: its destination, and the words after that in `ip route add`. */
export interface SavedRoute extends DefaultRoute {
  readonly dst: string
}

/**
 * How a NIC was in the host before it was moved into a guest. It stands in a file of the host and not on the NIC,
 * where the guest could write: no guest shall give the host addresses or routes.
 */
export interface SavedLink {
  readonly name: string
  /** The guest's kind and name: nobody else brings it back. */
  readonly guest: string
  /** What `ip -d link` calls its kind; none for a real NIC, which no guest can make up. */
  readonly kind: string
  /** The radio of a wireless NIC by its number, like phy#0: names are looked for in /sys, which is another namespace's. */
  readonly phy?: string
  readonly up: boolean
  readonly mtu: number
  readonly mac: string
  readonly alias?: string
  /** Each as the words of `ip addr add`, but for the device. */
  readonly addresses: readonly (readonly string[])[]
  readonly routes: readonly SavedRoute[]
}

const SAVED_LINKS_DIR = '/run/pipework/nics'

/** The file in which the state of that NIC stands while it is away. */
export function savedLinkFile(name: string): string {
  return `${SAVED_LINKS_DIR}/${name}`
}

/** The names of the NICs that are away; a run that was killed may have left half of a file beside theirs. */
export function listSavedLinks(system: System): readonly string[] {
  return (system.list(SAVED_LINKS_DIR) ?? []).filter((name) => !name.endsWith('.new'))
}

/** The state of a NIC that is away, or was when its guest ended; undefined when none of that name is. */
export function readSavedLink(name: string, system: System): SavedLink | undefined {
  const text = system.read(savedLinkFile(name))
  return text === undefined ? undefined : (JSON.parse(text) as SavedLink)
}
