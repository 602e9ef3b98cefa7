import { describe, expect, test } from 'vitest'
import { main } from '../cli'
import { createFakeSystem } from '../system/fake'

type Options = Parameters<typeof createFakeSystem>[0]

async function wait(words: string, options: Options, interrupt = { requested: false }) {
  const system = createFakeSystem({ isRoot: false, ...options })
  const code = await main(['--wait', ...words.split(' ').filter(Boolean)], system, {
    out: (text) => system.write(1, text),
    err: (text) => system.write(2, text),
    interrupt,
  })
  return { code, err: system.written[2], out: system.written[1], ran: system.calls }
}

const DEV = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  eth1:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
 eth10:12345678       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
`
const V6 = (flags: string, scope = '00', name = 'eth1') =>
  `00000000000000000000000000000001 01 80 10 80       lo\nfd000000000000000000000000000002 02 40 ${scope} ${flags}     ${name}\n`
const ROUTE = (destination: string, { flags = '0003', mask = '00000000', name = 'eth1' } = {}) =>
  `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n${name}\t${destination}\t010000C0\t${flags}\t0\t0\t0\t${mask}\t0\t0\t0\n`
const ROUTE6 = (name: string, { prefix = '00', flags = '00000003' } = {}) =>
  `${'0'.repeat(32)} ${prefix} ${'0'.repeat(32)} 00 fd000000000000000000000000000001 00000400 00000001 00000000 ${flags}     ${name}\n`

const withSysfs = (files: Readonly<Record<string, string>>): Options => ({
  files: { '/proc/net/dev': DEV, ...files },
  inodes: { '/sys/class/net/eth1': 5 },
})
const carrier = '/sys/class/net/eth1/carrier'
const operstate = '/sys/class/net/eth1/operstate'

describe('holds, or times out', () => {
  test.each<[string, string, Options, boolean]>([
    ['a carrier', '', withSysfs({ [carrier]: '1' }), true],
    ['no carrier', '', withSysfs({ [carrier]: '0' }), false],
    ['down: the carrier cannot be read', '', withSysfs({}), false],
    ['no /sys: the link is there', '', { files: { '/proc/net/dev': DEV } }, true],
    ['no /sys: another link', '-i eth2', { files: { '/proc/net/dev': DEV } }, false],
    ['no /sys: a name that begins like that', '-i eth', { files: { '/proc/net/dev': DEV } }, false],
    ['bytes right behind the colon', '-i eth10', { files: { '/proc/net/dev': DEV } }, true],
    ['no /proc', '', { files: { [carrier]: '1' }, inodes: { '/sys/class/net/eth1': 5 } }, true],
    [
      'the /sys of another namespace',
      '',
      { files: { '/proc/net/dev': 'lo: 0', [carrier]: '1' }, inodes: { '/sys/class/net/eth1': 5 } },
      false,
    ],
    ['up', '--for up', withSysfs({ [operstate]: 'up' }), true],
    ['up without a carrier of its own', '--for up', withSysfs({ [operstate]: 'unknown' }), true],
    ['down', '--for up', withSysfs({ [operstate]: 'down' }), false],
    ['lowerlayerdown', '--for up', withSysfs({ [operstate]: 'lowerlayerdown' }), false],
    ['no address', '--for addr', withSysfs({}), false],
    ['IPv4', '--for addr', { ...withSysfs({}), addresses: { eth1: ['10.0.0.2'] } }, true],
    ['link-local alone', '--for addr', { ...withSysfs({}), addresses: { eth1: ['fe80::1'] } }, false],
    ['IPv6', '--for addr', withSysfs({ '/proc/net/if_inet6': V6('80') }), true],
    ['IPv6, tentative', '--for addr', withSysfs({ '/proc/net/if_inet6': V6('c0') }), false],
    ['IPv6, duplicate', '--for addr', withSysfs({ '/proc/net/if_inet6': V6('c8') }), false],
    ['IPv6 of the link', '--for addr', withSysfs({ '/proc/net/if_inet6': V6('80', '20') }), false],
    ['IPv6 of another', '--for addr', withSysfs({ '/proc/net/if_inet6': V6('80', '00', 'eth10') }), false],
    ['no route', '--for route', withSysfs({ '/proc/net/route': ROUTE('0000A8C0', { mask: '00FFFFFF' }) }), false],
    ['a default route', '--for route', withSysfs({ '/proc/net/route': ROUTE('00000000') }), true],
    ['half of one', '--for route', withSysfs({ '/proc/net/route': ROUTE('00000000', { mask: '00000080' }) }), false],
    ['a rejecting one', '--for route', withSysfs({ '/proc/net/route': ROUTE('00000000', { flags: '0201' }) }), false],
    ['through another', '--for route', withSysfs({ '/proc/net/route': ROUTE('00000000', { name: 'eth10' }) }), false],
    ['an IPv6 default route', '--for route', withSysfs({ '/proc/net/ipv6_route': ROUTE6('eth1') }), true],
    ['IPv6 of lo', '--for route', withSysfs({ '/proc/net/ipv6_route': ROUTE6('lo', { flags: '00200200' }) }), false],
    [
      'an IPv6 route to all of a /8',
      '--for route',
      withSysfs({ '/proc/net/ipv6_route': ROUTE6('eth1', { prefix: '08' }) }),
      false,
    ],
  ])('%s', async (_, words, options, holds) => {
    const { code, out } = await wait(`${words} --timeout 1`, options)
    expect({ code, out }).toEqual({ code: holds ? 0 : 124, out: '' })
  })
})

test('after the limit it says what is missing; a limit of 0 looks once', async () => {
  const { err, ran } = await wait('--timeout 0.25', withSysfs({ [carrier]: '0' }))
  const hint = '  Attach it from the host, or wait longer with --timeout SECONDS.\n'
  expect(err).toBe(`pipework: timed out after 0.25 s: 'eth1' has no carrier\n${hint}`)
  expect(ran).toEqual(['sleep 0.1', 'sleep 0.1', expect.stringMatching(/^sleep 0.0[45]/)])
  const once = await wait('--timeout 0 -i ib0', {})
  expect({ ran: once.ran, err: once.err }).toEqual({
    ran: [],
    err: `pipework: timed out after 0 s: there is no 'ib0'\n${hint}`,
  })
})

test('a signal ends it', async () => {
  const { code, err, ran } = await wait('', {}, { requested: true })
  expect({ code, err, ran }).toEqual({ code: 1, err: "pipework: interrupted while waiting for 'eth1'\n", ran: [] })
})

test('--json', async () => {
  const { out } = await wait('--json', withSysfs({ [carrier]: '1' }))
  expect(JSON.parse(out)).toMatchObject({ ok: true, ifname: 'eth1', for: 'carrier' })
  const failed = await wait('--json --timeout 0', {})
  expect(JSON.parse(failed.out)).toMatchObject({ ok: false, exitCode: 124 })
})

test.each([
  ['--for carriers', "--for 'carriers'"],
  ['--for toString', "--for 'toString'"],
  ['--timeout soon', "--timeout 'soon'"],
  ['-i a/b', 'a/b'],
  ['eth1', "unexpected argument 'eth1'"],
  ['-l x', "unknown option '-l'"],
])('%s is refused', async (words, message) => {
  const { code, err } = await wait(words, {})
  expect(code).toBe(2)
  expect(err).toContain(message)
})
