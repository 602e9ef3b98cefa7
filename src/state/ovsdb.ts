import type { RunCommand } from '../plan/step'
import type { System } from '../system/types'
import type { HostLink } from './host-links'
import type { LinkRecord } from './record'

/** A port of an Open vSwitch bridge, from its rows in the database. */
export interface OvsPort {
  readonly name: string
  readonly bridge: string
  readonly tag?: number
  readonly trunks: readonly number[]
  readonly vlanMode?: string
  /** Whether Open vSwitch removes it when it restarts. */
  readonly transient: boolean
  /** The external-ids of its interface. */
  readonly externalIds: Readonly<Record<string, string>>
  /** False when pipework made it and its device is gone: its container stopped or was restarted. */
  readonly isAlive: boolean
}

export interface OvsBridge {
  readonly name: string
  /** `netdev`; `system` or empty for the kernel datapath. */
  readonly datapath: string
  /** Whether pipework made it. */
  readonly isOwned: boolean
}

/** The content of the database, and whether ovs-vswitchd applies it. */
export interface OvsDatabase {
  readonly kind: 'database'
  readonly bridges: readonly OvsBridge[]
  readonly ports: readonly OvsPort[]
  /** Bridges that are one VLAN of a parent: `ovs-vsctl add-br NAME PARENT VLAN`. */
  readonly fakeBridges: readonly { readonly name: string; readonly parent: string; readonly tag?: number }[]
  /** Whether ovs-vswitchd runs, according to its files. */
  readonly isVswitchdRunning: boolean
  /** Whether the kernel can forward for Open vSwitch. */
  readonly hasKernelDatapath: boolean
}

/** The database, or why it cannot be read. */
export type OvsState = OvsDatabase | { readonly kind: 'silent'; readonly message: string; readonly hint: string }

/** The external-id that marks a bridge as created by pipework. */
export const OVS_OWNER_ID = { key: 'pipework', value: 'made' } as const

/** Seconds to wait for the database. */
const READ_TIMEOUT = 2
/** Seconds to wait until ovs-vswitchd has applied a change. */
const CHANGE_TIMEOUT = 5
const UNDO_TIMEOUT = 2

/** Where ovsdb-server listens unless OVS_RUNDIR is set; the default depends on the build. */
const RUN_DIRS = ['/var/run/openvswitch', '/usr/local/var/run/openvswitch']

/** A cell of `ovs-vsctl --format=json list`: sets, maps and uuids are pairs that start with their kind. */
type OvsdbCell = string | number | boolean | readonly [string, unknown]
type OvsdbRow = Readonly<Record<string, OvsdbCell>>

function parseTable(table: string): readonly OvsdbRow[] {
  const { data, headings } = JSON.parse(table) as {
    data: readonly (readonly OvsdbCell[])[]
    headings: readonly string[]
  }
  return data.map((cells) => Object.fromEntries(headings.map((heading, index) => [heading, cells[index] ?? ''])))
}

/** Parses a set; a set of one member is printed as the member itself. */
function toSet(cell: OvsdbCell | undefined): readonly OvsdbCell[] {
  if (cell === undefined) return []
  return Array.isArray(cell) && cell[0] === 'set' ? (cell[1] as OvsdbCell[]) : [cell]
}

function toMap(cell: OvsdbCell | undefined): Readonly<Record<string, string>> {
  return Array.isArray(cell) && cell[0] === 'map' ? Object.fromEntries(cell[1] as [string, string][]) : {}
}

const toUuid = (cell: OvsdbCell | undefined) => (Array.isArray(cell) ? String(cell[1]) : String(cell))

/** Parses the three tables, one per line, as ovs-vsctl prints them; `exists` says which devices exist. */
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
      // Without the bridge's own device, the bridge is not on this host or not working: its ports count as alive.
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

/** The directory with the sockets of a running Open vSwitch. */
function findRunDir(system: System): string | undefined {
  const { OVS_RUNDIR } = system.env
  return (OVS_RUNDIR ? [OVS_RUNDIR] : RUN_DIRS).find((dir) => system.inode(`${dir}/db.sock`) !== undefined)
}

/** ovs-vswitchd removes its files when it exits; when killed, it leaves the PID of a process that is gone. */
function readVswitchdRunning(system: System): boolean {
  const dir = findRunDir(system)
  if (dir === undefined) return false
  const pid = system.read(`${dir}/ovs-vswitchd.pid`)
  if (pid !== undefined) return system.read(`/proc/${pid}/stat`) !== undefined
  return system.list(dir)?.some((name) => /^ovs-vswitchd.*\.ctl$/.test(name)) ?? false
}

/** The datapath is a module or built in; a built-in one shows after its first use, or in the kernel's own list. */
function readKernelDatapath(system: System): boolean {
  if (system.inode('/sys/module/openvswitch') !== undefined || system.inode('/sys/class/net/ovs-system') !== undefined)
    return true
  const release = system.read('/proc/sys/kernel/osrelease')
  return /\/openvswitch\.ko$/m.test(system.read(`/lib/modules/${release}/modules.builtin`) ?? '')
}

const START_HINT = 'Start it: systemctl start openvswitch-switch'
const NOT_RUNNING: OvsState = { kind: 'silent', message: 'Open vSwitch does not run', hint: START_HINT }

/** Whether Open vSwitch runs here, according to its files. */
export function isOvsRunning(system: System): boolean {
  return system.hasProgram('ovs-vsctl') && findRunDir(system) !== undefined
}

const COLUMNS = {
  Bridge: 'name,datapath_type,external_ids,ports',
  Port: '_uuid,name,tag,trunks,vlan_mode,fake_bridge,other_config',
  Interface: 'name,external_ids',
} as const

/** Reads the database with one process. Returns the reason when that fails. */
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
 * The Open vSwitch state when an attach or detach needs it. A Linux bridge, a hardware NIC, and any name that cannot be
 * one of its bridges do not wait for it.
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
  // Reported when nothing else knows the name.
  return link === undefined && system.hasProgram('ovs-vsctl') ? NOT_RUNNING : undefined
}

/** Whether a host interface of that name is an Open vSwitch bridge, or will be created as one. */
export function isOvsBridge(name: string, link: HostLink | undefined, ovs: OvsState | undefined): boolean {
  if (ovs === undefined || link?.kind === 'bridge') return false
  if (ovs.kind === 'database' && [...ovs.bridges, ...ovs.fakeBridges].some((it) => it.name === name)) return true
  // An existing link with such a name may be a bridge whose database cannot be read.
  return name.startsWith('ovs') && (link === undefined || ovs.kind === 'silent')
}

export function findOvsPort(ovs: OvsState | undefined, name: string | undefined): OvsPort | undefined {
  return ovs?.kind === 'database' ? ovs.ports.find((port) => port.name === name) : undefined
}

/** The master, in sysfs, of every port of the kernel datapath. */
export const OVS_SYSTEM = 'ovs-system'

/**
 * Whether a host end of ours may be an Open vSwitch port: a kernel port has its own master, a userspace port has none.
 */
export function mayBeOvsPort({ master }: HostLink): boolean {
  return master === undefined || master === OVS_SYSTEM
}

/** The guest of a port, from external-ids of pipework or of the original. */
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

/** The interface's name in the guest; the original puts it into the name of the host end. */
export function ifnameOfOvsPort({ name, externalIds }: OvsPort): string {
  return externalIds['pipework.ifname'] ?? /^v(.+)pl\d+$/.exec(name)?.[1] ?? name
}

/** One `ovs-vsctl` command line, which is one transaction: sub-commands, each a list of words. */
export function ovsVsctl(...commands: readonly (readonly string[])[]): RunCommand {
  return toVsctlCommand(CHANGE_TIMEOUT, commands)
}

/** The same for an undo: it does not wait again for a hanging ovs-vswitchd. */
export function ovsVsctlUndo(...commands: readonly (readonly string[])[]): RunCommand {
  return toVsctlCommand(UNDO_TIMEOUT, commands)
}

function toVsctlCommand(limit: number, commands: readonly (readonly string[])[]): RunCommand {
  const argv = ['ovs-vsctl', `--timeout=${limit}`, ...commands.flatMap((words) => ['--', ...words])]
  return { kind: 'run', in: 'host', argv }
}

/** The same without waiting for ovs-vswitchd, which is not running. */
export function withNoWait({ argv: [program = '', ...words], ...command }: RunCommand): RunCommand {
  return { ...command, argv: [program, '--no-wait', ...words] }
}

/** Removes a bridge of ours if it has no ports by then. */
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

/** The words that set the columns of a port and its interface, after `add-port` or as a replacement. */
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

/** Quotes a text for ovs-vsctl: values of other programs may look like other syntax. */
function quoteAtom(text: string): string {
  return /^[\w.@+/][\w.@+/:,-]*$/.test(text) ? text : JSON.stringify(text)
}
