import { PipeworkError } from '../model/errors'
import type { GuestName } from '../model/guest-name'
import { AmbiguousGuest, findGuest, type Guest, pinGuest, whereIs } from '../runtimes/find'
import { pickDeadPorts, pickGuestSide, readHostSide, readOvsIfThere } from '../state/attachments'
import { arePeers, type GuestState, readGuest } from '../state/guest'
import type { OvsDatabase } from '../state/ovsdb'
import type { LinkRecord } from '../state/record'
import type { Host, Pin } from '../system/types'
import type { Attached } from './detach/plan'

/** The guest, pinned; or why not: its links with an end in the host are taken away all the same. */
type Reached =
  | { readonly guest: Guest; readonly pin: Pin | undefined; readonly why?: undefined }
  | { readonly guest?: undefined; readonly why: PipeworkError }

/** Finds the guest and pins it; throws only where the name may mean several. */
export async function reachGuest(wanted: GuestName, host: Host): Promise<Reached> {
  try {
    const guest = await findGuest(wanted, host)
    return { guest, pin: host.isRoot ? pinGuest(guest, host) : undefined }
  } catch (why) {
    if (why instanceof PipeworkError && !(why instanceof AmbiguousGuest)) return { why }
    throw why
  }
}

/** Whether a record speaks of the guest that was named. */
export function isMeant(guest: LinkRecord['guest'], { wanted, reached }: Wanted): boolean {
  const { kind, name } = wanted
  if (reached.guest !== undefined)
    return (
      guest.kind === reached.guest.kind &&
      guest.name === reached.guest.name &&
      // What hangs on an earlier process of that number is not this one's.
      (guest.kind !== 'pid' || guest.id === reached.guest.id)
    )
  if (kind !== undefined ? kind !== guest.kind : guest.kind === 'netns' || guest.kind === 'pid') return false
  // A full id begins with the twelve digits recorded; a typed prefix begins them.
  const { id } = guest
  return guest.name === name || (id !== undefined && name.length >= 4 && (name.startsWith(id) || id.startsWith(name)))
}

/** What is to be taken away from a guest: everything, or what the rest says. */
export interface Aim {
  readonly wanted: GuestName
  /** Only these interfaces. */
  readonly ifnames?: readonly string[]
  /** Only what was made from one of these files. */
  readonly files?: readonly string[]
  /** What a dry run has taken away from other guests before. */
  readonly gone?: readonly Attached[]
}

export interface Wanted extends Aim {
  readonly reached: Reached
}

function isAimedAt({ record }: Attached, { ifnames, files }: Aim): boolean {
  if (files !== undefined && (record.file === undefined || !files.includes(record.file))) return false
  return ifnames === undefined || ifnames.includes(record.ifname)
}

/** What is to go: what bears the name that was typed; where nothing does, what the guest has under its other names. */
export function pickAimed(all: readonly Attached[], asked: Wanted): readonly Attached[] {
  const aimed = all.filter((it) => isAimedAt(it, asked))
  const named = aimed.filter(({ record, hostEnd }) => hostEnd === undefined || isMeant(record.guest, asked))
  return named.length > 0 ? named : aimed
}

export interface Seen {
  readonly all: readonly Attached[]
  readonly state?: GuestState
  readonly ovs?: OvsDatabase
}

/** What pipework attached to the guest, as it is now, and the inside of the guest. */
export async function look(asked: Wanted, host: Host): Promise<Seen> {
  const { guest, pin } = asked.reached.guest === undefined ? { guest: undefined, pin: undefined } : asked.reached
  const [ovs, state] = await Promise.all([
    readOvsIfThere(host),
    guest === undefined || pin === undefined ? undefined : readGuest(pin.netns, host),
  ])
  const dead = pickDeadPorts(ovs).filter(({ record }) => isMeant(record.guest, asked))
  const all = readHostSide(host)
  const hostSide = all.filter(({ record }) => isMeant(record.guest, asked))
  const database = ovs === undefined ? {} : { ovs }
  if (pin === undefined || state === undefined) return { all: [...hostSide, ...dead], ...database }
  const withEnds = hostSide.map((attached) => {
    const inGuest = state.links.find((link) => arePeers(link, attached.hostEnd))
    return inGuest === undefined ? attached : { ...attached, inGuest }
  })
  const others = await findByOtherNames(
    all.filter((it) => !hostSide.includes(it)),
    { state, inode: pin.inode },
    host,
  )
  return { all: [...withEnds, ...others, ...pickGuestSide(state), ...dead], state, ...database }
}

/** Attachments in this namespace that were made under another name: of a container that shares it, or by another engine. */
export async function findByOtherNames(
  hostSide: readonly Attached[],
  { state, inode }: { readonly state: GuestState; readonly inode: number },
  host: Host,
): Promise<readonly Attached[]> {
  const here = hostSide.flatMap((attached) => {
    const inGuest = state.links.find((link) => arePeers(link, attached.hostEnd))
    return inGuest === undefined || attached.inGuest !== undefined ? [] : [{ ...attached, inGuest }]
  })
  const places = await Promise.all(here.map(({ record }) => whereIs(record.guest, inode, host)))
  return here.filter((_, index) => places[index] !== 'elsewhere')
}
