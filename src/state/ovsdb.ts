import type { RunCommand } from '../plan/step'
import type { System } from '../system/types'
import type { HostLink } from './host-links'
import type { LinkRecord } from './record'

/** A port of an Open vSwitch bridge: what its rows in the database say. */
export interface OvsPort {
  readonly name: string
  readonly bridge: string
  readonly tag?: number
  readonly trunks: readonly number[]
  readonly vlanMode?: string
  /** Whether it goes when Open vSwitch starts anew. */
  readonly transient: boolean
  /** The external-ids of its interface. */
  readonly externalIds: Readonly<Record<string, string>>
  /** False when pipework made it and its device is gone: with its container, or while that was started again. */
  readonly isAlive: boolean
}

export interface OvsBridge {
  readonly name: string
  /** `netdev`, or `system` or nothing for the kernel's datapath. */
  readonly datapath: string
  /** Whether pipework made it. */
  readonly isOwned: boolean
}

/** What the database holds, and whether somebody acts on it. */
export interface OvsDatabase {
  readonly kind: 'database'
  readonly bridges: readonly OvsBridge[]
  readonly ports: readonly OvsPort[]
  /** Names that stand for one VLAN of a bridge, by `ovs-vsctl add-br NAME PARENT VLAN`. */
  readonly fakeBridges: readonly { readonly name: string; readonly parent: string; readonly tag?: number }[]
  /** Whether ovs-vswitchd runs, as far as files tell. */
  readonly isVswitchdRunning: boolean
  /** Whether the kernel can forward by itself. */
  readonly hasKernelDatapath: boolean
}

/** Open vSwitch, or why it cannot be asked. */
export type OvsState = OvsDatabase | { readonly kind: 'silent'; readonly message: string; readonly hint: string }

/** The key among a bridge's external-ids that says who made it, and its value for us. */
export const OVS_OWNER_ID = { key: 'pipework', value: 'made' } as const

/** Seconds to wait for an answer out of the database: ovsdb-server gives it within a hundredth. */
const READ_TIMEOUT = 2
/** Seconds until ovs-vswitchd must have carried out a change: it takes a few hundredths. */
const CHANGE_TIMEOUT = 5
const UNDO_TIMEOUT = 2

/** Where ovsdb-server listens, unless OVS_RUNDIR says where: ovs-vsctl knows the one that it was built for. */
const RUN_DIRS = ['/var/run/openvswitch', '/usr/local/var/run/openvswitch']

/** What `ovs-vsctl --format=json list` prints: sets, maps and uuids are pairs that begin with their kind. */
type OvsdbCell = string | number | boolean | readonly [string, unknown]
type OvsdbRow = Readonly<Record<string, OvsdbCell>>

function parseTable(table: string): readonly OvsdbRow[] {
  const { data, headings } = JSON.parse(table) as {
    data: readonly (readonly OvsdbCell[])[]
    headings: readonly string[]
  }
  return data.map((cells) => Object.fromEntries(headings.map((heading, index) => [heading, cells[index] ?? ''])))
}

/** A set; one of a single member stands there without being called so. */
function toSet(cell: OvsdbCell | undefined): readonly OvsdbCell[] {
  if (cell === undefined) return []
  return Array.isArray(cell) && cell[0] === 'set' ? (cell[1] as OvsdbCell[]) : [cell]
}

function toMap(cell: OvsdbCell | undefined): Readonly<Record<string, string>> {
  return Array.isArray(cell) && cell[0] === 'map' ? Object.fromEntries(cell[1] as [string, string][]) : {}
}

const toUuid = (cell: OvsdbCell | undefined) => (Array.isArray(cell) ? String(cell[1]) : String(cell))

/** The three tables as ovs-vsctl prints them, one a line; `exists` tells which devices are there. */
export function parseOvsTables(
  stdout: string,
  exists: (device: string) => boolean,
): Pick<OvsDatabase, 'bridges' | 'ports' | 'fakeBridges'> {
  const [bridges = [], ports = [], interfaces = []] = stdout.split('\n').filter(Boolean).map(parseTable)
  const bridgeOf = new Map(bridges.flatMap((row) => toSet(row.ports).map((port) => [toUuid(port), String(row.name)])))
  const idsOf = new Map(interfaces.map((row) => [String(row.name), toMap(row.external_ids)]))
  const all = ports.map((row) => {
    const name = String(row.name)
    const [tag] = toSet(row.tag)
    const [vlanMode] = toSet(row.vlan_mode)
    const ids = idsOf.get(name) ?? {}
    return {
      ...{ name, externalIds: ids, bridge: bridgeOf.get(toUuid(row._uuid)) ?? '', isFake: row.fake_bridge === true },
      tag: tag === undefined ? undefined : Number(tag),
      vlanMode: vlanMode === undefined ? undefined : String(vlanMode),
      trunks: toSet(row.trunks).map(Number),
      transient: toMap(row.other_config).transient === 'true',
      // Without the bridge's own device it is not this host's, or mute: then nothing can be told.
      isAlive:
        ids['pipework.interface'] === undefined || exists(name) || !exists(bridgeOf.get(toUuid(row._uuid)) ?? ''),
    }
  })
  return {
    bridges: bridges.map((row) => ({
      name: String(row.name),
      datapath: String(row.datapath_type),
      isOwned: toMap(row.external_ids)[OVS_OWNER_ID.key] === OVS_OWNER_ID.value,
    })),
    ports: all.filter(({ isFake }) => !isFake).map(({ isFake: _, ...port }) => port),
    fakeBridges: all.filter(({ isFake }) => isFake).map(({ name, bridge, tag }) => ({ name, parent: bridge, tag })),
  }
}

/** The directory with the sockets of an Open vSwitch that runs. */
function findRunDir(system: System): string | undefined {
  const { OVS_RUNDIR } = system.env
  return (OVS_RUNDIR ? [OVS_RUNDIR] : RUN_DIRS).find((dir) => system.inode(`${dir}/db.sock`) !== undefined)
}

/** In order it takes its files away when it ends; killed, it leaves the number of a process that is gone. */
function readVswitchdRunning(system: System): boolean {
  const dir = findRunDir(system)
  if (dir === undefined) return false
  const pid = system.read(`${dir}/ovs-vswitchd.pid`)
  if (pid !== undefined) return system.read(`/proc/${pid}/stat`) !== undefined
  return system.list(dir)?.some((name) => /^ovs-vswitchd.*\.ctl$/.test(name)) ?? false
}

/** A module, or built in: then it shows when it has been used, or in the kernel's own list. */
function readKernelDatapath(system: System): boolean {
  if (system.inode('/sys/module/openvswitch') !== undefined || system.inode('/sys/class/net/ovs-system') !== undefined)
    return true
  const release = system.read('/proc/sys/kernel/osrelease')
  return /\/openvswitch\.ko$/m.test(system.read(`/lib/modules/${release}/modules.builtin`) ?? '')
}

const START_HINT = 'Start it: systemctl start openvswitch-switch'
const NOT_RUNNING: OvsState = { kind: 'silent', message: 'Open vSwitch does not run', hint: START_HINT }

/** Whether an Open vSwitch runs here, as far as files tell. */
export function isOvsRunning(system: System): boolean {
  return system.hasProgram('ovs-vsctl') && findRunDir(system) !== undefined
}

const COLUMNS = {
  Bridge: 'name,datapath_type,external_ids,ports',
  Port: '_uuid,name,tag,trunks,vlan_mode,fake_bridge,other_config',
  Interface: 'name,external_ids',
} as const

/** Asks the database, in one process. Answers why when that fails. */
export async function readOvs(system: System): Promise<OvsState> {
  if (!system.hasProgram('ovs-vsctl'))
    return {
      ...{ kind: 'silent', message: 'Open vSwitch is not installed' },
      hint: 'Install it: apt install openvswitch-switch',
    }
  const tables = Object.entries(COLUMNS).flatMap(([table, columns]) => ['--', `--columns=${columns}`, 'list', table])
  const { code, stdout, stderr } = await system.run([
    'ovs-vsctl',
    `--timeout=${READ_TIMEOUT}`,
    '--format=json',
    ...tables,
  ])
  if (code !== 0) {
    const said =
      stderr
        .trim()
        .split('\n')
        .at(-1)
        ?.replace(/^.*(?:ovs-vsctl: |WARN\|)/, '') ?? ''
    return {
      kind: 'silent',
      message: `Open vSwitch does not answer: ${said}`,
      hint: START_HINT,
    }
  }
  return {
    kind: 'database',
    ...parseOvsTables(stdout, (name) => system.inode(`/sys/class/net/${name}`) !== undefined),
    isVswitchdRunning: readVswitchdRunning(system),
    hasKernelDatapath: readKernelDatapath(system),
  }
}

/**
 * What an attach or detach must know of Open vSwitch, if anything. Others do not wait for it: a Linux bridge, a NIC with
 * hardware behind it, and whatever cannot be one of its bridges.
 */
export async function readOvsIfRelevant(
  name: string,
  link: HostLink | undefined,
  system: System,
): Promise<OvsState | undefined> {
  const isOther =
    link !== undefined && (link.kind !== 'other' || system.inode(`/sys/class/net/${name}/device`) !== undefined)
  if (isOther) return undefined
  const isNamedSo = name.startsWith('ovs') && (link === undefined || system.hasProgram('ovs-vsctl'))
  if (isNamedSo || isOvsRunning(system)) return readOvs(system)
  // Said when nothing else knows the name.
  return link === undefined && system.hasProgram('ovs-vsctl') ? NOT_RUNNING : undefined
}

/** Whether a host interface of that name is a bridge of Open vSwitch, or to be made one. */
export function isOvsBridge(name: string, link: HostLink | undefined, ovs: OvsState | undefined): boolean {
  if (ovs === undefined || link?.kind === 'bridge') return false
  if (ovs.kind === 'database' && [...ovs.bridges, ...ovs.fakeBridges].some((it) => it.name === name)) return true
  // A link that is there and is called so may be its bridge, if only the database could be read.
  return name.startsWith('ovs') && (link === undefined || ovs.kind === 'silent')
}

/** The port of that name. */
export function findOvsPort(ovs: OvsState | undefined, name: string | undefined): OvsPort | undefined {
  return ovs?.kind === 'database' ? ovs.ports.find((port) => port.name === name) : undefined
}

/** The master, in sysfs, of every port of the kernel's datapath. */
export const OVS_SYSTEM = 'ovs-system'

/** Whether a host end of ours may be a port of Open vSwitch: the kernel's has its own master, the other's none. */
export function mayBeOvsPort({ master }: HostLink): boolean {
  return master === undefined || master === OVS_SYSTEM
}

/** For whom a port was made, from what the row says: ours, or the original's. */
export function guestOfOvsPort({ externalIds }: OvsPort): LinkRecord['guest'] | undefined {
  const id = externalIds['pipework.containerid']
  const [kind, ...name] = (externalIds['pipework.guest'] ?? '').split(':')
  if (kind !== undefined && name.length > 0)
    return { kind, name: name.join(':'), id: id === undefined ? undefined : id.slice(0, 12) }
  const container = externalIds['pipework.containername']?.replace(/^\//, '')
  return container === undefined
    ? undefined
    : { kind: 'docker', name: container, id: id === undefined ? undefined : id.slice(0, 12) }
}

/** The interface's name in the guest; the original has it in the name of the host end. */
export function ifnameOfOvsPort({ name, externalIds }: OvsPort): string {
  return externalIds['pipework.ifname'] ?? /^v(.+)pl\d+$/.exec(name)?.[1] ?? name
}

/** One command line of `ovs-vsctl`, that is one transaction: sub-commands, each a list of words. */
export function ovsVsctl(...commands: readonly (readonly string[])[]): RunCommand {
  return toVsctlCommand(CHANGE_TIMEOUT, commands)
}

/** The same to take a change back: when ovs-vswitchd hangs, that has been waited for already. */
export function ovsVsctlUndo(...commands: readonly (readonly string[])[]): RunCommand {
  return toVsctlCommand(UNDO_TIMEOUT, commands)
}

function toVsctlCommand(limit: number, commands: readonly (readonly string[])[]): RunCommand {
  const argv = ['ovs-vsctl', `--timeout=${limit}`, ...commands.flatMap((words) => ['--', ...words])]
  return { kind: 'run', in: 'host', argv }
}

/** The same without waiting until ovs-vswitchd has carried it out: it does not run. */
export function withNoWait({ argv: [program = '', ...words], ...command }: RunCommand): RunCommand {
  return { ...command, argv: [program, '--no-wait', ...words] }
}

/** Takes away a bridge that we made and that has no ports: somebody may have come while we were at work. */
export function removeOvsBridge(name: string): RunCommand {
  const probe = [
    'ovs-vsctl',
    `--timeout=${READ_TIMEOUT}`,
    'list-ports',
    name,
    '--',
    'br-get-external-id',
    name,
    OVS_OWNER_ID.key,
  ]
  return { ...ovsVsctlUndo(['--if-exists', 'del-br', name]), onlyIf: { argv: probe, equals: OVS_OWNER_ID.value } }
}

/** The words that give a port and its interface what they shall have, after `add-port` or to replace what they had. */
export function toOvsPortArgs(port: OvsPort): readonly (readonly string[])[] {
  const { name, tag, trunks, vlanMode, transient, externalIds } = port
  const values = [
    ...(tag === undefined ? [] : [`tag=${tag}`]),
    ...(trunks.length === 0 ? [] : [`trunks=${trunks.join(',')}`]),
    ...(vlanMode === undefined ? [] : [`vlan_mode=${vlanMode}`]),
    ...(transient ? ['other_config:transient=true'] : []),
  ]
  const pairs = Object.entries(externalIds).map(([key, value]) => `external-ids:${quoteAtom(key)}=${quoteAtom(value)}`)
  return [
    ...(values.length === 0 ? [] : [['set', 'Port', name, ...values]]),
    ...(pairs.length === 0 ? [] : [['set', 'Interface', name, ...pairs]]),
  ]
}

/** A text as ovs-vsctl reads it: what others have written may begin or go on like something else. */
function quoteAtom(text: string): string {
  return /^[\w.@+/][\w.@+/:,-]*$/.test(text) ? text : JSON.stringify(text)
}
