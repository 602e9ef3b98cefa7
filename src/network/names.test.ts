import { describe, expect, test } from 'vitest'
import type { AttachOptions } from '../model/attach-options'
import { parseAttachRequest } from '../model/request'
import type { Guest } from '../runtimes/find'
import { createFakeSystem } from '../system/fake'
import { deriveHostEndNames, deriveNames } from './names'

const web: Guest = { kind: 'docker', name: 'web', id: 'a'.repeat(64), pid: 77, nsPath: '/proc/77/ns/net' }

describe('derived names', () => {
  const namesOf = (
    words: string,
    { guest = web, ...options }: AttachOptions & { guest?: Guest } = {},
    files: Readonly<Record<string, string>> = {},
  ) => {
    const system = createFakeSystem({ files: { '/etc/machine-id': 'machine\n', ...files } })
    return deriveNames(parseAttachRequest(words.split(' '), options), { guest, system }, 'bridge')
  }
  const words = 'br1 web 10.0.0.2/24'

  test('are the same at each run', async () =>
    expect(await namesOf(words)).toEqual(await namesOf('br1 web 10.0.0.9/16')))

  test.each<[string, string, Parameters<typeof namesOf>[1], Readonly<Record<string, string>>, readonly string[]]>([
    // what differs, words, options, files, what differs then
    ['the interface', words, { i: 'eth2' }, {}, ['hostEndName', 'mac']],
    ['the guest', words, { guest: { ...web, name: 'db' } }, {}, ['hostEndName', 'mac']],
    ['the kind of guest', words, { guest: { ...web, kind: 'netns' } }, {}, ['hostEndName', 'mac']],
    ['the bridge', 'br2 web 10.0.0.2/24', {}, {}, ['bridgeMac']],
    ['the machine', words, {}, { '/etc/machine-id': 'other' }, ['hostEndName', 'mac', 'bridgeMac']],
    ['a restart of the container, which has a new process', words, { guest: { ...web, id: 'b'.repeat(64) } }, {}, []],
  ])('%s', async (_, other, options, files, expected) => {
    const [a, b] = [await namesOf(words), await namesOf(other, options, files)]
    expect(Object.keys(a).filter((key) => a[key as keyof typeof a] !== b[key as keyof typeof b])).toEqual(expected)
  })

  test('the host end on a bridge of Open vSwitch is called otherwise', () => {
    const { bridge, ovs } = deriveHostEndNames('eth1', web, createFakeSystem())
    expect([ovs === bridge, ovs]).toEqual([false, expect.stringMatching(/^veth1pl[0-9a-f]{8}$/)])
  })

  test.each([
    ['eth1', /^veth1pl[0-9a-f]{8}$/],
    ['eth123', /^veth123pl[0-9a-f]{6}$/],
    ['eth1234', /^vpl[0-9a-f]{12}$/],
    ['123456789012345', /^vpl[0-9a-f]{12}$/],
    ['a', /^vapl[0-9a-f]{11}$/],
  ])('the host end of %s has at most 15 bytes', async (i, expected) =>
    expect((await namesOf(words, { i })).hostEndName).toMatch(expected),
  )

  test('MAC addresses are unicast and local', async () => {
    const { mac, bridgeMac } = await namesOf(words)
    expect([mac, bridgeMac]).toEqual([
      expect.stringMatching(/^02(:[0-9a-f]{2}){5}$/),
      expect.stringMatching(/^02(:[0-9a-f]{2}){5}$/),
    ])
  })

  test.each([
    // As the original derives it: md5 of the text with a newline.
    ['U:myhost.foo.com', '02:72:6c:cd:9b:8d'],
    ['26:2E:71:98:60:8F', '26:2e:71:98:60:8f'],
  ])('%s is %s', async (typed, mac) => expect((await namesOf(`${words} ${typed}`)).mac).toBe(mac))

  test('without /etc/machine-id the boot tells machines apart', async () => {
    const boot = (id: string) => namesOf(words, {}, { '/etc/machine-id': '', '/proc/sys/kernel/random/boot_id': id })
    expect(await boot('a')).not.toEqual(await boot('b'))
  })
})
