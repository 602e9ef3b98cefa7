import { describe, expect, test } from 'vitest'
import { captureError } from '../system/fake'
import { formatUplinkSpec, parseUplinkSpec, splitBridgeUplink, withUplinkVlan } from './uplink'

describe('an uplink as it is typed', () => {
  test.each([
    ['eth0', { kind: 'nic', nic: 'eth0' }],
    ['mac:02:77:00:00:00:AA', { kind: 'nic', nic: 'mac:02:77:00:00:00:aa' }],
    ['vxlan:42,192.0.2.7', { kind: 'vxlan', id: 42, remote: '192.0.2.7' }],
    ['vxlan:0,2001:db8::7', { kind: 'vxlan', id: 0, remote: '2001:db8::7' }],
    ['vxlan:16777215,239.1.1.1,eth0', { kind: 'vxlan', id: 16777215, remote: '239.1.1.1', dev: 'eth0' }],
  ])('%s', (typed, wish) => {
    expect(parseUplinkSpec(typed)).toEqual(wish)
    expect(formatUplinkSpec(parseUplinkSpec(typed)).toLowerCase()).toBe(typed.toLowerCase())
  })

  test.each([
    ['', 'empty'],
    ['eth0 x', 'eth0 x'],
    ['vxlan:42', 'does not name another host'],
    ['vxlan:16777216,192.0.2.7', "'16777216' is not a VXLAN id"],
    ['vxlan:042,192.0.2.7', "'042' is not a VXLAN id"],
    ['vxlan:42,web', "'web' is not a host address"],
    ['vxlan:42,fe80::1%eth0', 'is not a host address'],
    ['vxlan:42,0.0.0.0', 'is not a host address'],
    ['vxlan:42,239.1.1.1', 'needs a NIC'],
    ['vxlan:42,ff05::7', 'needs a NIC'],
    ['vxlan:42,192.0.2.7,eth0,x', 'does not name another host'],
    ['vxlan:42,192.0.2.7,-x y', '-x y'],
  ])('%s is refused', (typed, why) => {
    const { message, exitCode } = captureError(() => parseUplinkSpec(typed))
    expect(message).toContain(why)
    expect(exitCode).toBe(2)
  })

  test('stands behind the first @ of the bridge', () => {
    expect(splitBridgeUplink('br0')).toEqual({ hostif: 'br0' })
    expect(splitBridgeUplink('br0@eth0')).toEqual({ hostif: 'br0', uplink: { kind: 'nic', nic: 'eth0' } })
  })

  test('is on one VLAN', () => {
    expect(withUplinkVlan({ kind: 'nic', nic: 'bond0' }, '63')).toEqual({ kind: 'nic', nic: 'bond0', vlan: 63 })
    expect(captureError(() => withUplinkVlan({ kind: 'nic', nic: 'bond0' }, '10,20')).message).toContain('one VLAN')
    expect(captureError(() => withUplinkVlan(parseUplinkSpec('vxlan:1,192.0.2.7'), '10')).message).toContain(
      'has no VLANs',
    )
  })
})
