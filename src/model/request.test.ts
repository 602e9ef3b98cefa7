import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { captureError } from '../system/fake'
import { parseAddress } from './address'
import { type AttachOptions, parseRecordRoutes } from './attach-options'
import { ExitCode } from './errors'
import { parseGuestName } from './guest-name'
import { type AttachRequest, formatRequestWords, parseAttachRequest } from './request'

const base: AttachRequest = {
  hostif: 'br1',
  guest: { name: 'web' },
  ifname: 'eth1',
  addresses: [{ family: 4, ip: '10.0.0.2', prefix: 24 }],
  sharing: { kind: 'macvlan', mode: 'bridge' },
  direct: false,
  sources: [],
  dhcp: { timeout: 30, once: false, dns: false },
  routes: [],
  defaultRoute: true,
  hostServices: { bridgeAddresses: [], portMappings: [], hostAccess: false },
  policyRoute: false,
  isIfnameGiven: false,
  words: [],
  probe: true,
  vlanFiltering: false,
  firewall: 'warn',
  strict: false,
  force: false,
}
const v6 = { family: 6, ip: 'fd00::2', prefix: 64 } as const

describe('words and options make a request', () => {
  test.each<[string, AttachOptions, Partial<AttachRequest>]>([
    ['br1 web 10.0.0.2/24', {}, {}],
    ['br1 web 10.0.0.2/255.255.255.0', {}, {}],
    ['virbr0 web 10.0.0.2/24', {}, { hostif: 'virbr0' }],
    ['br1 007 10.0.0.2/24', {}, { guest: { name: '007' } }],
    ['br1 1e3 10.0.0.2/24', {}, { guest: { name: '1e3' } }],
    ['br1 0x10 10.0.0.2/24', {}, { guest: { name: '0x10' } }],
    ['br1 docker:web 10.0.0.2/24', {}, { guest: { kind: 'docker', name: 'web' } }],
    ['br1 netns:blue 10.0.0.2/24', {}, { guest: { kind: 'netns', name: 'blue' } }],
    ['br1 podman:web 10.0.0.2/24', {}, { guest: { kind: 'podman', name: 'web' } }],
    ['br1 lxc:web 10.0.0.2/24', {}, { guest: { kind: 'lxc', name: 'web' } }],
    ['br1 nerdctl:web 10.0.0.2/24', {}, { guest: { kind: 'nerdctl', name: 'web' } }],
    ['br1 pid:1234 10.0.0.2/24', {}, { guest: { kind: 'pid', name: '1234' } }],
    ['br1 web 10.0.0.2/24', { i: 'eth2' }, { ifname: 'eth2', isIfnameGiven: true }],
    ['br1 web 10.0.0.2/24', { l: 'webhost' }, { hostEnd: 'webhost' }],
    ['br1 web 10.0.0.2/24', { probe: false, force: true }, { probe: false, force: true }],
    [
      'eth0 web 10.0.0.2/24',
      { kind: 'ipvlan' },
      { hostif: 'eth0', sharing: { kind: 'ipvlan', mode: 'l2' }, words: ['--kind=ipvlan'] },
    ],
    [
      'eth0 web 10.0.0.2/24 U:x@7',
      { kind: 'ipvlan', mode: 'l3s' },
      {
        hostif: 'eth0',
        mac: { seed: 'x' },
        vlan: { native: 7, tagged: [] },
        tag: '7',
        sharing: { kind: 'ipvlan', mode: 'l3s' },
        words: ['U:x@7', '--kind=ipvlan', '--mode=l3s'],
      },
    ],
    [
      'eth0 web 10.0.0.2/24',
      { mode: 'private' },
      { hostif: 'eth0', sharing: { kind: 'macvlan', mode: 'private' }, words: ['--mode=private'] },
    ],
    ['br1 web 0/0', {}, { addresses: [] }],
    ['br1 web 0/0', { a: '6' }, { addresses: [] }],
    ['br1 web 10.0.0.2/24,fd00::2/64', {}, { addresses: [...base.addresses, v6] }],
    ['br1 web fd00::2/64,10.0.0.2/24', {}, { addresses: [v6, ...base.addresses] }],
    ['br1 web 10.0.0.2/24,fd00::2/64', { a: '4' }, {}],
    ['br1 web 10.0.0.2/24,fd00::2/64', { a: 'inet' }, {}],
    ['br1 web 10.0.0.2/24,fd00::2/64', { a: '6' }, { addresses: [v6] }],
    ['br1 web 10.0.0.2/24,fd00::2/64', { a: 'inet6' }, { addresses: [v6] }],
    [
      'br1 web 10.0.0.2/24@10.0.0.1,fd00::2/64@fd00::1',
      {},
      { addresses: [parseAddress('10.0.0.2/24@10.0.0.1'), parseAddress('fd00::2/64@fd00::1')] },
    ],
    [
      'br1 web 10.0.0.2/24@10.0.0.1,10.0.1.2/24@10.0.0.1',
      {},
      { addresses: [parseAddress('10.0.0.2/24@10.0.0.1'), parseAddress('10.0.1.2/24@10.0.0.1')] },
    ],
    ['br1 web 10.0.0.2/24 26:2E:71:98:60:8F', {}, { mac: { mac: '26:2e:71:98:60:8f' } }],
    ['br1 web 10.0.0.2/24 U:web', {}, { mac: { seed: 'web' } }],
    ['br1 web 10.0.0.2/24 @100', {}, { tag: '100', vlan: { native: 100, tagged: [] } }],
    [
      'br1 web 10.0.0.2/24 26:2e:71:98:60:8f@100',
      {},
      { mac: { mac: '26:2e:71:98:60:8f' }, tag: '100', vlan: { native: 100, tagged: [] } },
    ],
    ['br1 web 10.0.0.2/24 @10,20-22', {}, { tag: '10,20-22', vlan: { native: 10, tagged: [[20, 22]] } }],
    ['br1 web 10.0.0.2/24 U:a@b@7', {}, { mac: { seed: 'a@b' }, tag: '7', vlan: { native: 7, tagged: [] } }],
  ])('%s %o', (words, options, expected) =>
    expect(parseAttachRequest(words.split(' '), options)).toEqual({
      ...base,
      words: words.split(' ').slice(3),
      ...expected,
    }),
  )
})

describe('routes', () => {
  const two = '10.0.0.2/24@10.0.0.1,fd00::2/64'

  test.each<[string, AttachOptions, Partial<AttachRequest>]>([
    [two, { metric: '100' }, { metric: 100, words: ['--metric=100'] }],
    [two, { metric: '0' }, { metric: 0, words: ['--metric=0'] }],
    [two, { defaultRoute: false }, { defaultRoute: false, words: ['--no-default-route'] }],
    [two, { policyRoute: true }, { policyRoute: true, words: ['--policy-route'] }],
    [two, { mtu: '1280' }, { mtu: 1280, words: ['--mtu=1280'] }],
    ['10.0.0.2/24', { mtu: '68' }, { mtu: 68 }],
    [two, { txOffload: 'off' }, { txOffload: 'off', words: ['--tx-offload=off'] }],
    [
      two,
      { routes: ['10.9.0.0/16', '10.8.0.0/255.255.0.0,10.0.0.9,7', 'fd01:0::/32,FE80::1', 'fd02::/48,9'] },
      {
        routes: [
          { family: 4, dst: '10.9.0.0/16' },
          { family: 4, dst: '10.8.0.0/16', via: '10.0.0.9', metric: 7 },
          { family: 6, dst: 'fd01::/32', via: 'fe80::1' },
          { family: 6, dst: 'fd02::/48', metric: 9 },
        ],
        words: [
          '--route=10.9.0.0/16',
          '--route=10.8.0.0/255.255.0.0,10.0.0.9,7',
          '--route=fd01:0::/32,FE80::1',
          '--route=fd02::/48,9',
        ],
      },
    ],
    [two, { routes: ['10.9.0.0/16', '10.9.0.0/16,5'] }, {}],
  ])('%s %o', (addresses, options, expected) => {
    const request = parseAttachRequest(['br1', 'web', addresses], options)
    expect(request).toMatchObject(expected)
    expect(parseRecordRoutes(request.words)).toEqual(request.routes)
  })

  test('a route in a record that somebody has edited is none', () =>
    expect(parseRecordRoutes(['--route=x'])).toEqual([]))

  test.each<[string, AttachOptions, string, string]>([
    // addresses, options, message, hint
    ['10.0.0.2/24', { metric: '5' }, "--metric '5' needs a gateway", '@GATEWAY'],
    [two, { metric: 'low' }, "--metric 'low' is not a metric", 'lowest wins'],
    [two, { metric: '4294967296' }, "--metric '4294967296' is not a metric", 'lowest wins'],
    [two, { metric: '5', defaultRoute: false }, '--no-default-route adds none', ''],
    ['0/0', { policyRoute: true }, '--policy-route needs a typed address', ''],
    [two, { mtu: '1279' }, "--mtu '1279' is too small for fd00::2", 'IPv6 needs 1280'],
    [two, { mtu: '67' }, "--mtu '67' is not an MTU", '68 to 65535'],
    [two, { mtu: '1e3' }, "--mtu '1e3' is not an MTU", '68 to 65535'],
    [two, { mtu: '65536' }, "--mtu '65536' is not an MTU", '68 to 65535'],
    [two, { txOffload: 'no' }, "--tx-offload 'no' is not on or off", ''],
    [two, { routes: ['10.9.0.0'] }, "--route '10.9.0.0' is not a route", 'NETWORK/PREFIX'],
    [two, { routes: ['10.9.0.0/16,10.0.0.9,5,6'] }, 'is not a route', 'NETWORK/PREFIX'],
    [two, { routes: ['10.9.0.1/16'] }, '10.9.0.1 is not the network address', 'Did you mean 10.9.0.0/16?'],
    [two, { routes: ['10.9.0.0/16,fd00::9'] }, "'fd00::9' is not an IPv4 address", 'must have the same family'],
    [two, { routes: ['10.9.0.0/16,eth0'] }, "'eth0' is not an IPv4 address", 'must have the same family'],
    [two, { routes: ['10.9.0.0/16,127.0.0.1'] }, '127.0.0.1 is a loopback address', ''],
    [two, { routes: ['10.9.0.0/16,10.0.0.9,4294967296'] }, 'is not a metric', 'lowest wins'],
    [two, { routes: ['0.0.0.0/0,10.0.0.1'] }, 'is a default route', '--metric'],
    [two, { routes: ['::/0'] }, 'is a default route', '--metric'],
    [two, { routes: ['10.9.0.0/16', '10.9.0.0/16,10.0.0.9'] }, 'there are two routes to 10.9.0.0/16', 'own metric'],
    ['10.0.0.2/24', { routes: ['fd01::/48'] }, 'gets no IPv6 address', ''],
    [two, { routes: ['10.9.0.0/16,10.0.0.2'] }, "10.0.0.2 is the interface's own address", ''],
    [two, { routes: ['10.0.0.0/24'] }, 'the subnet of the interface', 'the address brings this route'],
    [two, { a: '4', routes: ['fd01::/48'] }, 'gets no IPv6 address', ''],
  ])('%s %o is refused', (addresses, options, message, hint) => {
    const error = captureError(() => parseAttachRequest(['br1', 'web', addresses], options))
    expect(error.exitCode).toBe(ExitCode.usage)
    expect(error.message).toContain(message)
    expect(error.hint ?? '').toContain(hint)
  })
})

describe('wrong usage is refused', () => {
  test.each<[string, AttachOptions, string, string]>([
    // words, options, message, hint
    ['', {}, 'nothing to do', 'pipework <bridge>'],
    ['br1', {}, "missing guest after 'br1'", 'pipework <bridge>'],
    ['br1 web', {}, "missing address after 'web'", 'pipework <bridge>'],
    ['br1 web 10.0.0.2/24 U:x extra', {}, "unexpected argument 'extra'", 'by commas'],
    ['br1 web 10.0.0.2/24 10.0.0.3/24', {}, "'10.0.0.3/24' is not a MAC address", 'six bytes'],
    ['br/1 web 10.0.0.2/24', {}, "'br/1' cannot be the name of the host interface", 'eth1'],
    ['br1 web 10.0.0.2/24', { i: '1234567890123456' }, 'cannot be the name of the interface in the guest', 'eth1'],
    ['br1 web 10.0.0.2/24', { i: '' }, "'' cannot be the name of the interface in the guest: it is empty", 'eth1'],
    ['br1 web 10.0.0.2/24', { l: '..' }, "'..' cannot be the name of the link's host end", 'eth1'],
    ['br1 web 10.0.0.2/24', { a: '5' }, "-a '5' is not an address family", '4, inet, 6 or inet6'],
    ['br1 web 10.0.0.2/24', { a: 'ipv4' }, "-a 'ipv4' is not an address family", '4, inet, 6 or inet6'],
    ['eth0 web 10.0.0.2/24', { kind: 'vlan' }, "--kind 'vlan' is not macvlan or ipvlan", '--kind macvlan'],
    ['eth0 web 10.0.0.2/24', { mode: 'l2' }, "--mode 'l2' is not a mode of macvlan", 'bridge, private'],
    ['eth0 web 10.0.0.2/24', { kind: 'ipvlan', mode: 'vepa' }, "--mode 'vepa' is not a mode of ipvlan", 'l2, l3, l3s'],
    ['eth0 web 10.0.0.2/24', { kind: 'toString' }, "--kind 'toString' is not macvlan or ipvlan", '--kind macvlan'],
    ['br1 web 10.0.0.2/24', { a: '6' }, "'10.0.0.2/24' has no IPv6 address, but -a 6 needs one", ''],
    ['br1 web fd00::2/64', { a: 'inet' }, "'fd00::2/64' has no IPv4 address, but -a 4 needs one", ''],
    ['br1 web 0/0,10.0.0.2/24', {}, '0/0 means no address and cannot be combined', ''],
    ['br1 web 10.0.0.2/24,', {}, 'an address is missing before or after a comma', 'without spaces'],
    ['br1 web 10.0.0.2', {}, "'10.0.0.2' has no prefix length", 'Did you mean 10.0.0.2/24?'],
    ['br1 web 10.0.0.2/24,10.0.0.2/16', {}, '10.0.0.2 is given twice', ''],
    ['br1 web fd00::2/64,fd00:0::2/48', {}, 'fd00::2 is given twice', ''],
    [
      'br1 web 10.0.0.2/24@10.0.0.1,10.0.1.2/24@10.0.1.1',
      {},
      'two gateways for IPv4, 10.0.0.1 and 10.0.1.1',
      'one default gateway for each family',
    ],
    ['br1 web 10.0.0.2/24 U:', {}, "'U:': there is no text after U:", 'U:web'],
    ['br1 web 10.0.0.2/24 U:@5', {}, "'U:@5': there is no text after U:", 'U:web'],
    ['br1 web 10.0.0.2/24 @', {}, "'' is not a VLAN id", '1 to 4094'],
    ['br1 web 10.0.0.2/24 U:x@40950', {}, "'40950' is not a VLAN id", '1 to 4094'],
    ['br1 web 10.0.0.2/24 U:x@10-5', {}, '10-5', ''],
    ['br1 web 10.0.0.2/24 26:2e:71:98:60:8f@x', {}, "'x' is not a VLAN id", '1 to 4094'],
    ['br1 web 10.0.0.2/24 01:00:00:00:00:00', {}, "'01:00:00:00:00:00' is a multicast MAC address", 'even'],
  ])('%s %o', (words, options, message, hint) => {
    const error = captureError(() => parseAttachRequest(words.split(' ').filter(Boolean), options))
    expect(error.exitCode).toBe(ExitCode.usage)
    expect(error.message).toContain(message)
    expect(error.hint ?? '').toContain(hint)
  })
})

describe('parseGuest refuses', () => {
  test.each([
    ['pod:web', "there is no guest kind 'pod'", 'docker, podman, lxc, nerdctl, netns, pid'],
    ['pid:self', "'self' is not a process id", 'pid:N'],
    ['pid:0', "'0' is not a process id", 'pid:N'],
    ['pid:12345678901', "'12345678901' is not a process id", 'pid:N'],
    ['netns:', 'is not a guest name', 'netns:NAME'],
    ['', 'is not a guest name', 'netns:NAME'],
    ['-web', 'is not a guest name', 'netns:NAME'],
    ['.', 'is not a guest name', 'netns:NAME'],
    ['netns:..', 'is not a guest name', 'netns:NAME'],
    ['netns:../../proc/1/ns/net', 'is not a guest name', 'netns:NAME'],
    ['a/b', 'is not a guest name', 'netns:NAME'],
    ['a b', 'is not a guest name', 'netns:NAME'],
    ['web\n', 'is not a guest name', 'netns:NAME'],
    ['web?all=1', 'is not a guest name', 'netns:NAME'],
    ['a'.repeat(256), 'is not a guest name', 'netns:NAME'],
  ])('%j', (typed, message, hint) => {
    const error = captureError(() => parseGuestName(typed))
    expect(error.exitCode).toBe(ExitCode.usage)
    expect(error.message).toContain(message)
    expect(error.message).not.toContain('\n')
    expect(error.hint).toContain(hint)
  })
})

describe('toWords', () => {
  test.each<[string, AttachOptions, string]>([
    ['br1 web 10.0.0.2/24', { i: 'eth1' }, 'br1 -i eth1 web 10.0.0.2/24'],
    ['br1 web 10.0.0.2/255.255.255.0', {}, 'br1 web 10.0.0.2/24'],
    ['br1 web 0/0', { i: 'eth2', l: 'webhost' }, 'br1 -i eth2 -l webhost web 0/0'],
    ['br1 netns:blue FD00::2/64,10.0.0.2/24', { a: '6' }, 'br1 netns:blue fd00::2/64'],
    ['br1 web 10.0.0.2/24@10.0.0.1 U:a@b@5', {}, 'br1 web 10.0.0.2/24@10.0.0.1 U:a@b@5'],
    ['eth0 web 10.0.0.2/24 @5', { kind: 'ipvlan', mode: 'l3' }, 'eth0 web 10.0.0.2/24 @5 --kind=ipvlan --mode=l3'],
  ])('%s %o: %s', (words, options, expected) =>
    expect(formatRequestWords(parseAttachRequest(words.split(' '), options)).join(' ')).toBe(expected),
  )

  test('gives back what makes the same request', () => {
    const ifname = fc.constantFrom('eth1', 'eth2', '007', 'ib0', 'a+b')
    const words = fc.tuple(
      ifname,
      fc
        .tuple(fc.constantFrom('', 'docker:', 'netns:'), fc.stringMatching(/^[a-z0-9][a-z0-9_.-]*$/))
        .map((parts) => parts.join('')),
      fc.constantFrom('0/0', '10.0.0.2/24', '10.0.0.2/24@10.0.0.1,fd00:0::2/64@fe80::1', 'fd00::2/128,10.0.0.2/0'),
      fc.oneof(
        fc.constantFrom('', '26:2e:71:98:60:8f', '26:2E:71:98:60:8F@4094', '@1'),
        fc.string({ minLength: 1 }).map((text) => `U:${text}@9`),
      ),
    )
    const options = fc.record({ i: ifname, l: fc.option(ifname, { nil: undefined }) })
    fc.assert(
      fc.property(words, options, ([hostif, guest, addresses, last], given) => {
        const request = parseAttachRequest([hostif, guest, addresses, ...(last === '' ? [] : [last])], given)
        const [first = '', ...rest] = formatRequestWords(request)
        // Options follow the host interface, in this order; here yargs does not take them out.
        const named = {
          i: rest[0] === '-i' ? rest.splice(0, 2)[1] : undefined,
          l: rest[0] === '-l' ? rest.splice(0, 2)[1] : undefined,
        }
        expect(parseAttachRequest([first, ...rest], named)).toEqual(request)
      }),
    )
  })
})
