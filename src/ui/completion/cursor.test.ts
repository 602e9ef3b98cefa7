import { describe, expect, test } from 'vitest'
import { loadCommandTable } from '../../commands'
import { parseCursor } from './cursor'
import { listNextSlots, parseSynopsis } from './grammar'

const table = await loadCommandTable()

/** `line` ends at the cursor. */
function at(line: string) {
  const words = line.split(' ')
  const { command, target, words: before, prefix, current } = parseCursor(words.slice(0, -1), words.at(-1) ?? '', table)
  const detail =
    (target.kind === 'value' && target.option) ||
    (target.kind === 'handover' && `${target.from} ${target.words.join(' ')}`) ||
    (target.kind === 'words' && target.slots.map((it) => (it.kind === 'value' ? it.name : it.words.join('|'))).join())
  return [command.word, before.join(' '), `${target.kind}${detail ? ` ${detail}` : ''}`, prefix + current]
}

test.each<[string, string, string, string, string]>([
  ['', '', '', 'first', ''],
  ['b', '', '', 'first', 'b'],
  ['-i eth2 b', '', '', 'first', 'b'],
  ['-n -v ', '', '', 'first', ''],
  ['-', '', '', 'options', '-'],
  ['-i ', '', '', 'value i', ''],
  ['--kind=mac', '', '', 'value kind', '--kind=mac'],
  ['--kind mac', '', '', 'value kind', 'mac'],
  ['--nonsense ', '', '', 'first', ''],
  ['br1 ', '', 'br1', 'words guest', ''],
  ['br1 -i eth2 we', '', 'br1', 'words guest', 'we'],
  ['br1 web ', '', 'br1 web', 'words ip', ''],
  ['br1 web 0/0 ', '', 'br1 web 0/0', 'words mac', ''],
  ['br1 web 0/0 U:x ', '', 'br1 web 0/0 U:x', 'options', ''],
  ['br1 ls ', '', 'br1 ls', 'words ip', ''],
  ['-- ls ', '', 'ls', 'words guest', ''],
  ['br1 -- -', '', 'br1', 'words guest', '-'],
  ['--dry-run disconnect ', 'disconnect', '', 'words guest', ''],
  ['disconnect web ', 'disconnect', 'web', 'words ifname', ''],
  ['disconnect web eth1 ', 'disconnect', 'web eth1', 'options', ''],
  ['disconnect -', 'disconnect', '', 'options', '-'],
  ['route ', 'route', '', 'words guest', ''],
  ['route -a ', 'route', '', 'value a', ''],
  ['route web ', 'route', 'web', 'handover 2 ip route', ''],
  ['route -a 6 web add -', 'route', 'web', 'handover 4 ip route', '-'],
  ['exec web ping -', 'exec', 'web', 'handover 2 ', '-'],
  ['--wait -i ', '--wait', '', 'value i', ''],
  ['completion ', 'completion', '', 'words bash|zsh|fish,install', ''],
])('at the end of `pipework %s`', (line, command, words, wanted, current) =>
  expect(at(line)).toEqual([command, words, wanted, current]),
)

describe('a synopsis is read as it is written', () => {
  const next = (word: string, synopsis: string, ...words: readonly string[]) =>
    listNextSlots(parseSynopsis({ word, synopsis }), words).map((it) =>
      it.kind === 'value' ? it.name : it.words.join('|'),
    )

  test.each<[string, readonly string[], readonly string[]]>([
    ['x', [], []],
    ['x <guest> [ifname]', [], ['guest']],
    ['x <guest> [ifname]', ['web'], ['ifname']],
    ['x <guest> [ifname]', ['web', 'eth1'], []],
    ['x <file…>', ['a', 'b', 'c'], ['file']],
    ['x install|remove', [], ['install|remove']],
    ['x add <bridge> <nic> [--confirm seconds] | x del <bridge> | x ls', [], ['add', 'del', 'ls']],
    ['x add <bridge> <nic> [--confirm seconds] | x del <bridge> | x ls', ['del'], ['bridge']],
    ['x add <bridge> <nic> [--confirm seconds] | x del <bridge> | x ls', ['add', 'br0'], ['nic']],
    ['x add <bridge> <nic> [--confirm seconds] | x del <bridge> | x ls', ['ls'], []],
  ])('%s after %j', (synopsis, words, expected) => expect(next('x', synopsis, ...words)).toEqual(expected))
})
