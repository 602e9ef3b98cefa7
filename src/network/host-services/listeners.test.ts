import { describe, expect, test } from 'vitest'
import { parsePortMapping } from '../../model/port-mapping'
import { createFakeSystem } from '../../system/fake'
import { findListener } from './listeners'

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode'

/** As Linux 6.18 shows them: sshd on all addresses, something on 127.0.0.1:8080, a connection, UDP on [fd77::10]:5353. */
const system = createFakeSystem({
  files: {
    '/proc/net/tcp': [
      HEAD,
      '   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1',
      '   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2',
      '   2: 0A4DA8C0:0050 014DA8C0:D431 01 00000000:00000000 00:00000000 00000000     0        0 3',
    ].join('\n'),
    '/proc/net/udp6': [
      HEAD,
      '  10: 000077FD000000000000000010000000:14E9 00000000000000000000000000000000:0000 07 00000000:00000000 00:0 0 0 0 4',
    ].join('\n'),
  },
})

describe('what listens on a port that is to be published', () => {
  test.each([
    ['22:22', '0.0.0.0 port 22'],
    ['192.168.77.10:22:80', '0.0.0.0 port 22'],
    ['8080:80', '127.0.0.1 port 8080'],
    ['8000-8100:8000-8100', '127.0.0.1 port 8080'],
    ['127.0.0.1:8080:80', '127.0.0.1 port 8080'],
    ['192.168.77.10:8080:80', undefined],
    ['8080:80/udp', undefined],
    ['80:80', undefined],
    ['5353:53/udp', 'fd77::10 port 5353'],
    ['[fd77::10]:5353:53/udp', 'fd77::10 port 5353'],
    ['[fd77::11]:5353:53/udp', undefined],
  ])('%s: %s', (typed, listener) => expect(findListener(parsePortMapping(typed), system)).toBe(listener))
})
