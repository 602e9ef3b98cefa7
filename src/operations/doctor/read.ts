import { filteredFamilies } from '../../firewall/br-netfilter'
import { pickOpenings, toolFor } from '../../firewall/bridge-accept'
import { readRuleset } from '../../firewall/read'
import { parseIfname } from '../../model/address'
import { PipeworkError } from '../../model/errors'
import { GUEST_KINDS, parseGuest } from '../../model/guest-name'
import { listBarred } from '../../network/host-services'
import { batchLine } from '../../plan/step'
import { findGuest, NoSuchGuest, pinGuest } from '../../runtimes/find'
import { NotRunning } from '../../runtimes/types'
import { pickGuestSide, readHostSide, readNamespaces } from '../../state/attachments'
import { readGuest } from '../../state/guest'
import { readManagers } from '../../state/network-managers'
import { formatGuest, MADE_RECORD } from '../../state/record'
import type { Host, Pin } from '../../system/types'
import type { Attached } from '../detach/plan'
import { readDocker, readLacking, readMissingKinds, readOvsTrouble } from './ask'
import { TOOLS } from './host'
import type { Machine, Survey, SurveyAddress, SurveyLink, SurveySeat } from './state'

/** What `ip -j -d address` prints, as far as it is read here (iproute2 6.1). */
interface IpLink {
  readonly ifname: string
  readonly ifindex: number
  readonly link_index?: number
  readonly flags: readonly string[]
  readonly mtu: number
  readonly master?: string
  readonly address?: string
  readonly ifalias?: string
  readonly linkinfo?: {
    readonly info_kind?: string
    readonly info_data?: { readonly stp_state?: number }
    readonly info_slave_data?: { readonly state?: string }
  }
  readonly addr_info?: readonly {
    readonly family: string
    readonly local?: string
    readonly prefixlen: number
    readonly scope: string
    readonly dadfailed?: boolean
  }[]
}

function toAddress(info: NonNullable<IpLink['addr_info']>[number]): readonly SurveyAddress[] {
  const { family, local, prefixlen: prefix, scope, dadfailed = false } = info
  if (local === undefined) return []
  return [
    { family: family === 'inet' ? 4 : 6, ip: local, prefix, isLinkLocal: scope === 'link', isDuplicate: dadfailed },
  ]
}

function toLink(link: IpLink, host: Host): SurveyLink {
  const { info_kind = 'NIC', info_data, info_slave_data } = link.linkinfo ?? {}
  return {
    name: link.ifname,
    ifindex: link.ifindex,
    kind: link.flags.includes('LOOPBACK') ? 'loopback' : info_kind,
    mac: link.address ?? '',
    mtu: link.mtu,
    up: link.flags.includes('UP'),
    hasCarrier: link.flags.includes('LOWER_UP'),
    isMade: link.ifalias === MADE_RECORD,
    isWireless: host.list(`/sys/class/net/${link.ifname}/phy80211`) !== undefined,
    master: link.master,
    peerIndex: link.link_index,
    stp: info_data?.stp_state === undefined ? undefined : info_data.stp_state > 0,
    portState: info_slave_data?.state === undefined ? undefined : info_slave_data.state,
    addresses: (link.addr_info ?? []).flatMap(toAddress),
  }
}

async function readLinks(netns: string | undefined, host: Host): Promise<readonly SurveyLink[]> {
  const { code, stdout, stderr } = await host.ip({
    netns,
    lines: [batchLine`address show`],
    answer: 'json',
  })
  if (code !== 0)
    throw new PipeworkError(`the links of ${netns ?? 'this host'} cannot be read: ${stderr.trim()}`, {
      hint: 'See what `ip address` says there.',
    })
  // A guest may call its links what it likes; what could be read as more than a name is not looked at.
  return (JSON.parse(stdout) as IpLink[]).filter(({ ifname }) => isName(ifname)).map((link) => toLink(link, host))
}

function isName(ifname: string): boolean {
  try {
    return parseIfname(ifname, 'link') === ifname
  } catch {
    return false
  }
}

/** The record of a macvlan stands in its guest, where somebody may have written anything. */
function isSound({ record: { guest, ifname, hostif } }: Attached): boolean {
  try {
    parseGuest(formatGuest(guest))
    return isName(ifname) && /^[\w.:+=-]{1,32}$/.test(hostif)
  } catch {
    return false
  }
}

/** What is inside a guest, by its name; or why it cannot be reached. */
type Inside = Pick<SurveySeat, 'routes' | 'netns' | 'away' | 'found'> & {
  readonly links: readonly SurveyLink[]
  readonly filters: ReadonlyMap<string, number>
}

const NOTHING = { links: [], filters: new Map<string, number>() }

/** The strictness for IPv4 of each interface: the kernel takes the larger of the interface's own and that of all. */
async function readFilters(
  ifnames: readonly string[],
  netns: string,
  host: Host,
): Promise<ReadonlyMap<string, number>> {
  const keys = ['all', ...ifnames].map((name) => `net/ipv4/conf/${name}/rp_filter`)
  const { stdout } = await host.ip({ lines: [batchLine`netns exec ${netns} sysctl -n ${keys}`], answer: 'text' })
  const [all = 0, ...own] = stdout.split('\n').map(Number)
  return new Map(ifnames.map((name, index) => [name, Math.max(all, own[index] ?? 0)]))
}

async function enter({ record }: Attached, ifnames: readonly string[], { host, pins }: Means): Promise<Inside> {
  const kind = GUEST_KINDS.find((it) => it === record.guest.kind)
  try {
    const found = await findGuest({ kind, name: record.guest.name }, host)
    const pin = pinGuest(found, host)
    pins.push(pin)
    const { netns } = pin
    const [links, { routes }, filters] = await Promise.all([
      readLinks(netns, host),
      readGuest(netns, host),
      readFilters(ifnames, netns, host),
    ])
    return { links, routes, filters, netns, found }
  } catch (error) {
    if (!(error instanceof PipeworkError)) throw error
    return {
      ...NOTHING,
      away: {
        message: error.message,
        hint: error.hint,
        isGone: isGone(error),
      },
    }
  }
}

/** A runtime that does not answer, or is elsewhere, says nothing about its guests. */
function isGone(error: PipeworkError): boolean {
  return error instanceof NoSuchGuest || error instanceof NotRunning
}

/** What a survey is made with; the pins are for whoever made it to release. */
interface Means {
  readonly host: Host
  readonly pins: Pin[]
}

/** The link of an attachment inside its guest: the other end of its host end, else the one with its name. */
function pickInside({ record, hostEnd, inGuest }: Attached, links: readonly SurveyLink[]): SurveyLink | undefined {
  if (hostEnd === undefined) return links.find(({ name }) => name === (inGuest?.name ?? record.ifname))
  return links.find(({ ifindex, peerIndex }) => ifindex === hostEnd.peerIndex && peerIndex === hostEnd.ifindex)
}

async function readSeats(means: Means): Promise<readonly Omit<SurveySeat, 'hostEnd'>[]> {
  const { host } = means
  const all = [...readHostSide(host), ...(await readNamespaces(host, 'holding')).flatMap(pickGuestSide)].filter(isSound)
  const guests = [...new Set(all.map(({ record }) => formatGuest(record.guest)))]
  const seats = await Promise.all(
    guests.map(async (guest) => {
      const own = all.filter(({ record }) => formatGuest(record.guest) === guest)
      const [first] = own
      if (first === undefined) return []
      const { links, filters, ...inside } = await enter(
        first,
        own.map(({ record }) => record.ifname),
        means,
      )
      return own.map((attached) => {
        const link = pickInside(attached, links)
        const rpFilter = filters.get(attached.record.ifname)
        return {
          attached,
          guest,
          ...inside,
          inGuest: link,
          rpFilter,
        }
      })
    }),
  )
  return seats.flat()
}

function readProduct(host: Host): Pick<Machine, 'vendor' | 'product'> {
  const dmi = (file: string) => host.read(`/sys/class/dmi/id/${file}`) ?? ''
  return { vendor: dmi('sys_vendor'), product: dmi('product_name') }
}

/** Asks everything, side by side. */
export async function readSurvey(means: Means): Promise<Survey> {
  const { host } = means
  // Before the first guest is held: that sweeps what killed runs have left.
  const pins = (host.list('/run/netns') ?? []).filter((name) => host.dangles(`/run/netns/${name}`))
  const [links, seats, ruleset, missingKinds, docker] = await Promise.all([
    readLinks(undefined, host),
    readSeats(means),
    readRuleset(host, 'comments'),
    readMissingKinds(host),
    readDocker(host),
  ])
  const bridges = links.filter(({ kind }) => kind === 'bridge').map(({ name }) => name)
  const attachments = seats.map(({ attached }) => attached)
  const ovs = await readOvsTrouble(attachments, bridges, host)
  return {
    links,
    seats: seats.map((seat) => {
      const hostEnd = links.find(({ ifindex }) => ifindex === seat.attached.hostEnd?.ifindex)
      return hostEnd === undefined ? seat : { ...seat, hostEnd }
    }),
    ruleset,
    families: filteredFamilies(host),
    toolOf: toolFor(host),
    openings: pickOpenings(ruleset),
    managers: await readManagers(links, host),
    machine: {
      ...readProduct(host),
      missingTools: Object.keys(TOOLS).filter((tool) => !host.has(tool)),
      missingKinds,
      docker,
      ovs,
    },
    pins,
    lacking: await readLacking(attachments, host),
    barred: listBarred(attachments, ruleset, host),
  }
}
