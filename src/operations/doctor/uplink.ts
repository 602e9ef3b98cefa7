import { formatAddress } from '../../model/address'
import { shellQuote } from '../../model/shell'
import type { Finding } from './findings'
import { type DoctorAttachment, type DoctorLink, type DoctorState, listAttachmentsOn, listBridgePorts } from './state'

/** Link kinds that lead out of the machine; `ip` reports no kind for a NIC. */
const UPLINK_KINDS = ['NIC', 'bond', 'team', 'vlan']

/** The host links by which frames with the guest's own MAC address leave. */
function listOutgoingLinks(
  { attachment, hostEnd, inGuest }: DoctorAttachment,
  survey: DoctorState,
): readonly DoctorLink[] {
  if (inGuest?.kind === 'macvlan') return survey.links.filter(({ ifindex }) => ifindex === inGuest.peerIndex)
  const bridge = hostEnd?.master ?? attachment.record.hostif
  return listBridgePorts(bridge, survey).filter(({ kind }) => UPLINK_KINDS.includes(kind))
}

interface Hypervisor {
  readonly name: string
  readonly pattern: RegExp
  readonly advice: string
  /** The command for the hypervisor, if it has one. */
  readonly command?: string
}

/** Most virtual switches accept one MAC address for each virtual NIC and drop frames with another. */
const HYPERVISORS: readonly Hypervisor[] = [
  {
    name: 'VMware',
    pattern: /VMware/i,
    advice: "In the port group's security policy accept promiscuous mode, MAC address changes and forged transmits:",
    command: 'govc host.portgroup.change -allow-promiscuous=true -forged-transmits=true -mac-changes=true PORTGROUP',
  },
  {
    name: 'VirtualBox',
    pattern: /innotek|VirtualBox/i,
    advice: 'Let the bridged adapter be promiscuous, on the machine that runs VirtualBox:',
    command: 'VBoxManage modifyvm MACHINE --nic-promisc1 allow-all',
  },
  {
    name: 'Hyper-V',
    pattern: /Microsoft Corporation Virtual Machine/i,
    advice: 'Allow MAC address spoofing, in PowerShell on the machine that runs Hyper-V:',
    command: 'Set-VMNetworkAdapter -VMName MACHINE -MacAddressSpoofing On',
  },
  {
    name: 'a cloud',
    pattern:
      /Amazon EC2|Google|Alibaba|DigitalOcean|Hetzner|OpenStack|Scaleway|Vultr|Linode|Akamai|UpCloud|Oracle(Cloud|Corporation)|OVH/i,
    advice: "A cloud's network carries the addresses that it gave out only. Use an ipvlan, or route to the guest.",
  },
  {
    name: 'KVM',
    pattern: /QEMU|KVM|Bochs|Red Hat|Proxmox/i,
    advice: "If frames are lost: take the filter no-mac-spoofing or clean-traffic off the domain's interface:",
    command: 'virsh edit MACHINE',
  },
]

/** Finds devices between a guest and the LAN that may drop its frames because of their MAC address. */
export function findUplinkProblems(survey: DoctorState, hostifs: readonly string[]): readonly Finding[] {
  return [
    ...findHypervisorFilter(survey, hostifs),
    ...findWirelessUplinks(survey, hostifs),
    ...findInterferingManagers(survey, hostifs),
  ]
}

function listUsedUplinks(survey: DoctorState, hostifs: readonly string[]) {
  const seats = hostifs.flatMap((hostif) => listAttachmentsOn(hostif, survey))
  return seats.flatMap((seat) => listOutgoingLinks(seat, survey).map((uplink) => ({ seat, uplink })))
}

function findHypervisorFilter(survey: DoctorState, hostifs: readonly string[]): readonly Finding[] {
  const { vendor, product } = survey.machine
  const hypervisor = HYPERVISORS.find(({ pattern }) => pattern.test(`${vendor} ${product}`))
  const out = listUsedUplinks(survey, hostifs)
  const [first] = out
  if (hypervisor === undefined || first === undefined) return []
  const { advice, command, name } = hypervisor
  return [
    {
      id: 'hypervisor-mac',
      severity: 'warning',
      line: `this machine runs in ${name}, whose switch may drop what guests send by ${first.uplink.name} with MAC addresses of their own`,
      evidence: `DMI: ${`${vendor} ${product}`.trim()}`,
      advice,
      command,
      about: out.flatMap(({ seat }) => [seat.attachment.record.hostif, seat.guest]),
    },
  ]
}

/** An access point accepts one MAC address for each station (802.11 frames to it have three addresses, not four). */
function findWirelessUplinks(survey: DoctorState, hostifs: readonly string[]): readonly Finding[] {
  return listUsedUplinks(survey, hostifs)
    .filter(({ uplink }) => uplink.isWireless)
    .map(({ seat: { guest, attachment, inGuest }, uplink }) => {
      const { ifname, addresses, sources = [] } = attachment.record
      const typed = addresses?.filter(({ leased }) => !leased) ?? []
      const list = [...sources, ...typed.map(formatAddress)]
      const words = [
        ...['pipework', '--kind', 'ipvlan', ...(ifname === 'eth1' ? [] : ['-i', ifname])],
        ...[uplink.name, guest, list.join(',') || '0/0'],
      ]
      const format = (them: readonly string[]) => them.map(shellQuote).join(' ')
      return {
        id: 'wifi-uplink',
        severity: 'error',
        line: `'${guest}' leaves by ${uplink.name}, which is wireless: the access point drops MAC addresses that are not its station's`,
        evidence: `${uplink.name} is wireless, and ${inGuest?.name ?? ifname} has ${inGuest?.mac ?? 'an address of its own'}`,
        command: `${format(['pipework', 'disconnect', guest, ifname])} && ${format(words)}`,
        about: [attachment.record.hostif, guest],
      }
    })
}

/**
 * Restarts the managers: a running one that gives up a link removes its configuration, and NetworkManager also takes
 * the link down.
 */
function formatUnmanageCommand(by: DoctorState['managers'][number]['program'], link: string): string {
  return by === 'NetworkManager'
    ? `printf '[keyfile]\\nunmanaged-devices+=interface-name:${link}\\n' > /etc/NetworkManager/conf.d/90-pipework-${link}.conf && systemctl restart NetworkManager`
    : `printf '[Match]\\nName=${link}\\n\\n[Link]\\nUnmanaged=yes\\n' > /etc/systemd/network/0-pipework-${link}.network && systemctl restart systemd-networkd`
}

/** Finds network managers without a drop-in for our links: they may take links down or add addresses. */
function findInterferingManagers(survey: DoctorState, hostifs: readonly string[]): readonly Finding[] {
  const seats = hostifs.flatMap((hostif) => listAttachmentsOn(hostif, survey))
  // A bridge that pipework did not create may well belong to that manager, ports included.
  const bridges = survey.links.filter((it) => it.kind === 'bridge' && it.isOwned && hostifs.includes(it.name))
  const ours = [...bridges.map(({ name }) => name), ...seats.flatMap(({ hostEnd }) => hostEnd?.name ?? [])]
  return survey.managers
    .filter(({ link }) => ours.includes(link))
    .map(({ link, program, evidence }) => ({
      id: 'manager-holds',
      severity: 'warning',
      line: `${program} manages '${link}', and may take it down or change its addresses`,
      evidence,
      command: formatUnmanageCommand(program, link),
      about: [
        link,
        ...seats.filter(({ hostEnd }) => hostEnd?.name === link || hostEnd?.master === link).map(({ guest }) => guest),
      ],
    }))
}
