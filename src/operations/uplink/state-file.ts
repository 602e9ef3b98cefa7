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
 * `moving` while pipework moves the NIC, `pending` until the user confirms it, `kept` while it is the uplink,
 * `detached` when the NIC has left the bridge, `restored` when a move was rolled back.
 */
export type UplinkStage = (typeof STAGES)[number]

/**
 * What pipework knows of a NIC in a bridge: what it takes to restore everything, at any moment, by another process too.
 * It is written before the first change and belongs to root: no guest and no link can say what the host shall have.
 */
export interface UplinkState {
  readonly bridge: string
  readonly nic: string
  /** Whether the NIC enters the bridge or leaves it. */
  readonly direction: 'attach' | 'detach'
  readonly stage: UplinkStage
  /** Seconds since boot, when the items were read. */
  readonly takenAt: number
  /** Seconds since boot, when everything is restored unless the move is done or confirmed. */
  readonly deadline?: number
  /** The process that moves it. */
  readonly mover?: ProcessId
  /** The configuration that moves from the one link to the other. */
  readonly items: readonly LinkConfigItem[]
  readonly nicBefore: SavedLink
  /** Absent when pipework made the bridge. */
  readonly bridgeBefore?: SavedLink
  /** The VLAN device that pipework made on this NIC for it. */
  readonly vlan?: { readonly nic: string; readonly id: number }
  /** The NIC, where it has large receive offload: the kernel turns that off on a port of a bridge. */
  readonly lro: readonly string[]
  /** Configuration files that keep network managers off. */
  readonly files: readonly string[]
  /** Why it was restored. */
  readonly error?: string
  /** The state before this move, which a restore brings back. */
  readonly previous?: UplinkState
}

/** A process, which is another one when a later process gets its number. */
export interface ProcessId {
  readonly pid: number
  /** Clock ticks since boot: field 22 of proc(5)'s stat. */
  readonly startTime: string
}

const UPLINKS_DIR = '/run/pipework/uplinks'
const IFNAME = /^[^\s/"'#\\\p{Cc}]{1,15}$/u
const LABEL = /^[^\p{Cc}]*$/u
/** Only what pipework itself writes there is ever removed. */
const DROP_IN = /^\/run\/(NetworkManager\/conf\.d\/90-pipework-|systemd\/network\/0-pipework-)[^/\s\p{Cc}]+$/u

/** The state file of that bridge's uplink. */
export function uplinkStateFile(bridge: string): string {
  return `${UPLINKS_DIR}/${bridge}`
}

/** The bridges that have a state file. */
export function listUplinkBridges(system: System): readonly string[] {
  return (system.list(UPLINKS_DIR) ?? []).filter((name) => IFNAME.test(name) && !name.endsWith('.new')).sort()
}

/**
 * The state of that bridge's uplink; undefined when there is none.
 * @throws PipeworkError that names the file when it is damaged.
 */
export function readUplinkState(bridge: string, system: System): UplinkState | undefined {
  return readJsonFile(uplinkStateFile(bridge), system, parseUplinkState)
}

/** All of them. */
export function readUplinkStates(system: System): readonly UplinkState[] {
  return listUplinkBridges(system).flatMap((bridge) => readUplinkState(bridge, system) ?? [])
}

/** Writes the state file. */
export function saveUplinkState(state: UplinkState, system: System): void {
  system.writeFile(uplinkStateFile(state.bridge), JSON.stringify({ version: STATE_VERSION, ...state }))
}

/** Keys of what the bridge had of its own before the move. */
export function bridgeKeysOf({ bridgeBefore }: UplinkState): readonly string[] {
  return bridgeBefore?.items.map(configKeyOf) ?? []
}

/**
 * The state of an uplink that is done. When the NIC was the uplink before (its device was made anew, or it was taken out
 * by hand), what the first move recorded still counts: `del` gives that back.
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

/** The fields that both layouts of the file have. */
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

/** A file of the version before. */
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

/** Of what a bridge had, the version before wrote down the keys only. */
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
