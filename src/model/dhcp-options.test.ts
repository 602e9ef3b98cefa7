import { describe, expect, test } from 'vitest'
import { captureError } from '../system/fake'
import { parseAddressSource, splitAddressList } from './address-spec'

describe('parseSource', () => {
  test.each([
    ['dhcp', { kind: 'dhcp', family: 4, options: [] }],
    ['udhcpc', { kind: 'dhcp', family: 4, client: 'udhcpc', options: [] }],
    ['udhcpc-f', { kind: 'dhcp', family: 4, client: 'udhcpc', options: [] }],
    ['dhclient-f', { kind: 'dhcp', family: 4, client: 'dhclient', options: [] }],
    ['dhcpcd', { kind: 'dhcp', family: 4, client: 'dhcpcd', options: [] }],
    ['dhcp6', { kind: 'dhcp', family: 6, options: [] }],
    ['slaac', { kind: 'slaac', family: 6, options: [] }],
    ['dhcp:-O mtu', { kind: 'dhcp', family: 4, options: ['-O', 'mtu'] }],
    ["udhcpc:-x 'hostname:my web' -a", { client: 'udhcpc', options: ['-x', 'hostname:my web', '-a'] }],
    ['udhcpc:-x 60:"a\\"b c"', { options: ['-x', '60:a"b c'] }],
    ['udhcpc:-V a\\ b', { options: ['-V', 'a b'] }],
    ['udhcpc:-Ba500', { options: ['-Ba500'] }],
    ['udhcpc:-x ""', { options: ['-x', ''] }],
    ['udhcpc:-V $HOME;`id`', { options: ['-V', '$HOME;`id`'] }],
    ['dhcpcd:-J -l 3600', { client: 'dhcpcd', options: ['-J', '-l', '3600'] }],
    ['dhclient:-B -V vendor', { client: 'dhclient', options: ['-B', '-V', 'vendor'] }],
  ])('%s', (typed, expected) => expect(parseAddressSource(typed)).toMatchObject({ ...expected, typed }))

  test.each([
    ['dhcpx', 'is not a source of addresses'],
    ['dhcp7', 'is not a source of addresses'],
    ['udhcpc-x', 'is not a source of addresses'],
    ['slaac:x', 'takes no options'],
    ['udhcpc:-s /tmp/evil', "'-s' is not passed on to udhcpc"],
    ['udhcpc:-s/tmp/evil', "'-s/tmp/evil' is not passed on"],
    ['udhcpc:-Bs/tmp/evil', "'-Bs/tmp/evil' is not passed on"],
    ['udhcpc:--script=/tmp/evil', 'is not passed on'],
    ['udhcpc:-p /etc/passwd', "'-p'"],
    ['udhcpc:-i eth0', "'-i'"],
    ['udhcpc:-f', "'-f'"],
    ['udhcpc:-b', "'-b'"],
    ['udhcpc:eth0', "'eth0' is not passed on"],
    ['udhcpc:-- eth0', "'--'"],
    ['udhcpc:-O', 'the last option has no value'],
    ['udhcpc:-x "a', 'is not closed'],
    ['udhcpc:-x a\nb', "'b' is not passed on"],
    ['udhcpc:-x "a\nb"', 'control character'],
    ['dhclient:-sf /tmp/evil', "'-sf'"],
    ['dhclient:-lf /etc/passwd', "'-lf'"],
    ['dhclient:-e A=B', "'-e'"],
    ['dhclient:eth0', "'eth0'"],
    ['dhcpcd:-c /tmp/evil', "'-c'"],
    ['dhcpcd:-Jc/tmp/evil', "'-Jc/tmp/evil'"],
    ['dhcpcd:-f /etc/passwd', "'-f'"],
    ['dhcpcd:-e x=y', "'-e'"],
    ['dhcp:-z', "'-z'"],
    ['dhcp:-constructor', 'is not passed on'],
  ])('refuses %j', (typed, message) => expect(captureError(() => parseAddressSource(typed)).message).toContain(message))
})

test.each([
  ['10.0.0.2/24,fd00::2/64', ['10.0.0.2/24', 'fd00::2/64']],
  ['dhcp,fd00::5/64', ['dhcp', 'fd00::5/64']],
  ["dhcp:-x '60:a,b',fd00::5/64", ["dhcp:-x '60:a,b'", 'fd00::5/64']],
  ['dhcp:-x 60:a\\,b', ['dhcp:-x 60:a\\,b']],
  ['10.0.0.2/24,', ['10.0.0.2/24', '']],
  [',10.0.0.2/24', ['', '10.0.0.2/24']],
  ["dhcp:-x 'a", ["dhcp:-x 'a"]],
  ['', ['']],
])('splitList %s', (typed, expected) => expect(splitAddressList(typed)).toEqual(expected))
