import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseAddress } from '../model/address'
import { captureError } from '../system/fake'
import { decodeRecord, encodeRecord, type LinkRecord, OWNED_ALIAS } from './record'

const plain: LinkRecord = {
  kind: 'link',
  guest: { kind: 'docker', name: 'web', id: '3f2a9c1d0b7e' },
  ifname: 'eth1',
  hostif: 'br1',
  addresses: [parseAddress('10.0.0.2/24@10.0.0.1')],
  words: ['U:web', '--force'],
  previous: [{ family: 4, words: ['via', '172.17.0.1', 'dev', 'eth0'] }],
}

test('reads as the design says', () =>
  expect(encodeRecord(plain)).toBe(
    'pipework1;g=docker:web;c=3f2a9c1d0b7e;i=eth1;h=br1;a=10.0.0.2/24@10.0.0.1;w=U:web;w=--force;d4=via+172.17.0.1+dev+eth0',
  ))

describe('what is written is read again', () => {
  test.each<[string, Partial<LinkRecord>]>([
    ['all fields', {}],
    ['no id', { guest: { kind: 'netns', name: 'blue' } }],
    ['no address', { addresses: [] }],
    ['addresses that are known to the guest only', { addresses: undefined }],
    ['no other words', { words: [] }],
    ['nothing replaced', { previous: [] }],
    ['both families', { addresses: ['10.0.0.2/24', 'fd00::2/64@fe80::1'].map(parseAddress) }],
    [
      'two default routes, and a word with a plus',
      {
        previous: [
          { family: 4, words: ['via', 'inet6', 'fe80::1', 'dev', 'a+b'] },
          { family: 6, words: ['via', 'fe80::1', 'dev', 'eth0', 'metric', '1024'] },
        ],
      },
    ],
    ['names full of signs', { guest: { kind: 'netns', name: 'a@+.-_b' }, ifname: '+i=x!', hostif: 'a=*' }],
  ])('%s', (_, part) => expect(decodeRecord(encodeRecord({ ...plain, ...part }))).toEqual({ ...plain, ...part }))

  test('the full id of a container is cut to the twelve digits that Docker shows', () => {
    const id = '3f2a9c1d0b7e'.padEnd(64, '5')
    expect(decodeRecord(encodeRecord({ ...plain, guest: { ...plain.guest, id } }))).toEqual(plain)
  })

  test.each([
    'i=..%2f..%2fetc;h=br1',
    'i=eth1;h=..%2f..%2f..%2fetc%2fpasswd',
    'i=eth1;h=a%20b',
    'i=eth1;h=..',
    'i=eth1;h=routed:..',
    'i=-a;h=br1',
    'i=a%22b;h=br1',
    'i=eth1;h=br1;w=--nat%1b[2J',
    'i=eth1;h=br1;r=%0a10.0.0.0/8',
  ])('one that a guest has made up, %s, says nothing', (fields) =>
    expect(decodeRecord(`pipework1;g=docker:web;${fields};a=`)).toEqual({ kind: 'unknown', version: 1 }),
  )

  test('MADE_RECORD', () => expect(decodeRecord(OWNED_ALIAS)).toEqual({ kind: 'made' }))
})

describe('for any record', () => {
  const word = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 15 })
  // The words of a route go into `ip -batch` again: nothing else is read back.
  const routeWord = word.filter((text) => /^[^\s"'#\\]+$/.test(text))
  const guestName = fc.stringMatching(/^[A-Za-z0-9_][\w.@+-]{0,30}$/)
  const unit = fc.constantFrom(...'abz09.+=*!~,&$')
  const ifname = fc.string({ unit, minLength: 1, maxLength: 15 }).filter((text) => !/^\.{1,2}$/.test(text))
  const record: fc.Arbitrary<LinkRecord> = fc.record({
    kind: fc.constant('link'),
    guest: fc.record({ kind: fc.constantFrom('docker', 'netns'), name: guestName }),
    ifname,
    hostif: fc.oneof(
      ifname,
      ifname.map((name) => `routed:${name}`),
    ),
    addresses: fc.array(
      fc.constantFrom('10.0.0.2/24', '10.9.9.9/32@10.0.0.1', 'fd00::2/64@fd00::1').map(parseAddress),
      {
        maxLength: 20,
      },
    ),
    words: fc.array(word, { maxLength: 2 }),
    previous: fc.array(
      fc.record({ family: fc.constant(4), words: fc.array(routeWord, { minLength: 1, maxLength: 4 }) }),
      {
        maxLength: 1,
      },
    ),
  })

  test('an alias fits, is one plain word, and says the same; what makes it too long is left out or refused', () => {
    const seen = { whole: 0, short: 0, refused: 0 }
    fc.assert(
      fc.property(record, (it) => {
        let alias: string
        try {
          alias = encodeRecord(it)
        } catch (error) {
          expect(`${error}`).toContain('does not fit')
          seen.refused += 1
          return
        }
        expect(Buffer.byteLength(alias)).toBeLessThanOrEqual(255)
        expect(alias).toMatch(/^[!-~]+$/)
        expect(alias).not.toMatch(/["'#\\]/)
        const whole = !/;a=\*(;|$)/.test(alias)
        seen[whole ? 'whole' : 'short'] += 1
        expect(decodeRecord(alias)).toEqual(whole ? it : { ...it, addresses: undefined })
      }),
      { numRuns: 500 },
    )
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(0)
  })
})

describe('the last byte', () => {
  const ofLength = (length: number): LinkRecord => ({
    ...plain,
    guest: { kind: 'docker', name: 'n'.repeat(length) },
  })
  const rest = encodeRecord(ofLength(0)).length
  const restShort = encodeRecord({ ...ofLength(0), addresses: undefined }).length

  test('255 bytes are written in full', () =>
    expect(encodeRecord(ofLength(255 - rest))).toContain(';a=10.0.0.2/24@10.0.0.1;'))
  test('at 256 the addresses are left out', () => expect(encodeRecord(ofLength(256 - rest))).toContain(';a=*;'))
  test('what is too long even so is refused', () => {
    expect(encodeRecord(ofLength(255 - restShort))).toHaveLength(255)
    const error = captureError(() => encodeRecord(ofLength(256 - restShort)))
    expect(error.message).toContain('does not fit into an ifalias')
    expect(error.hint).toContain('too long')
  })
})

describe('what others wrote', () => {
  test.each<[string, string | undefined, unknown]>([
    ['no alias', undefined, undefined],
    ['an empty alias', '', undefined],
    ["somebody's own alias", 'uplink to the office', undefined],
    ['a name that only begins like ours', 'pipeworks;g=docker:web', undefined],
    ['no version', 'pipework;g=docker:web', undefined],
    ['a later version', 'pipework2;whatever=1', { kind: 'unknown', version: 2 }],
    ['a later bridge', 'pipework17;made', { kind: 'unknown', version: 17 }],
    ['a newline at the end, as sysfs gives it', `${OWNED_ALIAS}\n`, { kind: 'made' }],
    ['a bridge with more fields', `${OWNED_ALIAS};x=1`, { kind: 'made' }],
    ['a field of a later minor version', `${encodeRecord(plain)};x=1;flag`, plain],
    [
      'an earlier record, with fields missing',
      'pipework1;g=docker:web;i=eth1;h=br1',
      { ...plain, addresses: [], words: [], previous: [], guest: { kind: 'docker', name: 'web' } },
    ],
    ['nothing but the head', 'pipework1', { kind: 'unknown', version: 1 }],
    ...[
      'g=dock er:web;i=eth1;h=br1',
      'g=docker:we b;i=eth1;h=br1',
      'g=docker:-web;i=eth1;h=br1',
      'g=docker:$(reboot);i=eth1;h=br1',
      'g=nobody:web;i=eth1;h=br1',
      'g=web;i=eth1;h=br1',
      'g=docker:web;c=3f 2a;i=eth1;h=br1',
      'g=docker:web;i=et h1;h=br1',
      'g=docker:web;i=../x;h=br1',
      'g=docker:web;h=br1',
      'g=docker:web;i=eth1',
      'g=docker:web;i=eth1;h=br1:x',
      'g=docker:web;i=eth1;h=br1;u=eth 0',
      'g=docker:web;i=eth1;h=br1;n=a b',
    ].map((fields) => [fields, `pipework1;${fields}`, { kind: 'unknown', version: 1 }] as [string, string, unknown]),
    ['a broken escape', 'pipework1;g=docker:web;i=%zz', { kind: 'unknown', version: 1 }],
    ['a name that moves the cursor', 'pipework1;g=docker:web%1b[2J;i=eth1;h=br1', { kind: 'unknown', version: 1 }],
    ['a name of two lines', 'pipework1;g=docker:web;i=eth1;h=br1%0adb', { kind: 'unknown', version: 1 }],
    ['a route that rings', 'pipework1;g=docker:web;i=eth1;h=br1;d4=via+%07', { kind: 'unknown', version: 1 }],
    ['an address that is none', 'pipework1;g=docker:web;i=eth1;h=br1;a=hello', { kind: 'unknown', version: 1 }],
    ['an address out of range', 'pipework1;g=docker:web;i=eth1;h=br1;a=10.0.0.2/33', { kind: 'unknown', version: 1 }],
  ])('%s', (_, alias, record) => expect(decodeRecord(alias)).toEqual(record))

  test('decodeRecord never throws', () =>
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(['link', 'made', 'unknown', undefined]).toContain(decodeRecord(`pipework1;${text}`)?.kind)
      }),
    ))
})
