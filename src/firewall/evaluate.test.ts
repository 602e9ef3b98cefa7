import { describe, expect, test } from 'vitest'
import { evaluateFlow, type Flow, type Verdict } from './evaluate'
import { parseIptablesSave } from './parse-iptables'
import { FILTERING_TABLES, opaqueFamilies, parseNftRuleset } from './parse-nft'
import type { Ruleset } from './rule'

const flow: Flow = { family: 4, bridge: 'br1', from: 'va', to: 'vb', saddr: '10.0.0.1', daddr: '10.0.0.2' }

function saved(lines: string, policy = 'DROP', chains: readonly string[] = []): Ruleset {
  const heads = [`:FORWARD ${policy} [0:0]`, ...chains.map((name) => `:${name} - [0:0]`)]
  const text = ['*filter', ...heads, ...lines.split('\n'), 'COMMIT'].join('\n')
  return parseIptablesSave({ text, backend: 'iptables-legacy', family: 'ip', tables: FILTERING_TABLES })
}

describe('rules of iptables', () => {
  test.each<[string, Verdict]>([
    ['', 'dropped'],
    ['-A FORWARD -i br1 -o br1 -j ACCEPT', 'passes'],
    ['-A FORWARD -i br1 -o br1 -m comment --comment "a -j DROP b" -j ACCEPT', 'passes'],
    ['-A FORWARD -i br+ -j ACCEPT', 'passes'],
    ['-A FORWARD -i br10 -j ACCEPT', 'dropped'],
    ['-A FORWARD ! -i eth0 -j ACCEPT', 'passes'],
    ['-A FORWARD -i br1 ! -o br1 -j ACCEPT', 'dropped'],
    ['-A FORWARD -i va -j ACCEPT', 'dropped'],
    ['-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT', 'passes'],
    ['-A FORWARD -m physdev ! --physdev-is-bridged -j ACCEPT', 'dropped'],
    ['-A FORWARD -m physdev --physdev-in va --physdev-out vb --physdev-is-bridged -j ACCEPT', 'passes'],
    ['-A FORWARD -m physdev --physdev-in vc -j ACCEPT', 'dropped'],
    ['-A FORWARD -s 10.0.0.0/24 -d 10.0.0.2/32 -j ACCEPT', 'passes'],
    ['-A FORWARD -s 10.0.0.0/255.255.255.0 ! -d 10.1.0.0/16 -j ACCEPT', 'passes'],
    ['-A FORWARD -s 10.1.0.0/24 -j ACCEPT', 'dropped'],
    ['-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT', 'dropped'],
    ['-A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT', 'passes'],
    ['-A FORWARD -m conntrack ! --ctstate INVALID -j ACCEPT', 'passes'],
    ['-A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT', 'perhaps'],
    ['-A FORWARD -m mark --mark 0x1 -j ACCEPT', 'perhaps'],
    ['-A FORWARD -m mark --mark 0x1 -j DROP\n-A FORWARD -j ACCEPT', 'perhaps'],
    ['-A FORWARD -m mark --mark 0x1 -j DROP\n-A FORWARD -j REJECT --reject-with icmp-port-unreachable', 'dropped'],
    ['-A FORWARD -j LOG --log-prefix "-j ACCEPT"', 'dropped'],
    ['-A FORWARD -j NFQUEUE --queue-num 0', 'perhaps'],
  ])('%s', (lines, verdict) => expect(evaluateFlow(saved(lines), flow).verdict).toBe(verdict))

  test.each<[string, Verdict]>([
    ['-A FORWARD -j A\n-A A -j ACCEPT', 'passes'],
    ['-A FORWARD -j A\n-A A -j RETURN\n-A A -j ACCEPT', 'dropped'],
    ['-A FORWARD -j A\n-A FORWARD -j ACCEPT\n-A A -i eth0 -j DROP', 'passes'],
    ['-A FORWARD -g A\n-A FORWARD -j ACCEPT\n-A A -i eth0 -j ACCEPT', 'dropped'],
    ['-A FORWARD -j A\n-A FORWARD -j ACCEPT\n-A A -g B\n-A A -j DROP\n-A B -j RETURN', 'passes'],
    ['-A FORWARD -j A\n-A FORWARD -j ACCEPT\n-A A -m mark --mark 0x1 -j RETURN\n-A A -j DROP', 'perhaps'],
    ['-A FORWARD -j A\n-A A -j B\n-A B -j A', 'dropped'],
  ])('chains: %s', (lines, verdict) =>
    expect(evaluateFlow(saved(lines, 'DROP', ['A', 'B']), flow).verdict).toBe(verdict),
  )

  test('an obstacle names the rule, or the policy', () => {
    expect(evaluateFlow(saved('-A FORWARD -i br1 -j REJECT', 'ACCEPT'), flow).droppedBy[0]?.rule?.text).toBe(
      '-A FORWARD -i br1 -j REJECT',
    )
    expect(evaluateFlow(saved(''), flow).droppedBy[0]?.rule).toBeUndefined()
  })

  test('a family has rules of its own', () => {
    expect(evaluateFlow(saved(''), { ...flow, family: 6, saddr: 'fd00::1', daddr: 'fd00::2' }).verdict).toBe('passes')
  })

  test.each<[string, Verdict]>([
    ['-A FORWARD -s fd00::/64 -d fd00::2/128 -j ACCEPT', 'passes'],
    ['-A FORWARD -s fd01::/64 -j ACCEPT', 'dropped'],
    ['-A FORWARD -s 10.0.0.0/24 -j ACCEPT', 'dropped'],
  ])('IPv6: %s', (lines, verdict) => {
    const text = ['*filter', ':FORWARD DROP [0:0]', lines, 'COMMIT'].join('\n')
    const ruleset = parseIptablesSave({ text, backend: 'iptables-nft', family: 'ip6', tables: FILTERING_TABLES })
    expect(evaluateFlow(ruleset, { ...flow, family: 6, saddr: 'fd00::1', daddr: 'fd00::2' }).verdict).toBe(verdict)
  })

  test.each<[string, Verdict, Partial<Flow>]>([
    ['-A FORWARD -i br1 -o eth0 -j ACCEPT', 'passes', {}],
    ['-A FORWARD -i br1 -o br1 -j ACCEPT', 'dropped', {}],
    ['-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT', 'dropped', {}],
    ['-A FORWARD -i br1 -j ACCEPT', 'dropped', { in: 'eth0', out: 'br1', state: 'established' }],
    ['-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT', 'passes', { state: 'established' }],
    ['-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT', 'dropped', {}],
    ['-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT', 'passes', { isTranslated: true }],
    ['-A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT', 'passes', { protocol: 'tcp', dport: '80' }],
    ['-A FORWARD -p tcp -m tcp --dport 80:90 -j ACCEPT', 'passes', { protocol: 'tcp', dport: '80-90' }],
    ['-A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT', 'dropped', { protocol: 'udp', dport: '80' }],
  ])('forwarded: %s', (lines, verdict, more) =>
    expect(evaluateFlow(saved(lines), { family: 4, in: 'br1', out: 'eth0', ...more }).verdict).toBe(verdict),
  )

  test('what is not known may match', () => {
    expect(evaluateFlow(saved('-A FORWARD -s 10.0.0.0/24 -j ACCEPT'), { family: 4, bridge: 'br1' }).verdict).toBe(
      'perhaps',
    )
    expect(evaluateFlow(saved('-A FORWARD -s 0.0.0.0/0 -j ACCEPT'), { family: 4, bridge: 'br1' }).verdict).toBe(
      'passes',
    )
  })
})

/** A base chain at the hook forward of table inet fw, with a chain c1 that accepts, as nft -j prints them. */
function native(exprs: readonly object[], family = 'inet'): string {
  const of = { family, table: 'fw' }
  return JSON.stringify({
    nftables: [
      { metainfo: { version: '1.0.6' } },
      { chain: { ...of, name: 'c1', handle: 1 } },
      { chain: { ...of, name: 'f', handle: 2, type: 'filter', hook: 'forward', prio: 0, policy: 'drop' } },
      { rule: { ...of, chain: 'c1', handle: 4, expr: [{ accept: null }] } },
      ...exprs.map((expr, index) => ({ rule: { ...of, chain: 'f', handle: 5 + index, expr } })),
    ],
  })
}

const meta = (key: string, right: unknown, op = '==') => ({ match: { op, left: { meta: { key } }, right } })
const ct = (key: string, right: unknown, op = 'in') => ({ match: { op, left: { ct: { key } }, right } })
const ip = (field: string, right: unknown, protocol = 'ip') => ({
  match: { op: '==', left: { payload: { protocol, field } }, right },
})
const vmap = (key: object, set: unknown) => ({ vmap: { key, data: set } })
const accept = { accept: null }

describe('rules of nftables', () => {
  test.each<[string, readonly object[], Verdict]>([
    ['policy drop', [], 'dropped'],
    [
      'iifname vmap { "br1" : jump c1 }',
      [vmap({ meta: { key: 'iifname' } }, { set: [['br1', { jump: { target: 'c1' } }]] })],
      'passes',
    ],
    ['iifname vmap { "br2" : accept }', [vmap({ meta: { key: 'iifname' } }, { set: [['br2', accept]] })], 'dropped'],
    ['iifname vmap @m', [vmap({ meta: { key: 'iifname' } }, '@m')], 'perhaps'],
    [
      'ct state vmap { new : accept }',
      [
        vmap(
          { ct: { key: 'state' } },
          {
            set: [
              ['invalid', { drop: null }],
              ['new', accept],
            ],
          },
        ),
      ],
      'passes',
    ],
    ['ct state established,related accept', [ct('state', ['established', 'related']), accept], 'dropped'],
    ['ct state { established, new } accept', [ct('state', { set: ['established', 'new'] }, '=='), accept], 'passes'],
    ['ct state ! invalid accept', [ct('state', 'invalid', '!'), accept], 'passes'],
    ['iifname @s accept', [meta('iifname', '@s'), accept], 'perhaps'],
    [
      'iifname "br*" oifname != "br1" goto c1',
      [meta('iifname', 'br*'), meta('oifname', 'br1', '!='), { goto: { target: 'c1' } }],
      'dropped',
    ],
    [
      'iifname { "br1", "x*" } goto c1',
      [meta('iifname', { set: ['x*', 'br1'] }), { goto: { target: 'c1' } }],
      'passes',
    ],
    ['ip saddr 10.0.0.0/24 accept', [ip('saddr', { prefix: { addr: '10.0.0.0', len: 24 } }), accept], 'passes'],
    [
      'ip daddr { 10.1.0.0/16, 10.0.0.2 } accept',
      [ip('daddr', { set: [{ prefix: { addr: '10.1.0.0', len: 16 } }, '10.0.0.2'] }), accept],
      'passes',
    ],
    ['ip saddr 10.0.0.1-10.0.0.7 accept', [ip('saddr', { range: ['10.0.0.1', '10.0.0.7'] }), accept], 'perhaps'],
    ['ip6 saddr fe80::/10 accept', [ip('saddr', { prefix: { addr: 'fe80::', len: 10 } }, 'ip6'), accept], 'dropped'],
    ['meta nfproto ipv4 accept', [meta('nfproto', 'ipv4'), accept], 'passes'],
    ['tcp dport 80 reject', [ip('dport', 80, 'tcp'), { reject: null }], 'dropped'],
    ['meta l4proto tcp accept', [meta('l4proto', 'tcp'), accept], 'perhaps'],
    [
      'meta mark and 0xff == 3 accept',
      [{ match: { op: '==', left: { '&': [{ meta: { key: 'mark' } }, 255] }, right: 3 } }, accept],
      'perhaps',
    ],
    ['limit rate 3/second accept', [{ limit: { rate: 3 } }, accept], 'perhaps'],
    ['log counter accept', [{ log: { prefix: 'x' } }, { counter: { packets: 0 } }, accept], 'passes'],
    ['queue', [{ queue: {} }], 'perhaps'],
    ['xt match comment, accept', [{ xt: { type: 'match', name: 'comment' } }, accept], 'passes'],
    ['xt match physdev, accept', [{ xt: { type: 'match', name: 'physdev' } }, accept], 'perhaps'],
  ])('%s', (_, rule, verdict) => expect(evaluateFlow(parseNftRuleset(native([rule])), flow).verdict).toBe(verdict))

  test('a table for bridges knows the ports', () => {
    const ruleset = (name: string) => parseNftRuleset(native([[meta('iifname', name), accept]], 'bridge'))
    expect(evaluateFlow(ruleset('va'), flow).verdict).toBe('passes')
    expect(evaluateFlow(ruleset('br1'), flow).verdict).toBe('dropped')
  })

  test('the rules that nft does not spell out are asked for in the words of iptables', () => {
    const rule = (name: string) => ({
      rule: { family: 'ip6', table: 'filter', chain: 'FORWARD', handle: 3, expr: [{ xt: { type: 'match', name } }] },
    })
    const text = (name: string) => JSON.stringify({ nftables: [rule(name)] })
    expect(opaqueFamilies(text('physdev'), 'conditions')).toEqual(['ip6'])
    expect(opaqueFamilies(text('comment'), 'conditions')).toEqual([])
    expect(opaqueFamilies(text('comment'), 'comments')).toEqual(['ip6'])
  })
})
