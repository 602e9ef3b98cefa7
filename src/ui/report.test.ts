import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { parseAddress } from '../model/address'
import { ExitCode, PipeworkError, usageError } from '../model/errors'
import type { AttachmentReport } from '../model/report'
import { toAttachmentReport } from '../operations/attachment-report'
import { formatScript, formatStep } from '../plan/script'
import { ip, ipInGuest, type Plan, type Step } from '../plan/step'
import type { Guest } from '../runtimes/find'
import type { LinkRecord } from '../state/record'
import { formatAttachment as describeAttachment, errorToJson, formatError, formatTable } from './report'

const attachment: AttachmentReport = {
  guest: { kind: 'docker', name: 'web', id: '3f2a9c1d0b7e' },
  ifname: 'eth1',
  addresses: ['10.0.0.2/24@10.0.0.1'],
  hostif: 'br1',
  words: [],
  hostEnd: 'veth1pl3f2a9c1d',
  mtu: 1500,
  state: 'up',
}

test.each<[string, readonly string[], readonly (readonly string[])[], string]>([
  ['a head alone', ['A', 'BB'], [], 'A  BB\n'],
  [
    'columns as wide as their widest cell',
    ['A', 'BB'],
    [
      ['long', 'x'],
      ['s', 'longer'],
    ],
    'A     BB\nlong  x\ns     longer\n',
  ],
  ['no blanks at the end of a line', ['A', 'B'], [['x', '']], 'A  B\nx\n'],
])('formatTable: %s', (_, header, lines, expected) => expect(formatTable(header, lines)).toBe(expected))

test.each<[Partial<AttachmentReport>, string]>([
  [{}, 'web has eth1 on br1 with 10.0.0.2/24 (gateway 10.0.0.1)'],
  [{ addresses: [] }, 'web has eth1 on br1, without an address'],
  [
    { addresses: ['10.0.0.2/24', 'fd00::2/64@fd00::1'] },
    'web has eth1 on br1 with 10.0.0.2/24 and fd00::2/64 (gateway fd00::1)',
  ],
  [
    { addresses: ['10.0.0.2/24@10.0.9.1', 'fd00::2/64@fe80::1'] },
    'web has eth1 on br1 with 10.0.0.2/24 (gateway 10.0.9.1, outside that subnet) and fd00::2/64 (gateway fe80::1)',
  ],
  [{ addresses: ['10.0.0.2/32@10.0.9.1'] }, 'web has eth1 on br1 with 10.0.0.2/32 (gateway 10.0.9.1)'],
  [{ guest: { kind: 'netns', name: 'blue' } }, 'netns:blue has eth1 on br1 with 10.0.0.2/24 (gateway 10.0.0.1)'],
])('describe %o', (part, expected) => expect(describeAttachment({ ...attachment, ...part })).toBe(expected))

describe('toAttachment', () => {
  const record: LinkRecord = {
    kind: 'link',
    guest: attachment.guest,
    ifname: 'eth1',
    hostif: 'br1',
    addresses: [parseAddress('10.0.0.2/24@10.0.0.1')],
    words: [],
    previous: [],
  }
  test.each<[string, AttachmentReport, Partial<AttachmentReport>]>([
    ['a link with a host end', toAttachmentReport(record, { mtu: 1500, up: true }, 'veth1pl3f2a9c1d'), {}],
    ['down', toAttachmentReport(record, { mtu: 9000, up: false }, 'v'), { hostEnd: 'v', mtu: 9000, state: 'down' }],
    ['without host end', toAttachmentReport(record, { mtu: 1500, up: true }), { hostEnd: null }],
    [
      'whose addresses did not fit',
      toAttachmentReport({ ...record, addresses: undefined }, { mtu: 1500, up: true }),
      { hostEnd: null, addresses: null },
    ],
  ])('%s', (_, actual, expected) => expect(actual).toEqual({ ...attachment, ...expected }))
})

describe('an error', () => {
  const left = new PipeworkError('it failed', {
    hint: 'do this\nor that',
    exitCode: ExitCode.leftover,
    leftovers: [{ what: 'add a', command: 'ip del a' }],
  })

  test.each<[string, unknown, string, object]>([
    [
      'with a hint',
      new PipeworkError("no 'x'", { hint: 'take y' }),
      "pipework: no 'x'\n  take y\n",
      { ok: false, exitCode: 1, error: { message: "no 'x'", hint: 'take y' }, leftovers: [] },
    ],
    [
      'without',
      new PipeworkError('no'),
      'pipework: no\n',
      { ok: false, exitCode: 1, error: { message: 'no' }, leftovers: [] },
    ],
    [
      'in usage',
      usageError('what?'),
      'pipework: what?\n',
      { ok: false, exitCode: 2, error: { message: 'what?' }, leftovers: [] },
    ],
    [
      'that leaves something',
      left,
      'pipework: it failed\n  do this\n  or that\n  left: add a; remove it with:\n    ip del a\n',
      {
        ok: false,
        exitCode: 3,
        error: { message: 'it failed', hint: 'do this\nor that' },
        leftovers: [{ what: 'add a', command: 'ip del a' }],
      },
    ],
  ])('%s', (_, error, text, json) => {
    expect(formatError(error)).toBe(text)
    expect(errorToJson(error)).toEqual(json)
  })

  test('that is a bug has its stack', () => {
    const bug = new TypeError('oh')
    expect(formatError(bug)).toMatch(/^pipework: this is a bug, please report it\nTypeError: oh\n {4}at /)
    expect(errorToJson(bug)).toEqual({ ok: false, exitCode: 1, error: { message: 'TypeError: oh', bug: true } })
    expect(formatError('just text')).toContain('just text')
  })

  test('cannot write to the terminal with what it quotes', () =>
    expect(formatError(new PipeworkError("no '\u001b[2J\u0007\r\u009b'"))).toBe(
      "pipework: no '\\x1b[2J\\x07\\x0d\\x9b'\n",
    ))
})

describe('toScript', () => {
  const guest: Guest = { kind: 'netns', name: 'blue', nsPath: '/run/netns/blue' }
  const step: Step = { description: 'bring it up', command: ipInGuest`link set dev eth1 up` }
  const script = (plan: Plan, words: readonly string[], notes: readonly string[] = []) =>
    formatScript({ plan, guest, words, notes })

  test('with nothing to do says so and does nothing', () =>
    expect(script([], ['br1', 'blue'])).toBe('#!/bin/sh\n# pipework br1 blue\nset -eu\n# nothing to do\n'))

  test('names the namespace, explains each step', () =>
    expect(script([step], ['br1', "it's"], ['a note'])).toBe(
      `#!/bin/sh
# pipework br1 'it'\\''s'
# a note
set -eu

# give the network namespace of netns:blue a name for ip -n
netns=pipework-script-$$
mkdir -p /run/netns
ln -s /run/netns/blue "/run/netns/$netns"
trap 'rm -f "/run/netns/$netns"' EXIT

# bring it up
ip -n "$netns" link set dev eth1 up
`,
    ))

  test('without a guest needs no namespace', () =>
    expect(formatScript({ plan: [{ description: 'x', command: ip`link` }], words: [] })).not.toContain('netns'))

  test.each(['U:\nexit 7', 'U:\r\nexit 7', "U:'\nexit 7\n'", 'U:\u2028exit 7', '\nexit 7\n', 'U:\\\nexit 7'])(
    'the words %j are a remark and never a command',
    (word) => {
      const text = formatScript({
        plan: [{ description: 'go', command: { kind: 'run', in: 'host', argv: ['true'] } }],
        words: [word],
      })
      expect(execFileSync('sh', ['-c', `${text}echo reached the end`], { encoding: 'utf8' })).toBe('reached the end\n')
    },
  )

  test('formatStep is one step of it', () =>
    expect(formatStep(step)).toBe('# bring it up\nip -n "$netns" link set dev eth1 up\n'))
})
