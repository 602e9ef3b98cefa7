import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { createFakeSystem } from '../system/fake'
import { parsePortVlans, readPortVlans } from './bridge-vlans'
import { readHostLink } from './host-links'

const recorded = readFileSync('src/fixtures/iproute2-6.1/bridge-vlan.json', 'utf8')

const tagged = (id: number) => ({ id, pvid: false, untagged: false })

describe('parsePortVlans reads', () => {
  test('what iproute2 prints', () =>
    expect(parsePortVlans(recorded)).toEqual([
      { id: 10, pvid: true, untagged: true },
      tagged(20),
      tagged(21),
      tagged(22),
    ]))

  test('ranges, as it prints them with -c', () =>
    expect(parsePortVlans('[{"ifname":"a","vlans":[{"vlan":2,"vlanEnd":4}]}]')).toEqual([
      tagged(2),
      tagged(3),
      tagged(4),
    ]))

  test.each(['', '\n', '[]', '[{"ifname":"a"}]'])('no VLANs in %j', (stdout) =>
    expect(parsePortVlans(stdout)).toEqual([]),
  )
})

describe('readPort', () => {
  const NET = '/sys/class/net'
  const port = {
    ...{ [`${NET}/p/ifindex`]: '6', [`${NET}/br1/ifindex`]: '5', [`${NET}/br1/uevent`]: 'DEVTYPE=bridge' },
  }
  const hostOf = (files: Readonly<Record<string, string>>) =>
    createFakeSystem({
      files: { ...port, ...files },
      links: { [`${NET}/p/master`]: '../br1' },
      answers: { 'bridge -j vlan show dev p': { stdout: recorded } },
    })
  const bridge = (filtering: string) => ({
    [`${NET}/br1/bridge/vlan_filtering`]: filtering,
    [`${NET}/br1/bridge/default_pvid`]: '1',
  })
  const ask = (files: Readonly<Record<string, string>>, asked: 'filtering' | 'always') => {
    const system = hostOf(files)
    const link = readHostLink('p', system)
    if (link === undefined) throw new Error('no port')
    return readPortVlans(link, asked, system).then((found) => ({ found, ran: system.calls }))
  }

  test('asks where the bridge keeps VLANs apart', async () => {
    const { found } = await ask(bridge('1'), 'filtering')
    expect(found?.defaultPvid).toBe(1)
    expect(found?.vlans).toHaveLength(4)
  })

  test('starts no process where it does not, unless VLANs are asked for', async () => {
    expect(await ask(bridge('0'), 'filtering')).toEqual({ found: undefined, ran: [] })
    expect((await ask(bridge('0'), 'always')).found?.vlans).toHaveLength(4)
  })

  test("starts none where the kernel's bridges have no VLANs", async () =>
    expect(await ask({ [`${NET}/br1/bridge/bridge_id`]: '8000' }, 'always')).toEqual({ found: undefined, ran: [] }))
})
