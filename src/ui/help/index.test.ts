import { describe, expect, test } from 'vitest'
import { loadCommandTable } from '../../commands'
import { createFakeSystem } from '../../system/fake'
import { toLocaleText, toTerminal, wrapText, wrapToTerminal } from '../terminal'
import { formatHelp } from '.'
import { formatManual } from './manual'

const table = await loadCommandTable()
const COMMANDS = table.commands
const shown = COMMANDS.filter(({ hidden }) => hidden !== true)
const on = (options: Parameters<typeof createFakeSystem>[0]) => toTerminal(createFakeSystem(options))

describe.each(shown.map((command) => [command.word || 'the main form', command] as const))(
  'help of %s',
  (_, command) => {
    test.each([40, 80, 132])('on a terminal of %i columns', async (columns) => {
      const lines = formatHelp(command, table, on({ columns, env: { NO_COLOR: '1' } })).split('\n')
      const examples = command.examples.map(({ line }) => `  ${line}`)
      // What is copied, and what has no blank, is not broken.
      const long = lines.filter((it) => it.length > columns && !examples.includes(it) && /\S \S/.test(it.trim()))
      expect(long.filter((it) => !/^ +(\[[^\]]*\]|-.*<[^>]*>)$/.test(it))).toEqual([])
    })
  },
)

test.each(shown.map(({ word, examples }) => [word || 'the main form', examples] as const))(
  'help of %s has three examples at least, each of its own command',
  (word, examples) => {
    expect(examples.length).toBeGreaterThanOrEqual(3)
    const others = examples.filter(({ line }) => word !== 'the main form' && !line.split(' ').includes(word))
    expect(others).toEqual([])
  },
)

test('lines are broken between words', async () => {
  const command = COMMANDS.find(({ word }) => word === 'ls') ?? never()
  expect(formatHelp(command, table, on({ columns: 40 }))).toMatch(
    /print one JSON\n +document, for success\n +and for failure\n/,
  )
})

test('headings are bold on a terminal, and nowhere else', async () => {
  const help = (options: Parameters<typeof createFakeSystem>[0]) => formatHelp(shown[0] ?? never(), table, on(options))
  expect(help({ columns: 80 })).toContain('\x1b[1mExamples:\x1b[0m')
  expect(help({ columns: 80, env: { NO_COLOR: '1' } })).not.toContain('\x1b')
  expect(help({ columns: 80, env: { TERM: 'dumb' } })).not.toContain('\x1b')
  expect(help({})).not.toContain('\x1b')
})

function never(): never {
  throw new Error('no command')
}

test.each<[Record<string, string>, boolean]>([
  [{}, false],
  [{ LANG: 'C' }, false],
  [{ LANG: 'de_DE.UTF-8' }, true],
  [{ LANG: 'C.utf8' }, true],
  [{ LANG: 'C.UTF-8', LC_ALL: 'POSIX' }, false],
  [{ LANG: 'C', LC_CTYPE: 'C.UTF-8' }, true],
])('characters beyond ASCII in %j: %s', (env, expected) => {
  expect(on({ env }).isUnicode).toBe(expected)
  expect(toLocaleText('a…b ’ ├─ ü', env)).toBe(expected ? 'a…b ’ ├─ ü' : "a...b ' |- ü")
})

test.each<[string, number, readonly string[]]>([
  ['a bc def', 4, ['a bc', 'def']],
  ['abcdef g', 3, ['abcdef', 'g']],
  ['a', 3, ['a']],
])('wrap %j to %i', (text, width, expected) => expect(wrapText(text, width)).toEqual(expected))

describe('the manual page', () => {
  const page = formatManual(table, '1.2.3')

  test('names every command, option and example', () => {
    const plain = page.replaceAll('\\-', '-').replaceAll('\\(aq', "'").replaceAll('\\&...', '…')
    for (const { word, builder, examples } of shown) {
      if (word !== '') expect(plain).toContain(`\n.SS ${word}\n`)
      for (const name of Object.keys(builder)) expect(plain).toContain(name.length === 1 ? `-${name}` : `--${name}`)
      for (const { line } of examples) expect(plain).toContain(line)
    }
  })

  test('is ASCII, and no line of text is taken for a request', () => {
    expect(page).toMatch(/^[\n\x20-\x7e]*$/)
    const requests = page.split('\n').filter((line) => /^[.']/.test(line))
    expect(requests.filter((line) => !/^\.(\\"|TH|SH|SS|TP|PP|ad l|nh|nf|fi|in)/.test(line))).toEqual([])
  })
})

test.each<[string, string]>([
  ['a line that fits', 'a line that fits'],
  ['  address   10.0.0.2/24 of web', '  address   10.0.0.2/24\n            of web'],
  ['├─ v1  web eth1  10.0.0.2/24', '├─ v1  web eth1\n│    10.0.0.2/24'],
  ['└─ v1  web eth1  10.0.0.2/24', '└─ v1  web eth1\n     10.0.0.2/24'],
  ['  default via 10.1.1.1 dev eth1', '  default via 10.1.1.1\n    dev eth1'],
  ['  do: ip link set dev br1 up and more', '  do: ip link set dev br1 up and more'],
  ['  undo      pipework disconnect web', '  undo      pipework disconnect web'],
])('fit %j to 24 columns', (text, expected) => {
  expect(wrapToTerminal(text, { columns: 24 })).toBe(expected)
  expect(wrapToTerminal(text, { columns: undefined })).toBe(text)
})
