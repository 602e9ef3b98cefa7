import { readRuleset } from '../../firewall/read'
import { vlanDeviceName } from '../../model/ifname'
import type { NicUplinkSpec } from '../../model/uplink'
import { readOtherNamespaces } from '../../state/attachments'
import { type HostLinkState, type HostState, readChangedSysctls, readHostState } from '../../state/host'
import { type HostLink, readHostLink, resolveNicName } from '../../state/host-links'
import { findDhcpClient, findLinkManagers, findSshClient, type LinkManager } from '../../state/network-managers'
import { batchLine } from '../../system/batch'
import type { System } from '../../system/types'
import { findNicRule } from './firewall'
import { readUplinkState, type UplinkState } from './state-file'

/** The facts for making a NIC the uplink of a bridge. */
export interface UplinkFacts {
  readonly bridge: string
  /** The NIC, or the device of its VLAN. */
  readonly nic: string
  /** The NIC in sysfs; for a VLAN, the NIC below the VLAN device. */
  readonly link: HostLink | undefined
  readonly bridgeLink: HostLink | undefined
  readonly vlan?: { readonly id: number; readonly isThere: boolean }
  /** The NIC's ARP hardware type from <linux/if_arp.h>: 1 is Ethernet. */
  readonly hardwareType: string | undefined
  readonly hostState: HostState
  /** Macvlans and ipvlans on the NIC, including those in guests. */
  readonly children: readonly string[]
  readonly managers: readonly LinkManager[]
  readonly dhcpClient?: string
  /** Addresses that expire unless a DHCP client or network manager renews them. */
  readonly leasedAddresses: readonly string[]
  /** The user's address in an SSH session. */
  readonly sshClient?: string
  /** Whether replies to the SSH client leave by the NIC. */
  readonly sshUsesNic: boolean
  /** The NIC's gateways, and whether they answer now. */
  readonly gateways: readonly { readonly ip: string; readonly answers: boolean }[]
  /** A firewall rule for the NIC without a counterpart for the bridge. */
  readonly firewallRule?: string
  /** The NIC's sysctls that differ from a new link's, as `key=value` for the bridge. */
  readonly sysctls: readonly string[]
  readonly lro: UplinkState['lro']
  /** The current uplink of the bridge. */
  readonly existingUplink: UplinkState | undefined
}

/** A requested uplink, with the NIC's name. */
export interface NicUplinkRequest {
  readonly bridge: string
  readonly spec: NicUplinkSpec
}

/** The recorded uplink of a bridge, if its NIC is still a port of the bridge or was detached on purpose. */
export function findUplink(bridge: string, system: System): UplinkState | undefined {
  const state = readUplinkState(bridge, system)
  if (state === undefined || state.stage === 'restored') return undefined
  if (state.stage === 'detached') return state
  return readHostLink(state.nic, system)?.master === bridge ? state : undefined
}

/** The request with the NIC's name in place of `mac:`. */
export function resolveUplinkNic({ bridge, spec }: NicUplinkRequest, system: System): NicUplinkRequest {
  return { bridge, spec: { ...spec, nic: resolveNicName(spec.nic, system) } }
}

/** The NIC itself, when it uses large receive offload. */
async function readLroLinks(nic: string, system: System): Promise<readonly string[]> {
  if (!system.hasProgram('ethtool')) return []
  const { stdout } = await system.run(['ethtool', '-k', nic])
  return /^large-receive-offload: on$/m.test(stdout) ? [nic] : []
}

/** The gateways of the link's default routes, or of all its routes when it has no default route. */
function listGateways(state: HostLinkState | undefined): readonly string[] {
  const routes = state?.configItems.filter(({ gateway }) => gateway !== undefined) ?? []
  const defaults = routes.filter(({ isDefault }) => isDefault)
  return [...new Set((defaults.length > 0 ? defaults : routes).flatMap(({ gateway }) => gateway ?? []))]
}

/** Seconds for a gateway to answer before the first change. */
const GATEWAY_TIMEOUT = 3

async function isGatewayReachable(ip: string, dev: string, system: System): Promise<boolean> {
  const look = async () =>
    (await system.runIpBatch({ lines: [batchLine`neigh show to ${ip} dev ${dev}`], output: 'text' })).stdout
  const deadline = system.elapsed() + GATEWAY_TIMEOUT * 1000
  if (/lladdr .*(REACHABLE|PERMANENT|DELAY)/.test(await look())) return true
  await system.runIpBatch({ lines: [batchLine`neigh replace ${ip} dev ${dev} use`] })
  for (;;) {
    if (/lladdr /.test(await look())) return true
    if (system.elapsed() >= deadline) return false
    await system.sleep(0.05)
  }
}

/** The gateways of a link, and whether they answer. A dry run sends no probes and assumes that they do. */
export async function readGateways(
  dev: string,
  { now, routers }: { readonly now: HostState; readonly routers: 'ask' | 'trust' },
  system: System,
): Promise<UplinkFacts['gateways']> {
  return Promise.all(
    listGateways(now.links.get(dev)).map(async (ip) => ({
      ip,
      answers: routers === 'trust' || (await isGatewayReachable(ip, dev, system)),
    })),
  )
}

/** The user's address in an SSH session, and whether replies leave by this link. */
export async function readSshClient(
  dev: string,
  system: System,
): Promise<Pick<UplinkFacts, 'sshClient' | 'sshUsesNic'>> {
  const sshClient = findSshClient(system)
  if (sshClient === undefined || !/^[\da-fA-F.:]+(%[\w.-]+)?$/.test(sshClient)) return { sshUsesNic: false }
  const ip = sshClient.split('%')[0] ?? ''
  const { stdout } = await system.runIpBatch({ lines: [batchLine`route get ${ip}`], output: 'text' })
  return { sshClient, sshUsesNic: stdout.includes(` dev ${dev} `) }
}

/** Addresses that a program must renew. The kernel itself renews IPv6 addresses if it accepts router advertisements. */
function listLeasedAddresses(nic: string, { links }: HostState, system: System): readonly string[] {
  const acceptsRa = (system.read(`/proc/sys/net/ipv6/conf/${nic}/accept_ra`) ?? '0') !== '0'
  const addresses = links.get(nic)?.configItems.filter(({ kind }) => kind === 'address') ?? []
  return addresses
    .filter(({ lifetimes, family }) => lifetimes !== undefined && (family === 4 || !acceptsRa))
    .map(({ description }) => description)
}

/** Links on the NIC that receive its frames, on the host and in guests. */
async function listChildren(nic: string, now: HostState, system: System): Promise<readonly string[]> {
  const own = now.links.get(nic)
  const states = await readOtherNamespaces(system)
  const candidates = states.flatMap(({ links }) =>
    links.filter(({ kind, peerIndex }) => /^(macv|ipv)(lan|tap)$/.test(kind) && peerIndex === own?.ifindex),
  )
  // Link indexes repeat across namespaces, so links in guests are recognised by MAC addresses that the NIC receives
  // for.
  const { stdout } = candidates.length === 0 ? { stdout: '' } : await system.run(['bridge', 'fdb', 'show', 'dev', nic])
  const inGuests = candidates.filter(({ mac }) => mac === own?.mac || stdout.includes(mac))
  return [
    ...(now.children.get(nic) ?? []).map((child) => `the ${child}`),
    ...inGuests.map(({ name, kind }) => `the ${kind} ${name} of a guest`),
  ]
}

/** Seconds to wait for duplicate address detection; it usually takes two. */
const DAD_TIMEOUT = 5

/** Reads the links after duplicate address detection on the NIC has finished. */
async function readAfterDad(nic: string, system: System): Promise<HostState> {
  const deadline = system.elapsed() + DAD_TIMEOUT * 1000
  for (;;) {
    const now = await readHostState(system)
    if (!now.tentative.has(nic) || system.elapsed() >= deadline) return now
    await system.sleep(0.1)
  }
}

/** Reads the facts for moving a NIC into a bridge. Changes nothing; `ask` sends requests to the gateways. */
export async function readUplinkFacts(
  { bridge, spec }: NicUplinkRequest,
  system: System,
  routers: 'ask' | 'trust',
): Promise<UplinkFacts> {
  const link: HostLink | undefined = readHostLink(spec.nic, system)
  const bridgeLink = readHostLink(bridge, system)
  const nic = spec.vlan === undefined ? spec.nic : vlanDeviceName(spec.nic, spec.vlan)
  const now = await (routers === 'ask' ? readAfterDad(nic, system) : readHostState(system))
  const dhcpClient = findDhcpClient(nic, system)
  // An unreadable firewall is not a reason to refuse.
  const firewallRule = findNicRule(nic, bridge, await readRuleset(system).catch(() => []))
  const isThere = now.links.has(nic)
  return {
    ...{ bridge, nic, link, bridgeLink, hostState: now, existingUplink: findUplink(bridge, system) },
    vlan: spec.vlan === undefined ? undefined : { id: spec.vlan, isThere },
    hardwareType: system.read(`/sys/class/net/${spec.nic}/type`),
    leasedAddresses: listLeasedAddresses(nic, now, system),
    managers: await findLinkManagers({ nic, bridge, ifindex: now.links.get(nic)?.ifindex ?? -1 }, system),
    dhcpClient,
    firewallRule,
    ...(await readSshClient(nic, system)),
    children: isThere ? await listChildren(nic, now, system) : [],
    gateways: isThere ? await readGateways(nic, { now, routers }, system) : [],
    sysctls: isThere ? readChangedSysctls(nic, bridge, system) : [],
    lro: isThere ? await readLroLinks(nic, system) : [],
  }
}
