import { SHARE_MODES } from '../model/attach-options'
import { usageError } from '../model/errors'
import { parseSeconds } from '../model/number'
import { formatWarning } from '../model/report'
import { type AttachRequest, parseAttachRequest } from '../model/request'
import type { AttachRunOptions } from '../operations/attach/run'
import {
  type Arguments,
  CHANGE_OPTIONS,
  type CommandContext,
  defineCommand,
  textOption,
  toChangeOptions,
  validateRoot,
  WAIT_GUEST_OPTION,
} from './types'

const flag = { type: 'boolean' } as const

const OPTIONS = {
  i: { ...textOption('ifname'), describe: 'interface name in the guest (default eth1)' },
  l: { ...textOption('hostname'), describe: 'name of the host end of the link (default: derived from the guest)' },
  a: { ...textOption('family'), describe: 'only addresses of this family: 4, inet, 6 or inet6' },
  'direct-phys': { ...flag, describe: 'move the NIC itself into the guest; disconnect restores it' },
  kind: {
    ...textOption('macvlan|ipvlan'),
    choices: Object.keys(SHARE_MODES),
    describe: 'how to share a NIC (default macvlan)',
  },
  mode: {
    ...textOption('mode'),
    describe: 'of a macvlan: bridge, private, vepa, passthru, source; of an ipvlan: l2, l3, l3s',
  },
  'vlan-filtering': {
    ...flag,
    describe: 'turn on VLAN filtering on an existing bridge, which changes the traffic of all its ports',
  },
  metric: { ...textOption('number'), describe: 'metric of the default route; the lowest of several wins' },
  'no-default-route': { ...flag, describe: 'add no default route through the gateway' },
  route: {
    ...textOption('network/prefix[,router][,metric]'),
    array: true,
    describe: 'add a route, through the gateway unless a router is given; may be repeated',
  },
  'policy-route': { ...flag, describe: 'replies leave by the interface the request arrived on' },
  mtu: { ...textOption('bytes'), describe: 'largest packet (default: that of the bridge or NIC)' },
  'tx-offload': { ...textOption('on|off'), choices: ['on', 'off'], describe: 'off: turn off TX checksum offload' },
  'dhcp-timeout': { ...textOption('seconds'), describe: 'how long a DHCP server may take to answer (default 30)' },
  'dhcp-once': { ...flag, describe: 'request a lease once, and do not renew it' },
  'dhcp-dns': { ...flag, describe: "write the DHCP server's name servers to the guest's own resolv.conf" },
  'bridge-address': {
    ...textOption('ip/prefix[,…]'),
    describe: 'addresses of this host on the bridge; removed with the last attachment that needs them',
  },
  nat: {
    type: 'string',
    placeholder: 'out-interface',
    optionalValue: true,
    describe: 'masquerade what the guest sends, on any interface or on that one',
  },
  publish: {
    ...textOption('[ip:]hostport:guestport[/tcp|udp]'),
    array: true,
    describe: 'publish a host port to the guest; may be repeated',
  },
  'host-access': { ...flag, describe: 'let this host and a guest on one of its NICs reach each other' },
  'no-probe': { ...flag, describe: 'do not check on the LAN whether an address is in use' },
  ...WAIT_GUEST_OPTION,
  firewall: {
    ...textOption('allow|warn|off'),
    choices: ['allow', 'warn', 'off'],
    describe: "when the host's firewall drops the traffic: add a rule, print a warning (default), or do not check",
  },
  strict: { ...flag, describe: 'refuse to attach when the firewall drops the traffic' },
  confirm: { ...textOption('seconds'), describe: 'roll back a new uplink unless `uplink confirm` follows in time' },
  force: { ...flag, describe: "move the link from another bridge, rename its host end, use Docker's own bridge" },
  ...CHANGE_OPTIONS,
} as const

/** The request in a line of the main form. Throws usage errors, asks no host. */
export function toAttachRequest(argv: Arguments<typeof OPTIONS>, words = argv.words): AttachRequest {
  const { i, l, a, kind, mode, metric, mtu, txOffload, firewall, nat, bridgeAddress, dhcpTimeout } = argv
  return parseAttachRequest(words, {
    ...{ i, l, a, kind, mode, metric, mtu, txOffload, firewall, nat, bridgeAddress, dhcpTimeout },
    direct: argv.directPhys === true,
    routes: argv.route ?? [],
    defaultRoute: argv.noDefaultRoute !== true,
    policyRoute: argv.policyRoute === true,
    dhcpOnce: argv.dhcpOnce === true,
    dhcpDns: argv.dhcpDns === true,
    probe: argv.noProbe !== true,
    vlanFiltering: argv.vlanFiltering === true,
    strict: argv.strict === true,
    publish: argv.publish ?? [],
    hostAccess: argv.hostAccess === true,
    force: argv.force === true,
  })
}

/** `pipework <bridge> <guest> <address>…`: attach a guest to a bridge or NIC. */
export const attach = defineCommand({
  command: '$0 [words..]',
  describe: 'attach a guest to a Linux or Open vSwitch bridge, or to a NIC, with addresses, gateway and MAC address',
  builder: OPTIONS,
  otherNames: ['add', 'attach', 'connect', 'plug', 'create', 'join'],
  synopsis: '<bridge> [-i ifname] [-l hostname] [-a 4|6] <guest> <ip/prefix[@gateway]>[,…] [mac|U:text][@vlan]',
  argumentHelp: {
    '<bridge>':
      'an existing Linux or Open vSwitch bridge, or a NIC, by name or mac:address; else a bridge to create: br…, ovs…; br0@eth0 for one with an uplink; or one of the words ptp, routed:nic, dummy',
    '<guest>':
      'a container of Docker, else of Podman, LXC or containerd, by name or id; or kind:name, like netns:blue, pid:1234',
    '<ip/prefix[@gateway]>':
      'IPv4 or IPv6, with the prefix in bits or as a netmask; several with commas between; 0/0 for none; or dhcp, udhcpc, dhclient, dhcpcd, dhcp6, slaac',
    '[mac|U:text]': 'the MAC address in the guest, or a text to derive it from; by default derived and stable',
    '[@vlan]': 'a VLAN, 1 to 4094; on a bridge also a trunk: @10,20-22',
  },
  examples: [
    { line: 'pipework br1 web 192.168.1.10/24@192.168.1.1', does: 'eth1 in web, on br1, with a default route' },
    { line: 'pipework br1 -i eth2 db 10.0.0.2/24,fd00::2/64@fd00::1', does: 'IPv4 and IPv6 on eth2 of db' },
    { line: 'pipework br1 podman:web 10.0.0.3/24', does: 'a Podman container; also docker: lxc: nerdctl: netns: pid:' },
    { line: 'pipework br1 web dhcp', does: 'by DHCP, renewed; also udhcpc, dhclient, dhcpcd, dhcp6, slaac' },
    { line: 'pipework br1 web 192.168.10.5/24 @10,20-22', does: 'in VLAN 10, and with tags in 20 to 22' },
    {
      line: 'pipework br0@eth0 web 192.168.1.50/24',
      does: 'br0 gets eth0, with its addresses and routes; web is on the LAN',
    },
    { line: 'pipework br7@vxlan:42,192.0.2.7 web 10.7.0.2/24', does: 'one LAN with br7 of the host 192.0.2.7' },
    {
      line: 'pipework br1 --bridge-address 10.0.0.1/24 --nat web 10.0.0.2/24@10.0.0.1',
      does: 'a bridge on which this host is the router, with NAT to the outside',
    },
    { line: 'pipework ptp --nat --publish 8080:80 web 10.0.0.2/32', does: 'no bridge, and a published host port' },
    { line: 'pipework routed:wlan0 web 192.168.1.60/32', does: 'an address of the LAN over Wi-Fi' },
    { line: 'pipework dummy web 10.255.0.1/32', does: 'an interface that leads nowhere' },
    { line: 'pipework br2 -i eth2 --metric 200 web 10.0.0.2/24@10.0.0.1', does: 'a backup default route' },
    {
      line: 'pipework br2 -i eth2 --policy-route web 10.0.0.2/24@10.0.0.1',
      does: 'replies to requests on eth2 leave by eth2',
    },
    { line: 'pipework --dry-run br1 web 192.168.1.10/24', does: 'the same as a shell script' },
  ],
  handler: async (argv, context) => {
    const { system, io } = context
    const [{ resolveHostif }, { waitForGuest, holdGuestNetns }] = await Promise.all([
      import('../state/host-links'),
      import('../runtimes/find'),
    ])
    const request = resolveHostif(toAttachRequest(argv), system)
    const timeout = parseSeconds(argv.waitGuest ?? '0', '--wait-guest')
    validateConfirm(request, argv.confirm)
    validateRoot(context, argv)
    const finding = waitForGuest(request.guest, system, { timeout, interrupt: io.interrupt })
    // Load the rest while Docker answers.
    const [guest, { attachGuest }, { toAttachOutput }, options] = await Promise.all([
      finding,
      system.sleep(0).then(() => import('../operations/attach/run')),
      system.sleep(0).then(() => import('../ui/attach-report')),
      toAttachOptions(request, argv, context),
    ])
    const pin = system.isRoot ? holdGuestNetns(guest, system) : undefined
    try {
      const result = await attachGuest(request, { guest, pin }, options)
      if (result.kind === 'done' && result.warning !== undefined) io.err(formatWarning(result.warning))
      return toAttachOutput(result, system.elapsed())
    } finally {
      pin?.release()
    }
  },
})

/** An uplink may wait for a person's answer; nothing else does. */
async function toAttachOptions(
  { uplink }: AttachRequest,
  argv: Arguments<typeof OPTIONS>,
  context: CommandContext,
): Promise<AttachRunOptions> {
  const options = await toChangeOptions(context, argv)
  if (uplink === undefined || argv.dryRun) return options
  const { toUplinkOptions } = await import('./uplink')
  const { confirm, notify } = await toUplinkOptions(context, argv)
  return { ...options, confirm, notify }
}

function validateConfirm({ uplink, hostif }: AttachRequest, confirm: string | undefined): void {
  if (confirm !== undefined && uplink === undefined)
    throw usageError(
      `--confirm is for an uplink, and '${hostif}' has none`,
      `Write ${hostif}@eth0, or leave --confirm out.`,
    )
}
