import { describe, expect, test } from 'vitest'
import { toShell } from '../plan/step'
import { type FirewallRule, formatRuleComment } from './rule'
import { listIptablesComments, parseIptablesSave, planIptables } from './write-iptables'

const accept: FirewallRule = { family: 4, action: 'accept', owner: 'br1', in: 'br1', from: '10.0.0.0/24' }
const masquerade: FirewallRule = { family: 4, action: 'masquerade', owner: 'br1', notOut: 'br1', from: '10.0.0.0/24' }

const filter = (...lines: string[]) =>
  ['*filter', ':FORWARD DROP [0:0]', ':DOCKER-USER - [0:0]', ...lines, 'COMMIT', ''].join('\n')

const scriptOf = (rules: readonly FirewallRule[], saved: string) =>
  planIptables(4, rules, parseIptablesSave(saved))
    .map(({ command }) => toShell(command))
    .join('\n')

/** iptables-save after an attach. */
const DONE = [
  '*filter',
  ':FORWARD DROP [0:0]',
  ':PIPEWORK-FORWARD - [0:0]',
  '-A FORWARD -m comment --comment "pipework jumps to PIPEWORK-FORWARD" -j PIPEWORK-FORWARD',
  `-A PIPEWORK-FORWARD -s 10.0.0.0/24 -i br1 -m comment --comment "${formatRuleComment(accept)}" -j ACCEPT`,
  'COMMIT',
  '',
].join('\n')

describe('the chains of pipework in iptables', () => {
  test('hang on DOCKER-USER where that is reached', () =>
    expect(scriptOf([accept], filter('-A FORWARD -j DOCKER-USER', '-A DOCKER-USER -j RETURN'))).toContain(
      '-I DOCKER-USER -m comment',
    ))

  test('hang on FORWARD where DOCKER-USER is an island, as after iptables -F', () =>
    expect(scriptOf([accept], filter())).toContain('-I FORWARD -m comment'))

  test('are left alone where they are right', () => expect(scriptOf([accept], DONE)).toBe(''))

  test('go with the last rule, and nothing of others does', () =>
    expect(scriptOf([], DONE).split('\n').slice(1, -1)).toEqual([
      '*filter',
      '-D FORWARD -m comment --comment "pipework jumps to PIPEWORK-FORWARD" -j PIPEWORK-FORWARD',
      '-F PIPEWORK-FORWARD',
      '-X PIPEWORK-FORWARD',
      'COMMIT',
    ]))

  test('are written to a table that nobody has used yet', () =>
    expect(scriptOf([masquerade], '')).toContain('-I POSTROUTING -m comment'))

  test('count only where a jump leads to them', () => {
    expect(listIptablesComments(parseIptablesSave(DONE))).toEqual([formatRuleComment(accept)])
    expect(listIptablesComments(parseIptablesSave(DONE.replace(/^-A FORWARD.*\n/m, '')))).toEqual([])
  })
})
