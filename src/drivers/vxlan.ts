import { PipeworkError } from '../model/errors'
import { formatUplinkSpec, isMulticastAddress, type VxlanUplinkSpec } from '../model/uplink'
import { deriveBridgeMac } from '../network/names'
import { type IpCommand, ip, type Plan, planSteps, type Step } from '../plan/step'
import { type HostLink, listBridgePortNames, readHostLink } from '../state/host-links'
import { type IpLink, ipQuery, readIp } from '../state/ip-json'
import { OWNED_ALIAS } from '../state/record'
import { batchLine } from '../system/batch'
import type { System } from '../system/types'
import { explainMissingModule } from './validate'

/**
 * The bytes that a VXLAN adds to an Ethernet frame (RFC 7348): its own Ethernet, VXLAN, UDP, and IPv4 or IPv6 headers.
 */
const VXLAN_OVERHEAD = { 4: 50, 6: 70 } as const
/** The port that IANA assigned; the kernel's default is an older one. */
const VXLAN_PORT = 4789

/** A VXLAN device as `ip -d -j link` shows it. */
export interface VxlanLink {
  readonly name: string
  readonly id: number
  readonly remote: string
  readonly dev?: string
  readonly master?: string
  readonly mtu: number
  readonly mac: string
  readonly isOurs: boolean
  /** On no bridge and without a foreign alias: left by a killed run. */
  readonly isIncomplete: boolean
}

function toVxlanLink({ ifname: name, master, mtu, address: mac = '', link, ifalias, linkinfo }: IpLink): VxlanLink {
  const { id, remote, remote6, group, group6, link: dev = link } = linkinfo?.info_data ?? {}
  return {
    ...{ name, master, mtu, mac },
    id: Number(id),
    remote: [remote, remote6, group, group6].find((it) => typeof it === 'string') ?? '',
    dev: typeof dev === 'string' ? dev : undefined,
    isOurs: ifalias === OWNED_ALIAS,
    isIncomplete: master === undefined && (ifalias === undefined || ifalias === OWNED_ALIAS),
  }
}

/** The VXLAN devices of the host. */
export async function readVxlans(system: System): Promise<readonly VxlanLink[]> {
  const [links] = await readIp([ipQuery.links(batchLine`link show type vxlan`)], { system })
  return links.map(toVxlanLink)
}

/** The VXLAN that pipework created for that bridge. */
export async function findBridgeVxlan(bridge: string, system: System): Promise<VxlanLink | undefined> {
  return (await readVxlans(system)).find(({ master, isOurs }) => master === bridge && isOurs)
}

/** The facts for connecting a bridge by a VXLAN. */
export interface VxlanFacts {
  readonly bridge: string
  readonly spec: VxlanUplinkSpec
  readonly bridgeLink: HostLink | undefined
  readonly hasPorts: boolean
  readonly bridgeMac: string
  readonly vxlans: readonly VxlanLink[]
  /** The NIC that reaches the remote host, and its MTU; absent without a route. */
  readonly underlay?: { readonly name: string; readonly mtu: number; readonly isOurselves: boolean }
}

/** Reads the facts; changes nothing. */
export async function readVxlanFacts(bridge: string, wish: VxlanUplinkSpec, system: System): Promise<VxlanFacts> {
  const route = await system.runIpBatch({
    lines: [batchLine`route get ${wish.remote} ${wish.dev !== undefined && ['oif', wish.dev]}`],
    output: 'text',
  })
  const name = wish.dev ?? / dev (\S+)/.exec(route.stdout)?.[1]
  const link = name === undefined ? undefined : readHostLink(name, system)
  return {
    ...{ bridge, spec: wish },
    bridgeLink: readHostLink(bridge, system),
    hasPorts: listBridgePortNames(bridge, system).length > 0,
    bridgeMac: deriveBridgeMac(bridge, system),
    vxlans: await readVxlans(system),
    underlay:
      link === undefined ? undefined : { name: link.name, mtu: link.mtu, isOurselves: /^local /.test(route.stdout) },
  }
}

function validateVxlan({ bridge, spec, bridgeLink, underlay, vxlans }: VxlanFacts): void {
  const typed = formatUplinkSpec(spec)
  if (bridgeLink !== undefined && bridgeLink.kind !== 'bridge')
    throw new PipeworkError(`'${bridge}' is no bridge of Linux`, { hint: `See what it is: ip -d link show ${bridge}` })
  if (underlay === undefined)
    throw new PipeworkError(
      spec.dev === undefined
        ? `'${typed}': there is no way to '${spec.remote}'`
        : `there is no NIC '${spec.dev}' on this host`,
      { hint: `See what there is: ip route get ${spec.remote}; ip -br link` },
    )
  if (underlay.isOurselves)
    throw new PipeworkError(`'${typed}': ${spec.remote} is this host itself`, {
      hint: 'Give the address of the other.',
    })
  if (underlay.name === bridge)
    throw new PipeworkError(`'${typed}' would lead through '${bridge}' itself`, { hint: 'Name another NIC behind it.' })
  const other = vxlans.find(
    (live) =>
      (live.id === spec.id || live.name === vxlanName(spec)) &&
      !(live.isOurs && live.master === bridge) &&
      !isVxlanLeftover(live, spec),
  )
  if (other !== undefined)
    throw new PipeworkError(`'${other.name}' has the number ${other.id} already`, {
      hint: `See what it is: ip -d link show ${other.name}`,
    })
  const own = vxlans.find(({ master, isOurs }) => master === bridge && isOurs)
  if (own !== undefined && !matchesVxlanSpec(own, spec))
    throw new PipeworkError(`'${bridge}' has the uplink 'vxlan:${own.id},${own.remote}'`, {
      hint: `Take that out first: pipework uplink del ${bridge}`,
    })
}

const vxlanName = ({ id }: VxlanUplinkSpec) => `vx${id}`

const matchesVxlanSpec = (live: VxlanLink, { id, remote, dev }: VxlanUplinkSpec) =>
  live.id === id && live.remote === remote && (dev === undefined || live.dev === dev)

/** Whether a killed run left it for the same request. */
const isVxlanLeftover = (live: VxlanLink, wish: VxlanUplinkSpec) =>
  live.isIncomplete && live.name === vxlanName(wish) && matchesVxlanSpec(live, wish)

/** The steps that connect the bridge; none when it is connected. Throws refusals. */
export function planVxlan(facts: VxlanFacts): Plan {
  validateVxlan(facts)
  const { bridge, spec, bridgeLink, vxlans, underlay } = facts
  const name = vxlanName(spec)
  const mtu = (underlay?.mtu ?? 0) - VXLAN_OVERHEAD[spec.remote.includes(':') ? 6 : 4]
  if (vxlans.some((live) => live.master === bridge && live.isOurs && matchesVxlanSpec(live, spec))) return []
  if (bridgeLink !== undefined && facts.hasPorts && bridgeLink.mtu > mtu)
    throw new PipeworkError(
      `the ports of '${bridge}' have an MTU of ${bridgeLink.mtu}, and a VXLAN over '${underlay?.name}' carries ${mtu}`,
      {
        hint: `What is larger would vanish. Use a new bridge, or attach them again with --mtu ${mtu} first.`,
      },
    )
  return planSteps(
    planVxlanBridge(facts, mtu),
    vxlans.some((live) => isVxlanLeftover(live, spec)) && {
      description: `remove ${name}, left from a run that was killed`,
      command: ip`link del dev ${name}`,
    },
    {
      description: `create ${name}, the VXLAN ${spec.id} to ${spec.remote}`,
      command: addVxlanCommand(spec, { name, mtu }),
      undo: ip`link del dev ${name}`,
      explainFailure: explainMissingModule('vxlan'),
    },
    { description: `record that pipework made ${name}`, command: ip`link set dev ${name} alias ${OWNED_ALIAS}` },
    { description: `put ${name} into ${bridge}`, command: ip`link set dev ${name} master ${bridge}` },
    { description: `bring ${name} up`, command: ip`link set dev ${name} up` },
    bridgeLink?.up !== true && {
      description: `bring ${bridge} up`,
      command: ip`link set dev ${bridge} up`,
      undo: bridgeLink === undefined ? undefined : ip`link set dev ${bridge} down`,
    },
  )
}

/** Creates the bridge, or sets an MTU that the VXLAN can carry. */
function planVxlanBridge({ bridge, bridgeLink, bridgeMac, underlay }: VxlanFacts, mtu: number): Plan {
  const record = {
    description: `record that pipework made ${bridge}`,
    command: ip`link set dev ${bridge} alias ${OWNED_ALIAS}`,
  }
  if (bridgeLink === undefined)
    return [
      {
        description: `create the bridge ${bridge}, with the MTU that is left in a VXLAN over ${underlay?.name}`,
        command: ip`link add dev ${bridge} address ${bridgeMac} mtu ${mtu} type bridge stp_state 0`,
        undo: ip`link del dev ${bridge}`,
      },
      record,
    ]
  return planSteps(
    bridgeLink.mtu > mtu && {
      description: `set the MTU of ${bridge} to what is left in a VXLAN over ${underlay?.name}`,
      command: ip`link set dev ${bridge} mtu ${mtu}`,
      undo: ip`link set dev ${bridge} mtu ${bridgeLink.mtu}`,
    },
    // A run was killed between creating the bridge and recording it.
    bridgeLink.mac === bridgeMac && bridgeLink.record === undefined && record,
  )
}

/** Creates the device; without a MAC address the kernel chooses one. */
function addVxlanCommand(
  { id, remote, dev }: Pick<VxlanLink, 'id' | 'remote' | 'dev'>,
  { name, mtu, mac }: { readonly name: string; readonly mtu: number; readonly mac?: string },
): IpCommand {
  const to = [isMulticastAddress(remote) ? 'group' : 'remote', remote]
  return ip`link add dev ${name} mtu ${mtu} ${mac !== undefined && ['address', mac]} type vxlan id ${id} dstport ${VXLAN_PORT} ${to} ${dev !== undefined && ['dev', dev]}`
}

/** Removes a VXLAN of ours from its bridge; the undo restores it. */
export function toVxlanRemoval(vxlan: VxlanLink): Pick<Step, 'command' | 'undo'> {
  const { name, master } = vxlan
  return {
    command: ip`link del dev ${name}`,
    undo: [
      addVxlanCommand(vxlan, vxlan),
      ip`link set dev ${name} alias ${OWNED_ALIAS}`,
      ...(master === undefined ? [] : [ip`link set dev ${name} master ${master}`]),
      ip`link set dev ${name} up`,
    ],
  }
}

/** Removes the VXLAN, and the bridge if pipework created it and it is unused. */
export function planVxlanRemoval(vxlan: VxlanLink, unused: string | undefined): Plan {
  return planSteps(
    { description: `remove ${vxlan.name}: pipework made it`, ...toVxlanRemoval(vxlan) },
    unused !== undefined && {
      description: `remove ${unused}: pipework made it and nobody uses it`,
      command: ip`link del dev ${unused}`,
    },
  )
}
