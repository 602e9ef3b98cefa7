import { formatAddress } from '../../model/address'
import type { DiagramData } from '../../operations/diagram'
import type { ExistingAttachment } from '../../state/attachments'
import type { HostLink } from '../../state/host-links'
import { formatGuest } from '../../state/record'
import type { HostSubnets } from '../../state/subnets'
import type { Terminal } from '../terminal'

/** A port of a bridge or NIC: an attachment of ours, an uplink, or a port that another program added. */
export interface DiagramPort {
  /** The name of the host end; absent for a macvlan. */
  readonly name: string
  readonly kind: 'attachment' | 'uplink' | 'other'
  /** The guest, for an attachment. */
  readonly guest?: { readonly name: string; readonly ifname: string; readonly addresses: readonly string[] }
  /** Notes for the reader: VLANs, or that it is down. */
  readonly notes: readonly string[]
}

/** A bridge or a NIC, with its ports. */
export interface DiagramNode {
  readonly name: string
  readonly kind: string
  readonly notes: readonly string[]
  readonly ports: readonly DiagramPort[]
}

function toAttachmentPort({ record, hostEnd, inGuest }: ExistingAttachment): DiagramPort {
  const link = hostEnd ?? inGuest
  const vlan = record.words.find((it) => it.startsWith('@') || /@\S+$/.test(it))?.replace(/^.*@/, '')
  const addresses = record.addresses?.map(formatAddress) ?? ['?']
  return {
    name: hostEnd?.name ?? inGuest?.kind ?? '',
    kind: 'attachment',
    guest: { name: formatGuest(record.guest), ifname: record.ifname, addresses },
    notes: [...(vlan === undefined ? [] : [`VLAN ${vlan}`]), ...(link?.up === false ? ['down'] : [])],
  }
}

/** A port that pipework did not make; a NIC or VLAN is an uplink. */
function toOtherPort(link: HostLink, uplinks: readonly string[]): DiagramPort {
  const isUplink = link.peerIndex === link.ifindex || link.kind === 'vlan' || uplinks.includes(link.name)
  return { name: link.name, kind: isUplink ? 'uplink' : 'other', notes: link.up ? [] : ['down'] }
}

function formatLinkNotes(link: HostLink | undefined, { addresses }: HostSubnets): readonly string[] {
  if (link === undefined) return []
  const own = addresses.filter(({ dev }) => dev === link.name).map(({ ip, prefix }) => `${ip}/${prefix}`)
  return [link.up ? 'up' : 'down', `MTU ${link.mtu}`, ...own]
}

/** The bridges and NICs with ports, bridges first. */
export function listDiagramNodes({
  links,
  attachments,
  subnets,
  ovsBridges,
  uplinks,
}: DiagramData): readonly DiagramNode[] {
  const linkOf = (name: string) => links.find((link) => link.name === name)
  const ours = new Set(attachments.flatMap(({ hostEnd }) => hostEnd?.name ?? []))
  const on = (name: string) =>
    attachments.filter((it) => (it.hostEnd?.master ?? it.record.hostif) === name || it.record.hostif === name)
  const toHub = (name: string, kind: string, others: readonly HostLink[]): DiagramNode => ({
    name,
    kind,
    notes: formatLinkNotes(linkOf(name), subnets),
    ports: [
      ...others.filter((link) => !ours.has(link.name)).map((link) => toOtherPort(link, uplinks)),
      ...on(name).map(toAttachmentPort),
    ],
  })
  const bridges = links.filter(({ kind }) => kind === 'bridge')
  const known = [...bridges.map(({ name }) => name), ...ovsBridges.map(({ name }) => name)]
  const rest = [...new Set(attachments.map(({ record }) => record.hostif))].filter((name) => !known.includes(name))
  return [
    ...bridges.map(({ name }) =>
      toHub(
        name,
        'bridge',
        links.filter(({ master }) => master === name),
      ),
    ),
    ...ovsBridges.map(({ name, ports }) =>
      toHub(
        name,
        'Open vSwitch bridge',
        ports.flatMap((it) => (it === name ? [] : (linkOf(it) ?? []))),
      ),
    ),
    ...rest.map((name) => toHub(name, linkOf(name) === undefined ? 'no interface of the host' : 'NIC', [])),
  ].filter(({ ports }) => ports.length > 0)
}

const formatPort = ({ kind, guest, notes }: DiagramPort): string =>
  guest === undefined
    ? [kind === 'uplink' ? 'uplink' : "a port that is not pipework's", ...notes].join(', ')
    : [`${guest.name} ${guest.ifname}`, ...guest.addresses, ...notes].join('  ')

/** A tree for each bridge or NIC. */
export function formatDiagramTree(hubs: readonly DiagramNode[], { isUnicode }: Terminal): string {
  const [fork, last] = isUnicode ? ['├─', '└─'] : ['|-', '`-']
  const trees = hubs.map(({ name, kind, notes, ports }) => {
    const width = Math.max(...ports.map((port) => port.name.length))
    const lines = ports.map(
      (port, index) => `${index < ports.length - 1 ? fork : last} ${port.name.padEnd(width)}  ${formatPort(port)}`,
    )
    return [`${name}  ${[kind, ...notes].join(', ')}`, ...lines].map((line) => `${line}\n`).join('')
  })
  return trees.length === 0 ? 'nothing is attached to any bridge or NIC\n' : trees.join('\n')
}
