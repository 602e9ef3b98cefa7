import { readRuleset } from '../../firewall/read'
import { vlanDeviceName } from '../../model/ifname'
import type { NicUplinkSpec } from '../../model/uplink'
import { readOtherNamespaces } from '../../state/attachments'
import { type HostLinkState, type HostState, readHostState } from '../../state/host'
import { type HostLink, readHostLink, resolveNicName } from '../../state/host-links'
import { findDhcpClient, findLinkManagers, findSshClient, type LinkManager } from '../../state/network-managers'
import { batchLine } from '../../system/batch'
import type { System } from '../../system/types'
import { findNicRule } from './firewall'
import { listUplinkBridges, readUplinkState, type UplinkState } from './state-file'

/** What is known when a NIC is to become the uplink of a bridge. */
export interface UplinkFacts {
  readonly bridge: string
  /** The NIC, or the device of its VLAN. */
  readonly nic: string
  /** The NIC as sysfs shows it; below a VLAN device, where that is what moves. */
  readonly link: HostLink | undefined
  readonly bridgeLink: HostLink | undefined
  readonly vlan?: { readonly id: number; readonly isThere: boolean }
  /** Its ARP hardware type of <linux/if_arp.h>: 1 for Ethernet. */
  readonly hardwareType: string | undefined
  readonly hostState: HostState
  /** Macvlans and ipvlans on it, also those in guests. */
  readonly children: readonly string[]
  readonly managers: readonly LinkManager[]
  readonly dhcpClient?: string
  /** Its addresses that go unless the keepers renew them. */
  readonly leasedAddresses: readonly string[]
  /** Where the user is connected from over SSH. */
  readonly sshClient?: string
  /** Whether replies to that leave by the NIC now. */
  readonly sshUsesNic: boolean
  /** The routers of the NIC, and whether they answer now. */
  readonly gateways: readonly { readonly ip: string; readonly answers: boolean }[]
  /** A rule of the firewall that speaks of the NIC, where none speaks of the bridge. */
  readonly firewallRule?: string
  /** Sysctls that the NIC has and a new link has not, by key, for the bridge. */
  readonly sysctls: readonly string[]
  readonly lro: UplinkState['lro']
  /** The bridges that are an uplink's already. */
  readonly existingUplink: UplinkState | undefined
}

/** An uplink asked for, the NIC by its name. */
export interface NicUplinkRequest {
  readonly bridge: string
  readonly spec: NicUplinkSpec
}

/** The journal of a bridge whose NIC is in it; one that was put back, or that somebody took apart by hand, says nothing. */
export function findUplink(bridge: string, system: System): UplinkState | undefined {
  const journal = readUplinkState(bridge, system)
  if (journal === undefined || journal.stage === 'restored') return undefined
  if (journal.stage === 'left') return journal
  return readHostLink(journal.nic, system)?.master === bridge ? journal : undefined
}

/** All of them. */
export function listUplinks(system: System): readonly UplinkState[] {
  return listUplinkBridges(system).flatMap((bridge) => readUplinkState(bridge, system) ?? [])
}

/** The request with the NIC's name, where `mac:` was typed. */
export function resolveUplinkNic({ bridge, spec }: NicUplinkRequest, system: System): NicUplinkRequest {
  return { bridge, spec: { ...spec, nic: resolveNicName(spec.nic, system) } }
}

/** Sysctls of the NIC that differ from what a new link has, as `sysctl -w` sets them on the bridge. */
function readNicSysctls(nic: string, bridge: string, system: System): readonly string[] {
  return ['ipv4', 'ipv6'].flatMap((family) => {
    const conf = `/proc/sys/net/${family}/conf`
    return (system.list(`${conf}/${nic}`) ?? []).flatMap((key) => {
      const value = system.read(`${conf}/${nic}/${key}`)
      const isOwn = ['mc_forwarding', 'mtu', 'addr_gen_mode', 'stable_secret'].includes(key)
      if (isOwn || value === undefined || value === system.read(`${conf}/default/${key}`)) return []
      return /^-?\d+$/.test(value) ? [`net/${family}/conf/${bridge}/${key}=${value}`] : []
    })
  })
}

/** The link itself, where it has LRO on: the kernel turns it off for good on a port of a bridge. */
async function readLroLinks(nic: string, system: System): Promise<readonly string[]> {
  if (!system.hasProgram('ethtool')) return []
  const { stdout } = await system.run(['ethtool', '-k', nic])
  return /^large-receive-offload: on$/m.test(stdout) ? [nic] : []
}

/** Routers that the link's default routes lead to; where it has none, any that its routes lead to. */
function listGateways(state: HostLinkState | undefined): readonly string[] {
  const routes = state?.configItems.filter(({ gateway }) => gateway !== undefined) ?? []
  const defaults = routes.filter(({ isDefault }) => isDefault)
  return [...new Set((defaults.length > 0 ? defaults : routes).flatMap(({ gateway }) => gateway ?? []))]
}

/** Seconds that a router has to answer before anything is changed. */
const GATEWAY_TIMEOUT = 3

async function isGatewayReachable(ip: string, dev: string, system: System): Promise<boolean> {
  const look = async () =>
    (await system.runIpBatch({ lines: [batchLine`neigh show to ${ip} dev ${dev}`], output: 'text' })).stdout
  const deadline = system.elapsed() + GATEWAY_TIMEOUT * 1000
  // A cache that knows it from before is not asked again; what it does not know is asked for.
  if (/lladdr .*(REACHABLE|PERMANENT|DELAY)/.test(await look())) return true
  await system.runIpBatch({ lines: [batchLine`neigh replace ${ip} dev ${dev} use`] })
  for (;;) {
    if (/lladdr /.test(await look())) return true
    if (system.elapsed() >= deadline) return false
    await system.sleep(0.05)
  }
}

/** The routers of a link, and whether they answer; taken for granted where nobody may be asked. */
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

/** Where the user is connected from over SSH, and whether that is by this link. */
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

/** Addresses that end unless somebody renews them; the kernel itself does that for IPv6, where it listens to routers. */
function listLeasedAddresses(nic: string, { links }: HostState, system: System): readonly string[] {
  const listens = (system.read(`/proc/sys/net/ipv6/conf/${nic}/accept_ra`) ?? '0') !== '0'
  const addresses = links.get(nic)?.configItems.filter(({ kind }) => kind === 'address') ?? []
  return addresses
    .filter(({ lifetimes, family }) => lifetimes !== undefined && (family === 4 || !listens))
    .map(({ what }) => what)
}

/** What takes the NIC's frames: links on it, here and in guests. */
async function listChildren(nic: string, now: HostState, system: System): Promise<readonly string[]> {
  const own = now.links.get(nic)
  const states = await readOtherNamespaces(system)
  const likely = states.flatMap(({ links }) =>
    links.filter(({ kind, peerIndex }) => /^(macv|ipv)(lan|tap)$/.test(kind) && peerIndex === own?.ifindex),
  )
  // Indexes repeat from namespace to namespace; an address that the NIC listens for, or its own, does not.
  const { stdout } = likely.length === 0 ? { stdout: '' } : await system.run(['bridge', 'fdb', 'show', 'dev', nic])
  const inGuests = likely.filter(({ mac }) => mac === own?.mac || stdout.includes(mac))
  return [
    ...(now.children.get(nic) ?? []).map((child) => `the ${child}`),
    ...inGuests.map(({ name, kind }) => `the ${kind} ${name} of a guest`),
  ]
}

/** Seconds that IPv6 may still be asking for an address of the NIC: it takes two. */
const DAD_TIMEOUT = 5

/** The links, when none of the NIC's addresses is being asked for any more. */
async function readAfterDad(nic: string, system: System): Promise<HostState> {
  const deadline = system.elapsed() + DAD_TIMEOUT * 1000
  for (;;) {
    const now = await readHostState(system)
    const isTentative = now.unsupported.get(nic)?.some((it) => it.includes('tentative')) ?? false
    if (!isTentative || system.elapsed() >= deadline) return now
    await system.sleep(0.1)
  }
}

/** What needs to be known before a NIC is moved into a bridge; nothing is changed, but the routers are asked for. */
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
  // Rules that cannot be read are none.
  const rule = findNicRule(nic, bridge, await readRuleset(system).catch(() => []))
  const uplinked = findUplink(bridge, system)
  const isThere = now.links.has(nic)
  return {
    ...{ bridge, nic, link, bridgeLink, hostState: now, existingUplink: uplinked },
    vlan: spec.vlan === undefined ? undefined : { id: spec.vlan, isThere },
    hardwareType: system.read(`/sys/class/net/${spec.nic}/type`),
    leasedAddresses: listLeasedAddresses(nic, now, system),
    managers: await findLinkManagers({ nic, bridge, ifindex: now.links.get(nic)?.ifindex ?? -1 }, system),
    dhcpClient,
    firewallRule: rule,
    ...(await readSshClient(nic, system)),
    children: isThere ? await listChildren(nic, now, system) : [],
    gateways: isThere ? await readGateways(nic, { now, routers }, system) : [],
    sysctls: isThere ? readNicSysctls(nic, bridge, system) : [],
    lro: isThere ? await readLroLinks(nic, system) : [],
  }
}
