import { MAX_CONCURRENT_READS, mapConcurrently } from '../model/concurrency'
import { PipeworkError } from '../model/errors'
import { batchLine } from '../system/batch'
import type { HeldNetns, System } from '../system/types'
import { type GuestLink, type GuestState, readGuestState } from './guest'
import { type HostLink, readHostLink, readRecordedLinks } from './host-links'
import { withNicRecords } from './nic-device'
import {
  findOvsPort,
  guestOfOvsPort,
  ifnameOfOvsPort,
  isOvsRunning,
  type OvsBridge,
  type OvsDatabase,
  type OvsPort,
  readOvs,
} from './ovsdb'
import { type LinkRecord, ROUTE_PROTO } from './record'

/** An attachment that pipework made: its record, and the existing ends of its link. */
export interface ExistingAttachment {
  readonly record: LinkRecord
  /** The record as it is written on the link. */
  readonly alias: string
  /** The host end; a macvlan has none. */
  readonly hostEnd?: HostLink
  /** The link in the guest; absent when the guest has stopped or was restarted. */
  readonly inGuest?: GuestLink
  /** An Open vSwitch port without a device, when nothing else remains. */
  readonly deadPort?: OvsPort
}

/** The Open vSwitch ports and the bridge that a detach removes. */
export interface OvsRemoval {
  /** The port of the link. */
  readonly port?: OvsPort
  /** Ports of containers that no longer exist. */
  readonly deadPorts: readonly OvsPort[]
  /** A bridge that pipework created and that is unused afterwards. */
  readonly unusedBridge?: OvsBridge
  readonly isDaemonRunning: boolean
}

/** The attachments whose host end holds the record, read from sysfs. */
export function readHostAttachments(system: System): readonly (ExistingAttachment & { readonly hostEnd: HostLink })[] {
  return readRecordedLinks(system).flatMap((hostEnd) => {
    const { record, alias } = hostEnd
    return record?.kind === 'link' ? [{ record, alias: alias ?? '', hostEnd }] : []
  })
}

/** The attachments in a guest that have no host end. */
export function listGuestAttachments(state: GuestState | undefined): readonly ExistingAttachment[] {
  return (state?.links ?? []).flatMap((inGuest) => {
    const { record, alias, kind } = inGuest
    // A veth's record is on its host end; an alias on the guest's end is not ours, unless the veth was moved in as a
    // NIC.
    if (record?.kind !== 'link' || (kind === 'veth' && record.nic === undefined)) return []
    return [{ record, alias: alias ?? '', inGuest }]
  })
}

/** Rows in the Open vSwitch database whose container has stopped or was restarted. */
export function listDeadPorts(ovs: OvsDatabase | undefined): readonly ExistingAttachment[] {
  return (ovs?.ports ?? []).flatMap((deadPort) => {
    const guest = guestOfOvsPort(deadPort)
    if (deadPort.isAlive || guest === undefined) return []
    const { bridge: hostif } = deadPort
    const record = { guest, ifname: ifnameOfOvsPort(deadPort), hostif, addresses: [], words: [], previous: [] }
    return [{ record: { kind: 'link', ...record } as const, alias: '', deadPort }]
  })
}

/** The Open vSwitch database if Open vSwitch runs; else it holds nothing of ours. */
export async function readOvsIfRunning(system: System): Promise<OvsDatabase | undefined> {
  if (!system.isRoot || !isOvsRunning(system)) return undefined
  const ovs = await readOvs(system)
  return ovs.kind === 'database' ? ovs : undefined
}

/** The Open vSwitch rows of an attachment; `gone` are those that a dry run has removed before. */
export async function findOvsRemoval(
  { hostEnd, deadPort }: Pick<ExistingAttachment, 'hostEnd' | 'deadPort'>,
  { ovs, gone }: { readonly ovs: OvsDatabase | undefined; readonly gone: readonly ExistingAttachment[] },
  system: System,
): Promise<OvsRemoval | undefined> {
  const port = deadPort ?? findOvsPort(ovs, hostEnd?.name)
  if (ovs === undefined || port === undefined) return undefined
  const onBridge = ovs.ports.filter(({ name, bridge }) => bridge === port.bridge && name !== port.name)
  const dead = onBridge.filter(({ isAlive }) => !isAlive)
  const isGone = (name: string) => name === port.bridge || gone.some((it) => it.hostEnd?.name === name)
  const isUsed =
    onBridge.some(({ name, isAlive }) => isAlive && !isGone(name)) ||
    ovs.fakeBridges.some(({ parent }) => parent === port.bridge) ||
    (readHostLink(port.bridge, system) !== undefined && (await hasGlobalAddress(port.bridge, system)))
  const unused = isUsed ? undefined : ovs.bridges.find(({ name, isOwned }) => name === port.bridge && isOwned)
  return { port, deadPorts: dead, isDaemonRunning: ovs.isVswitchdRunning, unusedBridge: unused }
}

/** Whether the link has an address that pipework did not add; true when that cannot be determined. */
export async function hasGlobalAddress(name: string, system: System): Promise<boolean> {
  const { code, stdout } = await system.runIpBatch({
    lines: [batchLine`addr show dev ${name} scope global`],
    output: 'text',
  })
  return code !== 0 || new RegExp(`^\\s*inet6? \\S+ (?!metric ${ROUTE_PROTO} )`, 'm').test(stdout)
}

/** The files of all network namespaces but our own, one each: those of processes, and named ones. */
function listNamespaces(system: System): readonly { readonly path: string; readonly pid?: string }[] {
  const seen = new Set([system.inode('/proc/self/ns/net')])
  const pids = (system.list('/proc') ?? []).filter((name) => /^\d+$/.test(name))
  const names = (system.list('/run/netns') ?? []).filter((name) => !name.startsWith('pipework-'))
  const all = [
    ...pids.map((pid) => ({ path: `/proc/${pid}/ns/net`, pid })),
    ...names.map((name) => ({ path: `/run/netns/${name}` })),
  ]
  return all.filter(({ path }) => {
    const inode = system.inode(path)
    if (inode === undefined || seen.has(inode)) return false
    seen.add(inode)
    return true
  })
}

/** Whether the host's own /proc shows only `lo` in the namespace. The guest cannot change this file. */
function hasOnlyLoopback(pid: string | undefined, system: System): boolean {
  const text = pid === undefined ? undefined : system.read(`/proc/${pid}/net/dev`)
  const names = [...(text ?? '').matchAll(/^\s*(\S+?):/gm)].map(([, name]) => name)
  return names.length > 0 && names.every((name) => name === 'lo')
}

/** The contents of the other namespaces of this host. */
export interface NamespaceScan {
  readonly states: readonly GuestState[]
  /** Set when some of them could not be read. */
  readonly error?: PipeworkError
}

/** Errors of a namespace that ended meanwhile, or of a file that is no namespace. */
const GONE = ['ENOENT', 'ESRCH', 'EINVAL']

/** The links and routes in a namespace; undefined when it is gone. */
async function readNamespace(path: string, system: System): Promise<GuestState | undefined> {
  let held: HeldNetns
  try {
    held = system.holdNetns(path)
  } catch (error) {
    if (GONE.includes((error as { readonly code?: string }).code ?? '')) return undefined
    throw error
  }
  const state = await readGuestState(held.netns, system).finally(() => held.release())
  return withNicRecords(state, held.inode, system)
}

function incompleteScanError(count: number, cause: unknown): PipeworkError {
  return new PipeworkError(`could not look into ${count} network namespace${count === 1 ? '' : 's'} of this host`, {
    hint: cause instanceof Error ? cause.message : String(cause),
    cause,
  })
}

/** Reads all other namespaces, a few at a time. Without root, reads none. */
export async function scanNamespaces(system: System): Promise<NamespaceScan> {
  if (!system.isRoot) return { states: [] }
  const errors: unknown[] = []
  const namespaces = listNamespaces(system).filter(({ pid }) => !hasOnlyLoopback(pid, system))
  const found = await mapConcurrently(namespaces, MAX_CONCURRENT_READS, async ({ path }) => {
    try {
      // An error that occurs everywhere, like a hanging `ip`, is not repeated for every namespace.
      if (errors.length < MAX_CONCURRENT_READS) return await readNamespace(path, system)
    } catch (error) {
      errors.push(error)
    }
    return 'unknown'
  })
  const unknown = found.filter((state) => state === 'unknown').length
  return {
    states: found.filter((state) => state !== undefined && state !== 'unknown'),
    error: unknown === 0 ? undefined : incompleteScanError(unknown, errors[0]),
  }
}

/**
 * The contents of all other namespaces, for decisions that must know every link.
 * @throws PipeworkError when some could not be read.
 */
export async function readOtherNamespaces(system: System): Promise<readonly GuestState[]> {
  const { states, error } = await scanNamespaces(system)
  if (error !== undefined) throw error
  return states
}

/** The visible attachments on this host, and an error when some namespaces could not be read. */
export interface AttachmentScan {
  readonly attachments: readonly ExistingAttachment[]
  readonly error?: PipeworkError
}

/** Every visible attachment on this host. Without root, those with a host end. */
export async function scanAttachments(system: System): Promise<AttachmentScan> {
  const { states, error } = await scanNamespaces(system)
  return { attachments: [...readHostAttachments(system), ...states.flatMap(listGuestAttachments)], error }
}

/**
 * Every attachment on this host. Without root, those with a host end.
 * @throws PipeworkError when some namespaces could not be read.
 */
export async function readAttachments(system: System): Promise<readonly ExistingAttachment[]> {
  const { attachments, error } = await scanAttachments(system)
  if (error !== undefined) throw error
  return attachments
}
