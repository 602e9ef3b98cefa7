import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { findDriver } from '../../drivers'
import type { Address } from '../../model/address'
import type { AttachOptions } from '../../model/attach-options'
import { ExitCode } from '../../model/errors'
import { formatRequestWords, parseAttachRequest } from '../../model/request'
import { formatLinkRecord } from '../../network/link-record'
import { formatScript } from '../../plan/script'
import { toShell } from '../../plan/shell'
import type { Plan } from '../../plan/step'
import type { Guest } from '../../runtimes/find'
import type { AttachFacts } from '../../state/attach-facts'
import type { ExistingAttachment } from '../../state/attachments'
import type { PortVlan } from '../../state/bridge-vlans'
import { GUEST_SYSCTLS, type GuestLink, type GuestRoute, toGuestRoute } from '../../state/guest'
import type { HostLink } from '../../state/host-links'
import type { OvsDatabase, OvsPort } from '../../state/ovsdb'
import { policyTables } from '../../state/policy-rules'
import { decodeRecord, type LinkRecord, OWNED_ALIAS } from '../../state/record'
import type { SavedNic } from '../../state/saved-link'
import { captureError } from '../../system/fake'
import { type DetachInputs, planDetach } from '../detach/plan'
import { planLinkAndAddresses } from './plan'

const HOST_END = 'veth1plblue'
const MAC = '02:00:00:00:00:01'
const BRIDGE_MAC = '02:00:00:00:00:b1'
const guest: Guest = { kind: 'netns', name: 'blue', nsPath: '/run/netns/blue' }

/** A guest with nothing in it, on a host without bridge. */
const bare: AttachFacts = {
  links: [],
  routes: [],
  sysctls: {},
  hasIpv6: true,
  hasArping: true,
  hostEndName: HOST_END,
  mac: MAC,
  bridgeMac: BRIDGE_MAC,
}

const nic: HostLink = {
  name: 'up0',
  kind: 'other',
  ifindex: 3,
  peerIndex: 3,
  mtu: 1500,
  mac: '02:00:00:00:00:0e',
  up: true,
}

/** A bridge that somebody else made. */
const br1: HostLink = {
  name: 'br1',
  kind: 'bridge',
  ifindex: 5,
  peerIndex: 5,
  mtu: 1500,
  mac: '02:00:00:00:00:b0',
  up: true,
}

/** br1 as pipework makes it. */
const ourBr1: HostLink = { ...br1, mac: BRIDGE_MAC, alias: OWNED_ALIAS, record: { kind: 'made' } }

/** The default route through eth0 that Docker gives. */
const eth0Default: GuestRoute = toGuestRoute(
  { dst: 'default', gateway: '172.17.0.1', dev: 'eth0', protocol: 'boot', flags: [] },
  4,
)
const eth0: GuestLink = {
  name: 'eth0',
  kind: 'veth',
  ifindex: 2,
  peerIndex: 4,
  mac: '02:00:00:00:00:e0',
  mtu: 1500,
  up: true,
  addresses: [{ family: 4, ip: '172.17.0.2', prefix: 16, automatic: false }],
}

interface Typed {
  readonly words: string
  readonly options?: AttachOptions
}

const requestOf = ({ words, options = {} }: Typed) => parseAttachRequest(words.split(' '), options)

/** The `brd +` of ip, where there is a broadcast address. */
function broadcastOf({ family, ip, prefix }: Address): { readonly attributes?: readonly string[] } {
  if (family === 6 || prefix > 30) return {}
  const address = ip.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0)
  const last = (address | (2 ** (32 - prefix) - 1)) >>> 0
  return { attributes: ['brd', [24, 16, 8, 0].map((shift) => (last >>> shift) & 255).join('.')] }
}

/** The facts after an attach, as they are found when the plan has been carried out on the facts before. */
function attached(typed: Typed, before: AttachFacts = bare): AttachFacts {
  const request = requestOf(typed)
  const { ifname } = request
  const has6 = request.addresses.some(({ family }) => family === 6)
  const name = request.hostEnd ?? before.hostEnd?.name ?? HOST_END
  const alias = formatLinkRecord({ request, guest, facts: before })
  const record = decodeRecord(alias)
  const gateways = request.addresses.flatMap(({ family, gateway }) =>
    gateway === undefined
      ? []
      : [
          toGuestRoute(
            {
              dst: 'default',
              gateway,
              dev: ifname,
              protocol: 'boot',
              metric: family === 6 ? 1024 : undefined,
              flags: [],
            },
            family,
          ),
        ],
  )
  const inGuest: GuestLink = {
    name: ifname,
    kind: 'veth',
    ifindex: 3,
    peerIndex: 6,
    mac: MAC,
    mtu: 1500,
    up: true,
    addresses: [
      ...request.addresses.map((address) => ({
        family: address.family,
        ip: address.ip,
        prefix: address.prefix,
        automatic: false,
        ...broadcastOf(address),
      })),
      ...(has6
        ? [{ family: 6, ip: 'fe80::ff:fe00:1', prefix: 64, automatic: true, attributes: ['scope', 'link'] } as const]
        : []),
    ],
  }
  const kept = before.routes.filter((route) => !gateways.some(({ family }) => family === route.family))
  return {
    ...before,
    hostif: { ...ourBr1, ...before.hostif },
    hostEnd: {
      name,
      kind: 'other',
      ifindex: 6,
      peerIndex: 3,
      mtu: 1500,
      mac: '02:00:00:00:00:0f',
      up: true,
      master: request.hostif,
      alias,
      record,
    },
    inGuest,
    links: [...before.links, inGuest],
    routes: [...kept, ...gateways],
    sysctls: {
      [GUEST_SYSCTLS.arpNotify(ifname)]: request.addresses.some(({ family }) => family === 4) ? '1' : '0',
      [GUEST_SYSCTLS.ndiscNotify(ifname)]: has6 ? '1' : '0',
      [GUEST_SYSCTLS.disableIpv6(ifname)]: '0',
    },
  }
}

function planOf(typed: Typed, facts: AttachFacts): Plan {
  const context = { request: requestOf(typed), guest, facts }
  return planLinkAndAddresses(context, findDriver(context))
}

// --- golden plans -----------------------------------------------------------------------------------------------------

const BRIDGE = 'ip link add dev br1 address 02:00:00:00:00:b0 type bridge stp_state 0 && ip link set dev br1 up'
const DOCKERS_ETH0 =
  'ip link add dev peer0 type veth peer name eth0 address 02:00:00:00:00:e0 netns blue && ip link set dev peer0 up && ip -n blue link set dev eth0 up && ip -n blue addr add 172.17.0.2/16 dev eth0 && ip -n blue route add default via 172.17.0.1'
const golden = (name: string) => `src/plan/golden/${name}.sh`
const run = (name: string) => `sh ${golden(name)}`

interface Golden extends Typed {
  readonly name: string
  /** What makes, in a namespace of its own with the guest blue, the host that the facts describe: lines of shell. */
  readonly given: readonly string[]
  readonly facts: AttachFacts
}

const plain = { words: 'br1 netns:blue 10.0.0.2/24' }
const withGateway = { words: 'br1 netns:blue 10.0.0.2/24@10.0.0.1' }
const both = { words: 'br1 netns:blue 10.0.0.2/24@10.0.0.1,fd00::2/64@fd00::1' }
const replaced = attached(withGateway, { ...bare, routes: [eth0Default] })
const pair = { words: 'br1 netns:blue 10.0.0.2/24@10.0.0.1,10.0.0.3/24,10.9.0.2/16' }

/** A link that a killed run left: made, but with no record, no address, and down. */
const halfMade = (): AttachFacts => {
  const { hostEnd, inGuest, ...facts } = attached(plain, { ...bare, hostif: br1 })
  if (hostEnd === undefined || inGuest === undefined) throw new Error('nothing attached')
  const { alias: _, record: __, ...unrecorded } = hostEnd
  return {
    ...facts,
    sysctls: {
      [GUEST_SYSCTLS.arpNotify('eth1')]: '0',
      [GUEST_SYSCTLS.ndiscNotify('eth1')]: '0',
      [GUEST_SYSCTLS.disableIpv6('eth1')]: '0',
    },
    hostEnd: { ...unrecorded, up: false },
    inGuest: { ...inGuest, up: false, addresses: [] },
  }
}

const routed = {
  words: 'br1 netns:blue 10.0.0.2/24',
  options: { routes: ['10.50.0.0/16', '10.51.0.0/16,10.9.9.9,70'] },
}
const overEth1 = (dst: string, more: object = {}) =>
  toGuestRoute({ dst, dev: 'eth1', protocol: 'boot', scope: 'link', flags: [], ...more }, 4)
const throughRouter = { gateway: '10.9.9.9', metric: 70, scope: 'global' }
const withRoutes: AttachFacts = {
  ...attached(routed),
  routes: [
    overEth1('10.50.0.0/16'),
    overEth1('10.51.0.0/16', throughRouter),
    overEth1('10.9.9.9'),
    overEth1('10.77.0.0/16'),
  ],
}

const NOTE = '/run/pipework/policy/4026532999'
const policed = { words: 'br1 netns:blue 10.0.0.2/24', options: { policyRoute: true } }
const { own } = policyTables('eth1')
const withPolicy: AttachFacts = {
  ...attached(policed),
  policy: {
    rules: [{ family: 4, from: '10.0.0.2', table: own, priority: 10000 }],
    routes: [overEth1('10.0.0.0/24', { table: own })],
  },
}

const goldens: readonly Golden[] = [
  { name: 'fresh', ...plain, given: [], facts: bare },
  { name: 'fresh-gateway', ...withGateway, given: [], facts: bare },
  { name: 'fresh-both', ...both, given: [], facts: bare },
  { name: 'existing-bridge', ...plain, given: [BRIDGE], facts: { ...bare, hostif: br1 } },
  {
    name: 'existing-bridge-mtu',
    ...plain,
    given: [BRIDGE, 'ip link set dev br1 mtu 1400'],
    facts: { ...bare, hostif: { ...br1, mtu: 1400 } },
  },
  {
    name: 'bridge-down',
    ...plain,
    given: [BRIDGE, 'ip link set dev br1 down'],
    facts: { ...bare, hostif: { ...br1, up: false } },
  },
  {
    name: 'bridge-half-made',
    ...plain,
    given: [`ip link add dev br1 address ${BRIDGE_MAC} type bridge stp_state 0`],
    facts: { ...bare, hostif: { ...br1, mac: BRIDGE_MAC, up: false } },
  },
  {
    name: 'gateway-outside',
    words: 'br1 netns:blue 10.0.0.2/32@10.9.0.1,fd00::2/128@fd01::1',
    options: { probe: false },
    given: [BRIDGE],
    facts: { ...bare, hostif: br1 },
  },
  {
    name: 'gateway-link-local',
    words: 'br1 netns:blue fd00::2/64@fe80::1',
    given: [BRIDGE],
    facts: { ...bare, hostif: br1 },
  },
  { name: 'ipv6', words: 'br1 netns:blue fd00::2/64', given: [BRIDGE], facts: { ...bare, hostif: br1 } },
  { name: 'both', ...both, given: [BRIDGE], facts: { ...bare, hostif: br1 } },
  { name: 'no-address', words: 'br1 netns:blue 0/0', given: [], facts: bare },
  {
    name: 'names',
    words: 'br1 netns:blue 10.0.0.2/24',
    options: { i: 'eth2', l: 'bluehost' },
    given: [],
    facts: bare,
  },
  {
    name: 'mac-of-text',
    words: 'br1 netns:blue 10.0.0.2/24 U:myhost.foo.com',
    given: [],
    facts: { ...bare, mac: '02:72:6c:cd:9b:8d' },
  },
  { name: 'no-probe', ...both, options: { probe: false }, given: [BRIDGE], facts: { ...bare, hostif: br1 } },
  { name: 'no-arping', ...plain, given: [BRIDGE], facts: { ...bare, hostif: br1, hasArping: false } },
  { name: 'default-replaced', ...withGateway, given: [DOCKERS_ETH0], facts: { ...bare, routes: [eth0Default] } },
  { name: 'again', ...both, given: [run('fresh-both')], facts: attached(both) },
  {
    name: 'change-address',
    words: 'br1 netns:blue 10.0.0.9/24@10.0.0.1',
    given: [run('fresh-gateway')],
    facts: attached(withGateway),
  },
  {
    name: 'change-prefix',
    words: 'br1 netns:blue 10.0.0.2/16@10.0.0.1',
    given: [run('fresh-gateway')],
    facts: attached(withGateway),
  },
  {
    name: 'change-gateway',
    words: 'br1 netns:blue 10.0.0.2/24@10.0.0.254',
    given: [run('fresh-gateway')],
    facts: attached(withGateway),
  },
  { name: 'more-addresses', ...pair, given: [run('fresh-gateway')], facts: attached(withGateway) },
  {
    name: 'fewer-addresses',
    ...withGateway,
    given: [run('fresh-gateway'), run('more-addresses')],
    facts: attached(pair),
  },
  {
    name: 'add-ipv6',
    words: 'br1 netns:blue 10.0.0.2/24,fd00::2/64@fd00::1',
    given: [run('fresh')],
    facts: attached(plain),
  },
  { name: 'no-gateway', ...plain, given: [run('fresh-gateway')], facts: attached(withGateway) },
  { name: 'no-gateway-returns', ...plain, given: [DOCKERS_ETH0, run('default-replaced')], facts: replaced },
  { name: 'add-gateway', ...withGateway, given: [run('fresh')], facts: attached(plain) },
  {
    name: 'change-mac',
    words: 'br1 netns:blue 10.0.0.2/24 26:2e:71:98:60:8f',
    given: [run('fresh')],
    facts: { ...attached(plain), mac: '26:2e:71:98:60:8f' },
  },
  {
    name: 'change-mtu',
    ...plain,
    given: [run('fresh'), 'ip link set dev br1 mtu 1400'],
    facts: { ...attached(plain), hostif: { ...ourBr1, mtu: 1400 } },
  },
  {
    name: 'link-half-made',
    ...plain,
    given: [
      BRIDGE,
      `ip link add dev ${HOST_END} mtu 1500 master br1 type veth peer name eth1 address ${MAC} mtu 1500 netns blue`,
    ],
    facts: halfMade(),
  },
  {
    name: 'move',
    words: 'br2 netns:blue 10.0.0.2/24',
    options: { force: true },
    given: [run('fresh'), BRIDGE.replaceAll('br1', 'br2')],
    facts: { ...attached(plain), hostif: { ...br1, name: 'br2', ifindex: 7, peerIndex: 7 } },
  },
  {
    name: 'metric',
    ...both,
    options: { metric: '100' },
    given: [DOCKERS_ETH0],
    facts: { ...bare, routes: [eth0Default] },
  },
  {
    name: 'routes',
    ...both,
    options: {
      defaultRoute: false,
      routes: ['10.50.0.0/16', '10.51.0.0/16,10.9.9.9,70', 'fd50::/48', 'fd51::/48,fd99::9'],
    },
    given: [],
    facts: bare,
  },
  { name: 'routes-gone', ...plain, given: [run('routes-on-link')], facts: withRoutes },
  { name: 'routes-on-link', ...routed, given: [], facts: bare },
  {
    name: 'policy-route',
    ...both,
    options: { policyRoute: true },
    given: [DOCKERS_ETH0],
    facts: { ...bare, rulesFile: NOTE, links: [eth0], routes: [eth0Default] },
  },
  {
    name: 'policy-route-gone',
    words: 'br1 netns:blue 10.0.0.9/24',
    given: [run('policy-route-alone')],
    facts: withPolicy,
  },
  { name: 'policy-route-alone', ...policed, given: [], facts: { ...bare, rulesFile: NOTE } },
  { name: 'mtu', ...plain, options: { mtu: '1400' }, given: [], facts: bare },
  {
    name: 'tx-offload',
    ...plain,
    options: { txOffload: 'off' },
    given: [],
    facts: { ...bare, offload: { ethtool: true } },
  },
  { name: 'rename', ...plain, options: { l: 'bluehost', force: true }, given: [run('fresh')], facts: attached(plain) },
  {
    name: 'orphan',
    ...plain,
    given: [
      run('fresh'),
      // The guest's end goes where nobody finds it, as in a namespace that a process of an earlier life still holds.
      'ip netns add old && ip -n blue link set dev eth1 netns old',
    ],
    facts: (({ inGuest: _, hostEnd, ...facts }) => ({
      ...facts,
      links: [],
      sysctls: {},
      ...(hostEnd === undefined ? {} : { nameConflict: hostEnd }),
    }))(attached(plain)),
  },
]

// --- what this needs, not every kernel has: the cases of bats-tests/uml-cases.bash run these ----------------------------

const NIC =
  'ip link add dev up0 address 02:00:00:00:00:0e type veth peer name lan0 && ip link set dev lan0 up && ip link set dev up0 up'
const vlanDevice: HostLink = { ...nic, name: 'up0.10', kind: 'vlan', ifindex: 9, peerIndex: 3 }
const filtering: HostLink = { ...br1, filtering: true, defaultPvid: 1 }
const vlan10 = { words: 'br1 netns:blue 10.0.0.2/24 @10' }

/** After an attach to a bridge that keeps VLANs apart, of which the port is in these. */
const inVlans = (typed: Typed, vlans: readonly PortVlan[]): AttachFacts => ({
  ...attached(typed, { ...bare, hostif: { ...ourBr1, filtering: true, defaultPvid: 1 } }),
  portVlans: { vlans, defaultPvid: 1 },
})
const native = (id: number): PortVlan => ({ id, pvid: true, untagged: true })
const tagged = (id: number): PortVlan => ({ id, pvid: false, untagged: false })

/** After an attach that made such a link, which has no end in the host. */
function withoutEnd(typed: Typed, link: Pick<GuestLink, 'kind' | 'mode'>, before: AttachFacts): AttachFacts {
  const { hostEnd, inGuest, hostif: _, ...facts } = attached(typed, before)
  const record = hostEnd?.record
  if (hostEnd?.alias === undefined || record === undefined || inGuest === undefined) throw new Error('nothing attached')
  const { peerIndex: __, ...rest } = inGuest
  const peer = before.hostif === undefined ? {} : { peerIndex: before.hostif.ifindex }
  return {
    ...facts,
    hostif: before.hostif,
    inGuest: { ...rest, ...link, ...peer, alias: hostEnd.alias, record },
  }
}

/** How up0 is before it moves. */
const nicState: SavedNic = {
  name: 'up0',
  guest: 'netns:blue',
  netns: 4026532001,
  device: { kind: 'veth', ifindex: 7, peerIndex: 2 },
  up: true,
  mtu: 1500,
  mac: nic.mac,
  altnames: [],
  sysctls: [],
  takenAt: 100,
  items: [
    {
      ...{ kind: 'address', family: 4, description: 'the address 192.168.1.5/24' },
      add: [['addr', 'add', '192.168.1.5/24', 'broadcast', '192.168.1.255', 'dev', '@']],
      del: ['addr', 'del', '192.168.1.5/24', 'dev', '@'],
    },
    {
      ...{ kind: 'route', family: 4, description: 'the route to 10.9.0.0/16', routeKey: '4 10.9.0.0/16 table main' },
      add: [['route', 'append', '10.9.0.0/16', 'table', 'main', 'via', '192.168.1.1', 'dev', '@']],
      del: ['route', 'del', '10.9.0.0/16', 'table', 'main', 'via', '192.168.1.1', 'dev', '@'],
    },
  ],
}

const onDummy = { words: 'dummy netns:blue 10.0.0.2/24' }

const kernelGoldens: readonly Golden[] = [
  { name: 'nic', words: 'up0 netns:blue 10.0.0.2/24', given: [NIC], facts: { ...bare, hostif: nic } },
  {
    name: 'nic-down',
    words: 'up0 netns:blue fd00::2/64',
    given: [NIC, 'ip link set dev up0 down'],
    facts: { ...bare, hostif: { ...nic, up: false } },
  },
  {
    name: 'nic-ipvlan',
    words: 'up0 netns:blue 10.0.0.2/24',
    options: { kind: 'ipvlan', mode: 'l3' },
    given: [NIC],
    facts: { ...bare, hostif: nic },
  },
  {
    name: 'nic-mode',
    words: 'up0 netns:blue 10.0.0.2/24',
    options: { mode: 'private' },
    given: [NIC, run('nic')],
    facts: withoutEnd(
      { words: 'up0 netns:blue 10.0.0.2/24' },
      { kind: 'macvlan', mode: 'bridge' },
      { ...bare, hostif: nic },
    ),
  },
  {
    name: 'nic-vlan',
    words: 'up0 netns:blue 10.0.0.2/24 @10',
    given: [NIC],
    facts: { ...bare, hostif: nic, vlanDevice: { name: 'up0.10' } },
  },
  {
    name: 'nic-vlan-shared',
    words: 'up0 netns:blue 10.0.0.2/24 @10',
    given: [NIC, 'ip link add link up0 name up0.10 type vlan id 10'],
    facts: {
      ...bare,
      hostif: nic,
      vlanDevice: { name: 'up0.10', id: 10, link: { ...vlanDevice, up: false } },
    },
  },
  { name: 'bridge-vlan', ...vlan10, given: [], facts: bare },
  {
    name: 'bridge-trunk',
    words: 'br1 netns:blue 10.0.0.2/24 @10,20-22,30',
    given: [BRIDGE, 'ip link set dev br1 type bridge vlan_filtering 1'],
    facts: { ...bare, hostif: filtering },
  },
  {
    name: 'bridge-trunk-tagged',
    words: 'br1 netns:blue 10.0.0.2/24 @20-22',
    given: [BRIDGE, 'ip link set dev br1 type bridge vlan_filtering 1 vlan_default_pvid 5'],
    facts: { ...bare, hostif: { ...filtering, defaultPvid: 5 } },
  },
  {
    name: 'bridge-vlan-filtering',
    ...vlan10,
    options: { vlanFiltering: true },
    given: [BRIDGE],
    facts: { ...bare, hostif: { ...filtering, filtering: false } },
  },
  {
    name: 'bridge-vlan-change',
    words: 'br1 netns:blue 10.0.0.2/24 @20,10,30-31',
    given: [run('bridge-vlan')],
    facts: inVlans(vlan10, [native(10)]),
  },
  { name: 'bridge-vlan-none', ...plain, given: [run('bridge-vlan')], facts: inVlans(vlan10, [native(10)]) },
  {
    name: 'bridge-vlan-move',
    words: 'br2 netns:blue 10.0.0.2/24 @10',
    options: { force: true },
    given: [
      run('bridge-vlan'),
      `${BRIDGE} && ip link set dev br1 type bridge vlan_filtering 1`.replaceAll('br1', 'br2'),
    ],
    facts: { ...inVlans(vlan10, [native(10)]), hostif: { ...filtering, name: 'br2', ifindex: 7, peerIndex: 7 } },
  },
  { name: 'dummy', ...onDummy, given: [], facts: bare },
  {
    name: 'direct-phys',
    words: 'up0 netns:blue 10.0.0.2/24',
    options: { direct: true },
    given: [NIC],
    facts: { ...bare, hostif: nic, savedNic: nicState },
  },
  {
    name: 'direct-phys-wireless',
    words: 'up0 netns:blue 10.0.0.2/24',
    options: { direct: true },
    given: ['# a wireless NIC up0, on the radio phy3'],
    facts: {
      ...bare,
      hostif: { ...nic, kind: 'wireless' },
      savedNic: { ...nicState, phy: 'phy#3' },
    },
  },
  {
    name: 'ipoib',
    words: 'up0 netns:blue 10.0.0.2/24 @8001',
    options: { i: 'ib0' },
    given: ['# an InfiniBand interface up0'],
    facts: { ...bare, hostif: { ...nic, kind: 'infiniband' } },
  },
  {
    name: 'dummy-change',
    words: 'dummy netns:blue 10.0.0.3/24 02:00:00:00:00:77',
    given: [run('dummy')],
    facts: { ...withoutEnd(onDummy, { kind: 'dummy' }, bare), mac: '02:00:00:00:00:77' },
  },
]

// --- Open vSwitch: ovs.bats runs these --------------------------------------------------------------------------------

const onOvs = { words: 'ovs1 netns:blue 10.0.0.2/24 @10' }
const noPorts: OvsDatabase = {
  ...{ kind: 'database', bridges: [], ports: [], fakeBridges: [] },
  ...{ isVswitchdRunning: true, hasKernelDatapath: false },
}
const ovs1: HostLink = { ...nic, name: 'ovs1' }
const byHand: OvsDatabase = { ...noPorts, bridges: [{ name: 'ovs1', datapath: 'netdev', isOwned: false }] }
const OVS_BRIDGE = 'ovs-vsctl add-br ovs1 -- set Bridge ovs1 datapath_type=netdev'

/** The port as an attach makes it. */
const ovsPort: OvsPort = {
  ...{ name: HOST_END, bridge: 'ovs1', tag: 10, trunks: [], transient: true, isAlive: true },
  externalIds: {
    'pipework.interface': HOST_END,
    'pipework.bridge': 'ovs1',
    'pipework.vlan': '10',
    'pipework.guest': 'netns:blue',
    'pipework.ifname': 'eth1',
  },
}
const ourOvs: OvsDatabase = {
  ...{ ...noPorts, ports: [ovsPort] },
  bridges: [{ name: 'ovs1', datapath: 'netdev', isOwned: true }],
}

/** Attached by `ovs-fresh`. */
const inOvs: AttachFacts = (({ hostEnd, ...facts }) => {
  if (hostEnd === undefined) throw new Error('nothing attached')
  const { master: _, ...end } = hostEnd
  return { ...facts, ovs: ourOvs, hostEnd: end, hostif: ovs1 }
})(attached(onOvs, { ...bare, hostif: ovs1 }))

const deadRow = (name: string) =>
  `ovs-vsctl add-port ovs1 ${name} -- set Interface ${name} external-ids:pipework.interface=${name}`

const ovsGoldens: readonly Golden[] = [
  { name: 'ovs-fresh', ...onOvs, given: [], facts: { ...bare, ovs: noPorts } },
  {
    name: 'ovs-fresh-kernel',
    ...onOvs,
    given: ["# a kernel that has Open vSwitch's module"],
    facts: { ...bare, ovs: { ...noPorts, hasKernelDatapath: true } },
  },
  {
    name: 'ovs-trunk',
    words: 'ovs1 netns:blue 10.0.0.2/24 @10,20-22',
    given: [OVS_BRIDGE],
    facts: { ...bare, hostif: ovs1, ovs: byHand },
  },
  {
    name: 'ovs-mended',
    words: 'lan netns:blue 10.0.0.2/24',
    given: ['ovs-vsctl add-br lan'],
    facts: { ...bare, ovs: { ...noPorts, bridges: [{ name: 'lan', datapath: '', isOwned: false }] } },
  },
  {
    name: 'ovs-swept',
    words: 'ovs1 netns:blue 10.0.0.2/24',
    given: [OVS_BRIDGE, deadRow(HOST_END), deadRow('veth1pl4711')],
    facts: {
      ...{ ...bare, hostif: ovs1 },
      ovs: {
        ...byHand,
        ports: [
          { ...ovsPort, isAlive: false },
          { ...ovsPort, name: 'veth1pl4711', isAlive: false },
        ],
      },
    },
  },
  { name: 'ovs-change', words: 'ovs1 netns:blue 10.0.0.2/24 @20-21', given: [run('ovs-fresh')], facts: inOvs },
  {
    name: 'ovs-move',
    words: 'ovs2 netns:blue 10.0.0.2/24 @10',
    options: { force: true },
    given: [run('ovs-fresh')],
    facts: (({ hostif: _, ...facts }) => facts)(inOvs),
  },
  { name: 'ovs-rename', ...onOvs, options: { l: 'bluehost', force: true }, given: [run('ovs-fresh')], facts: inOvs },
  {
    name: 'ovs-to-bridge',
    ...plain,
    options: { force: true },
    given: [run('ovs-fresh'), BRIDGE],
    facts: { ...inOvs, hostif: br1 },
  },
]

const forGuest = (plan: Plan, words: readonly string[], given: readonly string[]) =>
  formatScript({ plan, guest, words, notes: given.map((line) => `given: ${line}`) })

interface GoldenDetach {
  readonly name: string
  readonly given: readonly string[]
  readonly detachment: DetachInputs
}

function attachedBy(facts: AttachFacts): ExistingAttachment {
  const { hostEnd, inGuest } = facts
  if (hostEnd?.record?.kind !== 'link' || hostEnd.alias === undefined || inGuest === undefined)
    throw new Error('nothing attached')
  return { record: hostEnd.record, alias: hostEnd.alias, hostEnd, inGuest }
}

/** What disconnect knows of an attachment after an attach, with that much more in the guest. */
function detachmentOf(facts: AttachFacts, links: readonly GuestLink[] = []): DetachInputs {
  const attached = attachedBy(facts)
  const { inGuest } = attached
  if (inGuest === undefined) throw new Error('nothing attached')
  return {
    attachment: attached,
    guestState: { links: [inGuest, ...links], routes: facts.routes },
    sysctls: facts.sysctls,
    others: [],
  }
}

const secondLink: Golden = {
  name: 'second-link',
  words: 'br1 netns:blue 10.1.0.2/24@10.1.0.1',
  options: { i: 'eth2', l: 'bluehost' },
  given: [DOCKERS_ETH0, run('default-replaced')],
  facts: (({ inGuest: _, hostEnd: __, ...facts }) => ({ ...facts, sysctls: {} }))(replaced),
}

// eth1 took the default from eth0, then eth2 took it from eth1.
const second = attached(secondLink, secondLink.facts)
const firstOfTwo: DetachInputs = {
  ...detachmentOf(replaced, [eth0]),
  guestState: { links: [eth0], routes: second.routes },
  others: [attachedBy(second)],
}

const detachGoldens: readonly GoldenDetach[] = [
  {
    name: 'disconnect',
    given: [BRIDGE, run('existing-bridge')],
    detachment: detachmentOf(attached(plain, { ...bare, hostif: br1 })),
  },
  {
    name: 'disconnect-bridge',
    given: [run('fresh-both')],
    detachment: { ...detachmentOf(attached(both)), unusedParent: ourBr1 },
  },
  {
    name: 'disconnect-default',
    given: [DOCKERS_ETH0, run('default-replaced')],
    detachment: { ...detachmentOf(replaced, [eth0]), unusedParent: ourBr1 },
  },
  {
    name: 'disconnect-default-gone',
    given: [DOCKERS_ETH0, run('default-replaced'), 'ip link del dev peer0'],
    detachment: { ...detachmentOf(replaced), unusedParent: ourBr1 },
  },
  {
    name: 'disconnect-relink',
    given: [DOCKERS_ETH0, run('default-replaced'), run('second-link')],
    detachment: firstOfTwo,
  },
  {
    name: 'disconnect-ovs',
    given: [run('ovs-fresh')],
    detachment: {
      ...detachmentOf(inOvs),
      ovsRemoval: {
        port: ovsPort,
        deadPorts: [],
        unusedBridge: { name: 'ovs1', datapath: 'netdev', isOwned: true },
        isDaemonRunning: true,
      },
    },
  },
  {
    name: 'disconnect-policy-route',
    given: [run('policy-route-alone')],
    detachment: {
      ...detachmentOf(withPolicy),
      unusedParent: ourBr1,
      ...(withPolicy.policy === undefined ? {} : { policy: withPolicy.policy }),
    },
  },
  {
    name: 'disconnect-guest-gone',
    given: [run('fresh-both')],
    detachment: (({ attachment: { inGuest: _, ...attached }, others }) => ({
      attachment: attached,
      others,
      sysctls: {},
      unusedParent: ourBr1,
    }))(detachmentOf(attached(both))),
  },
]

const scripts: readonly (readonly [name: string, script: string])[] = [
  ...[...goldens, ...kernelGoldens, ...ovsGoldens, secondLink].map(
    (it) => [it.name, forGuest(planOf(it, it.facts), formatRequestWords(requestOf(it)), it.given)] as const,
  ),
  ...detachGoldens.map(
    ({ name, given, detachment }) =>
      [
        name,
        forGuest(planDetach(detachment), ['disconnect', 'netns:blue', detachment.attachment.record.ifname], given),
      ] as const,
  ),
]

/** UPDATE_GOLDEN=1 npx vitest run src/plan.test.ts writes them; git diff shows what that means. */
const update = process.env.UPDATE_GOLDEN === '1'

describe('golden plans', () => {
  test.each(scripts)('%s', (name, script) => {
    if (update) writeFileSync(golden(name), script, { mode: 0o755 })
    expect(existsSync(golden(name)), 'there is none yet: run with UPDATE_GOLDEN=1').toBe(true)
    expect(script).toBe(readFileSync(golden(name), 'utf8'))
  })

  test('there are no others', () =>
    expect(readdirSync('src/plan/golden').sort()).toEqual(scripts.map(([name]) => `${name}.sh`).sort()))

  test('sh can read them', () => {
    for (const [name] of scripts) execFileSync('sh', ['-n', golden(name)])
  })

  test('none is the same as another but for its words', () => {
    const bodies = [...goldens, ...kernelGoldens, ...ovsGoldens].map((it) =>
      formatScript({ plan: planOf(it, it.facts), guest, words: [] }),
    )
    expect(new Set(bodies).size).toBe(bodies.length)
  })
})

// --- what needs no golden ---------------------------------------------------------------------------------------------

describe.each(
  [...kernelGoldens, ...ovsGoldens].filter(
    ({ facts, words }) => facts.inGuest === undefined && / 10\.0\.0\.2\/24/.test(words),
  ),
)('the family of the addresses: $name', (it) => {
  const planWith = (addresses: string) => planOf({ ...it, words: it.words.replace('10.0.0.2/24', addresses) }, it.facts)
  const describeLink = (addresses: string) => {
    const typed = { ...it, words: it.words.replace('10.0.0.2/24', addresses) }
    const context = { request: requestOf(typed), guest, facts: it.facts }
    return findDriver(context)
      .plan(context)
      .map(({ description }) => description)
  }
  const descriptions = (plan: Plan) => plan.map(({ description }) => description).join('\n')

  test.each(['fd00::2/64@fd00::1', '10.0.0.2/24@10.0.0.1,fd00::2/64@fd00::1'])(
    '%s changes nothing of the link',
    (typed) => expect(describeLink(typed)).toEqual(describeLink('10.0.0.2/24')),
  )

  test('both families have an address and a default route', () => {
    const plan = descriptions(planWith('10.0.0.2/24@10.0.0.1,fd00::2/64@fd00::1'))
    for (const step of ['the address 10.0.0.2/24', 'the address fd00::2/64', 'for IPv4', 'for IPv6'])
      expect(plan).toContain(step)
  })
})

describe('nothing to do', () => {
  test.each<[string, Typed, AttachFacts]>([
    ['the same words', both, attached(both)],
    ['no address', { words: 'br1 netns:blue 0/0' }, attached({ words: 'br1 netns:blue 0/0' })],
    ['routes', routed, withRoutes],
    ['replies that leave where the request came in', policed, withPolicy],
    [
      'an MTU',
      { ...plain, options: { mtu: '1400' } },
      (({ inGuest, hostEnd, ...facts }) => ({
        ...facts,
        inGuest: { ...(inGuest as GuestLink), mtu: 1400 },
        hostEnd: { ...(hostEnd as HostLink), mtu: 1400 },
      }))(attached({ ...plain, options: { mtu: '1400' } })),
    ],
    [
      'checksum offload',
      { ...plain, options: { txOffload: 'off' } },
      { ...attached({ ...plain, options: { txOffload: 'off' } }), offload: { ethtool: true, state: 'off' } },
    ],
    ['a bridge of somebody else', plain, attached(plain, { ...bare, hostif: br1 })],
    ['a default route that was replaced', withGateway, replaced],
    ['several addresses', pair, attached(pair)],
    ['without probe, which is no change', { ...both, options: { probe: false } }, attached(both)],
    ['the host end named as it is', { ...plain, options: { l: HOST_END } }, attached(plain)],
    [
      'an address that somebody added by hand',
      plain,
      (({ inGuest, ...facts }) => ({
        ...facts,
        inGuest: {
          ...(inGuest as GuestLink),
          addresses: [
            ...(inGuest?.addresses ?? []),
            { family: 4, ip: '192.0.2.1', prefix: 24, automatic: false } as const,
          ],
        },
      }))(attached(plain)),
    ],
    [
      'a default route over the link that somebody added by hand',
      plain,
      {
        ...attached(plain),
        routes: [toGuestRoute({ dst: 'default', gateway: '10.0.0.77', dev: 'eth1', flags: [] }, 4)],
      },
    ],
    ['the VLAN that the port is in', vlan10, inVlans(vlan10, [native(10)])],
    [
      'a trunk that the port is',
      { words: 'br1 netns:blue 10.0.0.2/24 @10,20-21' },
      inVlans({ words: 'br1 netns:blue 10.0.0.2/24 @10,20-21' }, [native(10), tagged(20), tagged(21)]),
    ],
    ['VLANs that somebody gave the port by hand', plain, inVlans(plain, [native(5), tagged(6)])],
    ['a dummy interface', onDummy, withoutEnd(onDummy, { kind: 'dummy' }, bare)],
    [
      'a MAC address that somebody changed, when none is asked for',
      plain,
      { ...attached(plain), mac: '02:00:00:00:00:99' },
    ],
  ])('%s', (_, typed, facts) => expect(planOf(typed, facts)).toEqual([]))
})

describe('what takes the steps back, last first', () => {
  const undoOf = (plan: Plan) => [...plan].reverse().flatMap(({ undo = [] }) => [undo].flat().map(toShell))

  test.each<[string, readonly string[]]>([
    [
      'fresh',
      [`ip link del dev ${HOST_END}`, '[ -n "$(ls -A /sys/class/net/br1/brif 2>/dev/null)" ] || ip link del dev br1'],
    ],
    ['existing-bridge', [`ip link del dev ${HOST_END}`]],
    ['bridge-down', [`ip link del dev ${HOST_END}`, 'ip link set dev br1 down']],
    [
      'default-replaced',
      [
        'ip -n "$netns" route replace default via 172.17.0.1 dev eth0 proto boot',
        `ip link del dev ${HOST_END}`,
        '[ -n "$(ls -A /sys/class/net/br1/brif 2>/dev/null)" ] || ip link del dev br1',
      ],
    ],
    [
      'change-gateway',
      [
        `ip link set dev ${HOST_END} alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24@10.0.0.254,10.0.0.2/24@10.0.0.1'`,
        'ip -n "$netns" route replace default via 10.0.0.1 dev eth1 proto boot',
        `ip link set dev ${HOST_END} alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24@10.0.0.1'`,
      ],
    ],
    [
      'change-address',
      [
        `ip link set dev ${HOST_END} alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.9/24@10.0.0.1,10.0.0.2/24@10.0.0.1'`,
        'ip -n "$netns" route del default via 10.0.0.1 dev eth1',
        'ip -n "$netns" addr del 10.0.0.9/24 dev eth1',
        'ip -n "$netns" addr add 10.0.0.2/24 brd 10.0.0.255 dev eth1',
        'ip -n "$netns" route replace default via 10.0.0.1 dev eth1 proto boot',
        `ip link set dev ${HOST_END} alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24@10.0.0.1'`,
      ],
    ],
    [
      'no-gateway-returns',
      [
        `ip link set dev ${HOST_END} alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24,10.0.0.2/24@10.0.0.1;d4=via+172.17.0.1+dev+eth0+proto+boot'`,
        'ip -n "$netns" route replace default via 10.0.0.1 dev eth1 proto boot',
        `ip link set dev ${HOST_END} alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24@10.0.0.1;d4=via+172.17.0.1+dev+eth0+proto+boot'`,
      ],
    ],
    [
      'change-mac',
      [
        `ip -n "$netns" link set dev eth1 address ${MAC}`,
        `ip link set dev ${HOST_END} alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24'`,
      ],
    ],
    ['change-mtu', ['ip -n "$netns" link set dev eth1 mtu 1500', `ip link set dev ${HOST_END} mtu 1500`]],
    [
      'move',
      [
        `ip link set dev ${HOST_END} alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24'`,
        `ip link set dev ${HOST_END} master br1`,
      ],
    ],
    ['bridge-vlan-filtering', [`ip link del dev ${HOST_END}`, 'ip link set dev br1 type bridge vlan_filtering 0']],
    [
      'bridge-vlan-change',
      [
        `ip link set dev ${HOST_END} alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24;w=@10'`,
        `bridge vlan del dev ${HOST_END} vid 30-31`,
        `bridge vlan add dev ${HOST_END} vid 10 pvid untagged`,
        `bridge vlan del dev ${HOST_END} vid 20`,
        `bridge vlan add dev ${HOST_END} vid 10 pvid untagged`,
      ],
    ],
    [
      'bridge-vlan-move',
      [
        `ip link set dev ${HOST_END} alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24;w=@10'`,
        `bridge vlan add dev ${HOST_END} vid 1 pvid untagged`,
        `bridge vlan del dev ${HOST_END} vid 10`,
        `bridge vlan add dev ${HOST_END} vid 1 pvid untagged`,
        `ip link set dev ${HOST_END} master br1`,
        `bridge vlan add dev ${HOST_END} vid 10 pvid untagged`,
        `bridge vlan del dev ${HOST_END} vid 1`,
      ],
    ],
    ['nic-vlan', ['ip -n "$netns" link del dev eth1', 'ip link del dev up0.10']],
    ['dummy', ['ip -n "$netns" link del dev eth1']],
    [
      'rename',
      ['ip link set dev bluehost down', `ip link set dev bluehost name ${HOST_END}`, `ip link set dev ${HOST_END} up`],
    ],
  ])('%s', (name, expected) => {
    const it = [...goldens, ...kernelGoldens].find((one) => one.name === name)
    if (it === undefined) throw new Error(`no golden ${name}`)
    expect(undoOf(planOf(it, it.facts))).toEqual(expected)
  })

  test('a removed link is made anew with all that it had', () =>
    expect(undoOf(planDetach(detachmentOf(attached(both))))).toEqual([
      `ip link add dev ${HOST_END} address 02:00:00:00:00:0f mtu 1500 master br1 type veth peer name eth1 address ${MAC} mtu 1500 netns "$netns"`,
      `ip link set dev ${HOST_END} alias 'pipework1;g=netns:blue;i=eth1;h=br1;a=10.0.0.2/24@10.0.0.1,fd00::2/64@fd00::1'`,
      `ip link set dev ${HOST_END} up`,
      'ip netns exec "$netns" sysctl -qw net/ipv4/conf/eth1/arp_notify=1 net/ipv6/conf/eth1/ndisc_notify=1 net/ipv6/conf/eth1/disable_ipv6=0',
      'ip -n "$netns" link set dev eth1 up',
      'ip -n "$netns" addr add 10.0.0.2/24 brd 10.0.0.255 dev eth1',
      'ip -n "$netns" addr add fd00::2/64 nodad dev eth1',
      'ip -n "$netns" route replace default via 10.0.0.1 dev eth1 proto boot',
      'ip -n "$netns" route replace ::/0 via fd00::1 dev eth1 proto boot metric 1024',
    ]))
})

describe('what is not ours is left alone', () => {
  const lines = (plan: Plan) => plan.map(({ command }) => toShell(command)).join('\n')

  test('addresses that the kernel made, also when the record has no room for ours', () => {
    const facts = attached(both)
    const { record } = facts.hostEnd as HostLink & { record: LinkRecord }
    const short = { ...facts, hostEnd: { ...(facts.hostEnd as HostLink), record: { ...record, addresses: undefined } } }
    const script = lines(planOf(plain, short))
    expect(script).toContain('addr del fd00::2/64 dev eth1')
    expect(script).not.toContain('fe80')
  })

  test.each([
    ['an interface that is not there', 'eth7'],
    ['the link itself', 'eth1'],
  ])('disconnect does not return to a default route over %s', (_, dev) => {
    const { attachment: it, ...rest } = detachmentOf(replaced, [eth0])
    const record: LinkRecord = { ...it.record, previous: [{ family: 4, words: ['via', '172.17.0.1', 'dev', dev] }] }
    expect(planDetach({ ...rest, attachment: { ...it, record } })).toHaveLength(1)
  })
})

describe('the record keeps the default route to return to', () => {
  const aliasOf = (plan: Plan) =>
    plan
      .flatMap(({ command }) =>
        command.kind === 'ip' && command.words.includes('alias') ? [`${String(command.words.at(-1))}`] : [],
      )
      .at(-1)
  const eth0Default6 = toGuestRoute({ dst: 'default', gateway: 'fe80::9', dev: 'eth0', metric: 1024, flags: [] }, 6)

  test.each<[string, Typed, AttachFacts, string]>([
    ['that was replaced', withGateway, { ...bare, routes: [eth0Default] }, ';d4=via+172.17.0.1+dev+eth0+proto+boot'],
    [
      'per family',
      both,
      { ...bare, routes: [eth0Default, eth0Default6] },
      ';d4=via+172.17.0.1+dev+eth0+proto+boot;d6=via+fe80::9+dev+eth0+metric+1024',
    ],
    ['only of a family that has a gateway', withGateway, { ...bare, routes: [eth0Default6] }, '10.0.0.1'],
    [
      'not one with another metric, which stays',
      withGateway,
      {
        ...bare,
        routes: [toGuestRoute({ dst: 'default', gateway: '172.17.0.1', dev: 'eth0', metric: 100, flags: [] }, 4)],
      },
      '10.0.0.1',
    ],
    [
      'that was replaced first, on a later run',
      { words: 'br1 netns:blue 10.0.0.2/24@10.0.0.254' },
      replaced,
      ';d4=via+172.17.0.1+dev+eth0+proto+boot',
    ],
  ])('%s', (_, typed, facts, end) => expect(aliasOf(planOf(typed, facts))?.endsWith(end)).toBe(true))
})

describe('refusals', () => {
  const foreign: GuestLink = { ...eth0, name: 'eth1' }
  const docker0: HostLink = { ...br1, name: 'docker0' }
  const taken: HostLink = { ...nic, name: HOST_END }
  const { hostEnd: ours, ...attachedFacts } = attached(plain)
  const others = (ours as HostLink & { alias: string }).alias.replace('blue', 'red')

  test.each<[string, Typed, AttachFacts, string, string]>([
    // what, words, facts, message, hint
    [
      'no such interface',
      { words: 'nope0 netns:blue 10.0.0.2/24' },
      bare,
      "there is no interface 'nope0' on this host",
      'begins with br',
    ],
    [
      'loopback',
      { words: 'lo netns:blue 10.0.0.2/24' },
      { ...bare, hostif: { ...nic, name: 'lo', kind: 'loopback' } },
      "'lo' is the loopback interface",
      'NIC or a bridge',
    ],
    [
      'a port of a bridge',
      { words: 'up0 netns:blue 10.0.0.2/24' },
      { ...bare, hostif: { ...nic, master: 'br1' } },
      "'up0' is a port of 'br1'",
      'pipework br1',
    ],
    [
      "docker's bridge",
      { words: 'docker0 netns:blue 10.0.0.2/24' },
      { ...bare, hostif: docker0 },
      "the bridge 'docker0' is Docker's own",
      '--force',
    ],
    [
      "a bridge of docker's network",
      { words: 'br-0123456789ab netns:blue 10.0.0.2/24' },
      { ...bare, hostif: { ...docker0, name: 'br-0123456789ab' } },
      "is Docker's own",
      'docker network connect NETWORK blue',
    ],
    [
      'an interface of that name in the guest',
      plain,
      { ...bare, inGuest: foreign },
      "'blue' already has an interface 'eth1', and pipework did not make it",
      'It is a veth with the address 172.17.0.2. Choose another name: -i eth2',
    ],
    [
      'the same, whose host end is not ours',
      plain,
      { ...attachedFacts, hostEnd: { ...taken, name: 'other', alias: 'mine' } },
      'pipework did not make it',
      'It is a veth with the address 10.0.0.2',
    ],
    [
      'a host end without record under another name',
      plain,
      { ...attachedFacts, hostEnd: { ...taken, name: 'other' } },
      'pipework did not make it',
      '-i eth2',
    ],
    [
      'a host end of the name that we would give, with the alias of somebody else',
      plain,
      { ...attachedFacts, hostEnd: { ...taken, alias: 'mine', master: 'br1' } },
      'pipework did not make it',
      '-i eth2',
    ],
    [
      'an interface without address in the guest',
      plain,
      { ...bare, inGuest: { ...foreign, kind: 'NIC', addresses: [] } },
      'already has an interface',
      'It is a NIC with the address none',
    ],
    [
      'the name of the host end',
      { ...plain, options: { l: HOST_END } },
      { ...bare, nameConflict: taken },
      `the host already has an interface '${HOST_END}'`,
      '-l NAME',
    ],
    [
      'the name of the host end, taken by another attachment',
      plain,
      { ...bare, nameConflict: { ...taken, alias: others, record: decodeRecord(others) as never } },
      `the host already has an interface '${HOST_END}'`,
      'It is the host end of eth1 in red',
    ],
    [
      'the attachment of a container that had the name before, and runs on',
      plain,
      { ...bare, nameConflict: ours as HostLink, renamedTo: 'old' },
      "'eth1' of 'old' was attached when that container was called 'blue'",
      'pipework disconnect',
    ],
    [
      'an attachment that was renamed inside the guest',
      plain,
      { ...bare, nameConflict: ours as HostLink, conflictPeer: 'lan0' },
      "'eth1' of 'blue' was renamed inside the guest: it is 'lan0' there",
      'pipework disconnect',
    ],
    [
      'another bridge',
      { words: 'br2 netns:blue 10.0.0.2/24' },
      { ...attached(plain), hostif: { ...br1, name: 'br2' } },
      "'eth1' of 'blue' is on 'br1', not on 'br2'",
      '--force',
    ],
    [
      'another host end',
      { ...plain, options: { l: 'other' } },
      attached(plain),
      `has the host end '${HOST_END}', not 'other'`,
      '--force',
    ],
    [
      'a route over another interface',
      { ...plain, options: { routes: ['10.60.0.0/16'] } },
      { ...bare, routes: [{ ...overEth1('10.60.0.0/16'), dev: 'eth0' }] },
      "'blue' already has a route to 10.60.0.0/16, over 'eth0'",
      '--route 10.60.0.0/16,ROUTER,METRIC',
    ],
    [
      'an MTU that costs the link its IPv6 addresses',
      { ...plain, options: { mtu: '1000' } },
      attached(both),
      "--mtu '1000': 'eth1' has the address fd00::2, and IPv6 needs 1280",
      'without IPv6 first',
    ],
    [
      "an MTU above the NIC's",
      { words: 'up0 netns:blue 10.0.0.2/24', options: { mtu: '9000' } },
      { ...bare, hostif: nic },
      "--mtu '9000': 'eth1' hangs on 'up0', whose MTU is 1500",
      'ip link set dev up0 mtu 9000',
    ],
    [
      'checksum offload of a NIC',
      { words: 'up0 netns:blue 10.0.0.2/24', options: { txOffload: 'off' } },
      { ...bare, hostif: nic },
      "--tx-offload 'off': a macvlan does what 'up0' does",
      'ethtool -K up0 tx off',
    ],
    [
      'checksum offload without ethtool',
      { ...plain, options: { txOffload: 'off' } },
      { ...bare, offload: { ethtool: false } },
      "'ethtool' is not installed",
      'apt install ethtool',
    ],
    [
      'more routes than the record has room for',
      { ...plain, options: { routes: Array.from({ length: 20 }, (_, n) => `10.${n + 10}.0.0/16,10.0.0.254`) } },
      bare,
      'does not fit into an ifalias',
      'pipework route blue add',
    ],
    [
      'IPv6 where there is none',
      both,
      { ...bare, hasIpv6: false },
      'this kernel has no IPv6',
      'Leave the IPv6 address out',
    ],
  ])('%s', (_, typed, facts, message, hint) => {
    const error = captureError(() => planOf(typed, facts))
    expect(error.exitCode).toBe(ExitCode.failed)
    expect(error.message).toContain(message)
    expect(error.hint ?? '').toContain(hint)
  })

  test("docker's bridge is used when asked expressly", () =>
    expect(
      planOf({ words: 'docker0 netns:blue 10.0.0.2/24', options: { force: true } }, { ...bare, hostif: docker0 })
        .length,
    ).toBeGreaterThan(0))
})

test.each<[string, AttachOptions]>([
  ['br1 web 0/0', { mode: 'vepa' }],
  ['br1 web 0/0', { kind: 'ipvlan' }],
  ['dummy web 0/0', { kind: 'macvlan' }],
])('%s with %j: how to share a NIC means nothing there', (words, options) =>
  expect(() => planOf({ words, options }, bare)).toThrow('says how to share a NIC'),
)

test('a wireless NIC goes into a guest with its radio, which needs iw', () => {
  const wireless = { ...bare, hostif: nic, savedNic: { ...nicState, phy: 'phy#3' } }
  const moved = { words: 'up0 netns:blue 10.0.0.2/24', options: { direct: true } } as const
  expect(planOf(moved, wireless).length).toBeGreaterThan(0)
  expect(() => planOf(moved, { ...wireless, lacksIw: true })).toThrow("'iw', which moves it")
})
