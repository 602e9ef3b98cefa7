// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is what files have
import { describe, expect, test } from 'vitest'
import { findErrorColumn, formatFileLine, parseLines } from './attachment-file'

const env = { NET: '10.0.0', HOST: 'br1', EMPTY: '', SPACED: 'a b', SHELL: '$(reboot)' }
const words = (text: string) => parseLines(text, env).lines.map((line) => line.words.map((word) => word.text))
const mistakes = (text: string) => parseLines(text, env).errors.map((it) => `${it.line}:${it.column}: ${it.message}`)

describe('words of a line, as a shell splits them', () => {
  test.each<[string, string[][]]>([
    ['br1 web 10.0.0.1/24', [['br1', 'web', '10.0.0.1/24']]],
    ['  br1\tweb  10.0.0.1/24  ', [['br1', 'web', '10.0.0.1/24']]],
    [
      'br1 web 0/0\r\nbr2 db 0/0',
      [
        ['br1', 'web', '0/0'],
        ['br2', 'db', '0/0'],
      ],
    ],
    ['# nothing\n\n   # nothing\nbr1 web 0/0 # and why', [['br1', 'web', '0/0']]],
    ['br1#x web', [['br1#x', 'web']]],
    [`br1 'a b' "c d" e\\ f`, [['br1', 'a b', 'c d', 'e f']]],
    [`'a'"b"c`, [['abc']]],
    [`'it'\\''s'`, [["it's"]]],
    [`'' ""`, [['', '']]],
    [`"a\\"b\\\\c\\d"`, [['a"b\\c\\d']]],
    [`'\${NET}' '#' "|"`, [['${NET}', '#', '|']]],
    ['${HOST} web ${NET}.7/24', [['br1', 'web', '10.0.0.7/24']]],
    ['"${HOST}" ${NONE:-br9} ${NET:-x}', [['br1', 'br9', '10.0.0']]],
    ['${SPACED} "${SPACED}"', [['a b', 'a b']]],
    ['${SHELL}', [['$(reboot)']]],
    ['${NONE:-${HOST}', [['${HOST']]],
  ])('%j', (text, expected) => {
    expect(mistakes(text)).toEqual([])
    expect(words(text)).toEqual(expected)
  })

  test('where they stand', () =>
    expect(parseLines("\n br1 'a b' c", env).lines).toEqual([
      {
        number: 2,
        words: [
          { text: 'br1', column: 2 },
          { text: 'a b', column: 6 },
          { text: 'c', column: 12 },
        ],
      },
    ]))
})

describe('mistakes, all at once', () => {
  test.each<[string, string]>([
    ['br1 ${NONE}', "1:5: '${NONE}' is empty: set NONE in the environment, or write ${NONE:-default}"],
    ['br1 ${EMPTY}', "1:5: '${EMPTY}' is empty"],
    ['br1 ${NONE:-}', "1:5: '${NONE:-}' is empty"],
    ['br1 x$NET', "1:6: '$NET' is not supported"],
    ['br1 $(id)', "1:5: '$(id)' is not supported"],
    ['br1 "$(id)"', "1:6: '$(id)' is not supported"],
    ['br1 ${a b}', "1:5: '${a b}' is not supported"],
    ['br1 ${', "1:5: '${' is not supported"],
    ['br1 $', "1:5: '$' is not supported"],
    ['br1 `id`', "1:5: '`' is shell syntax"],
    ['br1 "`id`"', "1:6: '`' is shell syntax"],
    ['br1 web; reboot', "1:8: ';' is shell syntax"],
    ['br1 > /etc/passwd', "1:5: '>' is shell syntax"],
    ["br1 'web", "1:5: the quote of ''web' is not closed"],
    ['br1 "web', `1:5: the quote of '"web' is not closed`],
    ['br1 web \\', "1:9: '\\' at the end"],
  ])('%s', (text, message) => {
    expect(mistakes(text)).toHaveLength(1)
    expect(mistakes(text)[0]).toContain(message)
    expect(words(text)).toEqual([])
  })

  test('each line by itself', () => {
    expect(mistakes('br1 $x\nbr1 web 0/0\nbr1 "')).toHaveLength(2)
    expect(words('br1 $x\nbr1 web 0/0\nbr1 "')).toEqual([['br1', 'web', '0/0']])
  })
})

describe('back into a line', () => {
  test.each([[['br1', 'web', '10.0.0.1/24']], [["it's", 'a b', '', '#', '${HOST}', '$(x)', '\\', '"', '|']]])(
    '%j',
    (line) => expect(words(formatFileLine(line) ?? '')).toEqual([line]),
  )

  test('not a word with a newline', () => expect(formatFileLine(['U:a\nb'])).toBeUndefined())
})

test.each([
  ["'web' is no address", 3],
  ["--mtu 'x'", 7],
  ["'nothing'", 1],
  ['nothing', 1],
])('the column of what %s speaks of', (message, column) =>
  expect(
    findErrorColumn(message, [
      { text: 'a', column: 1 },
      { text: 'web', column: 3 },
      { text: '--mtu=x', column: 7 },
    ]),
  ).toBe(column),
)
