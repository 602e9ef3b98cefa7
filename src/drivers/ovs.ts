import { PipeworkError } from '../model/errors'
import { formatVlanSet, type VlanSet } from '../model/vlan'
import { type Command, ip, type Plan, planSteps, type RunCommand, type Step } from '../plan/step'
import type { AttachContext } from '../state/attach-facts'
import type { OvsRemoval } from '../state/attachments'
import {
  findOvsPort,
  isOvsBridge,
  OVS_OWNER_ID,
  OVS_SYSTEM,
  type OvsBridge,
  type OvsDatabase,
  type OvsPort,
  type OvsState,
  removeOvsBridge,
  ovsVsctlUndo as takeBack,
  toOvsPortArgs,
  ovsVsctl as transact,
  withNoWait,
} from '../state/ovsdb'
import type { CommandResult } from '../system/types'
import type { Driver } from './types'
import { validateRecreate } from './validate'
import { type PortSetup, planVeth, planVethRemoval, validateVeth } from './veth'

/** A veth pair with its host end on an Open vSwitch bridge, which is created when missing. */
export const ovsDriver: Driver = {
  matches: ({ request, facts }) => isOvsBridge(request.hostif, facts.hostif, facts.ovs),

  validate: (context) => {
    const database = requireOvsDatabase(context)
    const { hostEnd } = context.facts
    const port = findOvsPort(database, hostEnd?.name)
    if (port !== undefined && port.bridge !== context.request.hostif)
      validateRecreate(context, `is on '${port.bridge}', not on '${context.request.hostif}'`)
    validatePortName(context, database)
    validateVeth(context)
  },

  plan: (context) => {
    const database = requireOvsDatabase(context)
    const port = findOvsPort(database, context.facts.hostEnd?.name)
    const isRenamed = port !== undefined && port.name !== toDesiredPort(context).name
    return planSteps(
      planDeadPorts(context, database),
      // The kernel datapath does not accept a new name for a device that it has.
      isRenamed && planOvsPortRemoval({ port, deadPorts: [], isDaemonRunning: true }),
      planVeth(context, OVS_PORT_SETUP),
      planOvsPort(context, database, isRenamed ? undefined : port),
      planLocalPort(context),
    )
  },

  planRemoval: (removal) =>
    planSteps(
      removal.ovsRemoval !== undefined && planOvsPortRemoval(removal.ovsRemoval),
      removal.attachment.deadPort === undefined && planVethRemoval(removal),
    ),

  incompatibility: ({ request, facts: { hostEnd } }, { kind }) => {
    if (kind !== 'veth') return `is a ${kind}, and not on '${request.hostif}'`
    const master = hostEnd?.master
    return master === undefined || master === OVS_SYSTEM ? undefined : `is on '${master}', not on '${request.hostif}'`
  },

  // A failed transaction has been reported; in sysfs only the kernel datapath shows.
  isAttached: ({ request, facts }, { master }) =>
    !usesKernelDatapath(facts.ovs, request.hostif) || master === OVS_SYSTEM,
}

/** Brings up the bridge's local port, which Open vSwitch leaves down. Only a host address on the bridge needs it. */
function planLocalPort({ request: { hostif, hostServices }, facts }: AttachContext): Plan {
  if (hostServices.bridgeAddresses.length === 0 || facts.hostif?.up === true) return []
  const turn = (way: 'up' | 'down') => ip`link set dev ${hostif} ${way}`
  return [{ description: `bring ${hostif} up`, command: turn('up'), undo: turn('down') }]
}

/** ovs-vsctl attaches these ports, not `ip`. */
const OVS_PORT_SETUP: PortSetup = { planPortVlans: () => [], restorePortVlans: () => [] }

/** Whether the kernel forwards for the bridge, or will once the bridge exists. */
function usesKernelDatapath(ovs: OvsState | undefined, name: string): boolean {
  if (ovs?.kind !== 'database') return false
  const bridge = ovs.bridges.find((it) => it.name === name)
  return ovs.hasKernelDatapath && bridge?.datapath !== 'netdev'
}

/** The database, when it can be read and acted upon for this request. */
function requireOvsDatabase({ request: { hostif }, facts: { ovs } }: AttachContext): OvsDatabase {
  if (ovs?.kind !== 'database')
    throw new PipeworkError(`'${hostif}' is a bridge of Open vSwitch by its name: ${ovs?.message}`, { hint: ovs?.hint })
  const fake = ovs.fakeBridges.find(({ name }) => name === hostif)
  if (fake !== undefined)
    throw new PipeworkError(`'${hostif}' is another name for VLAN ${fake.tag} of '${fake.parent}'`, {
      hint: `Say so: pipework ${fake.parent} … @${fake.tag}`,
    })
  if (!ovs.isVswitchdRunning)
    throw new PipeworkError(`'${hostif}' is a bridge of Open vSwitch, and ovs-vswitchd is not running`, {
      hint: 'Start it: systemctl start openvswitch-switch',
    })
  return ovs
}

function toOvsVlans(vlan: VlanSet | undefined): Pick<OvsPort, 'tag' | 'trunks' | 'vlanMode'> {
  const trunks = (vlan?.tagged ?? []).flatMap(([from, to]) =>
    Array.from({ length: to - from + 1 }, (_, index) => from + index),
  )
  if (vlan?.native === undefined) return { trunks, ...(trunks.length === 0 ? {} : { vlanMode: 'trunk' }) }
  return { tag: vlan.native, trunks, ...(trunks.length === 0 ? {} : { vlanMode: 'native-untagged' }) }
}

/** The external-ids of the original, which users' scripts read, and two more that `disconnect` needs. */
function toExternalIds({ request, guest }: AttachContext, name: string): OvsPort['externalIds'] {
  const { kind, id, pid } = guest
  const isContainer = kind !== 'netns' && kind !== 'pid'
  return {
    'pipework.interface': name,
    'pipework.bridge': request.hostif,
    ...(isContainer && id !== undefined ? { 'pipework.containerid': id } : {}),
    // As `docker inspect` prints it.
    ...(isContainer ? { 'pipework.containername': kind === 'docker' ? `/${guest.name}` : guest.name } : {}),
    ...(pid === undefined ? {} : { 'pipework.nspid': `${pid}` }),
    ...(request.vlan === undefined ? {} : { 'pipework.vlan': formatVlanSet(request.vlan) }),
    'pipework.guest': `${kind}:${guest.name}`,
    'pipework.ifname': request.ifname,
  }
}

function toDesiredPort(context: AttachContext): OvsPort {
  const { request, facts } = context
  const name = request.hostEnd ?? facts.hostEnd?.name ?? facts.hostEndName
  return {
    ...{ name, bridge: request.hostif, transient: true, isAlive: true },
    ...toOvsVlans(request.vlan),
    externalIds: toExternalIds(context, name),
  }
}

/** The port that has the name of the host end to be created. */
function findStalePort(context: AttachContext, { ports }: OvsDatabase): OvsPort | undefined {
  if (context.facts.hostEnd !== undefined) return undefined
  return ports.find(({ name }) => name === toDesiredPort(context).name)
}

function validatePortName(context: AttachContext, database: OvsDatabase): void {
  const port = findStalePort(context, database)
  if (port === undefined || port.externalIds['pipework.interface'] !== undefined) return
  throw new PipeworkError(`'${port.bridge}' already has a port '${port.name}' in the Open vSwitch database`, {
    hint: `pipework did not make it. Choose another name for the host end with -l NAME, or: ovs-vsctl del-port ${port.name}`,
  })
}

/**
 * Ports of stopped containers are removed before a device of the same name is created: ovs-vswitchd would take the new
 * device for the old one and, in userspace, listen to the old one.
 */
function planDeadPorts(context: AttachContext, database: OvsDatabase): Plan {
  const { hostif } = context.request
  const stale = findStalePort(context, database)
  const dead = database.ports.filter((port) => port === stale || (!port.isAlive && port.bridge === hostif))
  if (dead.length === 0) return []
  const names = dead.map(({ name }) => name).join(', ')
  return [
    {
      description: `remove ports of containers that are gone: ${names}`,
      command: transact(...removePortCommands(dead)),
      explainFailure: explainOvsFailure,
    },
  ]
}

/** Adds the port to the bridge, changes it in place, or moves it. */
function planOvsPort(context: AttachContext, database: OvsDatabase, live: OvsPort | undefined): Plan {
  const { request } = context
  const wanted = toDesiredPort(context)
  if (live === undefined || live.bridge !== wanted.bridge)
    return [connectOvsPort(context, { database, desired: wanted, current: live })]
  if (portSignature(live) === portSignature(wanted)) return []
  return [
    {
      description: `change the port ${wanted.name} of ${request.hostif}`,
      command: transact(...updatePortCommands(live, wanted)),
      undo: takeBack(...updatePortCommands(wanted, live)),
      explainFailure: explainOvsFailure,
    },
  ]
}

interface OvsPortChange {
  readonly database: OvsDatabase
  readonly desired: OvsPort
  /** The port's row before the change; undefined for a new port. */
  readonly current: OvsPort | undefined
}

/** One transaction: creates or fixes the bridge, adds the port, and removes it from its previous bridge. */
function connectOvsPort(context: AttachContext, { database, desired, current }: OvsPortChange): Step {
  const { hostif } = context.request
  const bridge = database.bridges.find(({ name }) => name === hostif)
  const before = current === undefined ? [] : [current]
  return {
    description: `put ${desired.name} on ${hostif}${bridge === undefined ? ', which is made' : ''}`,
    command: {
      ...transact(
        ...ovsBridgeCommands(hostif, bridge, database),
        ...removePortCommands(before),
        ...addPortCommands(desired),
      ),
      // ovs-vswitchd writes its errors into the database, and ovs-vsctl exits with 0.
      failIfStderr: 'Error detected',
    },
    undo: [
      takeBack(...removePortCommands([desired]), ...before.flatMap(addPortCommands)),
      ...undoBridgeCommands(hostif, bridge, database),
    ],
    explainFailure: explainOvsFailure,
  }
}

/** Without the kernel module ovs-vswitchd forwards in userspace; a bridge with another datapath type gets no device. */
const userspaceDatapath = (name: string) => ['set', 'Bridge', name, 'datapath_type=netdev']

function needsUserspace(bridge: OvsBridge, { hasKernelDatapath }: OvsDatabase): boolean {
  return !hasKernelDatapath && (bridge.datapath === '' || bridge.datapath === 'system')
}

function ovsBridgeCommands(
  name: string,
  bridge: OvsBridge | undefined,
  database: OvsDatabase,
): readonly (readonly string[])[] {
  if (bridge !== undefined) return needsUserspace(bridge, database) ? [userspaceDatapath(name)] : []
  return createBridgeCommands(name, database.hasKernelDatapath ? [] : [userspaceDatapath(name)])
}

function createBridgeCommands(name: string, settings: readonly (readonly string[])[]): readonly (readonly string[])[] {
  return [['add-br', name], ...settings, ['br-set-external-id', name, OVS_OWNER_ID.key, OVS_OWNER_ID.value]]
}

function undoBridgeCommands(name: string, bridge: OvsBridge | undefined, database: OvsDatabase): readonly Command[] {
  if (bridge === undefined) return [removeOvsBridge(name)]
  return needsUserspace(bridge, database)
    ? [takeBack(['set', 'Bridge', name, `datapath_type="${bridge.datapath}"`])]
    : []
}

function removePortCommands(ports: readonly OvsPort[]): readonly (readonly string[])[] {
  return ports.map(({ name }) => ['--if-exists', 'del-port', name])
}

function addPortCommands(port: OvsPort): readonly (readonly string[])[] {
  return [['add-port', port.bridge, port.name], ...toOvsPortArgs(port)]
}

const isOwnKey = (key: string) => key.startsWith('pipework.')

/** The fields of a port that pipework sets, as one text to compare. */
function portSignature({ tag, trunks, vlanMode, transient, externalIds }: OvsPort): string {
  const ours = Object.entries(externalIds)
    .filter(([key]) => isOwnKey(key))
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([tag, [...trunks].sort((a, b) => a - b), vlanMode, transient, ours])
}

/** Changes a port in place, so that its traffic continues. */
function updatePortCommands(before: OvsPort, after: OvsPort): readonly (readonly string[])[] {
  const { name } = before
  const keys = Object.keys(before.externalIds).filter((key) => isOwnKey(key) && after.externalIds[key] === undefined)
  const ids = Object.fromEntries(
    Object.entries(after.externalIds).filter(([key, value]) => before.externalIds[key] !== value),
  )
  return [
    ['clear', 'Port', name, 'tag', 'trunks', 'vlan_mode'],
    ...(before.transient && !after.transient ? [['remove', 'Port', name, 'other_config', 'transient']] : []),
    ...(keys.length === 0 ? [] : [['remove', 'Interface', name, 'external_ids', ...keys]]),
    ...toOvsPortArgs({ ...after, externalIds: ids }),
  ]
}

/** ovs-vsctl is killed by SIGALRM when ovs-vswitchd does not apply the change. */
function explainOvsFailure({ stderr }: CommandResult): ReturnType<NonNullable<Step['explainFailure']>> {
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

/** Removes the rows of a link and of dead containers from the database. */
export function planOvsPortRemoval({ port, deadPorts, isDaemonRunning }: OvsRemoval): Plan {
  const gone = [...deadPorts, ...(port === undefined ? [] : [port])]
  if (gone.length === 0) return []
  const run = (...commands: readonly (readonly string[])[]) =>
    isDaemonRunning ? transact(...commands) : withNoWait(transact(...commands))
  return [
    {
      description:
        port === undefined
          ? `remove the dead ports of ${deadPorts[0]?.bridge}`
          : `take the port ${port.name} off ${port.bridge}`,
      command: run(...removePortCommands(gone)),
      ...(port?.isAlive
        ? { undo: isDaemonRunning ? takeBack(...addPortCommands(port)) : run(...addPortCommands(port)) }
        : {}),
      explainFailure: explainOvsFailure,
    },
  ]
}

/** Removes the bridge itself when it is unused afterwards. */
export function planOvsBridgeRemoval({ unusedBridge, isDaemonRunning }: OvsRemoval): Plan {
  if (unusedBridge === undefined) return []
  const { name, datapath } = unusedBridge
  const patient = (command: RunCommand) => (isDaemonRunning ? command : withNoWait(command))
  return [
    {
      description: `remove ${name}: pipework made it and nobody uses it`,
      command: patient(removeOvsBridge(name)),
      undo: patient(takeBack(...createBridgeCommands(name, datapath === 'netdev' ? [userspaceDatapath(name)] : []))),
      explainFailure: explainOvsFailure,
    },
  ]
}
