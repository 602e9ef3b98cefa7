/** An error stops traffic, a warning may stop it, a note only explains something. */
export type FindingSeverity = 'error' | 'warning' | 'note'

/** All findings with their descriptions; the README has the same table. */
export const FINDINGS = {
  'firewall-drop': 'the firewall of the host drops what goes over the bridge, or to and from the outside',
  'firewall-maybe': 'a rule drops it, or not: that depends on what is not known beforehand',
  'br-netfilter': 'frames on bridges go through the firewall of the host',
  'bridge-down': 'the bridge is down',
  'port-down': "a port of the bridge is down, or the link's end in the guest",
  'port-away': "the link's end in the host is on no bridge, or on another",
  'address-on-port': 'a NIC in a bridge has kept its addresses, which belong on the bridge',
  'stp-learning': 'spanning tree keeps a new port closed for up to 30 seconds',
  'mtu-shrinks': 'a guest sends larger packets than another port can take',
  'mac-duplicate': 'two ports of the bridge have the same MAC address',
  'address-duplicate': 'two have the same address',
  'rp-filter': 'the guest refuses what arrives by an interface that is not its way back',
  'hypervisor-mac': 'the machine is virtual, and its switch may drop the MAC addresses of guests',
  'wifi-uplink': 'an access point drops the MAC addresses of guests',
  'manager-holds': 'NetworkManager or systemd-networkd manages a link of ours',
  'docker-remote': 'the docker command speaks to another machine',
  'docker-rootless': 'Docker is rootless: its containers are in a network of their own',
  'ovs-down': 'Open vSwitch does not run, or does not answer',
  'kernel-missing': 'the kernel lacks kinds of links',
  'tool-missing': 'a program is not installed',
  'pin-dangling': 'a name in /run/netns that a killed run has left',
  'link-orphan': 'a link of ours whose guest is gone',
  'nic-stray': 'a NIC of yours that fell out of a guest that has ended',
  'rule-lost': 'a rule, route, address or sysctl of the host that an attachment needs is gone',
  'address-lost': 'an address of an attachment, or its default route, is gone in the guest',
  'namespace-hidden': 'network namespaces of this host that could not be looked into',
  'guest-hidden': 'the guest of an attachment cannot be looked into',
  'rule-stray': 'a rule of ours in the firewall for a bridge without attachments',
  'gateway-silent': 'the guest gets no answer from its gateway',
  'neighbour-silent': 'the guest gets no answer from another guest on the bridge',
} as const

export type FindingId = keyof typeof FINDINGS

/** Something that drops traffic, or may drop it. */
export interface Finding {
  readonly id: FindingId
  readonly severity: FindingSeverity
  /** The problem in one line. */
  readonly line: string
  /** The observation behind it. */
  readonly evidence: string
  /** The shell command that fixes it, if there is one; else where to look. */
  readonly command?: string
  readonly advice?: string
  /** The bridges and guests that it concerns; empty for the host itself. */
  readonly about: readonly string[]
}
