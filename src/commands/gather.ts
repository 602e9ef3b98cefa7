import { findUnplugging, hasGlobalAddress, readHostSide, readNamespaces } from '../attachments'
import type { Attached, Detachment } from '../detach'
import type { Host, Pin } from '../host'
import { type HostLink, isTunnel, listPorts, readHostLink } from '../hostlinks'
import { findLower, type GuestLink, type GuestState, readSysctls } from '../inside'
import { readNic } from '../nics'
import { MARKER } from '../outside/wish'
import type { OvsDatabase } from '../ovsdb'
import { readPort } from '../ports'
import { readPolicy } from '../rules'
import type { Wanted } from './look'

interface Known extends Pick<Detachment, 'attached' | 'others'> {
  readonly state?: GuestState
  readonly ovs?: OvsDatabase
  /** Taken away by the plans before this one, and still there: it is a dry run. */
  readonly gone: readonly Attached[]
  /** Those that leave with this one, itself among them, and whose needs of the host end with it. */
  readonly leaving: readonly Attached[]
}

/** What the host no longer needs; who has only links has nothing there. */
async function planLeaving({ leaving }: Known, host: Host): Promise<Pick<Detachment, 'release'>> {
  if (leaving.length === 0 || host.read(MARKER) === undefined) return {}
  const { planRelease } = await import('../outside/plan')
  return { release: await planRelease(leaving, host) }
}

/** What there is to know of an attachment before it is taken away. */
export async function gather(known: Known, { reached }: Wanted, host: Host): Promise<Detachment> {
  const { attached, others, state, gone, ovs } = known
  const { inGuest, hostEnd } = attached
  const parent = findLower(inGuest, host)
  const port = hostEnd === undefined ? undefined : await readPort(hostEnd, 'filtering', host)
  const unused = await findUnused({ hostEnd, parent, gone }, host)
  const tunnels = findTunnels({ hostEnd, gone }, host)
  const unplugging = await findUnplugging(attached, { ovs, gone }, host)
  const pin = reached.guest === undefined ? undefined : reached.pin
  const nic = attached.record.nic === undefined ? undefined : readNic(attached.record.nic, host)
  return {
    attached,
    others,
    ...(state === undefined ? {} : { state }),
    sysctls: pin === undefined || inGuest === undefined ? {} : await readSysctls(inGuest.name, pin.netns, host),
    ...(port === undefined ? {} : { port }),
    ...(unplugging === undefined ? {} : { unplugging }),
    ...(parent === undefined ? {} : { parent }),
    ...(nic === undefined ? {} : { nic }),
    ...(await gatherPolicy(known, pin, host)),
    ...(await planLeaving(known, host)),
    ...(unused === undefined ? {} : { unused }),
    ...(tunnels.length === 0 ? {} : { tunnels }),
    ...(await gatherPassage(known, host)),
  }
}

/** The rules that let the frames of a bridge pass the firewall, when the last attachment there is the one that goes. */
async function gatherPassage({ attached: { hostEnd }, gone }: Known, host: Host): Promise<Pick<Detachment, 'passage'>> {
  const bridge = hostEnd?.master
  if (bridge === undefined || !host.isRoot || host.inode('/proc/sys/net/bridge') === undefined) return {}
  const ends = [hostEnd?.name, ...gone.map((it) => it.hostEnd?.name)]
  const others = readHostSide(host).filter((it) => !ends.includes(it.hostEnd.name))
  const used = others.flatMap((it) => [it.hostEnd.master ?? '', it.record.hostif])
  if (used.includes(bridge)) return {}
  const { planNoPassage } = await import('../passage')
  return { passage: await planNoPassage(used, host) }
}

/** The rules of an attachment that was made with --policy-route; routes over links that are gone went with them. */
async function gatherPolicy(
  { attached, gone }: Known,
  pin: Pin | undefined,
  host: Host,
): Promise<Pick<Detachment, 'policy'>> {
  const { inGuest, record } = attached
  if (pin === undefined || inGuest === undefined || !record.words.includes('--policy-route')) return {}
  const { rules, routes } = await readPolicy(record.ifname, pin.netns, host)
  const names = gone.map((it) => it.inGuest?.name)
  return { policy: { rules, routes: routes.filter(({ dev }) => !names.includes(dev)) } }
}

/** The VXLANs of ours on its bridge, when nobody else is left there. */
function findTunnels(
  { hostEnd, gone }: { readonly hostEnd: HostLink | undefined; readonly gone: readonly Attached[] },
  host: Host,
): readonly string[] {
  const ends = [hostEnd?.name, ...gone.map((it) => it.hostEnd?.name)]
  const others = hostEnd?.master === undefined ? [] : listPorts(hostEnd.master, host).filter((it) => !ends.includes(it))
  return others.every((name) => isTunnel(name, host)) ? others : []
}

/** The bridge or VLAN device below, when pipework made it and nobody else uses it. */
async function findUnused(
  { hostEnd, parent, gone }: { hostEnd: HostLink | undefined; parent: HostLink | undefined; gone: readonly Attached[] },
  host: Host,
): Promise<HostLink | undefined> {
  const master = hostEnd?.master === undefined ? undefined : readHostLink(hostEnd.master, host)
  const below = parent ?? master
  if (below?.record?.kind !== 'made' || below.master !== undefined) return undefined
  const ends = [hostEnd?.name, ...gone.map((it) => it.hostEnd?.name)]
  if (
    below.kind === 'bridge' &&
    listPorts(below.name, host).some((port) => !ends.includes(port) && !isTunnel(port, host))
  )
    return undefined
  if (await hasGlobalAddress(below.name, host)) return undefined
  if (below.kind === 'bridge') return below
  const states = await readNamespaces(host, 'all')
  const isUser = ({ kind, peerIndex }: GuestLink) => kind !== 'veth' && peerIndex === below.ifindex
  const users = states.flatMap(({ links }) => links.filter(isUser))
  const stillThere = gone.filter(({ inGuest }) => inGuest !== undefined && isUser(inGuest))
  return users.length > 1 + stillThere.length ? undefined : below
}
