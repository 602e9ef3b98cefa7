import { describe, expect, test } from 'vitest'
import { parseLine } from '../commands/parser'
import { captureError } from '../system/fake'
import {
  expandMacros,
  insertGuest,
  listEnvCommands,
  listPipeworkLabels,
  validateAllowGlobs,
  validateLabel,
  validateOwnGuest,
} from './labels'

const web = {
  name: 'shop-web-3',
  id: '3f2a9c1d0b7e4455aabb3f2a9c1d0b7e4455aabb3f2a9c1d0b7e4455aabb0011',
  hostname: 'web.example',
  labels: { 'com.docker.compose.project': 'shop' },
  env: [],
}

/** Reads a label as watch does. */
async function read(text: string) {
  const line = await parseLine(text.split(' '))
  const positionals = insertGuest(line.words, web.name)
  return { command: line.command, givenOptions: line.options, positionals, request: line.toRequest(positionals) }
}

test('labels in the order of their numbers', () =>
  expect(
    listPipeworkLabels({
      labels: { 'pipework.10': 'c', 'pipework.2': 'b', other: 'x', pipework: 'a', 'pipework.x': 'y', pipeworks: 'z' },
    }),
  ).toEqual([
    { key: 'pipework', text: 'a' },
    { key: 'pipework.2', text: 'b' },
    { key: 'pipework.10', text: 'c' },
  ]))

test("variables of dreamcat4's image", () =>
  expect(
    listEnvCommands({
      env: [
        'PATH=/bin',
        'pipework_cmd_b=br2 x 0/0',
        'pipework_cmd=pipework br1 @CONTAINER_NAME@ 10.0.0.2/24=',
        'pipework_key=k',
      ],
    }),
  ).toEqual([
    { key: 'pipework_cmd', text: 'br1 @CONTAINER_NAME@ 10.0.0.2/24=' },
    { key: 'pipework_cmd_b', text: 'br2 x 0/0' },
  ]))

describe('macros', () => {
  test.each([
    ['@CONTAINER_NAME@', 'shop-web-3'],
    ['@CONTAINER_ID@', '3f2a9c1d0b7e'],
    ['@HOSTNAME@', 'web.example'],
    ['10.0.0.@INSTANCE@/24@10.0.0.1', '10.0.0.3/24@10.0.0.1'],
    ['U:@COMPOSE_PROJECT_NAME@-@INSTANCE@', 'U:shop-3'],
    ['@OTHER@ @constructor@', '@OTHER@ @constructor@'],
  ])('%s', (word, expected) => expect(expandMacros(word, web)).toBe(expected))

  test('are not macros again in what they stand for', () =>
    expect(expandMacros('@HOSTNAME@', { ...web, hostname: '@CONTAINER_ID@' })).toBe('@CONTAINER_ID@'))
})

describe('a variable speaks of its own container only', () => {
  test.each(['shop-web-3', 'docker:shop-web-3', '3f2a9c1d0b7e', web.id])('%s', (guest) =>
    expect(() => validateOwnGuest(['br1', guest, '0/0'], web)).not.toThrow(),
  )
  test.each(['db', 'shop-web', '3f2a', 'netns:shop-web-3', 'pid:1', ''])('not %j', (guest) =>
    expect(() => validateOwnGuest(['br1', guest, '0/0'], web)).toThrow('is not this container'),
  )
})

test.each(['br0,br1', 'br0@10,20-22', 'br0 br1'])('%j is more than one glob', (list) =>
  expect(() => validateAllowGlobs(['br*', list])).toThrow(`'${list}'`),
)

test('one glob, or words that stand for themselves', () =>
  expect(() =>
    validateAllowGlobs(['br*', 'br0@*', '--publish', 'mac:02:00:00:00:00:01', 'br1@vxlan:7,192.0.2.1']),
  ).not.toThrow())

describe('what a label may ask for', () => {
  test.each<[string, string[]]>([
    ['br0 192.168.1.50/24@192.168.1.1', ['br0']],
    ['br0 -i eth2 --mtu 1400 --route 10.0.0.0/8,192.168.1.9 192.168.1.50/24 U:web', ['br*']],
    ['eth0 --mode vepa 10.0.0.2/24', ['eth?']],
    ['eth0 --kind ipvlan 10.0.0.2/24', ['eth0']],
    ['br0 10.0.0.2/24 @10', ['br0@10']],
    ['br0 10.0.0.2/24 @10,20-22', ['br0@*']],
    ['br0 10.0.0.2/24 @10,20-22', ['br0@10', 'br0@2?']],
    ['br0 0/0', ['x', 'br0']],
    ['br0 -l webhost 10.0.0.2/24', ['br0', '-l']],
    ['--direct-phys eth1 10.0.0.2/24', ['eth1', '--direct-phys']],
    ['dummy 10.255.0.1/32', ['dummy']],
    ['mac:02:77:00:00:00:10 10.0.0.2/24', ['mac:02:77:00:00:00:10']],
    ['br0 dhcp --dhcp-timeout 9', ['br0']],
    ['br0@eth0 10.0.0.2/24', ['br0@eth0']],
    ['br0@eth0 10.0.0.2/24 @10', ['br0@eth0@10']],
  ])('%s, allowed %j', async (text, allowed) => {
    const line = await read(text)
    expect(() => validateLabel(line, allowed)).not.toThrow()
  })

  test.each<[string, string[], string]>([
    ['br0 10.0.0.2/24', [], "'br0': nothing is allowed"],
    ['br0 10.0.0.2/24', ['br1', 'xbr0', 'br', 'r0'], "'br0': allowed: 'br1'"],
    ['brx0 10.0.0.2/24', ['br.0'], "'brx0'"],
    ['br0 10.0.0.2/24 @10', ['br0', '*'], "'br0@10'"],
    ['br0 10.0.0.2/24 @10,20-22', ['br0@10', 'br0@20', 'br0@22'], "'br0@21'"],
    ['br0 10.0.0.2/24 @10', ['br0@1'], "'br0@10'"],
    ['mac:02:77:00:00:00:10 10.0.0.2/24', ['*'], "'mac:02:77:00:00:00:10'"],
    ['dummy 10.255.0.1/32', ['*'], "'dummy'"],
    ['br0@eth0 10.0.0.2/24', ['*', '*@*', 'br0@*'], "'br0@eth0'"],
    ['br0@eth0 10.0.0.2/24 @10', ['br0@eth0', '*@*'], "'br0@eth0@10'"],
    ['br0 --publish 80:80 10.0.0.2/24', ['*'], "'--publish'"],
    ['br0 --firewall allow 10.0.0.2/24', ['*'], "'--firewall'"],
    ['br0 --host-access 10.0.0.2/24', ['*'], "'--host-access'"],
    ['br0 --dhcp-dns dhcp', ['*'], "'--dhcp-dns'"],
    ['ptp 10.0.0.2/24@10.0.0.1', ['*', '*@*'], "'ptp'"],
    ['routed:eth0 10.0.0.2/32', ['*', '*@*'], "'routed:eth0'"],
    ['br0 --force 10.0.0.2/24', ['*'], "'--force'"],
    ['br0 -l eth9 10.0.0.2/24', ['*'], "'-l'"],
    ['br0 --vlan-filtering 10.0.0.2/24', ['*'], "'--vlan-filtering'"],
    ['br0 --no-probe 10.0.0.2/24', ['*'], "'--no-probe'"],
    ['br0 --wait-guest 9 10.0.0.2/24', ['*'], "'--wait-guest'"],
    ['br0 --json 10.0.0.2/24', ['*'], "'--json'"],
    ['--direct-phys eth1 10.0.0.2/24', ['*'], "'--direct-phys'"],
    ['eth0 --mode passthru 10.0.0.2/24', ['*'], "'--mode'"],
    ['eth0 --kind ipvlan --mode l3 10.0.0.2/24', ['*'], "'--mode'"],
  ])('not %s, allowed %j', async (text, allowed, what) => {
    const line = await read(text)
    expect(captureError(() => validateLabel(line, allowed)).message).toContain(what)
  })

  test.each(['dhcp:-s/tmp/x', 'udhcpc:-s,10.0.0.1/24', '10.0.0.1/24,dhcp:x', '-x', ''])(
    'not the address %j, whatever the grammar says of it',
    async (address) => {
      const line = await read('br0 10.0.0.1/24')
      const words = ['br0', 'web', address]
      expect(captureError(() => validateLabel({ ...line, positionals: words }, ['br0'])).message).toContain(
        `'${address}'`,
      )
    },
  )

  test('no commands', async () => {
    const line = await read('br0 10.0.0.1/24')
    expect(() => validateLabel({ ...line, command: 'exec' }, ['*'])).toThrow("'exec' is a command")
  })

  test.each(['ptp', 'routed:eth0', 'br0@eth0', ''])('not %j for a host interface by any glob', async (hostif) => {
    const line = await read('br0 10.0.0.1/24')
    expect(() => validateLabel({ ...line, positionals: [hostif, 'web', '10.0.0.1/24'] }, ['*', '*@*'])).toThrow(
      `may not use '${hostif}'`,
    )
  })
})
