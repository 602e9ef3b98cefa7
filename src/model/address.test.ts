import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { captureError } from '../system/fake'
import { type Address, formatAddress, ipFamily, isOnLink, parseAddress } from './address'
import { ExitCode, PipeworkError } from './errors'
import { parseGuestName } from './guest-name'
import { fnv1aHash } from './hash'
import { parseIfname } from './ifname'
import { parseMac } from './mac'
import { parseSeconds } from './number'
import { formatVlanSet, parseVlanSet } from './vlan'

/** Message and hint of the usage error that the action throws. */
function refusal(action: () => unknown): { message: string; hint: string } {
  const { message, hint = '', exitCode } = captureError(action)
  expect(exitCode).toBe(ExitCode.usage)
  return { message, hint }
}

describe('parseAddress takes', () => {
  test.each<[string, Address]>([
    ['10.1.1.1/24', { family: 4, ip: '10.1.1.1', prefix: 24 }],
    ['10.1.1.1/255.255.255.0', { family: 4, ip: '10.1.1.1', prefix: 24 }],
    ['10.1.1.1/255.255.255.255', { family: 4, ip: '10.1.1.1', prefix: 32 }],
    ['10.1.1.1/128.0.0.0', { family: 4, ip: '10.1.1.1', prefix: 1 }],
    ['10.1.1.1/24@10.1.1.254', { family: 4, ip: '10.1.1.1', prefix: 24, gateway: '10.1.1.254' }],
    ['10.1.1.1/24@192.168.0.1', { family: 4, ip: '10.1.1.1', prefix: 24, gateway: '192.168.0.1' }],
    ['192.0.2.0/31', { family: 4, ip: '192.0.2.0', prefix: 31 }],
    ['192.0.2.1/31', { family: 4, ip: '192.0.2.1', prefix: 31 }],
    ['192.0.2.0/32', { family: 4, ip: '192.0.2.0', prefix: 32 }],
    ['192.0.2.255/32', { family: 4, ip: '192.0.2.255', prefix: 32 }],
    ['10.0.1.0/16', { family: 4, ip: '10.0.1.0', prefix: 16 }],
    ['10.0.0.255/16', { family: 4, ip: '10.0.0.255', prefix: 16 }],
    ['10.1.1.1/0', { family: 4, ip: '10.1.1.1', prefix: 0 }],
    ['fd00::10/64', { family: 6, ip: 'fd00::10', prefix: 64 }],
    ['fd00::10/64@fd00::1', { family: 6, ip: 'fd00::10', prefix: 64, gateway: 'fd00::1' }],
    ['fd00::10/64@fe80::1', { family: 6, ip: 'fd00::10', prefix: 64, gateway: 'fe80::1' }],
    ['FD00:0:0:0:0:0:0:A/64', { family: 6, ip: 'fd00::a', prefix: 64 }],
    ['2001:db8:0:0:1:0:0:1/64', { family: 6, ip: '2001:db8::1:0:0:1', prefix: 64 }],
    ['2001:0db8::0001/64', { family: 6, ip: '2001:db8::1', prefix: 64 }],
    ['2001:db8::1:1:1:1:1/64', { family: 6, ip: '2001:db8:0:1:1:1:1:1', prefix: 64 }],
    ['2001:db8::/127', { family: 6, ip: '2001:db8::', prefix: 127 }],
    ['2001:db8::/128', { family: 6, ip: '2001:db8::', prefix: 128 }],
    ['2001:db8::ffff:ffff:ffff:ffff/64', { family: 6, ip: '2001:db8::ffff:ffff:ffff:ffff', prefix: 64 }],
    ['fe80::5/64', { family: 6, ip: 'fe80::5', prefix: 64 }],
  ])('%s', (typed, address) => expect(parseAddress(typed)).toEqual(address))
})

describe('parseAddress refuses', () => {
  test.each<[string, string, string]>([
    // typed, message, hint
    ['10.1.1.1', 'no prefix length', 'Did you mean 10.1.1.1/24?'],
    ['10.1.1.1@10.1.1.254', 'no prefix length', 'Did you mean 10.1.1.1/24@10.1.1.254?'],
    ['fd00::1', 'no prefix length', 'Did you mean fd00::1/64?'],
    ['10.1/24', 'is not an address', 'IP/PREFIX'],
    ['0177.0.0.1/8', 'is not an address', 'IP/PREFIX'],
    ['0x7f.0.0.1/8', 'is not an address', 'IP/PREFIX'],
    ['10.1.1.1.1/24', 'is not an address', 'IP/PREFIX'],
    ['300.1.1.1/24', 'is not an address', 'IP/PREFIX'],
    ['foo/24', 'is not an address', 'IP/PREFIX'],
    ['', 'is not an address', 'IP/PREFIX'],
    ['/24', 'is not an address', 'IP/PREFIX'],
    [' 10.1.1.1/24', 'is not an address', 'IP/PREFIX'],
    ['10.1.1.1/24/24', 'is not an address', 'IP/PREFIX'],
    ['10.1.1.1/24@10.1.1.2@10.1.1.3', 'is not an address', 'IP/PREFIX'],
    ['fe80::1%eth0/64', 'is not an address', 'IP/PREFIX'],
    ['fd00::1::2/64', 'is not an address', 'IP/PREFIX'],
    ['fd00::12345/64', 'is not an address', 'IP/PREFIX'],
    ['1.2.3.4/24x', "'24x' is not a prefix length", '0 to 32'],
    ['1.2.3.4/', "'' is not a prefix length", '0 to 32'],
    ['1.2.3.4/33', "'33' is not a prefix length", '0 to 32'],
    ['1.2.3.4/-1', "'-1' is not a prefix length", '0 to 32'],
    ['1.2.3.4/024', "'024' is not a prefix length", '0 to 32'],
    ['1.2.3.4/ 24', "' 24' is not a prefix length", '0 to 32'],
    ['1.2.3.4/24\n', "'24\n' is not a prefix length", '0 to 32'],
    ['1.2.3.4/2e1', "'2e1' is not a prefix length", '0 to 32'],
    ['1.2.3.4/0x18', "'0x18' is not a prefix length", '0 to 32'],
    ['1.2.3.4/255.0.255.0', "'255.0.255.0' is not a prefix length", 'netmask like 255.255.255.0'],
    ['1.2.3.4/0.0.0.255', "'0.0.0.255' is not a prefix length", 'netmask like 255.255.255.0'],
    ['1.2.3.4/255.255', "'255.255' is not a prefix length", 'netmask like 255.255.255.0'],
    ['fd00::1/129', "'129' is not a prefix length", '0 to 128'],
    ['fd00::1/255.255.255.0', "'255.255.255.0' is not a prefix length", '0 to 128'],
    ['fd00::1/ffff::', "'ffff::' is not a prefix length", '0 to 128'],
    ['192.168.1.0/24', 'is the network address of 192.168.1.0/24', 'from 192.168.1.1 on'],
    ['192.168.1.255/24', 'is the broadcast address of 192.168.1.0/24', 'up to 192.168.1.254'],
    ['192.168.1.0/255.255.255.0', 'is the network address', 'from 192.168.1.1 on'],
    ['192.0.2.4/30', 'is the network address', 'from 192.0.2.5 on'],
    ['192.0.2.7/30', 'is the broadcast address', 'up to 192.0.2.6'],
    ['fd00::/64', 'is the network address of fd00::/64', 'fd00::1'],
    ['2001:db8::4/126', 'is the network address', 'RFC 4291'],
    ['127.0.0.1/8', 'a loopback address', 'a host on the LAN'],
    ['127.1.2.3/32', 'a loopback address', 'a host on the LAN'],
    ['224.0.0.1/24', 'a multicast address', 'a host on the LAN'],
    ['255.255.255.255/32', 'a reserved address', 'a host on the LAN'],
    ['0.0.0.0/0', 'not an address of a host', 'a host on the LAN'],
    ['0.1.2.3/8', 'not an address of a host', 'a host on the LAN'],
    ['::/0', 'not an address of a host', 'a host on the LAN'],
    ['::1/128', 'the loopback address', 'a host on the LAN'],
    ['ff02::1/64', 'a multicast address', 'a host on the LAN'],
    ['::ffff:10.0.0.1/128', 'an IPv4-mapped address', 'a host on the LAN'],
    ['10.1.1.1/24@', "the gateway '' is not an IP address", '192.168.1.10/24@192.168.1.1'],
    ['10.1.1.1/24@gw', "the gateway 'gw' is not an IP address", '192.168.1.10/24@192.168.1.1'],
    ['10.1.1.1/24@10.1', "the gateway '10.1' is not an IP address", '192.168.1.10/24@192.168.1.1'],
    ['10.1.1.1/24@10.1.1.2/24', "'10.1.1.2/24' is not an IP address", '192.168.1.10/24@192.168.1.1'],
    ['fd00::5/64@fe80::1%eth1', "the gateway 'fe80::1%eth1' is not an IP address", 'fd00::10/64@fd00::1'],
    ['10.1.1.1/24@fd00::1', "'fd00::1' is IPv6, the address is IPv4", 'its own address and gateway'],
    ['fd00::5/64@10.1.1.1', "'10.1.1.1' is IPv4, the address is IPv6", 'its own address and gateway'],
    ['10.1.1.1/24@10.1.1.1', 'the gateway is the address itself', 'router'],
    ['fd00::5/64@fd00:0::5', 'the gateway is the address itself', 'router'],
    ['10.1.1.1/24@127.0.0.1', '127.0.0.1 is a loopback address', 'a host on the LAN'],
    ['10.1.1.1/24@0.0.0.0', '0.0.0.0 is not an address of a host', 'a host on the LAN'],
    ['10.1.1.1/24@239.1.1.1', '239.1.1.1 is a multicast address', 'a host on the LAN'],
  ])('%j', (typed, message, hint) => {
    const refused = refusal(() => parseAddress(typed))
    expect(refused.message).toContain(`'${typed}'`)
    expect(refused.message).toContain(message)
    expect(refused.hint).toContain(hint)
  })
})

describe('isOnLink', () => {
  test.each<[string, string, boolean]>([
    ['10.0.0.2/24', '10.0.0.1', true],
    ['10.0.0.2/24', '10.0.1.1', false],
    ['10.0.0.2/32', '10.0.0.1', false],
    ['10.0.0.2/31', '10.0.0.3', true],
    ['10.0.0.2/0', '8.8.8.8', true],
    ['fd00::2/64', 'fd00::1', true],
    ['fd00::2/64', 'fd00:0:0:1::1', false],
    ['fd00::2/128', 'fd00::1', false],
    ['fd00::2/128', 'fe80::1', true],
  ])('%s reaches %s: %s', (typed, ip, reaches) => expect(isOnLink(parseAddress(typed), ip)).toBe(reaches))
})

describe('parseMac', () => {
  test.each([
    ['26:2e:71:98:60:8f', '26:2e:71:98:60:8f'],
    ['02:AB:CD:EF:00:01', '02:ab:cd:ef:00:01'],
    ['00:00:00:00:00:01', '00:00:00:00:00:01'],
  ])('takes %s', (typed, mac) => expect(parseMac(typed)).toBe(mac))

  test.each([
    ['01:00:5e:00:00:01', 'multicast', '02:00:5e:00:00:01'],
    ['ff:ff:ff:ff:ff:ff', 'multicast', 'fe:ff:ff:ff:ff:ff'],
    ['03:00:00:00:00:00', 'multicast', '02:00:00:00:00:00'],
    ['00:00:00:00:00:00', 'cannot be the MAC address', ''],
    ['26:2e:71:98:60', 'is not a MAC address', 'U:TEXT'],
    ['26:2e:71:98:60:8f:00', 'is not a MAC address', 'U:TEXT'],
    ['26-2e-71-98-60-8f', 'is not a MAC address', 'U:TEXT'],
    ['262e7198608f', 'is not a MAC address', 'U:TEXT'],
    ['26:2e:71:98:60:8g', 'is not a MAC address', 'U:TEXT'],
    ['26:2e:71:98:60:8f\n', 'is not a MAC address', 'U:TEXT'],
    ['u:web', 'is not a MAC address', 'U:TEXT'],
    ['', 'is not a MAC address', 'U:TEXT'],
  ])('refuses %j', (typed, message, hint) => {
    const refused = refusal(() => parseMac(typed))
    expect(refused.message).toContain(`'${typed}'`)
    expect(refused.message).toContain(message)
    expect(refused.hint).toContain(hint)
  })
})

describe('parseIfname', () => {
  test.each(['eth1', 'a', '123456789012345', 'br-lan', 'eth0.10', 'ib0', '_x', '007', '1e3', '...', 'a+b=c', 'a,b'])(
    'takes %s',
    (name) => expect(parseIfname(name, 'interface')).toBe(name),
  )

  test.each([
    ['1234567890123456', 'it has 16 bytes, the kernel allows 15'],
    ['ééééééééé', 'it has 18 bytes, the kernel allows 15'],
    ['', 'it is empty'],
    ['.', 'the kernel does not allow it'],
    ['..', 'the kernel does not allow it'],
    ['-x', 'it starts with a dash'],
    ['a b', 'white space'],
    ['a\tb', 'white space'],
    ['eth1\n', 'white space'],
    ['a\nlink del b', 'white space'],
    ['a\u00a0b', 'white space'],
    ['a\u0000b', 'control'],
    ['eth\u007f', 'control'],
    ['é', 'non-ASCII'],
    ['a/b', "it has a '/'"],
    ['a:b', "it has a ':'"],
    ['a"b', "it has a '\"'"],
    ["a'b", "it has a '''"],
    ['a#b', "it has a '#'"],
    ['a\\b', "it has a '\\'"],
    ['a%d', "it has a '%'"],
    ['eth1@br0', "it has a '@'"],
    ['a;b', "it has a ';'"],
  ])('refuses %j', (name, reason) => {
    const { message, hint } = refusal(() => parseIfname(name, 'interface in the guest'))
    expect(message).toContain('cannot be the name of the interface in the guest')
    expect(message).toContain(reason)
    expect(message).toContain(JSON.stringify(name).slice(1, -1))
    expect(message).not.toMatch(/[\n\t\0]/)
    expect(hint).toContain('eth1')
  })
})

describe('parseSeconds', () => {
  test.each([
    ['0', 0],
    ['30', 30],
    ['0.5', 0.5],
  ])('takes %s', (typed, seconds) => expect(parseSeconds(typed, '--wait-guest')).toBe(seconds))

  test.each(['', '-1', '.5', '5.', '1e3', '0x10', 'Infinity', 'NaN', '5s', ' 5'])('refuses %j', (typed) =>
    expect(refusal(() => parseSeconds(typed, '--wait-guest')).message).toBe(
      `--wait-guest '${typed}' is not a number of seconds`,
    ),
  )
})

// Vectors of the reference implementation (draft-eastlake-fnv).
test.each([
  ['', 'cbf29ce484222325'],
  ['a', 'af63dc4c8601ec8c'],
  ['b', 'af63df4c8601f1a5'],
  ['foobar', '85944171f73967e8'],
])('fingerprint of %j', (text, hash) => expect(fnv1aHash(text)).toBe(hash))

describe('for any input', () => {
  const byte = fc.integer({ min: 0, max: 255 })
  const group = fc.integer({ min: 0, max: 0xffff })
  const ipv4 = fc.tuple(byte, byte, byte, byte).map((bytes) => bytes.join('.'))
  const ipv6 = fc
    .array(fc.oneof(group, fc.constant(0)), { minLength: 8, maxLength: 8 })
    .map((groups) => groups.map((it) => it.toString(16)).join(':'))
  const typed = fc.oneof(
    fc.tuple(ipv4, fc.integer({ min: 0, max: 32 }), fc.option(ipv4)),
    fc.tuple(ipv6, fc.integer({ min: 0, max: 128 }), fc.option(ipv6)),
  )
  const attempt = <T>(action: () => T): T | undefined => {
    try {
      return action()
    } catch (error) {
      if (error instanceof PipeworkError && error.exitCode === ExitCode.usage) return undefined
      throw error
    }
  }
  /** Words that `ip -batch` reads as themselves. */
  const isSafe = (word: string) => /^[^\s"'#\\]+$/.test(word)

  test('what parseAddress takes is canonical: formatting and parsing again changes nothing', () => {
    let taken = 0
    fc.assert(
      fc.property(typed, ([ip, prefix, gateway]) => {
        const address = attempt(() => parseAddress(`${ip}/${prefix}${gateway === null ? '' : `@${gateway}`}`))
        if (address === undefined) return
        taken += 1
        const text = formatAddress(address)
        expect(parseAddress(text)).toEqual(address)
        expect(formatAddress(parseAddress(text))).toBe(text)
        // The URL standard writes IPv6 by the same rules, RFC 5952.
        if (address.family === 6) expect(`[${address.ip}]`).toBe(new URL(`http://[${ip}]/`).hostname)
        else expect(address.ip).toBe(ip)
      }),
      { numRuns: 1000 },
    )
    expect(taken).toBeGreaterThan(200)
  })

  const nasty = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: fc.constantFrom(...'0123456789abcdefx.:/@,%- \n\t"\'#\\;$`U') }),
    fc
      .tuple(typed, fc.string({ maxLength: 3 }), fc.nat(45))
      .map(([[ip, prefix], extra, at]) => `${`${ip}/${prefix}`.slice(0, at)}${extra}${`${ip}/${prefix}`.slice(at)}`),
  )

  test.each<[string, (text: string) => readonly string[]]>([
    ['parseAddress', (text) => [formatAddress(parseAddress(text))]],
    ['parseIfname', (text) => [parseIfname(text, 'interface')]],
    ['parseMac', (text) => [parseMac(text)]],
    ['parseVlans', (text) => [formatVlanSet(parseVlanSet(text))]],
    ['parseGuest', (text) => [parseGuestName(text).name, parseGuestName(text).kind ?? 'none']],
  ])('%s refuses it as wrong usage, or gives words that are safe in a batch', (_, parse) =>
    fc.assert(
      fc.property(nasty, (text) => {
        expect((attempt(() => parse(text)) ?? []).filter((it) => !isSafe(it))).toEqual([])
      }),
      { numRuns: 1000 },
    ),
  )

  test('what the netmask package alone would take does not pass', () => {
    const part = fc.oneof(
      byte.map((it) => `0${it.toString(8)}`),
      byte.map((it) => `0x${it.toString(16)}`),
    )
    const lax = fc.oneof(
      fc.tuple(byte, byte).map((bytes) => bytes.join('.')),
      fc.tuple(byte, byte, byte).map((bytes) => bytes.join('.')),
      byte.map(String),
      fc.tuple(part, byte, byte, byte).map((parts) => parts.join('.')),
      fc.tuple(byte, byte, byte, part).map((parts) => parts.join('.')),
    )
    fc.assert(
      fc.property(lax, fc.integer({ min: 0, max: 32 }), (ip, prefix) => {
        expect(refusal(() => parseAddress(`${ip}/${prefix}`)).message).toContain('is not an address')
      }),
    )
  })
})

test('a zone is not part of an address', () => expect(ipFamily('fe80::1%eth0')).toBeUndefined())
