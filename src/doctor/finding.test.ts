import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { FINDINGS } from './finding'

test('the README lists what can be found', () => {
  const lines = readFileSync('README.md', 'utf8').split('\n')
  const rows = Object.entries(FINDINGS).map(([id, what]) => `| \`${id}\` | ${what} |`)
  expect(lines.filter((line) => rows.includes(line))).toEqual(rows)
})

test('each has its case on the real thing', () => {
  const text = readFileSync('bats-tests/doctor.bats', 'utf8')
  expect(Object.keys(FINDINGS).filter((id) => !new RegExp(`\\b(cures|has) ${id}\\b|${id}\\)`).test(text))).toEqual([])
})
