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

/** What an Ethernet frame becomes larger by in a VXLAN (RFC 7348): its own header, VXLAN, UDP, and IP's 20 or 40 bytes. */
const VXLAN_OVERHEAD = { 4: 50, 6: 70 } as const
/** The port that IANA gave it; the kernel's own default is an older one. */
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
  /** In no bridge, and with nobody else's name on it: what a killed run leaves. */
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

/** The VXLAN that pipework made for that bridge. */
export async function findBridgeVxlan(bridge: string, system: System): Promise<VxlanLink | undefined> {
  return (await readVxlans(system)).find(({ master, isOurs }) => master === bridge && isOurs)
}

/** What is known when a bridge is to be connected by a VXLAN. */
export interface VxlanFacts {
  readonly bridge: string
  readonly spec: VxlanUplinkSpec
  readonly bridgeLink: HostLink | undefined
  readonly hasPorts: boolean
  readonly bridgeMac: string
  readonly vxlans: readonly VxlanLink[]
  /** The NIC by which the other host is reached, and its MTU; absent when there is no way. */
  readonly underlay?: { readonly name: string; readonly mtu: number; readonly isOurselves: boolean }
}

/** Asks for it, changing nothing. */
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

/** Whether it is what a killed run has left of this very wish. */
const isVxlanLeftover = (live: VxlanLink, wish: VxlanUplinkSpec) =>
  live.isIncomplete && live.name === vxlanName(wish) && matchesVxlanSpec(live, wish)

/** The steps that connect the bridge; none when it is. Throws refusals. */
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

/** The bridge, made or with an MTU that the VXLAN carries. */
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
    // A run was killed between the two.
    bridgeLink.mac === bridgeMac && bridgeLink.record === undefined && record,
  )
}

/** The device itself; without a MAC address the kernel draws one. */
function addVxlanCommand(
  { id, remote, dev }: Pick<VxlanLink, 'id' | 'remote' | 'dev'>,
  { name, mtu, mac }: { readonly name: string; readonly mtu: number; readonly mac?: string },
): IpCommand {
  const to = [isMulticastAddress(remote) ? 'group' : 'remote', remote]
  return ip`link add dev ${name} mtu ${mtu} ${mac !== undefined && ['address', mac]} type vxlan id ${id} dstport ${VXLAN_PORT} ${to} ${dev !== undefined && ['dev', dev]}`
}

/** Takes a VXLAN of ours away from its bridge; back, it is as it was. */
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

/** The steps that take the VXLAN away, and the bridge when it is ours and nobody uses it. */
export function planVxlanRemoval(vxlan: VxlanLink, unused: string | undefined): Plan {
  return planSteps(
    { description: `remove ${vxlan.name}: pipework made it`, ...toVxlanRemoval(vxlan) },
    unused !== undefined && {
      description: `remove ${unused}: pipework made it and nobody uses it`,
      command: ip`link del dev ${unused}`,
    },
  )
}
