import { isIP as nodeIsIP } from 'node:net'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isIP } from './ip'

const part = fc.oneof(
  fc.constantFrom('', ':', '::', '.', '0', '00', '1', 'ffff', 'G', '12345', '255', '256', '1.2.3.4', '01.2.3.4', ' '),
  fc.ipV4(),
  fc.ipV6(),
  fc.stringMatching(/^[0-9a-f:.]{0,12}$/),
)

test('whatever is written, it says what node:net says', () => {
  fc.assert(
    fc.property(fc.array(part, { maxLength: 9 }), fc.constantFrom('', ':', '.'), (parts, between) => {
      const text = parts.join(between)
      expect([text, isIP(text)]).toEqual([text, nodeIsIP(text)])
    }),
    { numRuns: 5000 },
  )
})

test('a zone is no part of an address', () => expect(isIP('fe80::1%eth0')).toBe(0))
