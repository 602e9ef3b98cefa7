import { describe, expect, test } from 'vitest'
import { parseLeaseEvent } from './parse-lease'

const eventOf = (values: Readonly<Record<string, string>>) =>
  Object.entries(values)
    .map(([name, value]) => `${name}=${value}\0`)
    .join('')

// As the clients' hooks were told by dnsmasq 2.90: busybox 1.35, isc-dhclient 4.4.3, dhcpcd 9.4.1.
const UDHCPC = {
  ...{ event: 'bound', ip: '10.9.0.166', mask: '24', subnet: '255.255.255.0', router: '10.9.0.1', dns: '10.9.0.1' },
  ...{ lease: '120', serverid: '10.9.0.1', opt53: '05' },
}
const DHCLIENT = {
  ...{ event: 'BOUND', new_ip_address: '10.9.0.166', new_subnet_mask: '255.255.255.0', new_routers: '10.9.0.1' },
  ...{ new_dhcp_lease_time: '120', new_dhcp_server_identifier: '10.9.0.1', new_domain_name_servers: '10.9.0.1' },
}
const lease = {
  ...{ ip: '10.9.0.166', prefix: 24, router: '10.9.0.1', routes: [], server: '10.9.0.1', seconds: 120, since: 7 },
  dns: ['10.9.0.1'],
}
const news = (event: Readonly<Record<string, string>>) => parseLeaseEvent(eventOf(event), 7)
const given = (event: Readonly<Record<string, string>>) => {
  const read = news(event)
  return read.kind === 'leased' ? read.lease : read.kind
}

describe('a lease, as each client tells of it', () => {
  test.each([
    ['udhcpc', UDHCPC, lease],
    ['udhcpc, renewed', { ...UDHCPC, event: 'renew' }, lease],
    ['dhclient', DHCLIENT, lease],
    ['dhcpcd', { ...DHCLIENT, new_subnet_cidr: '24', protocol: 'dhcp' }, lease],
    ['for ever', { ...UDHCPC, lease: '4294967295' }, { ...lease, seconds: undefined }],
    ['two routers', { ...UDHCPC, router: '10.9.0.2 10.9.0.3' }, { ...lease, router: '10.9.0.2' }],
    ['no mask', { ...UDHCPC, subnet: '', mask: '8' }, 'refused'],
    ['an MTU', { ...UDHCPC, mtu: '1400' }, { ...lease, mtu: 1400 }],
    ['an MTU of a joke', { ...UDHCPC, mtu: '68' }, lease],
    ['names', { ...UDHCPC, domain: 'lan.test' }, { ...lease, domain: 'lan.test' }],
  ])('%s', (_, event, expected) => {
    if (expected === 'refused') expect(() => given(event)).toThrow()
    else expect(given(event)).toEqual(expected)
  })

  test('classless routes stand in for the router (RFC 3442), whoever prints them', () => {
    const expected = { router: '10.9.0.2', routes: [{ dst: '10.50.0.0/16', via: '10.9.0.9' }, { dst: '10.60.0.0/24' }] }
    const text = '10.50.0.0/16 10.9.0.9 10.60.0.0/24 0.0.0.0 0.0.0.0/0 10.9.0.2'
    const bytes = '16 10 50 10 9 0 9 24 10 60 0 0 0 0 0 0 10 9 0 2'
    expect(given({ ...UDHCPC, staticroutes: text })).toMatchObject(expected)
    expect(given({ ...UDHCPC, msstaticroutes: text })).toMatchObject(expected)
    expect(given({ ...DHCLIENT, new_classless_static_routes: text })).toMatchObject(expected)
    expect(given({ ...DHCLIENT, new_rfc3442_classless_static_routes: bytes })).toMatchObject(expected)
    expect(given({ ...UDHCPC, staticroutes: '10.50.0.0/16 10.9.0.9' })).toMatchObject({ router: undefined })
  })

  test('DHCPv6', () =>
    expect(
      given({ event: 'BOUND6', new_ip6_address: 'FD09:0::5', new_max_life: '60', new_dhcp6_name_servers: 'fd09::1' }),
    ).toMatchObject({ ip: 'fd09::5', prefix: 128, seconds: 60, dns: ['fd09::1'] }))
})

describe('what a server says is not believed', () => {
  test.each([
    ['169.254.7.7', 'got no answer'],
    ['127.0.0.1', 'invalid address'],
    ['0.0.0.0', 'invalid address'],
    ['224.0.0.1', 'invalid address'],
    ['255.255.255.255', 'invalid address'],
    ['10.9.0.0', 'invalid address'],
    ['10.9.0.255', 'invalid address'],
    ['10.9.0.5 dev eth0', 'invalid address'],
    ['10.9.0.5\nroute del default', 'invalid address'],
    ['', 'invalid address'],
    ['fd00::1', 'invalid address'],
  ])('the address %j', (ip, message) => expect(() => news({ ...UDHCPC, ip })).toThrow(message))

  test.each(['', '0', '-1', '1e9', '99999999999', '60; id'])('a lease of %j seconds', (seconds) =>
    expect(() => news({ ...UDHCPC, lease: seconds })).toThrow('seconds'),
  )

  test('a mask of nothing, or of holes', () => {
    expect(() => news({ ...UDHCPC, subnet: '0.0.0.0' })).toThrow('invalid address')
    expect(() => news({ ...UDHCPC, subnet: '255.0.255.0' })).toThrow('invalid address')
  })

  test.each([
    ['router', 'evil', { router: undefined }],
    ['router', '224.0.0.1', { router: undefined }],
    ['router', '10.9.0.166', { router: undefined }],
    ['serverid', '$(id)', { server: '' }],
    ['dns', '10.9.0.1;id x', { dns: [] }],
    ['domain', 'a"; rm', { domain: 'undefined' }],
    ['domain', '-a', { domain: undefined }],
    ['staticroutes', '127.0.0.0/8 10.9.0.1', { routes: [] }],
    ['staticroutes', '10.0.0.0/33 10.9.0.1 10.1.0.0/16', { routes: [] }],
    ['staticroutes', '0.0.0.0/0 0.0.0.0', { routes: [], router: undefined }],
  ])('%s %j', (name, value, expected) => {
    const { domain } = { domain: undefined, ...(given({ ...UDHCPC, [name]: value }) as object) }
    if (name === 'domain') expect(domain).toBeUndefined()
    else expect({ router: undefined, ...(given({ ...UDHCPC, [name]: value }) as object) }).toMatchObject(expected)
  })

  test('a newline in one value makes no other', () =>
    expect(given({ ...UDHCPC, hostname: 'x\nip=6.6.6.6' })).toMatchObject({ ip: '10.9.0.166' }))
})

test.each([
  ...[['nak', 'lost'] as const, ['EXPIRE', 'lost'] as const, ['FAIL', 'lost'] as const, ['NAK', 'lost'] as const],
  ...[['deconfig', 'none'] as const, ['leasefail', 'none'] as const, ['PREINIT', 'none'] as const],
])('%s: %s', (event, kind) => expect(news({ event })).toEqual({ kind }))
