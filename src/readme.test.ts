import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { loadCommands } from './commands'
import { GLOBAL_OPTIONS } from './commands/types'

const COMMANDS = await loadCommands()

const toAnchor = (title: string) =>
  title
    .toLowerCase()
    .replaceAll(/[^\w -]/g, '')
    .replaceAll(' ', '-')

describe('the README', () => {
  const text = readFileSync('README.md', 'utf8')
  const anchors = [...text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => toAnchor(title))

  test.each(COMMANDS.filter(({ word, hidden }) => word !== '' && hidden !== true).map(({ word }) => word))(
    'knows the command %s',
    (word) => expect(text).toMatch(new RegExp(`pipework ([a-z|]+\\|| ?)?${word}\\b|\\| ${word}\\b`)),
  )

  test.each(Object.keys({ ...COMMANDS[0]?.builder, ...GLOBAL_OPTIONS }))('knows the option %s', (name) =>
    expect(text).toMatch(new RegExp(`^\\|.*\`${name.length === 1 ? '-' : '--'}${name}\\b`, 'm')),
  )

  test('names every chapter in its contents', () => {
    const contents = /\*\*Contents\*\*[\s\S]*?\n\n/.exec(text)?.[0] ?? ''
    const chapters = [...text.matchAll(/^##+ (.*)$/gm)].map(([, title = '']) => toAnchor(title))
    expect(chapters.filter((it) => it !== 'what-it-does' && !contents.includes(`(#${it})`))).toEqual([])
  })

  test('has no link that leads nowhere', () => {
    const links = [...text.matchAll(/\]\(#([^)]*)\)/g)].map(([, anchor]) => anchor)
    expect(links.filter((it) => !anchors.includes(it ?? ''))).toEqual([])
  })
})
