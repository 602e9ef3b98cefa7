import { describe, expect, test } from 'vitest'
import { toShell } from '../plan/shell'
import { parseIptablesSave } from './parse-iptables'
import { parseNftRuleset } from './parse-nft'
import type { HostFirewall } from './read'
import { ACCEPT, MASQUERADE, match, matchNot, type OwnRule, ownRule, ruleOwner, TRANSLATED } from './rule'
import { listMissingRules, planFirewallRules } from './write'

const br1 = { owner: 'br1', family: 4 } as const
const from = match('saddr', '10.0.0.0/24')
const accept = ownRule(br1, ACCEPT, match('in', 'br1'), from)
const masquerade = ownRule(br1, MASQUERADE, matchNot('out', 'br1'), from)
const published = ownRule(
  { owner: 'br1', family: 6 },
  { kind: 'dnat', ip: 'fd00::2', port: '80-81' },
  match('localDaddr'),
  match('protocol', 'tcp'),
  match('dport', '8080-8081'),
)

describe('the comment of a rule', () => {
  test.each<[OwnRule, string]>([
    [accept, 'pipework br1: in br1 from 10.0.0.0/24 accept4'],
    [masquerade, 'pipework br1: not out br1 from 10.0.0.0/24 masquerade4'],
    [published, 'pipework br1: to the host tcp 8080-8081 dnat6 fd00::2 80-81'],
    [
      ownRule(br1, MASQUERADE, match('out', 'br1'), match('daddr', '10.0.0.2'), TRANSLATED),
      'pipework br1: out br1 to 10.0.0.2 sent masquerade4',
    ],
  ])('%#', (rule, comment) => expect(rule.comment).toBe(comment))

  test.each([
    ['pipework br1', 'br1'],
    ['pipework br1: in br1 out br1 accept4', 'br1'],
    ['pipework jumps to PIPEWORK-FORWARD', undefined],
    ['pipework $(x)', undefined],
    ['docker', undefined],
  ])('%s: the owner is %s', (comment, owner) =>
    expect(ruleOwner({ matches: [], action: { kind: 'accept' }, comment })).toBe(owner),
  )
})

const iptables = (text: string): HostFirewall => ({
  chains: parseIptablesSave({ text, backend: 'iptables-nft', family: 'ip', tables: ['raw', 'filter', 'nat'] }),
  usesNft: false,
  iptablesFamilies: [4],
})

const scriptOf = (rules: readonly OwnRule[], firewall: HostFirewall) =>
  planFirewallRules(rules, firewall)
    .map(({ command }) => toShell(command))
    .join('\n')

const filter = (...lines: string[]) =>
  ['*filter', ':FORWARD DROP [0:0]', ':DOCKER-USER - [0:0]', ...lines, 'COMMIT', ''].join('\n')

/** iptables-save after an attach. */
const DONE = [
  '*filter',
  ':FORWARD DROP [0:0]',
  ':PIPEWORK-FORWARD - [0:0]',
  '-A FORWARD -m comment --comment "pipework jumps to PIPEWORK-FORWARD" -j PIPEWORK-FORWARD',
  `-A PIPEWORK-FORWARD -s 10.0.0.0/24 -i br1 -m comment --comment "${accept.comment}" -j ACCEPT`,
  'COMMIT',
  '',
].join('\n')

describe('the chains of pipework in iptables', () => {
  test('hang on DOCKER-USER where that is reached', () =>
    expect(scriptOf([accept], iptables(filter('-A FORWARD -j DOCKER-USER', '-A DOCKER-USER -j RETURN')))).toContain(
      '-I DOCKER-USER -m comment',
    ))

  test('hang on FORWARD where DOCKER-USER is an island, as after iptables -F', () =>
    expect(scriptOf([accept], iptables(filter()))).toContain('-I FORWARD -m comment'))

  test('are left alone where they are right', () => expect(scriptOf([accept], iptables(DONE))).toBe(''))

  test('go with the last rule, and nothing of others does', () =>
    expect(scriptOf([], iptables(DONE)).split('\n').slice(1, -1)).toEqual([
      '*filter',
      '-D FORWARD -m comment --comment "pipework jumps to PIPEWORK-FORWARD" -j PIPEWORK-FORWARD',
      '-F PIPEWORK-FORWARD',
      '-X PIPEWORK-FORWARD',
      'COMMIT',
    ]))

  test('are written to a table that is not there yet', () =>
    expect(scriptOf([masquerade], iptables(''))).toContain('-I POSTROUTING -m comment'))

  test('hold the rules in the words of iptables', () => {
    const rule = { ...published, family: 4, action: { kind: 'dnat', ip: '10.0.0.2', port: '80' } } as const
    expect(scriptOf([rule], iptables(''))).toContain(
      '-A PIPEWORK-DNAT -m addrtype --dst-type LOCAL -p tcp -m tcp --dport 8080:8081 -m comment',
    )
  })

  test('count only where a jump leads to them', () => {
    expect(listMissingRules([accept], iptables(DONE))).toEqual([])
    expect(listMissingRules([accept], iptables(DONE.replace(/^-A FORWARD.*\n/m, '')))).toEqual([accept])
  })
})

const nftListing = (...rules: object[]) =>
  JSON.stringify({
    nftables: [
      { table: { family: 'inet', name: 'pipework' } },
      {
        chain: { family: 'inet', table: 'pipework', name: 'postrouting', hook: 'postrouting', type: 'nat', prio: 100 },
      },
      ...rules,
    ],
  })

const nft = (listing?: string): HostFirewall => ({
  chains: listing === undefined ? [] : parseNftRuleset(listing),
  usesNft: true,
  iptablesFamilies: [],
})

describe('the table of pipework in nftables', () => {
  test('is written as a whole', () =>
    expect(scriptOf([published, masquerade], nft()).split('\n').slice(1, -1)).toEqual([
      'add table inet pipework',
      'delete table inet pipework',
      'table inet pipework {',
      '  chain prerouting {',
      '    type nat hook prerouting priority -100; policy accept;',
      `    meta nfproto ipv6 fib daddr type local tcp dport 8080-8081 dnat ip6 to [fd00::2]:80-81 comment "${published.comment}"`,
      '  }',
      '  chain output {',
      '    type nat hook output priority -100; policy accept;',
      `    meta nfproto ipv6 fib daddr type local tcp dport 8080-8081 dnat ip6 to [fd00::2]:80-81 comment "${published.comment}"`,
      '  }',
      '  chain postrouting {',
      '    type nat hook postrouting priority 100; policy accept;',
      `    meta nfproto ipv4 oifname != "br1" ip saddr 10.0.0.0/24 masquerade comment "${masquerade.comment}"`,
      '  }',
      '}',
    ]))

  test('is left alone where it holds these rules, and restored by the undo', () => {
    const rule = (comment: string) => ({
      rule: { family: 'inet', table: 'pipework', chain: 'postrouting', handle: 3, comment, expr: [] },
    })
    expect(planFirewallRules([masquerade], nft(nftListing(rule(masquerade.comment))))).toEqual([])
    const [step] = planFirewallRules([masquerade], { ...nft(nftListing(rule('another'))), nftListing: 'table …' })
    expect(step?.undo).toMatchObject({ input: 'add table inet pipework\ndelete table inet pipework\ntable …' })
  })

  test('holds no accept: iptables would still drop', () => expect(planFirewallRules([accept], nft())).toEqual([]))

  test('neither program works', () =>
    expect(() => planFirewallRules([masquerade], { ...nft(), usesNft: false })).toThrow("neither 'nft' nor 'iptables'"))
})
