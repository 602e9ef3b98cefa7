import type { System } from '../system/types'
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
} from './json-file'
import { DEV_PLACEHOLDER, type LinkConfigItem, parseLinkConfigItem } from './link-config'

/** The configuration of a host link before pipework changed it: everything needed to restore it. */
export interface SavedLink {
  readonly name: string
  readonly up: boolean
  readonly mtu: number
  readonly mac: string
  readonly altnames: readonly string[]
  /** How the kernel makes its link-local IPv6 address; absent without IPv6. */
  readonly addrGenMode?: string
  /** Sysctls that differ from a new link's, as `sysctl -w` arguments: `net/ipv4/conf/eth0/rp_filter=2`. */
  readonly sysctls: readonly string[]
  /**
   * Addresses, routes of all tables, permanent neighbours and rules, in the order in which they are added to a link.
   */
  readonly items: readonly LinkConfigItem[]
  /** Seconds since boot when it was saved. */
  readonly takenAt: number
}

/** What identifies a NIC: facts from the kernel that a guest cannot change. */
export interface NicDevice {
  /** Its kind in `ip -d link`; `NIC` for a real one, which no guest can create. */
  readonly kind: string
  /** Its device on the bus, like the PCI address 0000:00:1f.6. */
  readonly parent?: string
  /** Its port on that device, when the device has several. */
  readonly port?: string
  readonly permanentMac?: string
  /** Its index in the guest; absent when another link there had that index and the kernel chose a new one. */
  readonly ifindex?: number
  /** The index of a veth's other end. */
  readonly peerIndex?: number
}

/**
 * A NIC that was moved into a guest. It is saved in a host file, not on the NIC where the guest can write: no guest may
 * give the host addresses or routes.
 */
export interface SavedNic extends SavedLink {
  /** The guest that got it, by kind and name. */
  readonly guest: string
  /** The inode of that guest's network namespace; absent in files of the previous version. */
  readonly netns?: number
  readonly device: NicDevice
  /** The radio of a wireless NIC by number, like phy#0: its name belongs to another namespace's /sys. */
  readonly phy?: string
  readonly alias?: string
}

/** The version of the file's layout. Files without a version have the previous layout. */
export const STATE_VERSION = 2

const SAVED_NICS_DIR = '/run/pipework/nics'

const ADDR_GEN_MODES = ['eui64', 'none', 'stable_secret', 'random'] as const
const IFNAME = /^[^\s/"'#\\\p{Cc}]{1,15}$/u
const ALTNAME = /^[^\s/"'#\\\p{Cc}]{1,127}$/u
const MAC = /^[\da-f:]*$/i
const SYSCTL = /^net\/ipv[46]\/conf\/[^\s/"'#\\\p{Cc}]+\/\w+=[\w:.-]+$/u
const LABEL = /^[^\p{Cc}]*$/u

/** The state file of a moved NIC. */
export function savedNicFile(name: string): string {
  return `${SAVED_NICS_DIR}/${name}`
}

/** The text of that file. */
export function formatSavedNic(nic: SavedNic): string {
  return JSON.stringify({ version: STATE_VERSION, ...nic })
}

/** The names of the NICs that were moved; half-written files of a killed run are skipped. */
export function listSavedNics(system: System): readonly string[] {
  return (system.list(SAVED_NICS_DIR) ?? []).filter((name) => IFNAME.test(name) && !name.endsWith('.new'))
}

/**
 * The saved state of a NIC that is in a guest, or was when the guest stopped; undefined when there is none.
 * @throws PipeworkError that names the file when it is damaged.
 */
export function readSavedNic(name: string, system: System): SavedNic | undefined {
  return IFNAME.test(name) ? readJsonFile(savedNicFile(name), system, parseSavedNic) : undefined
}

export function readSavedNics(system: System): readonly SavedNic[] {
  return listSavedNics(system).flatMap((name) => readSavedNic(name, system) ?? [])
}

/** Parses a saved link of a state file. */
export function parseSavedLink(json: JsonValue): SavedLink {
  const of = parseObject(json)
  return {
    name: parseText(of('name'), IFNAME),
    up: parseFlag(of('up')),
    mtu: parseCount(of('mtu')),
    mac: parseText(of('mac'), MAC),
    altnames: parseList(of('altnames'), (name) => parseText(name, ALTNAME)),
    addrGenMode: parseAddrGenMode(of('addrGenMode')),
    sysctls: parseList(of('sysctls'), (setting) => parseText(setting, SYSCTL)),
    items: parseList(of('items'), parseLinkConfigItem),
    takenAt: parseCount(of('takenAt')),
  }
}

/** Parses the address generation mode, if the file has it. */
export function parseAddrGenMode(json: JsonValue): string | undefined {
  return parseOptional(json, (it) => parseChoice(it, ADDR_GEN_MODES))
}

function parseSavedNic(json: JsonValue): SavedNic {
  const of = parseObject(json)
  const before = of('version').value === undefined
  return {
    ...(before ? parseSavedLinkBefore(json) : parseSavedLink(json)),
    guest: parseText(of('guest'), LABEL),
    netns: parseOptional(of('netns'), parseCount),
    device: before ? { kind: parseText(of('kind'), LABEL) } : parseNicDevice(of('device')),
    phy: parseOptional(of('phy'), (it) => parseText(it, /^phy#\d+$/)),
    alias: parseOptional(of('alias'), (it) => parseText(it, LABEL)),
  }
}

function parseNicDevice(json: JsonValue): NicDevice {
  const of = parseObject(json)
  const text = (key: string) => parseOptional(of(key), (it) => parseText(it, LABEL))
  return {
    kind: parseText(of('kind'), LABEL),
    parent: text('parent'),
    port: text('port'),
    permanentMac: text('permanentMac'),
    ifindex: parseOptional(of('ifindex'), parseCount),
    peerIndex: parseOptional(of('peerIndex'), parseCount),
  }
}

/** Parses a NIC file of the previous version: addresses and routes as words of `ip`. */
function parseSavedLinkBefore(json: JsonValue): SavedLink {
  const of = parseObject(json)
  const words = (it: JsonValue) => parseList(it, (word) => parseText(word, /^[^\s"'#\\\p{Cc}]+$/u))
  const name = parseText(of('name'), IFNAME)
  return {
    name,
    up: parseFlag(of('up')),
    mtu: parseCount(of('mtu')),
    mac: parseText(of('mac'), MAC),
    altnames: [],
    sysctls: [],
    items: [
      ...parseList(of('addresses'), words).map(toAddressItemBefore),
      ...parseList(of('routes'), (route) => toRouteItemBefore(parseObject(route), { name, words })),
    ],
    takenAt: 0,
  }
}

function toAddressItemBefore([cidr = '', ...rest]: readonly string[]): LinkConfigItem {
  return {
    kind: 'address',
    family: cidr.includes(':') ? 6 : 4,
    description: `the address ${cidr}`,
    add: [['addr', 'add', cidr, ...rest, 'dev', DEV_PLACEHOLDER]],
    del: ['addr', 'del', cidr, 'dev', DEV_PLACEHOLDER],
  }
}

function toRouteItemBefore(
  of: (key: string) => JsonValue,
  { name, words }: { readonly name: string; readonly words: (json: JsonValue) => readonly string[] },
): LinkConfigItem {
  const family = parseCount(of('family')) === 6 ? 6 : 4
  const typed = parseText(of('dst'), /^[\w:./]+$/)
  const dst = typed === 'default' ? (family === 4 ? '0.0.0.0/0' : '::/0') : typed
  const rest = words(of('words')).map((word) => (word === name ? DEV_PLACEHOLDER : word))
  return {
    kind: 'route',
    family,
    description: `the route to ${typed}`,
    add: [['route', 'append', dst, ...rest]],
    del: ['route', 'del', dst, ...rest],
  }
}
