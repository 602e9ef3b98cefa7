import { brNetfilterFamilies } from '../../firewall/br-netfilter'
import { listInstalledAccepts } from '../../firewall/bridge-accept'
import { iptablesToolFor, readRuleset } from '../../firewall/read'
import { MAX_CONCURRENT_READS, mapConcurrently } from '../../model/concurrency'
import { PipeworkError } from '../../model/errors'
import { GUEST_KINDS } from '../../model/guest-name'
import { parseIfname } from '../../model/ifname'
import { listBlockedForwarding } from '../../network/host-services'
import { findGuest, GuestNotFoundError, holdGuestNetns } from '../../runtimes/find'
import { GuestNotRunningError } from '../../runtimes/types'
import { type ExistingAttachment, scanAttachments } from '../../state/attachments'
import { readGuestState } from '../../state/guest'
import { type IpAddress, type IpLink, readLinks, toFamily } from '../../state/ip-json'
import { readManagedLinks } from '../../state/network-managers'
import { formatGuest, OWNED_ALIAS } from '../../state/record'
import { batchLine } from '../../system/batch'
import type { HeldNetns, System } from '../../system/types'
import { readDockerProblem, readMissingLinkKinds, readMissingServices, readOvsProblem } from './ask'
import { DOCTOR_TOOLS } from './host'
import type { DoctorAddress, DoctorAttachment, DoctorLink, DoctorState, MachineState } from './state'

function toDoctorAddress({ family, local: ip, prefixlen: prefix, scope, dadfailed = false }: IpAddress): DoctorAddress {
  return { family: toFamily(family), ip, prefix, isLinkLocal: scope === 'link', isDuplicate: dadfailed }
}

function toDoctorLink(link: IpLink, system: System): DoctorLink {
  const { ifname: name, ifindex, mtu, address: mac = '', master, flags, linkinfo } = link
  const { info_kind = 'NIC', info_data, info_slave_data } = linkinfo ?? {}
  const { stp_state: stp } = info_data ?? {}
  const { state: portState } = info_slave_data ?? {}
  return {
    ...{ name, ifindex, mac, mtu, master },
    kind: flags.includes('LOOPBACK') ? 'loopback' : info_kind,
    isUp: flags.includes('UP'),
    hasCarrier: flags.includes('LOWER_UP'),
    isOwned: link.ifalias === OWNED_ALIAS,
    isWireless: system.list(`/sys/class/net/${name}/phy80211`) !== undefined,
    peerIndex: link.link_index,
    hasStp: typeof stp === 'number' ? stp > 0 : undefined,
    portState: typeof portState === 'string' ? portState : undefined,
    addresses: link.addr_info.map(toDoctorAddress),
  }
}

async function readDoctorLinks(netns: string | undefined, system: System): Promise<readonly DoctorLink[]> {
  const links = await readLinks(netns, system)
  // Findings become shell commands, and a guest can choose any link name: only plain names are kept.
  return links.filter(({ ifname }) => isValidIfname(ifname)).map((link) => toDoctorLink(link, system))
}

function isValidIfname(ifname: string): boolean {
  try {
    return parseIfname(ifname, 'link') === ifname
  } catch {
    return false
  }
}

/** The network state of a guest, or the reason why it is unreachable. */
type GuestInspection = Pick<DoctorAttachment, 'routes' | 'netns' | 'unreachable' | 'resolvedGuest'> & {
  readonly links: readonly DoctorLink[]
  readonly filters: ReadonlyMap<string, number>
}

const EMPTY_INSPECTION = { links: [], filters: new Map<string, number>() }

/** The IPv4 rp_filter of each interface: the kernel uses the larger of the interface's value and `all`. */
async function readRpFilters(
  ifnames: readonly string[],
  netns: string,
  system: System,
): Promise<ReadonlyMap<string, number>> {
  const keys = ['all', ...ifnames].map((name) => `net/ipv4/conf/${name}/rp_filter`)
  const { stdout } = await system.runIpBatch({
    lines: [batchLine`netns exec ${netns} sysctl -n ${keys}`],
    output: 'text',
  })
  const [all = 0, ...own] = stdout.split('\n').map(Number)
  return new Map(ifnames.map((name, index) => [name, Math.max(all, own[index] ?? 0)]))
}

async function inspectGuest(
  { record }: ExistingAttachment,
  ifnames: readonly string[],
  { system, heldNetns }: DoctorReadOptions,
): Promise<GuestInspection> {
  const kind = GUEST_KINDS.find((it) => it === record.guest.kind)
  try {
    const found = await findGuest({ kind, name: record.guest.name }, system)
    const pin = holdGuestNetns(found, system)
    heldNetns.push(pin)
    const { netns } = pin
    const [links, { routes }, filters] = await Promise.all([
      readDoctorLinks(netns, system),
      readGuestState(netns, system),
      readRpFilters(ifnames, netns, system),
    ])
    return { links, routes, filters, netns, resolvedGuest: found }
  } catch (error) {
    if (!(error instanceof PipeworkError)) throw error
    return {
      ...EMPTY_INSPECTION,
      unreachable: {
        message: error.message,
        hint: error.hint,
        isGone: isGuestGone(error),
      },
    }
  }
}

/** Whether the guest is gone. A runtime that does not answer, or is remote, proves nothing. */
function isGuestGone(error: PipeworkError): boolean {
  return error instanceof GuestNotFoundError || error instanceof GuestNotRunningError
}

/** `heldNetns` collects the opened namespaces; the caller releases them. */
interface DoctorReadOptions {
  readonly system: System
  readonly heldNetns: HeldNetns[]
}

/** The link of an attachment in its guest: the peer of the host end, else the link with the recorded name. */
function findGuestLink(
  { record, hostEnd, inGuest }: ExistingAttachment,
  links: readonly DoctorLink[],
): DoctorLink | undefined {
  if (hostEnd === undefined) return links.find(({ name }) => name === (inGuest?.name ?? record.ifname))
  return links.find(({ ifindex, peerIndex }) => ifindex === hostEnd.peerIndex && peerIndex === hostEnd.ifindex)
}

type ReachedAttachment = Omit<DoctorAttachment, 'hostEnd'>

async function readDoctorAttachments(
  options: DoctorReadOptions,
): Promise<{ readonly attachments: readonly ReachedAttachment[]; readonly scanError?: PipeworkError }> {
  const { attachments: all, error: scanError } = await scanAttachments(options.system)
  const guests = [...new Set(all.map(({ record }) => formatGuest(record.guest)))]
  const found = await mapConcurrently(guests, MAX_CONCURRENT_READS, (guest) =>
    readAttachmentsOf(
      guest,
      all.filter(({ record }) => formatGuest(record.guest) === guest),
      options,
    ),
  )
  return { attachments: found.flat(), scanError }
}

/** The attachments of one guest, with its network state. */
async function readAttachmentsOf(
  guest: string,
  own: readonly ExistingAttachment[],
  options: DoctorReadOptions,
): Promise<readonly ReachedAttachment[]> {
  const [first] = own
  if (first === undefined) return []
  const ifnames = own.map(({ record }) => record.ifname)
  const { links, filters, ...inside } = await inspectGuest(first, ifnames, options)
  return own.map((attachment) => ({
    ...{ attachment, guest, ...inside },
    inGuest: findGuestLink(attachment, links),
    rpFilter: filters.get(attachment.record.ifname),
  }))
}

function readDmiProduct(system: System): Pick<MachineState, 'vendor' | 'product'> {
  const dmi = (file: string) => system.read(`/sys/class/dmi/id/${file}`) ?? ''
  return { vendor: dmi('sys_vendor'), product: dmi('product_name') }
}

/** Reads everything that the findings depend on. */
export async function readDoctorState(options: DoctorReadOptions): Promise<DoctorState> {
  const { system } = options
  // Read before the first guest is held: holding one removes the leftovers of killed runs.
  const pins = (system.list('/run/netns') ?? []).filter((name) => system.isDanglingLink(`/run/netns/${name}`))
  const [links, { attachments: reached, scanError }, ruleset, missingKinds, docker] = await Promise.all([
    readDoctorLinks(undefined, system),
    readDoctorAttachments(options),
    readRuleset(system, 'comments'),
    readMissingLinkKinds(system),
    readDockerProblem(system),
  ])
  const bridges = links.filter(({ kind }) => kind === 'bridge').map(({ name }) => name)
  const attachments = reached.map(({ attachment }) => attachment)
  const ovs = await readOvsProblem(attachments, bridges, system)
  return {
    links,
    attachments: reached.map((it) => ({
      ...it,
      hostEnd: links.find(({ ifindex }) => ifindex === it.attachment.hostEnd?.ifindex),
    })),
    scanError,
    ruleset,
    brNetfilterFamilies: brNetfilterFamilies(system),
    toolOf: iptablesToolFor(system),
    acceptRules: listInstalledAccepts(ruleset),
    managers: await readManagedLinks(links, system),
    machine: {
      ...readDmiProduct(system),
      missingTools: Object.keys(DOCTOR_TOOLS).filter((tool) => !system.hasProgram(tool)),
      missingKinds,
      docker,
      ovs,
    },
    danglingNetns: pins,
    missingServices: await readMissingServices(attachments, system),
    blockedForwarding: listBlockedForwarding(attachments, ruleset, system),
  }
}
