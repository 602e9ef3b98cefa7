import { describe, expect, test } from 'vitest'
import { toShell } from '../plan/shell'
import { createFakeSystem } from '../system/fake'
import { acceptRemovalCommand, listInstalledAccepts, planAcceptRemoval, planBridgeAccept } from './bridge-accept'
import { iptablesToolFor, readRuleset } from './read'

/** A host whose bridges obey iptables, with these lines in FORWARD, which drops, and in our chain. */
function host(forward: readonly string[], own: readonly string[] = []) {
  const text = [
    ...['*filter', ':FORWARD DROP [0:0]', ':DOCKER-USER - [0:0]'],
    ...(own.length === 0 ? [] : [':PIPEWORK-BRIDGE - [0:0]']),
    ...forward.map((line) => `-A FORWARD ${line}`),
    ...own.map((line) => `-A PIPEWORK-BRIDGE ${line}`),
    'COMMIT',
  ].join('\n')
  return createFakeSystem({
    files: { '/proc/sys/net/bridge/bridge-nf-call-iptables': '1' },
    programs: ['iptables-save', 'iptables-restore'],
    answers: { 'iptables-save': { stdout: text } },
  })
}

const JUMP = '-m comment --comment "pipework jumps to PIPEWORK-BRIDGE" -j PIPEWORK-BRIDGE'
const accept = (bridge: string) =>
  `-i ${bridge} -o ${bridge} -m comment --comment "pipework ${bridge}: in ${bridge} out ${bridge} accept4" -j ACCEPT`
const OLDER = '-i br1 -o br1 -m comment --comment "pipework br1" -j ACCEPT'
const subject = { port: { bridge: 'br1', port: 'va', ips: ['10.0.0.1'] } }

const inputs = (plan: Awaited<ReturnType<typeof planAcceptRemoval>>, key: 'command' | 'undo') =>
  plan.flatMap((step) => {
    const command = step[key]
    return command !== undefined && 'kind' in command ? toShell(command).split('\n').slice(2, -2) : []
  })

describe('--firewall allow', () => {
  test('the rule goes into our chain, which Docker’s jumps to', async () => {
    const plan = await planBridgeAccept(subject, true, host(['-j DOCKER-USER']))
    expect(inputs(plan, 'command')).toEqual([
      ':PIPEWORK-BRIDGE - [0:0]',
      `-A PIPEWORK-BRIDGE ${accept('br1')}`,
      `-I DOCKER-USER ${JUMP}`,
    ])
    expect(inputs(plan, 'undo')).toEqual([`-D DOCKER-USER ${JUMP}`, '-F PIPEWORK-BRIDGE', '-X PIPEWORK-BRIDGE'])
  })

  test('a second bridge keeps the rule of the first', async () => {
    const plan = await planBridgeAccept(subject, true, host([JUMP], [accept('br2')]))
    expect(inputs(plan, 'command')).toEqual([
      ':PIPEWORK-BRIDGE - [0:0]',
      `-A PIPEWORK-BRIDGE ${accept('br2')}`,
      `-A PIPEWORK-BRIDGE ${accept('br1')}`,
      `-D FORWARD ${JUMP}`,
      `-I FORWARD ${JUMP}`,
    ])
  })

  test.each([
    ['a rule in our chain', [JUMP], [accept('br1')]],
    ['a rule of an older version', [OLDER], []],
  ])('nothing is changed behind %s', async (_, forward, own) =>
    expect(await planBridgeAccept(subject, true, host(forward, own))).toEqual([]),
  )

  test('without it the attach is refused', async () =>
    expect(planBridgeAccept(subject, false, host([]))).rejects.toThrow("drops IPv4 between the ports of 'br1'"))
})

describe('the removal', () => {
  test('takes the rule of one bridge', async () =>
    expect(inputs(await planAcceptRemoval(['br2'], host([JUMP], [accept('br1'), accept('br2')])), 'command')).toEqual([
      ':PIPEWORK-BRIDGE - [0:0]',
      `-A PIPEWORK-BRIDGE ${accept('br2')}`,
    ]))

  test('takes the chain with the last rule, and the rule of an older version', async () =>
    expect(inputs(await planAcceptRemoval([], host([OLDER, JUMP], [accept('br1')])), 'command')).toEqual([
      `-D FORWARD ${OLDER}`,
      `-D FORWARD ${JUMP}`,
      '-F PIPEWORK-BRIDGE',
      '-X PIPEWORK-BRIDGE',
    ]))

  test('leaves the bridges in use', async () =>
    expect(await planAcceptRemoval(['br1'], host([OLDER, JUMP], [accept('br1')]))).toEqual([]))

  test('as commands', async () => {
    const system = host([OLDER, JUMP], [accept('br1')])
    const ruleset = await readRuleset(system, 'comments')
    const commands = listInstalledAccepts(ruleset).map((it) =>
      acceptRemovalCommand(it, ruleset, iptablesToolFor(system)),
    )
    expect(commands).toEqual([
      "iptables -D FORWARD -i br1 -o br1 -m comment --comment 'pipework br1' -j ACCEPT",
      [
        "iptables -D PIPEWORK-BRIDGE -i br1 -o br1 -m comment --comment 'pipework br1: in br1 out br1 accept4' -j ACCEPT",
        "iptables -D FORWARD -m comment --comment 'pipework jumps to PIPEWORK-BRIDGE' -j PIPEWORK-BRIDGE",
        'iptables -X PIPEWORK-BRIDGE',
      ].join(' && '),
    ])
  })
})
