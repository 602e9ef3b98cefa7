import { describe, expect, test } from 'vitest'
import type { IpAddress, IpNextHop, IpRoute, IpRule } from './ip-json'
import { configKeyOf, type LinkConfigItem, toAddArgs, toDelArgs, uniqueConfigItems } from './link-config'
import {
  findUnknownKey,
  isRouteOfLink,
  toAddressItem,
  toNeighbourItem,
  toRouteItems,
  toRuleItem,
} from './link-config-items'

const lines = (item: LinkConfigItem, dev = 'br0', age = 0) => toAddArgs(item, dev, age).map((words) => words.join(' '))
const del = (item: LinkConfigItem, dev = 'br0') => toDelArgs(item, dev).join(' ')

const v4: IpAddress = {
  family: 'inet',
  local: '10.0.0.2',
  prefixlen: 24,
  scope: 'global',
  label: 'eth0',
  valid_life_time: 4294967295,
}
const v6: IpAddress = { family: 'inet6', local: 'fd00::2', prefixlen: 64, scope: 'global', valid_life_time: 4294967295 }

describe('an address goes to another link as it is', () => {
  test.each([
    ['plain', v4, ['addr add 10.0.0.2/24 dev br0']],
    [
      'broadcast, label',
      { ...v4, broadcast: '10.0.0.255', label: 'eth0:1' },
      ['addr add 10.0.0.2/24 broadcast 10.0.0.255 label br0:1 dev br0'],
    ],
    ['peer', { ...v4, address: '10.0.0.9', prefixlen: 32 }, ['addr add 10.0.0.2 peer 10.0.0.9/32 dev br0']],
    [
      'scope, metric, flags',
      { ...v4, scope: 'link', metric: 5, noprefixroute: true },
      ['addr add 10.0.0.2/24 scope link metric 5 noprefixroute dev br0'],
    ],
    ['IPv6', v6, ['addr add fd00::2/64 nodad dev br0', 'addr change fd00::2/64 dev br0']],
    ['IPv6 without detection', { ...v6, nodad: true }, ['addr add fd00::2/64 nodad dev br0']],
  ])('%s', (_, info, expected) => expect(lines(toAddressItem(info, 'eth0'))).toEqual(expected))

  test('with the time that it has left, and not when that has run out', () => {
    const address = toAddressItem({ ...v6, nodad: true, valid_life_time: 100, preferred_life_time: 40 }, 'eth0')
    expect(lines(address, 'br0', 10)).toEqual(['addr add fd00::2/64 nodad dev br0 valid_lft 90 preferred_lft 30'])
    expect(lines(address, 'br0', 60)).toEqual(['addr add fd00::2/64 nodad dev br0 valid_lft 40 preferred_lft 0'])
    expect(lines(address, 'br0', 100)).toEqual([])
  })
})

const route = {
  type: 'unicast',
  dst: '10.9.0.0/16',
  gateway: '10.0.0.1',
  dev: 'eth0',
  table: '100',
  protocol: 'boot',
  scope: 'global',
}

describe('a default route that a router has announced', () => {
  const announced = {
    ...{ type: 'unicast', dst: 'default', gateway: 'fe80::1', dev: 'eth0', table: 'main', scope: 'global' },
    ...{ protocol: 'ra', metric: 1024, flags: [], expires: 900, pref: 'high' },
  }
  const [heard] = toRouteItems(announced, 6, 'eth0')
  const [standing] = toRouteItems({ ...announced, protocol: '113', metric: 1025 }, 6, 'br0')

  test('is stood in for one place behind, where it is not in the way of the next announcement', () => {
    expect(heard && lines(heard)).toEqual([
      'route append ::/0 table main metric 1025 proto 113 pref high via fe80::1 dev br0 expires 900',
    ])
    expect(heard && del(heard, 'eth0')).toBe('route del ::/0 table main metric 1024 proto ra via fe80::1 dev eth0')
  })

  test('and the one that stands in is the same to whoever moves it, and moves no further back', () => {
    expect(standing && heard && configKeyOf(standing) === configKeyOf(heard)).toBe(true)
    expect(standing && lines(standing, 'eth0')).toEqual([
      'route append ::/0 table main metric 1025 proto 113 pref high via fe80::1 dev eth0 expires 900',
    ])
    expect(uniqueConfigItems([heard, standing].flatMap((it) => it ?? []))).toEqual([heard])
  })
})

describe('a route', () => {
  test.each([
    [
      4,
      { ...route, metric: 7, prefsrc: '10.0.0.2', flags: ['onlink'], metrics: [{ mtu: 1400 }] },
      [
        'route append 10.9.0.0/16 table 100 metric 7 proto boot scope global src 10.0.0.2 mtu 1400 onlink via 10.0.0.1 dev br0',
      ],
    ],
    [
      4,
      { ...route, dst: 'default' },
      ['route append 0.0.0.0/0 table 100 proto boot scope global via 10.0.0.1 dev br0'],
    ],
    [
      4,
      { ...route, type: 'local', gateway: undefined },
      ['route append local 10.9.0.0/16 table 100 proto boot scope global dev br0'],
    ],
    [
      4,
      { ...route, gateway: undefined, via: { family: 'inet6', host: 'fe80::1' } },
      ['route append 10.9.0.0/16 table 100 proto boot scope global via inet6 fe80::1 dev br0'],
    ],
    [
      4,
      {
        ...route,
        dev: undefined,
        gateway: undefined,
        nexthops: [
          { gateway: '10.0.0.1', dev: 'eth0', weight: 2, flags: [] },
          { gateway: '10.1.0.1', dev: 'eth1', weight: 1, flags: [] },
        ],
      },
      [
        'route append 10.9.0.0/16 table 100 proto boot scope global nexthop via 10.0.0.1 dev br0 weight 2 nexthop via 10.1.0.1 dev eth1 weight 1',
      ],
    ],
    [
      6,
      { ...route, dst: 'default', gateway: 'fe80::1', table: 'main', metric: 1024, pref: 'high', expires: 60 },
      ['route append ::/0 table main metric 1024 proto boot pref high via fe80::1 dev br0 expires 60'],
    ],
    // of IPv6, only the hops of this link
    [
      6,
      {
        ...route,
        dst: 'fd09::/64',
        gateway: undefined,
        dev: undefined,
        metric: 50,
        nexthops: [
          { gateway: 'fd00::1', dev: 'eth0', weight: 1, flags: [] },
          { gateway: 'fd01::1', dev: 'eth1', weight: 1, flags: [] },
        ],
      },
      [
        'route append fd09::/64 table 100 metric 50 proto boot scope global via fd00::1 dev br0'.replace(
          ' scope global',
          '',
        ),
      ],
    ],
  ] as const)('of IPv%s: %o', (family, facets, expected) => {
    expect(toRouteItems(facets, family, 'eth0').flatMap((it) => lines(it))).toEqual(expected)
  })

  test('is taken away by what tells it from others', () =>
    expect(toRouteItems({ ...route, metric: 7, prefsrc: '10.0.0.2' }, 4, 'eth0').map((it) => del(it))).toEqual([
      'route del 10.9.0.0/16 table 100 metric 7 proto boot via 10.0.0.1 dev br0',
    ]))

  test('that we could not write again is found', () => {
    expect(findUnknownKey('route', { ...route, encap: 'mpls' } as IpRoute)).toBe('encap')
    expect(findUnknownKey('route', { ...route, nexthops: [{ dev: 'eth0', encap: 'mpls' } as IpNextHop] })).toBe('encap')
    expect(findUnknownKey('route', route)).toBeUndefined()
    expect(findUnknownKey('rule', { priority: 1, uid_start: 7 } as IpRule)).toBe('uid_start')
  })
})

test('neighbours and rules', () => {
  expect(lines(toNeighbourItem({ dst: '10.0.0.9', lladdr: '02:00:00:00:00:09' }))).toEqual([
    'neigh replace 10.0.0.9 lladdr 02:00:00:00:00:09 nud permanent dev br0',
  ])
  expect(lines(toNeighbourItem({ dst: 'fd00::9' }))).toEqual(['neigh replace proxy fd00::9 dev br0'])
  const rule = toRuleItem(
    { priority: 1000, src: '10.0.0.0', srclen: 24, iif: 'eth0', fwmark: '0x7', table: '100' },
    4,
    'eth0',
  )
  expect(lines(rule)).toEqual(['rule add from 10.0.0.0/24 fwmark 0x7 iif br0 priority 1000 table 100'])
  expect(del(rule, 'eth0')).toBe('rule del from 10.0.0.0/24 fwmark 0x7 iif eth0 priority 1000 table 100')
})

test('an item is the same on whatever link it is', () =>
  expect(configKeyOf(toAddressItem(v4, 'eth0'))).toBe(configKeyOf(toAddressItem({ ...v4, label: 'br0' }, 'br0'))))

describe("of the kernel's own routes, those move that nobody makes anew", () => {
  const kernel = { type: 'unicast', dst: '10.0.0.0/24', prefsrc: '10.0.0.2', dev: 'eth0', protocol: 'kernel' }
  const bare = { ...v4, noprefixroute: true }
  const kernel6 = { type: 'unicast', dst: 'fd00::/64', dev: 'eth0', protocol: 'kernel' }
  const bare6 = { ...v6, noprefixroute: true }
  test.each([
    ['of an address', kernel, [v4], false],
    ['of one that makes none', kernel, [bare], true],
    ['of another', { ...kernel, prefsrc: '10.0.0.3' }, [bare], false],
    ['to another subnet', { ...kernel, dst: '10.0.1.0/24' }, [bare], false],
    ['by another link', { ...kernel, dev: 'eth1' }, [bare], false],
    ['to itself', { ...kernel, type: 'local', dst: '10.0.0.2' }, [bare], false],
    ['IPv6, of two of which one makes it', kernel6, [bare6, { ...v6, local: 'fd00::3' }], false],
    ['IPv6, of one that makes none', kernel6, [bare6], true],
    ['IPv6, a single address', { ...kernel6, dst: 'fd00::9' }, [{ ...bare6, local: 'fd00::9', prefixlen: 128 }], true],
  ])('%s', (_, facets, addr_info, expected) =>
    expect(isRouteOfLink(facets, { ifname: 'eth0', addr_info })).toBe(expected),
  )
})
