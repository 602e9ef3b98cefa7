import { expect, test } from 'vitest'
import { createFakeSystem } from '../system/fake'
import { findDhcpClient } from './network-managers'

// As dhcpcd 9.4, dhclient 4.4 and busybox 1.35 show themselves; what has renamed itself keeps the room it had.
test.each([
  ['dhcpcd: [manager] [ip4]\0\0\0\0', 'dhcpcd'],
  ['dhcpcd: eth0 [ip4]\0\0\0', 'dhcpcd'],
  ['dhcpcd: eth1 [ip4]\0\0\0', undefined],
  ['dhcpcd: [network proxy] 10.0.0.2\0\0', undefined],
  ['dhcpcd: [privileged proxy]\0\0', undefined],
  ['/usr/sbin/dhcpcd\0-B\0', 'dhcpcd'],
  ['dhclient\0-4\0-v\0eth0\0', 'dhclient'],
  ['dhclient\0-4\0-v\0eth1\0', undefined],
  ['busybox\0udhcpc\0-ieth0\0', 'udhcpc'],
  ['vi\0dhclient.conf\0eth0\0', undefined],
])('%j', (cmdline, client) => {
  const system = createFakeSystem({
    files: { '/proc/7/cmdline': cmdline },
    inodes: {
      '/proc/self/ns/net': 1,
      '/proc/7/ns/net': 1,
      '/sys/class/net/': 2,
      '/sys/class/net/eth0': 3,
      '/sys/class/net/eth1': 4,
    },
  })
  expect(findDhcpClient('eth0', system)).toBe(client && `${client} (process 7)`)
})
