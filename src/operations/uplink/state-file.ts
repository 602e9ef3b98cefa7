import {
  type JsonValue,
  parseChoice,
  parseCount,
  parseFlag,
  parseList,
  parseObject,
  parseOptional,
  parseText,
  readJsonFile,
} from '../../state/json-file'
import { configKeyOf, type LinkConfigItem, parseLinkConfigItem } from '../../state/link-config'
import { parseAddrGenMode, parseSavedLink, type SavedLink, STATE_VERSION } from '../../state/saved-link'
import type { System } from '../../system/types'

const STAGES = ['moving', 'pending', 'kept', 'detached', 'restored'] as const

/**
 * `moving`: pipework moves the NIC; `pending`: waits for the user's confirmation; `kept`: it is the uplink; `detached`:
 * the NIC has left the bridge; `restored`: the move was rolled back.
 */
export type UplinkStage = (typeof STAGES)[number]

/**
 * Everything that any process needs to restore a NIC and its bridge at any moment. pipework writes it before the first
 * change. Only root can write it: no guest or link can influence the host's configuration.
 */
export interface UplinkState {
  readonly bridge: string
  readonly nic: string
  /** Whether the NIC joins the bridge or leaves it. */
  readonly direction: 'attach' | 'detach'
  readonly stage: UplinkStage
  /** Seconds since boot at which the items were read. */
  readonly takenAt: number
  /** Seconds since boot after which an unfinished or unconfirmed move is rolled back. */
  readonly deadline?: number
  /** The process that runs the move. */
  readonly mover?: ProcessId
  /** The configuration that moves from one link to the other. */
  readonly items: readonly LinkConfigItem[]
  readonly nicBefore: SavedLink
  /** Absent when pipework created the bridge. */
  readonly bridgeBefore?: SavedLink
  /** The VLAN device that pipework created on this NIC. */
  readonly vlan?: { readonly nic: string; readonly id: number }
  /** The NIC, if it uses large receive offload: the kernel turns that off on bridge ports. */
  readonly lro: readonly string[]
  /** Configuration files that keep network managers away. */
  readonly files: readonly string[]
  /** Why it was rolled back. */
  readonly error?: string
  /** The state before this move, for a rollback. */
  readonly previous?: UplinkState
}

/** A process, safe from PID reuse. */
export interface ProcessId {
  readonly pid: number
  /** Clock ticks since boot: field 22 of /proc/PID/stat (proc(5)). */
  readonly startTime: string
}

const UPLINKS_DIR = '/run/pipework/uplinks'
const IFNAME = /^[^\s/"'#\\\p{Cc}]{1,15}$/u
const LABEL = /^[^\p{Cc}]*$/u
/** pipework only ever removes its own files there. */
const DROP_IN = /^\/run\/(NetworkManager\/conf\.d\/90-pipework-|systemd\/network\/0-pipework-)[^/\s\p{Cc}]+$/u

/** The state file of a bridge's uplink. */
export function uplinkStateFile(bridge: string): string {
  return `${UPLINKS_DIR}/${bridge}`
}

/** The bridges with a state file. */
export function listUplinkBridges(system: System): readonly string[] {
  return (system.list(UPLINKS_DIR) ?? []).filter((name) => IFNAME.test(name) && !name.endsWith('.new')).sort()
}

/**
 * Reads the state of a bridge's uplink; undefined when there is none.
 * @throws PipeworkError that names the file when it is damaged.
 */
export function readUplinkState(bridge: string, system: System): UplinkState | undefined {
  return readJsonFile(uplinkStateFile(bridge), system, parseUplinkState)
}

export function readUplinkStates(system: System): readonly UplinkState[] {
  return listUplinkBridges(system).flatMap((bridge) => readUplinkState(bridge, system) ?? [])
}

export function saveUplinkState(state: UplinkState, system: System): void {
  system.writeFile(uplinkStateFile(state.bridge), JSON.stringify({ version: STATE_VERSION, ...state }))
}

/** Keys of the bridge's own configuration from before the move. */
export function bridgeKeysOf({ bridgeBefore }: UplinkState): readonly string[] {
  return bridgeBefore?.items.map(configKeyOf) ?? []
}

/**
 * The state of a finished uplink. When the NIC was the uplink before (its device was recreated, or it was taken out by
 * hand), the state recorded by the first move still counts: `del` restores that one.
 */
export function toKeptState({ previous, deadline, mover, ...state }: UplinkState): UplinkState {
  const first = previous?.stage === 'kept' && previous.nic === state.nic ? previous : undefined
  const kept: UplinkState = { ...state, stage: state.direction === 'attach' ? 'kept' : 'detached' }
  if (first === undefined || state.direction === 'detach') return kept
  return {
    ...kept,
    nicBefore: first.nicBefore,
    bridgeBefore: first.bridgeBefore,
    vlan: state.vlan ?? first.vlan,
    lro: [...new Set([...first.lro, ...state.lro])],
    files: [...new Set([...first.files, ...state.files])],
  }
}

function parseUplinkState(json: JsonValue): UplinkState {
  const of = parseObject(json)
  return of('version').value === undefined ? parseStateBefore(json) : parseState(json)
}

function parseState(json: JsonValue): UplinkState {
  const of = parseObject(json)
  return {
    ...parseCommon(json),
    direction: parseChoice(of('direction'), ['attach', 'detach'] as const),
    stage: parseChoice(of('stage'), STAGES),
    mover: parseOptional(of('mover'), parseProcessId),
    items: parseList(of('items'), parseLinkConfigItem),
    nicBefore: parseSavedLink(of('nicBefore')),
    bridgeBefore: parseOptional(of('bridgeBefore'), parseSavedLink),
    error: parseOptional(of('error'), (it) => parseText(it, LABEL)),
    previous: parseOptional(of('previous'), parseState),
  }
}

/** The fields common to both file formats. */
function parseCommon(
  json: JsonValue,
): Pick<UplinkState, 'bridge' | 'nic' | 'takenAt' | 'deadline' | 'vlan' | 'lro' | 'files'> {
  const of = parseObject(json)
  return {
    bridge: parseText(of('bridge'), IFNAME),
    nic: parseText(of('nic'), IFNAME),
    takenAt: parseCount(of('takenAt')),
    deadline: parseOptional(of('deadline'), parseCount),
    vlan: parseOptional(of('vlan'), parseVlanDevice),
    lro: parseList(of('lro'), (name) => parseText(name, IFNAME)),
    files: parseList(of('files'), (path) => parseText(path, DROP_IN)),
  }
}

function parseProcessId(json: JsonValue): ProcessId {
  const of = parseObject(json)
  return { pid: parseCount(of('pid')), startTime: parseText(of('startTime'), /^\d+$/) }
}

function parseVlanDevice(json: JsonValue): NonNullable<UplinkState['vlan']> {
  const of = parseObject(json)
  return { nic: parseText(of('nic'), IFNAME), id: parseCount(of('id')) }
}

/** Parses a file of the previous version. */
function parseStateBefore(json: JsonValue): UplinkState {
  const of = parseObject(json)
  const common = parseCommon(json)
  const stage = parseChoice(of('stage'), ['moving', 'pending', 'kept', 'left', 'restored'] as const)
  const items = parseList(of('holdings'), parseLinkConfigItem)
  const bridgeItems = parseList(of('bridgeHad'), (key) => toItemOfKey(parseText(key, LABEL)))
  return {
    ...common,
    direction: parseChoice(of('way'), ['in', 'out'] as const) === 'in' ? 'attach' : 'detach',
    stage: stage === 'left' ? 'detached' : stage,
    items,
    nicBefore: parseLinkBefore(of('nicWas'), { name: common.nic, items, takenAt: common.takenAt }),
    bridgeBefore: parseOptional(of('bridgeWas'), (it) =>
      parseLinkBefore(it, { name: common.bridge, items: bridgeItems, takenAt: common.takenAt }),
    ),
    error: parseOptional(of('why'), (it) => parseText(it, LABEL)),
  }
}

function parseLinkBefore(json: JsonValue, known: Pick<SavedLink, 'name' | 'items' | 'takenAt'>): SavedLink {
  const of = parseObject(json)
  return {
    ...known,
    up: parseFlag(of('up')),
    mtu: parseCount(of('mtu')),
    mac: parseText(of('mac'), /^[\da-f:]*$/i),
    altnames: [],
    addrGenMode: parseAddrGenMode(of('genmode')),
    sysctls: [],
  }
}

/** The previous version saved only the keys of the bridge's configuration. */
function toItemOfKey(key: string): LinkConfigItem {
  const [kind, family, ...del] = key.split(' ')
  const gateway = /^announced by (.+)$/.exec(del.join(' '))?.[1]
  return {
    kind: kind === 'route' || kind === 'neighbour' || kind === 'rule' ? kind : 'address',
    family: family === '6' ? 6 : 4,
    description: key,
    add: [],
    del,
    ...(gateway === undefined ? {} : { gateway, announced: 'heard' as const }),
  }
}
