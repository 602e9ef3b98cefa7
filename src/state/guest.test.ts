import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { PipeworkError } from '../model/errors'
import { createFakeSystem } from '../system/fake'
import {
  areVethPeers,
  findMacvlanParent,
  type GuestLink,
  hasAddress,
  readGuestState,
  readGuestSysctls,
  toAddrAddArgs,
} from './guest'

/** Recorded from iproute2 6.1 on Linux 6.18: `ip -j -d -batch` of the lines that readGuest sends. */
const stdout = readFileSync('src/fixtures/iproute2-6.1/guest.jsonl', 'utf8')
const files = { '/proc/sys/net/ipv6/conf/all/disable_ipv6': '0' }
const ROUTES4 = 'route show table main'
const ROUTES6 = 'route show table all root ::/0'

const read = (text = stdout) =>
  readGuestState('pinned', createFakeSystem({ files, answers: { 'address show': { stdout: text } } }))

describe('readGuest', () => {
  test('asks once for all', async () => {
    const system = createFakeSystem({ files, answers: { 'address show': { stdout } } })
    await readGuestState('pinned', system)
    expect(system.calls).toEqual([`ip -n pinned | address show | ${ROUTES4} | ${ROUTES6}`])
  })

  test('does not ask for IPv6 where the kernel has none', async () => {
    const system = createFakeSystem({
      answers: { 'address show': { stdout: stdout.split('\n').slice(0, 2).join('\n') } },
    })
    const { routes } = await readGuestState('pinned', system)
    expect(system.calls).toEqual([`ip -n pinned | address show | ${ROUTES4}`])
    expect(routes.map(({ family }) => family)).not.toContain(6)
  })

  test('refuses to guess when ip fails', async () => {
    const system = createFakeSystem({
      answers: { 'address show': { code: 255, stderr: 'Cannot open network namespace\n' } },
    })
    const error: unknown = await readGuestState('pinned', system).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(PipeworkError)
    expect(error).toMatchObject({ message: "the guest's network cannot be read: Cannot open network namespace" })
  })
})

describe('a link', () => {
  test.each<[string, Partial<GuestLink>]>([
    ['lo', { kind: 'NIC', ifindex: 1, mtu: 65536, up: true }],
    ['eth1', { kind: 'veth', ifindex: 2, peerIndex: 3, mac: '02:6c:d2:00:00:02', mtu: 1400, up: true }],
    ['eth2', { kind: 'veth', ifindex: 4, mtu: 1500, up: true }],
    ['br0', { kind: 'bridge', up: false, addresses: [] }],
    ['tap0', { kind: 'tun', up: false }],
  ])('%s', async (name, expected) =>
    expect((await read()).links.find((link) => link.name === name)).toMatchObject(expected),
  )

  test('whose other end is in the same namespace has no end in the host', async () =>
    expect((await read()).links.find(({ name }) => name === 'eth2')?.peerIndex).toBeUndefined())

  test('has its addresses, and the words that make them again', async () =>
    expect((await read()).links.find(({ name }) => name === 'eth1')?.addresses.map(toAddrAddArgs)).toEqual([
      ['10.0.0.2/24', 'brd', '10.0.0.255'],
      ['192.168.7.1/32'],
      ['10.0.0.3/24', 'brd', '10.0.0.255'],
      ['2001:db8::9/64', 'valid_lft', '3998', 'preferred_lft', '1998', 'nodad'],
      ['fd00::2/64', 'nodad'],
      ['fe80::6c:d2ff:fe00:2/64', 'scope', 'link', 'nodad'],
    ]))

  test('knows which of them the kernel or a router made', async () =>
    expect(
      (await read()).links.flatMap(({ name, addresses }) =>
        name === 'eth1' ? addresses.filter(({ automatic }) => automatic).map(({ ip }) => ip) : [],
      ),
    ).toEqual(['2001:db8::9', 'fe80::6c:d2ff:fe00:2']))

  test('has its record, mode and lower link', async () => {
    const macvlan = {
      ifname: 'eth3',
      ifindex: 9,
      link_index: 4,
      link_netnsid: 0,
      flags: [],
      mtu: 1500,
      ifalias: 'pipework1;g=docker:web;i=eth3;h=up0;a=',
      linkinfo: { info_kind: 'macvlan', info_data: { mode: 'bridge' } },
    }
    const { links } = await read(`${JSON.stringify([macvlan])}\n[]\n[]\n`)
    expect(links).toMatchObject([
      { kind: 'macvlan', mode: 'bridge', peerIndex: 4, record: { kind: 'link', hostif: 'up0' } },
    ])
  })
})

describe('a route has the words that restore it', () => {
  test.each([
    // Each of these was given back to `ip route replace` and read again: the same.
    [4, 'default', 0, 'via 10.0.0.1 dev eth1 proto boot'],
    [4, 'default', 100, 'via 172.16.0.1 dev eth2 proto static metric 100'],
    [4, '10.0.0.0/24', 0, 'dev eth1 proto kernel scope link src 10.0.0.2'],
    [4, '10.97.0.0/16', 0, 'via 10.0.0.1 dev eth1 proto boot mtu 1280 window 1000 initcwnd 12 rto_min 5000 quickack 1'],
    [
      4,
      '192.0.2.0/24',
      0,
      'proto boot nexthop via 10.0.0.1 dev eth1 weight 2 nexthop via 172.16.0.1 dev eth2 weight 1',
    ],
    [4, '192.0.3.0/24', 0, 'via inet6 fe80::1 dev eth1 proto boot'],
    [4, '198.51.100.0/24', 0, 'via 10.0.0.1 dev eth1 proto boot src 10.0.0.3 mtu 1300 advmss 1200'],
    [4, '203.0.113.1', 0, 'dev eth1 proto boot scope link'],
    [4, '203.0.113.64/26', 7, 'via 203.0.113.9 dev eth1 proto dhcp metric 7 onlink'],
    [6, '2001:db8:1::/48', 1024, 'via fd00::1 dev eth1 proto static metric 1024 mtu 1280'],
    [6, '2001:db8:2::1', 1024, 'dev eth1 proto boot metric 1024'],
    [
      6,
      '2001:db8:3::/64',
      1024,
      'proto boot metric 1024 nexthop via fd00::1 dev eth1 weight 1 nexthop via fd00:2::7 dev eth2 weight 1',
    ],
    [6, '2001:db8:5::/64', 1024, 'via 2001:db8:99::1 dev eth1 proto boot metric 1024 onlink'],
    [6, 'default', 512, 'via fe80::7 dev eth2 proto boot metric 512 pref high'],
    [6, 'default', 1024, 'via fd00::1 dev eth1 proto boot metric 1024'],
  ])('IPv%i %s metric %i', async (family, dst, metric, words) => {
    const { routes } = await read()
    const found = routes.filter((it) => it.family === family && it.dst === dst && it.metric === metric)
    expect(found.map((it) => it.words.join(' '))).toEqual([words])
  })

  test.each([
    ['default', 'eth1', '10.0.0.1', 'boot'],
    ['192.0.2.0/24', 'eth1', undefined, 'boot'],
    ['172.16.0.0/16', 'eth2', undefined, 'kernel'],
  ])('%s: over %s, gateway %s, by %s', async (dst, dev, gateway, protocol) => {
    const found = (await read()).routes.find((it) => it.dst === dst)
    expect([found?.dev, found?.gateway, found?.protocol]).toEqual([dev, gateway, protocol])
  })

  test('other tables are left alone', async () => {
    const { routes } = await read()
    expect(routes.map(({ dst }) => dst)).not.toContain('::1')
    expect(routes.filter(({ family }) => family === 6).length).toBeGreaterThan(5)
  })
})

describe('readSysctls', () => {
  test('asks for all by one process, keys with slashes', async () => {
    const system = createFakeSystem({ files, answers: { sysctl: { stdout: '1\n0\n1\n2\n1\n0\n' } } })
    expect(await readGuestSysctls('eth0.1', 'pinned', system)).toEqual({
      'net/ipv4/conf/eth0.1/arp_notify': '1',
      'net/ipv6/conf/eth0.1/ndisc_notify': '0',
      'net/ipv6/conf/eth0.1/disable_ipv6': '1',
      'net/ipv6/conf/eth0.1/accept_ra': '2',
      'net/ipv6/conf/eth0.1/autoconf': '1',
      'net/ipv6/conf/eth0.1/accept_ra_defrtr': '0',
    })
    expect(system.calls).toHaveLength(1)
    expect(system.calls[0]).toMatch(/^ip \| netns exec pinned sysctl -n net\/ipv4/)
  })

  test('and only IPv4’s where there is no IPv6', async () => {
    const system = createFakeSystem({ answers: { sysctl: { stdout: '0\n' } } })
    expect(await readGuestSysctls('eth1', 'pinned', system)).toEqual({ 'net/ipv4/conf/eth1/arp_notify': '0' })
  })
})

const link: GuestLink = {
  name: 'eth1',
  kind: 'veth',
  ifindex: 2,
  peerIndex: 6,
  mac: '',
  mtu: 1500,
  up: true,
  addresses: [],
}
const hostEnd = { name: 'v', kind: 'other', ifindex: 6, peerIndex: 2, mtu: 1500, mac: '', up: true } as const

describe('arePeers', () => {
  test.each([
    ['each names the other', hostEnd, true],
    ['the other names one of another namespace', { ...hostEnd, peerIndex: 3 }, false],
    ['the index alone', { ...hostEnd, ifindex: 7 }, false],
    ['nothing there', undefined, false],
  ])('%s: %o', (_, other, expected) => expect(areVethPeers(link, other)).toBe(expected))
})

describe('findLower', () => {
  const system = createFakeSystem({ files: { '/sys/class/net/up0/ifindex': '6', '/sys/class/net/up1/ifindex': '7' } })
  test.each([
    ['macvlan', 'up0'],
    ['ipvlan', 'up0'],
    ['veth', undefined],
  ])('%s: %s', (kind, name) => expect(findMacvlanParent({ ...link, kind }, system)?.name).toBe(name))
})

describe('hasAddress', () => {
  const addresses = [{ family: 4, ip: '10.0.0.2', prefix: 24, automatic: false }] as const
  test.each([
    ['10.0.0.2', 24, true],
    ['10.0.0.2', 16, false],
    ['10.0.0.3', 24, false],
  ])('%s/%i: %s', (ip, prefix, expected) =>
    expect(hasAddress({ ...link, addresses }, { family: 4, ip, prefix })).toBe(expected),
  )
  test('no link has none', () => expect(hasAddress(undefined, { family: 4, ip: '10.0.0.2', prefix: 24 })).toBe(false))
})
