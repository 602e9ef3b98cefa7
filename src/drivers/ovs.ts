import { PipeworkError } from '../model/errors'
import { formatVlans, type VlanSet } from '../model/vlan'
import { type Command, ip, type Plan, type Result, type RunCommand, rows, type Step } from '../plan/step'
import {
  findPort,
  MADE_BY,
  OVS_SYSTEM,
  type Ovs,
  type OvsBridge,
  type OvsDatabase,
  type OvsPort,
  removeBridge,
  settle,
  undo as takeBack,
  ovs as transact,
  withoutWaiting,
} from '../state/ovsdb'
import { refuseRemake } from './claim'
import type { Context, LinkKind } from './types'
import { planVeth, type Seat } from './veth'

/** A veth pair with its host end on a bridge of Open vSwitch. The bridge is made when missing. */
export const ovs: LinkKind = {
  misfit: ({ request, facts: { hostEnd } }, { kind }) => {
    if (kind !== 'veth') return `is a ${kind}, and not on '${request.hostif}'`
    const master = hostEnd?.master
    return master === undefined || master === OVS_SYSTEM ? undefined : `is on '${master}', not on '${request.hostif}'`
  },

  plan: (context) => {
    const database = readable(context)
    const live = findPort(database, context.facts.hostEnd?.name)
    if (live !== undefined && live.bridge !== context.request.hostif)
      refuseRemake(context, `is on '${live.bridge}', not on '${context.request.hostif}'`)
    const isRenamed = live !== undefined && live.name !== toWanted(context).name
    return rows(
      planSweep(context, database),
      // The kernel's datapath does not let a device that it has be known by another name.
      isRenamed && planUnplug({ port: live, dead: [], isSwitching: true }),
      planVeth(context, SEAT),
      planPort(context, database, isRenamed ? undefined : live),
      planLocalPort(context),
    )
  },

  // In the database it is, or the transaction would have failed; in sysfs only the kernel's datapath shows.
  isSeated: ({ request, facts }, { master }) => !isInKernel(facts.ovs, request.hostif) || master === OVS_SYSTEM,
}

/** Guests need no port of the host's own on the bridge, and Open vSwitch leaves it down; an address of the host does. */
function planLocalPort({ request: { hostif, outside }, facts }: Context): Plan {
  if (outside.bridgeAddresses.length === 0 || facts.hostif?.up === true) return []
  const turn = (way: 'up' | 'down') => ip`link set dev ${hostif} ${way}`
  return [{ why: `bring ${hostif} up`, command: turn('up'), undo: turn('down') }]
}

/** Its ports have no master that `ip` could give them. */
const SEAT: Seat = { planPort: () => [], restorePort: () => [] }

/** Whether the kernel forwards for the bridge, or will when it has been made. */
function isInKernel(ovs: Ovs | undefined, name: string): boolean {
  if (ovs?.kind !== 'database') return false
  const bridge = ovs.bridges.find((it) => it.name === name)
  return ovs.hasKernel && bridge?.datapath !== 'netdev'
}

/** The database, when it can be read and acted upon for this request. */
function readable({ request: { hostif }, facts: { ovs } }: Context): OvsDatabase {
  if (ovs?.kind !== 'database')
    throw new PipeworkError(`'${hostif}' is a bridge of Open vSwitch by its name: ${ovs?.message}`, { hint: ovs?.hint })
  const fake = ovs.fakes.find(({ name }) => name === hostif)
  if (fake !== undefined)
    throw new PipeworkError(`'${hostif}' is another name for VLAN ${fake.tag} of '${fake.parent}'`, {
      hint: `Say so: pipework ${fake.parent} … @${fake.tag}`,
    })
  if (!ovs.isSwitching)
    throw new PipeworkError(`'${hostif}' is a bridge of Open vSwitch, and ovs-vswitchd is not running`, {
      hint: 'Start it: systemctl start openvswitch-switch',
    })
  return ovs
}

function toVlans(vlan: VlanSet | undefined): Pick<OvsPort, 'tag' | 'trunks' | 'vlanMode'> {
  const trunks = (vlan?.tagged ?? []).flatMap(([from, to]) =>
    Array.from({ length: to - from + 1 }, (_, index) => from + index),
  )
  if (vlan?.native === undefined) return { trunks, ...(trunks.length === 0 ? {} : { vlanMode: 'trunk' }) }
  return { tag: vlan.native, trunks, ...(trunks.length === 0 ? {} : { vlanMode: 'native-untagged' }) }
}

/** The external-ids are the original's, which scripts of users read, and two more by which `disconnect` knows it. */
function toIds({ request, guest }: Context, name: string): OvsPort['ids'] {
  const { kind, id, pid } = guest
  const isContainer = kind !== 'netns' && kind !== 'pid'
  return {
    'pipework.interface': name,
    'pipework.bridge': request.hostif,
    ...(isContainer && id !== undefined ? { 'pipework.containerid': id } : {}),
    // As `docker inspect` prints it.
    ...(isContainer ? { 'pipework.containername': kind === 'docker' ? `/${guest.name}` : guest.name } : {}),
    ...(pid === undefined ? {} : { 'pipework.nspid': `${pid}` }),
    ...(request.vlan === undefined ? {} : { 'pipework.vlan': formatVlans(request.vlan) }),
    'pipework.guest': `${kind}:${guest.name}`,
    'pipework.ifname': request.ifname,
  }
}

function toWanted(context: Context): OvsPort {
  const { request, facts } = context
  const name = request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName
  return {
    ...{ name, bridge: request.hostif, transient: true, isAlive: true },
    ...toVlans(request.vlan),
    ids: toIds(context, name),
  }
}

/**
 * The rows of dead containers, and of an earlier life of this one: ovs-vswitchd takes a new device of that name for the
 * old one and, in userspace, listens to the old one for ever. So they go before the new one comes.
 */
function planSweep(context: Context, { ports }: OvsDatabase): Plan {
  const { request, facts } = context
  const left = facts.hostEnd === undefined ? ports.find(({ name }) => name === toWanted(context).name) : undefined
  if (left !== undefined && left.ids['pipework.interface'] === undefined)
    throw new PipeworkError(`'${left.bridge}' already has a port '${left.name}' in the database of Open vSwitch`, {
      hint: `pipework did not make it. Choose another name for the host end with -l NAME, or: ovs-vsctl del-port ${left.name}`,
    })
  const dead = ports.filter((port) => port === left || (!port.isAlive && port.bridge === request.hostif))
  if (dead.length === 0) return []
  const names = dead.map(({ name }) => name).join(', ')
  return [
    {
      why: `remove what is left of containers that are gone: ${names}`,
      command: transact(...listRemovals(dead)),
      explain,
    },
  ]
}

/** The port put on the bridge, changed in place, or moved. */
function planPort(context: Context, database: OvsDatabase, live: OvsPort | undefined): Plan {
  const { request } = context
  const wanted = toWanted(context)
  if (live === undefined || live.bridge !== wanted.bridge) return [connect(context, { database, wanted, live })]
  if (signature(live) === signature(wanted)) return []
  return [
    {
      why: `change the port ${wanted.name} of ${request.hostif}`,
      command: transact(...replace(live, wanted)),
      undo: takeBack(...replace(wanted, live)),
      explain,
    },
  ]
}

interface Change {
  readonly database: OvsDatabase
  readonly wanted: OvsPort
  /** The row that the link has now, on another bridge. */
  readonly live: OvsPort | undefined
}

/** One transaction: the bridge made or mended, the port in, and off where it was. */
function connect(context: Context, { database, wanted, live }: Change): Step {
  const { hostif } = context.request
  const bridge = database.bridges.find(({ name }) => name === hostif)
  const before = live === undefined ? [] : [live]
  return {
    why: `put ${wanted.name} on ${hostif}${bridge === undefined ? ', which is made' : ''}`,
    command: {
      ...transact(...planBridge(hostif, bridge, database), ...listRemovals(before), ...addPort(wanted)),
      // What ovs-vswitchd cannot do it says in the database, and ovs-vsctl exits with 0.
      failsIf: 'Error detected',
    },
    undo: [takeBack(...listRemovals([wanted]), ...before.flatMap(addPort)), ...undoBridge(hostif, bridge, database)],
    explain,
  }
}

/** Without its module the kernel cannot forward, and ovs-vswitchd does it; a bridge made otherwise has no device. */
const inUserspace = (name: string) => ['set', 'Bridge', name, 'datapath_type=netdev']

function isBroken(bridge: OvsBridge, { hasKernel }: OvsDatabase): boolean {
  return !hasKernel && (bridge.datapath === '' || bridge.datapath === 'system')
}

function planBridge(
  name: string,
  bridge: OvsBridge | undefined,
  database: OvsDatabase,
): readonly (readonly string[])[] {
  if (bridge !== undefined) return isBroken(bridge, database) ? [inUserspace(name)] : []
  return makeBridge(name, database.hasKernel ? [] : [inUserspace(name)])
}

function makeBridge(name: string, settings: readonly (readonly string[])[]): readonly (readonly string[])[] {
  return [['add-br', name], ...settings, ['br-set-external-id', name, MADE_BY.key, MADE_BY.value]]
}

function undoBridge(name: string, bridge: OvsBridge | undefined, database: OvsDatabase): readonly Command[] {
  if (bridge === undefined) return [removeBridge(name)]
  return isBroken(bridge, database) ? [takeBack(['set', 'Bridge', name, `datapath_type="${bridge.datapath}"`])] : []
}

function listRemovals(ports: readonly OvsPort[]): readonly (readonly string[])[] {
  return ports.map(({ name }) => ['--if-exists', 'del-port', name])
}

function addPort(port: OvsPort): readonly (readonly string[])[] {
  return [['add-port', port.bridge, port.name], ...settle(port)]
}

const isOurKey = (key: string) => key.startsWith('pipework.')

/** All that is ours to change, in one text. */
function signature({ tag, trunks, vlanMode, transient, ids }: OvsPort): string {
  const ours = Object.entries(ids)
    .filter(([key]) => isOurKey(key))
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([tag, [...trunks].sort((a, b) => a - b), vlanMode, transient, ours])
}

/** Changes a port in place, so that its traffic goes on. */
function replace(before: OvsPort, after: OvsPort): readonly (readonly string[])[] {
  const { name } = before
  const keys = Object.keys(before.ids).filter((key) => isOurKey(key) && after.ids[key] === undefined)
  const ids = Object.fromEntries(Object.entries(after.ids).filter(([key, value]) => before.ids[key] !== value))
  return [
    ['clear', 'Port', name, 'tag', 'trunks', 'vlan_mode'],
    ...(before.transient && !after.transient ? [['remove', 'Port', name, 'other_config', 'transient']] : []),
    ...(keys.length === 0 ? [] : [['remove', 'Interface', name, 'external_ids', ...keys]]),
    ...settle({ ...after, ids }),
  ]
}

/** ovs-vsctl dies of its alarm when ovs-vswitchd does not carry the change out. */
function explain({ stderr }: Result): ReturnType<NonNullable<Step['explain']>> {
  if (/Alarm clock/.test(stderr))
    return {
      message: 'ovs-vswitchd does not do what the database of Open vSwitch says: it hangs, or is not running',
      hint: 'See its log, and start it anew: systemctl restart openvswitch-switch',
    }
  const detected = /Error detected while setting up (.*?)(?:\. {2}See .*)?$/m.exec(stderr)?.[1]
  return detected === undefined
    ? undefined
    : { message: `Open vSwitch could not set up ${detected}`, hint: 'See the log of ovs-vswitchd.' }
}

/** What is known of Open vSwitch where a link is taken away. */
export interface Unplugging {
  /** The port of the link. */
  readonly port?: OvsPort
  /** Ports that are left of containers that are gone. */
  readonly dead: readonly OvsPort[]
  /** A bridge that pipework made and that nobody uses after this. */
  readonly unused?: OvsBridge
  readonly isSwitching: boolean
}

/** The rows of a link and of dead containers out of the database. */
export function planUnplug({ port, dead, isSwitching }: Unplugging): Plan {
  const gone = [...dead, ...(port === undefined ? [] : [port])]
  if (gone.length === 0) return []
  const run = (...commands: readonly (readonly string[])[]) =>
    isSwitching ? transact(...commands) : withoutWaiting(transact(...commands))
  return [
    {
      why:
        port === undefined
          ? `remove the dead ports of ${dead[0]?.bridge}`
          : `take the port ${port.name} off ${port.bridge}`,
      command: run(...listRemovals(gone)),
      ...(port?.isAlive ? { undo: isSwitching ? takeBack(...addPort(port)) : run(...addPort(port)) } : {}),
      explain,
    },
  ]
}

/** The bridge itself, when nobody uses it after that. */
export function planUnused({ unused, isSwitching }: Unplugging): Plan {
  if (unused === undefined) return []
  const { name, datapath } = unused
  const patient = (command: RunCommand) => (isSwitching ? command : withoutWaiting(command))
  return [
    {
      why: `remove ${name}: pipework made it and nobody uses it`,
      command: patient(removeBridge(name)),
      undo: patient(takeBack(...makeBridge(name, datapath === 'netdev' ? [inUserspace(name)] : []))),
      explain,
    },
  ]
}
