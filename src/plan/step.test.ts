import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { shellQuote } from '../model/shell'
import { batchLine, formatBatch } from '../system/batch'
import { toShell } from './shell'
import { type Command, guestNetns, ip, ipInGuest, planSteps, type Step, sysctlInGuest } from './step'

describe('ip`…` makes words', () => {
  const name = 'eth1'
  test.each<[string, readonly unknown[], readonly unknown[]]>([
    ['plain text', ip`link set dev eth1 up`.words, ['link', 'set', 'dev', 'eth1', 'up']],
    ['values', ip`link set dev ${name} mtu ${1500}`.words, ['link', 'set', 'dev', 'eth1', 'mtu', '1500']],
    ['a value within a word', ip`addr add ${'10.0.0.1'}/${24}`.words, ['addr', 'add', '10.0.0.1/24']],
    [
      'a list',
      ip`route add ${['via', '10.0.0.1']} dev ${name}`.words,
      ['route', 'add', 'via', '10.0.0.1', 'dev', 'eth1'],
    ],
    ['nothing for false', ip`link add ${false} type veth`.words, ['link', 'add', 'type', 'veth']],
    ['nothing for undefined', ip`link add ${undefined} type veth`.words, ['link', 'add', 'type', 'veth']],
    ['nothing for an empty list', ip`link add ${[]} type veth`.words, ['link', 'add', 'type', 'veth']],
    ['the namespace', ip`link set netns ${guestNetns}`.words, ['link', 'set', 'netns', guestNetns]],
    ['several lines as one', ip`link\n    add  x`.words, ['link', 'add', 'x']],
    ['zero', ip`route add default metric ${0}`.words, ['route', 'add', 'default', 'metric', '0']],
  ])('%s', (_, words, expected) => expect(words).toEqual(expected))

  test('in the host, and in the guest', () => {
    expect(ip`link`.in).toBe('host')
    expect(ipInGuest`link`.in).toBe('guest')
  })

  test.each(['', ' ', 'a b', 'a\tb', 'a\nb', 'a\rb', '\u2028', '\u00a0', 'a"b', "a'b", 'a#b', 'a\\b', '\n'])(
    'a value %j is refused as a bug',
    (value) => {
      expect(() => ip`link set dev ${value} up`).toThrow(TypeError)
      expect(() => ip`link set dev ${['ok', value]} up`).toThrow(TypeError)
      expect(() => ipInGuest`link set dev x${value} up`).toThrow(TypeError)
      expect(() => sysctlInGuest({ [`net/ipv4/conf/${value}x y/arp_notify`]: '1' })).toThrow(TypeError)
    },
  )

  test('no value whatever becomes more than its own word of a batch line', () => {
    const special = fc.string({ unit: fc.constantFrom(...'ab \n\r\t\v\f"\'#\\;$`') })
    fc.assert(
      fc.property(fc.oneof(special, fc.string({ unit: 'binary' })), fc.boolean(), (value, asList) => {
        let words: readonly unknown[]
        try {
          words = ip`link set dev ${asList ? [value] : value} up`.words
        } catch (error) {
          expect(error).toBeInstanceOf(TypeError)
          return
        }
        expect(words).toEqual(['link', 'set', 'dev', value, 'up'])
        // As iproute2 reads a line (lib/utils.c, makeargs and getcmdline).
        expect(words.join(' ').split(/[\s"'#\\]+/)).toEqual(words)
      }),
      { numRuns: 1000 },
    )
  })
})

describe('writeBatch', () => {
  // As iproute2 reads a line (lib/utils.c, getcmdline and makeargs).
  const readBack = (text: string) =>
    text
      .split('\n')
      .slice(0, -1)
      .map((line) => {
        expect(line).not.toMatch(/[#\\']/)
        return (line.match(/"[^"]*"|[^ \t\r"]+/g) ?? []).map((word) => word.replaceAll('"', ''))
      })

  test('an empty word is kept, and nothing is no line', () => {
    expect(formatBatch([batchLine`link set dev ${'eth1'} alias`, ['a', '']])).toBe('link set dev eth1 alias\na ""\n')
    expect(formatBatch([])).toBe('')
  })

  test('whatever words there are, ip reads those and no other, or nothing is written', () => {
    const word = fc.oneof(
      fc.string({ unit: fc.constantFrom(...'ab0/=\u00e9 \n\r\t"\'#\\\u0000\u0085') }),
      fc.string({ unit: 'binary' }),
      fc.string({ minLength: 1 }),
    )
    fc.assert(
      fc.property(fc.array(fc.array(word, { minLength: 1, maxLength: 3 }), { maxLength: 3 }), (lines) => {
        let text: string
        try {
          text = formatBatch(lines)
        } catch (error) {
          expect(error).toBeInstanceOf(TypeError)
          return
        }
        expect(readBack(text)).toEqual(lines)
      }),
      { numRuns: 2000 },
    )
  })
})

test('sysctlInGuest is a line of the host’s batch', () =>
  expect(sysctlInGuest({ 'net/ipv4/conf/eth0.1/arp_notify': '1', 'net/ipv6/conf/eth0.1/disable_ipv6': '0' })).toEqual({
    kind: 'ip',
    in: 'host',
    words: [
      'netns',
      'exec',
      guestNetns,
      'sysctl',
      '-qw',
      'net/ipv4/conf/eth0.1/arp_notify=1',
      'net/ipv6/conf/eth0.1/disable_ipv6=0',
    ],
  }))

test('rows keeps the steps whose condition holds, in order', () => {
  const step = (why: string): Step => ({ description: why, command: ip`link` })
  const plan = planSteps(false, step('a'), undefined, [step('b'), step('c')], [], step('d'))
  expect(plan.map(({ description }) => description)).toEqual(['a', 'b', 'c', 'd'])
})

describe('quote', () => {
  test.each([
    ['eth1', 'eth1'],
    ['10.0.0.1/24@10.0.0.2', '10.0.0.1/24@10.0.0.2'],
    ['a=b,c+d%20', 'a=b,c+d%20'],
    ['', "''"],
    ['a b', "'a b'"],
    ["it's", "'it'\\''s'"],
    ['~', "'~'"],
    ['$x', "'$x'"],
    ['a;b', "'a;b'"],
    ['eth1\n', "'eth1\n'"],
    ['é', "'é'"],
  ])('%j', (word, quoted) => expect(shellQuote(word)).toBe(quoted))

  test('a shell reads any word back as it was', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 12 }).map((it) => it.replaceAll('\0', ''))
    const shell = fc.string({ unit: fc.constantFrom(...' \n\t"\'#\\;$`*?[]{}~!&|<>()=-') })
    const words = fc.sample(fc.oneof(text, shell), 300)
    const out = execFileSync('sh', ['-c', `printf '%s\\0' ${words.map(shellQuote).join(' ')}`], { encoding: 'utf8' })
    expect(out.split('\0').slice(0, -1)).toEqual(words)
  })
})

describe('toShell', () => {
  const ask = { kind: 'ask', in: 'guest', argv: ['ip', 'addr', 'show'], timeout: 2 } as const

  test.each<[string, Command, string]>([
    ['ip', ip`link set dev br1 up`, 'ip link set dev br1 up'],
    ['ip in the guest', ipInGuest`link set dev eth1 up`, 'ip -n "$netns" link set dev eth1 up'],
    ['the namespace as a word', ip`link add x netns ${guestNetns}`, 'ip link add x netns "$netns"'],
    [
      'a word the shell would read',
      ip`link set dev br1 alias ${'pipework1;bridge'}`,
      "ip link set dev br1 alias 'pipework1;bridge'",
    ],
    ['a program', { kind: 'run', in: 'host', argv: ['tc', 'a b'] }, "tc 'a b'"],
    ['a program in the guest', { kind: 'run', in: 'guest', argv: ['tc'] }, 'nsenter --net="/run/netns/$netns" tc'],
    [
      'only if empty',
      { ...ip`link del dev br1`, onlyIfEmpty: '/sys/class/net/br1/brif' },
      '[ -n "$(ls -A /sys/class/net/br1/brif 2>/dev/null)" ] || ip link del dev br1',
    ],
    ['a question', { ...ask, in: 'host' }, 'ip addr show'],
    ['a question in the guest', ask, 'nsenter --net="/run/netns/$netns" ip addr show'],
  ])('%s', (_, command, line) => expect(toShell(command)).toBe(line))

  const question = { ...ask, in: 'host', retryWhile: 'tentative', failIf: 'dadfailed' } as const
  const script = (answers: string) =>
    toShell({ ...question, argv: ['answer'] }).replace(
      /^/,
      `n=0; sleep() { n=$((n + 1)); }\nanswer() { ${answers}; }\n`,
    )
  const run = (answers: string) => {
    try {
      execFileSync('sh', ['-eu', '-c', `${script(answers)}\necho "done after $n"`], { encoding: 'utf8', stdio: 'pipe' })
    } catch (error) {
      return (error as { status: number }).status
    }
    return 0
  }

  test.each([
    ['an answer that says nothing', 'echo', 0],
    ['an answer that refuses', 'echo inet6 x dadfailed tentative', 1],
    ['the same answer for ever', 'echo inet6 x tentative', 1],
  ])('a question with %s ends', (_, answers, code) => expect(run(answers)).toBe(code))
})
