import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { batchLine } from '../system/batch'
import { createFakeSystem } from '../system/fake'
import { type IpQuery, ipQuery, isUsableWord, parseIpOutput, readLinks } from './ip-json'

const recorded = readFileSync('src/fixtures/iproute2-6.1/guest.jsonl', 'utf8')
const line = batchLine`address show`

const parse = (query: (line: readonly string[]) => IpQuery<unknown>, stdout: string, netns?: string) =>
  parseIpOutput({ code: 0, stdout, stderr: '' }, [query(line)], netns)[0]

describe('output of ip', () => {
  test('is read as recorded', () => {
    const [links, routes] = parseIpOutput(
      { code: 0, stdout: recorded, stderr: '' },
      [ipQuery.links(line), ipQuery.routes(line), ipQuery.routes(line)],
      undefined,
    )
    expect(links.find(({ ifname }) => ifname === 'eth1')).toMatchObject({ ifindex: 2, link_index: 3, mtu: 1400 })
    expect(routes[0]).toMatchObject({ dst: 'default', gateway: '10.0.0.1' })
  })

  const link = { ifindex: 1, ifname: 'a', flags: [], mtu: 1500 }

  test('empty objects in the place of filtered links and addresses are left out', () => {
    const address = { family: 'inet', local: '10.0.0.2', prefixlen: 24, scope: 'global' }
    const stdout = JSON.stringify([{}, { ...link, link: null, addr_info: [{}, address] }])
    expect(parse(ipQuery.links, stdout)).toEqual([{ ...link, link: undefined, addr_info: [address] }])
  })

  test.each<[string, (line: readonly string[]) => IpQuery<unknown>, unknown, string]>([
    ['no list', ipQuery.links, { error: 1 }, 'the answer is not a list'],
    ['a list of something else', ipQuery.links, ['a'], 'the answer[0].ifindex is not a number'],
    ['null', ipQuery.routes, [null], 'the answer[0] is not an object'],
    ['a number for a name', ipQuery.links, [{ ...link, ifname: 7 }], 'the answer[0].ifname is not a string'],
    ['a text for a list', ipQuery.links, [{ ...link, flags: 'UP' }], 'the answer[0].flags is not a list'],
    [
      'an address without a prefix',
      ipQuery.links,
      [{ ...link, addr_info: [{ family: 'inet', local: '10.0.0.2', scope: 'global' }] }],
      'the answer[0].addr_info[0].prefixlen is not a number',
    ],
    ['a route to a list', ipQuery.routes, [{ dst: [] }], 'the answer[0].dst is not a string'],
    [
      'a hop without a name',
      ipQuery.routes,
      [{ dst: 'default', nexthops: [{ dev: 1 }] }],
      'the answer[0].nexthops[0].dev is not a string',
    ],
    ['a rule without priority', ipQuery.rules, [{ src: 'all' }], 'the answer[0].priority is not a number'],
    ['VLANs as text', ipQuery.bridgePorts, [{ vlans: '1-4' }], 'the answer[0].vlans is not a list'],
  ])('%s is an error that says where', (_, query, answer, problem) =>
    expect(() => parse(query, JSON.stringify(answer))).toThrow(
      `the host's network cannot be read: unexpected output of 'ip address show': ${problem}`,
    ),
  )

  test('that is no JSON, or has an answer too few, is an error', () => {
    expect(() => parse(ipQuery.links, 'BusyBox v1.36', 'pinned')).toThrow(
      "the guest's network cannot be read: unexpected output of 'ip address show'",
    )
    expect(() => parse(ipQuery.links, '')).toThrow(
      "the host's network cannot be read: ip printed 0 answers to 1 question",
    )
  })

  test('what ip says of its failure is passed on', async () => {
    const system = createFakeSystem({ answers: { 'address show': { code: 1, stderr: 'Cannot open it\n' } } })
    await expect(readLinks('pinned', system)).rejects.toThrow("the guest's network cannot be read: Cannot open it")
  })
})

test.each([
  ['eth0', true],
  ['a"b', false],
  ['a b', false],
  ['', false],
  // What Node makes of bytes that are not UTF-8.
  ['\ufffd', false],
])('a name %j can be a word of a command: %s', (name, isUsable) => expect(isUsableWord(name)).toBe(isUsable))
