import { MAX_CONCURRENT_READS, mapConcurrently } from '../model/concurrency'
import { PipeworkError } from '../model/errors'
import type { GuestName } from '../model/guest-name'
import { AmbiguousGuestError, findGuest, type Guest, holdGuestNetns, locateGuest } from '../runtimes/find'
import {
  type ExistingAttachment,
  listDeadPorts,
  listGuestAttachments,
  readHostAttachments,
  readOvsIfRunning,
} from '../state/attachments'
import { areVethPeers, type GuestState, readGuestState } from '../state/guest'
import { withNicRecords } from '../state/nic-device'
import type { OvsDatabase } from '../state/ovsdb'
import type { LinkRecord } from '../state/record'
import type { HeldNetns, System } from '../system/types'

/** The guest with its held namespace, or the error: links with a host end are removed even without the guest. */
type ResolvedGuest =
  | { readonly guest: Guest; readonly pin: HeldNetns | undefined; readonly error?: undefined }
  | { readonly guest?: undefined; readonly error: PipeworkError }

/** Finds the guest and holds its namespace; throws only when the name is ambiguous. */
export async function resolveTargetGuest(wanted: GuestName, system: System): Promise<ResolvedGuest> {
  try {
    const guest = await findGuest(wanted, system)
    return { guest, pin: system.isRoot ? holdGuestNetns(guest, system) : undefined }
  } catch (why) {
    if (why instanceof PipeworkError && !(why instanceof AmbiguousGuestError)) return { error: why }
    throw why
  }
}

/** Whether a record belongs to the named guest. */
export function matchesGuest(guest: LinkRecord['guest'], { guestName, resolved }: ResolvedTarget): boolean {
  const { kind, name } = guestName
  if (resolved.guest !== undefined)
    return (
      guest.kind === resolved.guest.kind &&
      guest.name === resolved.guest.name &&
      // An earlier process with the same PID is another guest.
      (guest.kind !== 'pid' || guest.id === resolved.guest.id)
    )
  if (kind !== undefined ? kind !== guest.kind : guest.kind === 'netns' || guest.kind === 'pid') return false
  // The record has twelve digits of the id: a full id starts with them, and they start with a typed prefix.
  const { id } = guest
  return guest.name === name || (id !== undefined && name.length >= 4 && (name.startsWith(id) || id.startsWith(name)))
}

/** What to detach from a guest: everything, or a selection. */
export interface DetachTarget {
  readonly guestName: GuestName
  /** Only these interfaces. */
  readonly ifnames?: readonly string[]
  /** Only attachments from one of these files. */
  readonly files?: readonly string[]
  /** Attachments of other guests that a dry run has already removed. */
  readonly gone?: readonly ExistingAttachment[]
}

export interface ResolvedTarget extends DetachTarget {
  readonly resolved: ResolvedGuest
}

function isTargeted({ record }: ExistingAttachment, { ifnames, files }: DetachTarget): boolean {
  if (files !== undefined && (record.file === undefined || !files.includes(record.file))) return false
  return ifnames === undefined || ifnames.includes(record.ifname)
}

/** The attachments to remove: those under the typed name, else those under the guest's other names. */
export function selectTargets(
  all: readonly ExistingAttachment[],
  asked: ResolvedTarget,
): readonly ExistingAttachment[] {
  const aimed = all.filter((it) => isTargeted(it, asked))
  const named = aimed.filter(({ record, hostEnd }) => hostEnd === undefined || matchesGuest(record.guest, asked))
  return named.length > 0 ? named : aimed
}

export interface GuestAttachments {
  readonly all: readonly ExistingAttachment[]
  readonly state?: GuestState
  readonly ovs?: OvsDatabase
}

/** Finds what pipework attached to the guest, with the current state of the guest. */
export async function findAttachments(asked: ResolvedTarget, system: System): Promise<GuestAttachments> {
  const { guest, pin } = asked.resolved.guest === undefined ? { guest: undefined, pin: undefined } : asked.resolved
  const [ovs, state] = await Promise.all([
    readOvsIfRunning(system),
    guest === undefined || pin === undefined
      ? undefined
      : readGuestState(pin.netns, system).then((it) => withNicRecords(it, pin.inode, system)),
  ])
  const dead = listDeadPorts(ovs).filter(({ record }) => matchesGuest(record.guest, asked))
  const all = readHostAttachments(system)
  const hostSide = all.filter(({ record }) => matchesGuest(record.guest, asked))
  const database = ovs === undefined ? {} : { ovs }
  if (pin === undefined || state === undefined) return { all: [...hostSide, ...dead], ...database }
  const withEnds = hostSide.map((attached) => {
    const inGuest = state.links.find((link) => areVethPeers(link, attached.hostEnd))
    return inGuest === undefined ? attached : { ...attached, inGuest }
  })
  const others = await findByOtherNames(
    all.filter((it) => !hostSide.includes(it)),
    { state, inode: pin.inode },
    system,
  )
  return { all: [...withEnds, ...others, ...listGuestAttachments(state), ...dead], state, ...database }
}

/** Attachments in this namespace under another name: of a container that shares the namespace, or by another engine. */
export async function findByOtherNames(
  hostSide: readonly ExistingAttachment[],
  { state, inode }: { readonly state: GuestState; readonly inode: number },
  system: System,
): Promise<readonly ExistingAttachment[]> {
  const here = hostSide.flatMap((attached) => {
    const inGuest = state.links.find((link) => areVethPeers(link, attached.hostEnd))
    return inGuest === undefined || attached.inGuest !== undefined ? [] : [{ ...attached, inGuest }]
  })
  const places = await mapConcurrently(here, MAX_CONCURRENT_READS, ({ record }) =>
    locateGuest(record.guest, inode, system),
  )
  return here.filter((_, index) => places[index] !== 'elsewhere')
}
