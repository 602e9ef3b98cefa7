import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { createFakeSystem } from '../system/fake'
import type { HostLink } from './host-links'
import {
  guestOfOvsPort,
  ifnameOfOvsPort,
  isOvsBridge,
  type OvsPort,
  parseOvsTables,
  readOvs,
  readOvsIfRelevant,
  toOvsPortArgs,
} from './ovsdb'

const tables = readFileSync('src/fixtures/openvswitch-3.1/tables.json', 'utf8')
const NET = '/sys/class/net'
const DB = '/var/run/openvswitch/db.sock'

describe('the tables, as ovs-vsctl prints them', () => {
  const there = ['ovs1', 'veth1pl94e2c7cb']
  const { bridges, ports, fakeBridges } = parseOvsTables(tables, (name) => there.includes(name))
  const portOf = (name: string) => ports.find((port) => port.name === name)

  test('bridges, and who made them', () =>
    expect(bridges).toEqual([
      { name: 'lan', datapath: '', isOwned: false },
      { name: 'ovs1', datapath: 'netdev', isOwned: true },
    ]))

  test('a name for one VLAN is no port', () => {
    expect(fakeBridges).toEqual([{ name: 'ovs1v30', parent: 'ovs1', tag: 30 }])
    expect(portOf('ovs1v30')).toBeUndefined()
  })

  test('a trunk', () =>
    expect(portOf('veth1pl94e2c7cb')).toMatchObject({
      ...{ bridge: 'ovs1', tag: 10, trunks: [20, 21, 22], vlanMode: 'native-untagged' },
      ...{ transient: true, isAlive: true },
    }))

  test('an access port has neither trunks nor mode', () => {
    expect(portOf('veth1pl9f93e22c')).toMatchObject({ tag: 10, trunks: [] })
    expect(portOf('veth1pl9f93e22c')?.vlanMode).toBeUndefined()
  })

  test('ports of pipework without a device are dead, on a bridge that is there', () => {
    expect(ports.filter(({ isAlive }) => !isAlive).map(({ name }) => name)).toEqual(['veth1pl9f93e22c', 'veth1pl4711'])
    expect(parseOvsTables(tables, () => false).ports.every(({ isAlive }) => isAlive)).toBe(true)
  })

  test.each([
    ['veth1pl94e2c7cb', { kind: 'netns', name: 'ovslab-h' }, 'eth1'],
    ['veth1pl4711', { kind: 'docker', name: 'old', id: '3f2a9c1d0b7e' }, 'eth1'],
    ['ovs1', undefined, 'ovs1'],
  ])('for whom %s was made', (name, guest, ifname) => {
    const port = portOf(name) as OvsPort
    expect(guestOfOvsPort(port)).toEqual(guest)
    expect(ifnameOfOvsPort(port)).toBe(ifname)
  })

  test('an empty database', () =>
    expect(parseOvsTables('{"data":[],"headings":["name"]}\n'.repeat(3), () => true)).toEqual({
      ...{ bridges: [], ports: [], fakeBridges: [] },
    }))
})

describe('what is asked, and of whom', () => {
  const link: HostLink = { ...{ name: 'x', kind: 'other', ifindex: 9, peerIndex: 9 }, mtu: 1500, mac: '', up: true }
  const running = { programs: ['ovs-vsctl'], inodes: { [DB]: 1 } }

  test.each<[string, string, HostLink | undefined, Parameters<typeof createFakeSystem>[0], boolean]>([
    ['a Linux bridge', 'br1', { ...link, kind: 'bridge' }, running, false],
    ['a VLAN device', 'eth0.10', { ...link, kind: 'vlan' }, running, false],
    ['a NIC with hardware', 'eth0', link, { ...running, inodes: { [DB]: 1, [`${NET}/eth0/device`]: 2 } }, false],
    ['whatever else there is', 'eth0', link, running, true],
    ['a bridge to be made', 'br1', undefined, running, true],
    ['Open vSwitch is not installed', 'br1', undefined, { inodes: { [DB]: 1 } }, false],
    ['it does not run', 'br1', undefined, { programs: ['ovs-vsctl'] }, false],
    ['it does not run, but the name asks for it', 'ovs1', undefined, { programs: ['ovs-vsctl'] }, true],
    ['a link called so, without it', 'ovs1', link, {}, false],
    [
      'another directory',
      'br1',
      undefined,
      { ...running, inodes: { '/o/db.sock': 1 }, env: { OVS_RUNDIR: '/o' } },
      true,
    ],
    ['a wrong directory', 'br1', undefined, { ...running, env: { OVS_RUNDIR: '/o' } }, false],
  ])('%s', async (_, name, hostif, options, isAsked) => {
    const system = createFakeSystem({ ...options, answers: { 'ovs-vsctl': { stdout: tables } } })
    const ovs = await readOvsIfRelevant(name, hostif, system)
    expect(ovs?.kind === 'database').toBe(isAsked)
    expect(system.calls.length).toBe(isAsked ? 1 : 0)
  })

  test('installed, not running, and nobody has the name: said without a process, should nothing else claim it', async () => {
    const system = createFakeSystem({ programs: ['ovs-vsctl'] })
    expect(await readOvsIfRelevant('lan', undefined, system)).toMatchObject({ message: 'Open vSwitch does not run' })
    expect(await readOvsIfRelevant('lan', link, system)).toBeUndefined()
    expect(system.calls).toEqual([])
  })

  test('not installed, and the name asks for it: said without a process', async () => {
    const system = createFakeSystem()
    expect(await readOvsIfRelevant('ovs1', undefined, system)).toMatchObject({
      ...{ kind: 'silent', message: 'Open vSwitch is not installed' },
    })
    expect(system.calls).toEqual([])
  })

  test.each([
    [
      'ovs-vsctl: unix:/x/db.sock: database connection failed (No such file or directory)\n',
      'database connection failed',
    ],
    [
      '2026-11-21T02:35:26Z|00002|fatal_signal|WARN|terminating with signal 14 (Alarm clock)\n',
      'terminating with signal',
    ],
  ])('no answer: %s', async (stderr, part) => {
    const system = createFakeSystem({ ...running, answers: { 'ovs-vsctl': { code: 1, stderr } } })
    const ovs = await readOvs(system)
    expect(ovs).toMatchObject({ kind: 'silent' })
    expect('message' in ovs && ovs.message).toContain(part)
    expect('message' in ovs && ovs.message).not.toContain('2026')
  })

  const pidFile = '/var/run/openvswitch/ovs-vswitchd.pid'
  test.each<[string, Record<string, string>, boolean]>([
    ['it runs', { [pidFile]: '77', '/proc/77/stat': '77 (ovs-vswitchd)' }, true],
    ['it was killed', { [pidFile]: '77' }, false],
    ['it has ended', {}, false],
    ['without a file of its number', { '/var/run/openvswitch/ovs-vswitchd.77.ctl': '' }, true],
  ])('ovs-vswitchd: %s', async (_, files, isSwitching) => {
    const system = createFakeSystem({ ...running, files, answers: { 'ovs-vsctl': { stdout: tables } } })
    expect(await readOvs(system)).toMatchObject({
      kind: 'database',
      isVswitchdRunning: isSwitching,
      hasKernelDatapath: false,
    })
  })

  test.each<[string, Parameters<typeof createFakeSystem>[0]]>([
    ['a module', { inodes: { [DB]: 1, '/sys/module/openvswitch': 1 } }],
    ['in use', { inodes: { [DB]: 1, [`${NET}/ovs-system`]: 1 } }],
    [
      'built in',
      {
        files: {
          '/proc/sys/kernel/osrelease': '6.1\n',
          '/lib/modules/6.1/modules.builtin': 'kernel/net/openvswitch/openvswitch.ko\n',
        },
      },
    ],
  ])("the kernel's datapath: %s", async (_, options) => {
    const system = createFakeSystem({ ...running, ...options, answers: { 'ovs-vsctl': { stdout: tables } } })
    expect(await readOvs(system)).toMatchObject({ hasKernelDatapath: true })
  })

  test('whose bridge it is', async () => {
    const database = await readOvs(createFakeSystem({ ...running, answers: { 'ovs-vsctl': { stdout: tables } } }))
    const silent = { kind: 'silent', message: '', hint: '' } as const
    expect(isOvsBridge('lan', undefined, database)).toBe(true)
    expect(isOvsBridge('ovs1v30', link, database)).toBe(true)
    expect(isOvsBridge('br1', undefined, database)).toBe(false)
    expect(isOvsBridge('ovs9', undefined, database)).toBe(true)
    expect(isOvsBridge('ovs9', link, database)).toBe(false)
    expect(isOvsBridge('ovs9', link, silent)).toBe(true)
    expect(isOvsBridge('lan', link, silent)).toBe(false)
    expect(isOvsBridge('ovs9', { ...link, kind: 'bridge' }, silent)).toBe(false)
  })
})

test('what others have written into external-ids comes back as it was', () => {
  const ids = { 'attached-mac': '02:00:00:00:00:01', 'iface id': 'a b', empty: '', quoted: '"x"', set: '[1]' }
  const port: OvsPort = {
    ...{ name: 'p', bridge: 'ovs1', trunks: [], transient: false, isAlive: true },
    externalIds: ids,
  }
  expect(toOvsPortArgs(port)).toEqual([
    [
      ...['set', 'Interface', 'p', 'external-ids:attached-mac=02:00:00:00:00:01', 'external-ids:"iface id"="a b"'],
      ...['external-ids:empty=""', String.raw`external-ids:quoted="\"x\""`, 'external-ids:set="[1]"'],
    ],
  ])
})
