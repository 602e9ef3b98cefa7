import { describe, expect, test } from 'vitest'
import { parseAddress } from '../../model/address'
import { type HostSubnets, readSubnets } from '../../state/subnets'
import { createFakeSystem } from '../../system/fake'
import { nextFreeAddress, suggestAddresses } from './free-address'

/** As /proc showed it (Linux 6.18), with two bridges, one of them without a carrier. */
const files = {
  '/proc/net/route': `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
br7	0000070A	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
`,
  '/proc/net/fib_trie': `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.7.0.0
        /24 link UNICAST
     |-- 10.7.0.1
        /32 host LOCAL
     |-- 10.7.0.255
        /32 link BROADCAST
     |-- 192.0.2.2
        /32 host LOCAL
`,
  '/proc/net/arp': `IP address       HW type     Flags       HW address            Mask     Device
192.0.2.1        0x1         0x2         02:fc:00:00:00:05     *        eth0
192.0.2.9        0x1         0x0         00:00:00:00:00:00     *        eth0
`,
  '/proc/net/if_inet6': `fe8000000000000000fc00fffe000001 04 40 20 80     eth0
fd000000000000000000000000000002 04 40 00 82     eth0
00000000000000000000000000000001 01 80 10 80       lo
`,
  '/proc/net/ipv6_route': `00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
`,
}

test('what /proc says', () =>
  expect(readSubnets(createFakeSystem({ files }))).toEqual({
    addresses: [
      { family: 4, ip: '10.7.0.1', prefix: 24, dev: 'br7' },
      { family: 4, ip: '192.0.2.2', prefix: 24, dev: 'eth0' },
      { family: 6, ip: 'fd00::2', prefix: 64, dev: 'eth0' },
    ],
    gateways: [
      { family: 4, ip: '192.0.2.1', dev: 'eth0' },
      { family: 6, ip: 'fd00::1', dev: 'eth0' },
    ],
    neighbours: ['192.0.2.1'],
  }))

test('a /proc that cannot be read is an empty one', () =>
  expect(readSubnets(createFakeSystem())).toEqual({ addresses: [], gateways: [], neighbours: [] }))

describe('the next free address', () => {
  test.each<[string, string, readonly string[], string | undefined]>([
    ['10.0.0.1/24', '10.0.0.1', ['10.0.0.1'], '10.0.0.2'],
    ['10.0.0.1/24', '10.0.0.254', ['10.0.0.1', '10.0.0.254'], '10.0.0.2'],
    ['10.0.0.1/24', '10.0.0.5', ['10.0.0.6', '10.0.0.7'], '10.0.0.8'],
    ['10.0.0.1/30', '10.0.0.1', ['10.0.0.1', '10.0.0.2'], undefined],
    ['10.0.0.0/31', '10.0.0.0', ['10.0.0.0'], undefined],
    ['10.0.255.255/15', '10.0.255.255', [], '10.1.0.0'],
    ['fd00::1/64', 'fd00::1', ['fd00::1', 'fd00:0:0:0:0:0:0:2'], 'fd00::3'],
    ['fd00::ffff/64', 'fd00::ffff', [], 'fd00::1:0'],
  ])('in %s, behind %s, beside %j: %s', (subnet, after, taken, expected) => {
    const [ip = '', prefix] = subnet.split('/')
    const family = ip.includes(':') ? 6 : 4
    expect(nextFreeAddress({ family, ip, prefix: Number(prefix) }, after, taken)).toBe(expected)
  })
})

describe('a suggestion', () => {
  const none: HostSubnets = { addresses: [], gateways: [], neighbours: [] }
  const br1 = { family: 4, ip: '10.1.0.1', prefix: 24, dev: 'br1' } as const

  test.each<[string, Partial<HostSubnets>, readonly string[], readonly string[]]>([
    ['of nothing', {}, [], []],
    ['the bridge is the gateway', { addresses: [br1] }, [], ['10.1.0.2/24@10.1.0.1']],
    ['its uplink’s is', { addresses: [br1], gateways: [{ ...br1, ip: '10.1.0.254' }] }, [], ['10.1.0.2/24@10.1.0.254']],
    ['that of the others is', { addresses: [br1] }, ['10.1.0.9/24@10.1.0.3'], ['10.1.0.10/24@10.1.0.3']],
    ['the others alone', {}, ['10.1.0.9/24', 'fd00::9/64@fd00::1'], ['10.1.0.10/24', 'fd00::a/64@fd00::1']],
    [
      'neighbours have theirs',
      { addresses: [br1], neighbours: ['10.1.0.2', '10.1.0.3'] },
      [],
      ['10.1.0.4/24@10.1.0.1'],
    ],
    ['another interface’s subnet', { addresses: [{ ...br1, dev: 'br2' }] }, [], []],
  ])('%s', (_, subnets, recorded, expected) =>
    expect(
      suggestAddresses({ hostif: 'br1', subnets: { ...none, ...subnets }, recorded: recorded.map(parseAddress) }),
    ).toEqual(expected),
  )
})
