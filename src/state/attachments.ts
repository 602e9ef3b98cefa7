import { batchLine } from '../system/batch'
import type { System } from '../system/types'
import { type GuestLink, type GuestState, readGuestState } from './guest'
import { type HostLink, readHostLink, readRecordedLinks } from './host-links'
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

/** An attachment that pipework made: its record, and the ends of its link that are there. */
export interface ExistingAttachment {
  readonly record: LinkRecord
  /** The record as it stands on the link. */
  readonly alias: string
  /** The end in the host; a macvlan has none. */
  readonly hostEnd?: HostLink
  /** The link in the guest; absent when the guest is gone or is not the one it was. */
  readonly inGuest?: GuestLink
  /** All that is left of it: a port of Open vSwitch without a device. */
  readonly deadPort?: OvsPort
}

/** The ports and the bridge of Open vSwitch that a detach removes. */
export interface OvsRemoval {
  /** The port of the link. */
  readonly port?: OvsPort
  /** Ports of containers that are gone. */
  readonly deadPorts: readonly OvsPort[]
  /** A bridge that pipework made and that is unused after this. */
  readonly unusedBridge?: OvsBridge
  readonly isDaemonRunning: boolean
}

/** The attachments with an end in the host, where their record is: a few reads of sysfs. */
export function readHostAttachments(system: System): readonly (ExistingAttachment & { readonly hostEnd: HostLink })[] {
  return readRecordedLinks(system).flatMap((hostEnd) => {
    const { record, alias } = hostEnd
    return record?.kind === 'link' && alias !== undefined ? [{ record, alias, hostEnd }] : []
  })
}

/** The attachments in a guest that have no end in the host. */
export function listGuestAttachments(state: GuestState | undefined): readonly ExistingAttachment[] {
  return (state?.links ?? []).flatMap((inGuest) => {
    const { record, alias, kind } = inGuest
    // A veth's record is on its host end; whatever stands on the guest's is not ours, unless it was moved in as a NIC.
    if (record?.kind !== 'link' || alias === undefined || (kind === 'veth' && record.nic === undefined)) return []
    return [{ record, alias, inGuest }]
  })
}

/** What is left in the database of Open vSwitch of attachments whose container is gone, or was started again. */
export function listDeadPorts(ovs: OvsDatabase | undefined): readonly ExistingAttachment[] {
  return (ovs?.ports ?? []).flatMap((deadPort) => {
    const guest = guestOfOvsPort(deadPort)
    if (deadPort.isAlive || guest === undefined) return []
    const { bridge: hostif } = deadPort
    const record = { guest, ifname: ifnameOfOvsPort(deadPort), hostif, addresses: [], words: [], previous: [] }
    return [{ record: { kind: 'link', ...record } as const, alias: '', deadPort }]
  })
}

/** Open vSwitch's database where there is one: nothing of ours is in it else. */
export async function readOvsIfRunning(system: System): Promise<OvsDatabase | undefined> {
  if (!system.isRoot || !isOvsRunning(system)) return undefined
  const ovs = await readOvs(system)
  return ovs.kind === 'database' ? ovs : undefined
}

/** What an attachment is to Open vSwitch; `gone` are those that a dry run has taken away before. */
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

/** Whether the link has an address that somebody gave it, and not we; taken to be so when that cannot be told. */
export async function hasGlobalAddress(name: string, system: System): Promise<boolean> {
  const { code, stdout } = await system.runIpBatch({
    lines: [batchLine`addr show dev ${name} scope global`],
    output: 'text',
  })
  return code !== 0 || new RegExp(`^\\s*inet6? \\S+ (?!metric ${ROUTE_PROTO} )`, 'm').test(stdout)
}

/** The files of all network namespaces but our own, one for each: those of processes, and those with a name. */
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

/**
 * False where the namespace's own /sys shows that no link in it has a record: that saves asking the kernel. What stands
 * there is the choice of whoever started the process: it may be nothing of sysfs, or that of another namespace.
 */
function mayHaveRecords(pid: string | undefined, system: System): boolean {
  const there = [...(system.read(`/proc/${pid}/net/dev`) ?? '').matchAll(/^\s*(\S+):/gm)].map(([, name = '']) => name)
  if (pid === undefined || there.length === 0) return true
  const readAlias = (name: string) => system.readSysfs(`/proc/${pid}/root/sys/class/net/${name}/ifalias`)
  return there.some((name) => name !== 'lo' && (readAlias(name)?.startsWith('pipework') ?? true))
}

/** From so many namespaces on it is quicker to find out first which hold nothing. */
const PROBE_THRESHOLD = 4

/** Looks into all other namespaces, or those that may hold attachments without an end in the host. Needs root. */
export async function readOtherNamespaces(system: System, which: 'all' | 'holding'): Promise<readonly GuestState[]> {
  if (!system.isRoot) return []
  const wanted = listNamespaces(system).filter(({ pid }) => which === 'all' || mayHaveRecords(pid, system))
  const paths = wanted.map(({ path }) => path)
  const skipped =
    which === 'all' || paths.length < PROBE_THRESHOLD
      ? []
      : await (await import('./peek')).listUnattachedNetns(paths, system)
  const states = await Promise.all(
    paths
      .filter((path) => !skipped.includes(path))
      .map(async (path) => {
        try {
          const pin = system.holdNetns(path)
          return await readGuestState(pin.netns, system).finally(() => pin.release())
        } catch {
          return undefined // its last process ended in between
        }
      }),
  )
  return states.filter((state) => state !== undefined)
}

/** Every attachment on this host. Without root, those with an end in the host. */
export async function readAttachments(system: System): Promise<readonly ExistingAttachment[]> {
  const looking = readOtherNamespaces(system, 'holding')
  // What is read of the host's side would keep the first program from its start.
  const [states, own] = await Promise.all([looking, system.sleep(0).then(() => readHostAttachments(system))])
  return [...own, ...states.flatMap(listGuestAttachments)]
}
