import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { AttachOptions } from '../../model/attach-options'
import { parseAttachRequest } from '../../model/request'
import type { Guest } from '../../runtimes/find'
import { createFakeSystem } from '../../system/fake'
import { readAttachFacts } from './read'

type Options = NonNullable<Parameters<typeof createFakeSystem>[0]>

const proc = (file: string) => readFileSync(`src/fixtures/linux-6.18/${file}`, 'utf8')
const stdout = readFileSync('src/fixtures/iproute2-6.1/guest.jsonl', 'utf8')
const web: Guest = { kind: 'docker', name: 'web', id: 'a'.repeat(64), pid: 77, nsPath: '/proc/77/ns/net' }
const NET = '/sys/class/net'

/** What /proc tells of a container's network: of one with `--network none`, or of the guest in the other fixtures. */
const netOf = (kind: 'blank' | 'used') => ({
  '/proc/77/net/dev': proc(`${kind}-dev`),
  '/proc/77/net/route': proc(`${kind}-route`),
  '/proc/77/net/ipv6_route': proc(`${kind}-ipv6_route`),
})

/** A link of the host, as sysfs shows it. */
const link = (name: string, files: Readonly<Record<string, string>>) =>
  Object.fromEntries(
    Object.entries({
      ifindex: '9',
      iflink: '9',
      mtu: '1500',
      address: '02:00:00:00:00:09',
      flags: '0x1003',
      ifalias: '',
      ...files,
    }).map(([file, text]) => [`${NET}/${name}/${file}`, `${text}\n`]),
  )

async function gather(
  words: string,
  options: Options,
  { guest = web, ...attach }: AttachOptions & { guest?: Guest } = {},
) {
  const files = { '/etc/machine-id': 'machine\n', '/proc/sys/net/ipv6/conf/all/x': '', ...options.files }
  const system = createFakeSystem({ answers: { 'address show': { stdout } }, ...options, files })
  const facts = await readAttachFacts(parseAttachRequest(words.split(' '), attach), { guest, system, netns: 'pinned' })
  return { facts, ran: system.calls }
}

describe('a blank guest is known by three files, without a process', () => {
  const { '/proc/77/net/ipv6_route': _, ...noIpv6 } = netOf('blank')
  const plus = (file: string, line: string) => ({
    ...netOf('blank'),
    [file]: `${netOf('blank')[file as '/proc/77/net/dev']}\n${line}\n`,
  })

  test.each<[string, Options['files'], boolean]>([
    ['a container without network', netOf('blank'), true],
    ['a kernel without IPv6', noIpv6, true],
    ['another interface', plus('/proc/77/net/dev', 'eth10: 0 0'), true],
    [
      'a route that is no default',
      plus('/proc/77/net/route', 'eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0'),
      true,
    ],
    ['the interface itself', plus('/proc/77/net/dev', '  eth1: 0 0'), false],
    [
      'a default route',
      plus('/proc/77/net/route', 'eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0'),
      false,
    ],
    [
      'a default route of IPv6',
      plus(
        '/proc/77/net/ipv6_route',
        `${'0'.repeat(32)} 00 ${'0'.repeat(32)} 00 fd${'0'.repeat(29)}1 00000400 1 0 00000003 eth0`,
      ),
      false,
    ],
    ['a guest in use', netOf('used'), false],
    ['files that cannot be read', {}, false],
    ['a host end of that name, of whomever', { ...netOf('blank'), ...link('blueend', {}) }, false],
  ])('%s', async (_, files, isBlank) => {
    const options = { files: { ...link('br1', {}), ...files } }
    const { facts, ran } = await gather('br1 web 10.0.0.2/24', options, { l: 'blueend' })
    expect(ran.some((it) => it.includes('address show'))).toBe(!isBlank)
    if (isBlank) expect([facts.inGuest, facts.routes, facts.links]).toEqual([undefined, [], []])
    else expect(facts.inGuest?.name).toBe('eth1')
  })

  test.each([
    ['another guest has', 77, false],
    ['it may have', 55, true],
  ])('rules of ours that %s', async (_, inode, isAsked) => {
    const inodes = { '/run/netns/pinned': 55, '/run/pipework/policy': 1, [`/run/pipework/policy/${inode}`]: 2 }
    const { ran } = await gather('br1 web 10.0.0.2/24', { files: { ...link('br1', {}), ...netOf('blank') }, inodes })
    expect(ran.some((it) => it.includes('rule show'))).toBe(isAsked)
  })

  test('a guest without a process is asked', async () => {
    const { ran } = await gather(
      'br1 netns:blue 10.0.0.2/24',
      {},
      { guest: { kind: 'netns', name: 'blue', nsPath: '/run/netns/blue' } },
    )
    expect(ran[0]).toContain('address show')
  })
})

describe('the host end is the one whose index and whose peer both fit', () => {
  // In the fixture eth1 has index 2 and names index 3.
  const mine = link('v1', { ifindex: '3', iflink: '2' })
  test.each<[string, Options['files'], string | undefined, string | undefined]>([
    ['under any name', mine, 'v1', undefined],
    ['not the same index of another namespace', link('v1', { ifindex: '3', iflink: '5' }), undefined, undefined],
    ['not the same peer of another namespace', link('v1', { ifindex: '8', iflink: '2' }), undefined, undefined],
    ['nor one that is not there', {}, undefined, undefined],
    ['under the name it should have', link('wanted', { ifindex: '3', iflink: '2' }), 'wanted', undefined],
    ['when another has its name', { ...mine, ...link('wanted', { ifindex: '4', iflink: '4' }) }, 'v1', 'wanted'],
  ])('%s', async (_, files, hostEnd, nameTaken) => {
    const { facts } = await gather('br1 web 10.0.0.2/24', files === undefined ? {} : { files }, { l: 'wanted' })
    expect([facts.hostEnd?.name, facts.nameConflict?.name]).toEqual([hostEnd, nameTaken])
  })

  test('renamed inside the guest, the link is known by its host end', async () => {
    const { facts } = await gather(
      'br1 web 10.0.0.2/24',
      { files: link('wanted', { ifindex: '3', iflink: '2' }) },
      { i: 'lan0', l: 'wanted' },
    )
    expect([facts.inGuest, facts.nameConflict?.name, facts.conflictPeer]).toEqual([undefined, 'wanted', 'eth1'])
  })
})

describe('the host interface', () => {
  test.each<[string, Options['files'], Options['links'], object]>([
    [
      'a NIC',
      link('br1', {}),
      {},
      { kind: 'other', ifindex: 9, peerIndex: 9, mtu: 1500, mac: '02:00:00:00:00:09', up: true },
    ],
    ['a bridge', link('br1', { uevent: 'DEVTYPE=bridge\nINTERFACE=br1\nIFINDEX=9' }), {}, { kind: 'bridge' }],
    ['wireless', link('br1', { uevent: 'DEVTYPE=wlan\nINTERFACE=br1\nIFINDEX=9' }), {}, { kind: 'wireless' }],
    ['InfiniBand', link('br1', { type: '32' }), {}, { kind: 'infiniband' }],
    ['loopback', link('br1', { type: '772' }), {}, { kind: 'loopback' }],
    ['a VLAN device', link('br1', { uevent: 'DEVTYPE=vlan\nINTERFACE=br1\nIFINDEX=9' }), {}, { kind: 'vlan' }],
    ['down', link('br1', { flags: '0x1002' }), {}, { up: false }],
    ['a port', link('br1', {}), { [`${NET}/br1/master`]: '../br2' }, { master: 'br2' }],
    ['ours', link('br1', { ifalias: 'pipework1;made' }), {}, { alias: 'pipework1;made', record: { kind: 'made' } }],
    ["with somebody's alias", link('br1', { ifalias: 'office' }), {}, { alias: 'office' }],
  ])('%s', async (_, files = {}, links = {}, expected) => {
    const { facts } = await gather('br1 web 10.0.0.2/24', { files: { ...netOf('blank'), ...files }, links })
    expect(facts.hostif).toMatchObject({ name: 'br1', ...expected })
  })

  test('has no alias and no record where there is none', async () => {
    const { facts } = await gather('br1 web 10.0.0.2/24', { files: { ...netOf('blank'), ...link('br1', {}) } })
    expect(facts.hostif).toMatchObject({ name: 'br1' })
    expect([facts.hostif?.alias, facts.hostif?.record, facts.hostif?.master]).toEqual([undefined, undefined, undefined])
  })

  test('that is missing', async () =>
    expect((await gather('br1 web 10.0.0.2/24', { files: netOf('blank') })).facts.hostif).toBeUndefined())
})

describe('what else is asked', () => {
  test.each<[string, string, AttachOptions, boolean]>([
    ['sysctls for a new address', 'br1 web 10.9.9.9/24', {}, true],
    ['none for an address that is there', 'br1 web 10.0.0.2/24', {}, false],
    ['none for no address', 'br1 web 0/0', {}, false],
    ['none for a new interface', 'br1 web 10.9.9.9/24', { i: 'eth9' }, false],
  ])('%s', async (_, words, options, expected) => {
    const { ran } = await gather(words, {}, options)
    expect(ran.some((it) => it.includes('sysctl'))).toBe(expected)
  })

  const iputils = { stdout: readFileSync('src/fixtures/iputils-20221126/arping-version.txt', 'utf8') }
  test.each<[string, Options, AttachOptions, boolean]>([
    ["iputils' arping", { programs: ['arping'], answers: { 'arping -V': iputils } }, {}, true],
    [
      "Habets' arping",
      { programs: ['arping'], answers: { 'arping -V': { code: 1, stderr: 'ARPing 2.23, by Thomas Habets' } } },
      {},
      false,
    ],
    ['no arping', {}, {}, false],
    ['--no-probe', { programs: ['arping'], answers: { 'arping -V': iputils } }, { probe: false }, false],
  ])('%s', async (_, options, attach, expected) => {
    const { facts } = await gather('br1 web 10.0.0.2/24', { files: netOf('blank'), ...options }, attach)
    expect(facts.hasArping).toBe(expected)
  })

  test('not root, the guest is taken to be empty', async () => {
    const system = createFakeSystem({ isRoot: false })
    const facts = await readAttachFacts(parseAttachRequest(['br1', 'web', '10.0.0.2/24'], {}), { guest: web, system })
    expect([facts.links, facts.routes, facts.hasIpv6, system.calls]).toEqual([[], [], false, []])
  })
})
