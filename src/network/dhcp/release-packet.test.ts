import { expect, test } from 'vitest'
import { encodeRelease4, encodeRelease6 } from './release-packet'

test('a DHCPRELEASE, field by field (RFC 2131, table 5)', () => {
  const packet = Buffer.from(
    encodeRelease4({ ip: '10.9.0.166', server: '10.9.0.1', mac: '02:30:68:b0:d1:40', clientId: '00:de:ad' }),
  )
  expect([...packet.subarray(0, 4)]).toEqual([1, 1, 6, 0])
  expect([...packet.subarray(12, 16)]).toEqual([10, 9, 0, 166])
  expect(packet.subarray(28, 34).toString('hex')).toBe('023068b0d140')
  expect(packet.subarray(236, 240).toString('hex')).toBe('63825363')
  expect([...packet.subarray(240, 255)]).toEqual([53, 1, 7, 54, 4, 10, 9, 0, 1, 61, 3, 0, 0xde, 0xad, 255])
  expect(packet.length).toBe(300)
})

test('a RELEASE of DHCPv6, field by field (RFC 8415, 18.2.7)', () => {
  const server = '00:01:02'
  const packet = Buffer.from(encodeRelease6({ ip: 'fd77::1f1', server, duid: '00:04:aa', iaid: '68:b0:d1:40' }))
  expect(packet.toString('hex')).toBe(
    `08b0d140${'000100030004aa'}${'00020003000102'}${'00030028'}68b0d140${'0'.repeat(16)}${'00050018'}${'fd77000000000000'}${'00000000000001f1'}${'0'.repeat(16)}${'000800020000'}`,
  )
})
