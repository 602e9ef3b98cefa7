import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { main } from './cli'
import { parseLines } from './model/attachment-file'
import { createFakeSystem } from './system/fake'

/** What is typed, and all that is said to it, as on a screen. `UPDATE_GOLDEN=1 npx vitest run` writes the answers. */
const SCREENS = 'src/errors.golden.txt'

type Options = Parameters<typeof createFakeSystem>[0]

/** One run: its exit code, and all that it says on either stream. */
async function hear(argv: readonly string[], options: Options) {
  const [system, said] = [createFakeSystem(options), [] as string[]]
  const say = (text: string) => void said.push(text)
  const code = await main(argv, system, { out: say, err: say, interrupt: { requested: false } })
  return { code, text: said.join(''), ran: system.calls }
}

async function typeLine(line: string): Promise<string> {
  const argv = parseLines(line, {}).lines[0]?.words.map(({ text }) => text) ?? []
  const { code, text, ran } = await hear(argv, { env: { LC_ALL: 'C.UTF-8' } })
  expect(ran).toEqual([])
  return `$ pipework ${line}\n${text}[${code}]\n`
}

const screens = readFileSync(SCREENS, 'utf8').split(/(?<=^\[\d+\]\n)\n?/m)
const typed = screens.map((screen) => /^\$ pipework ?(.*)\n/.exec(screen)?.[1] ?? '')

describe('what is refused before anybody asks the host', () => {
  const answers: string[] = []

  test.each(typed.map((line, index) => [line, index] as const))('pipework %s', async (line, index) => {
    answers[index] = await typeLine(line)
    if (process.env.UPDATE_GOLDEN === undefined) expect(answers[index]).toBe(screens[index])
    expect(answers[index]).toMatch(/\n {2}\S.*\n\[2\]\n$|"hint":/)
  })

  afterAll(() => {
    if (process.env.UPDATE_GOLDEN !== undefined) writeFileSync(SCREENS, answers.join('\n'))
  })
})

const REFUSED: readonly (readonly [string, Options, string])[] = [
  [
    'completion install',
    { isRoot: false, env: { PATH: '/bin' }, programs: ['bash'] },
    'HOME is not set, so it is unknown',
  ],
  ['uplink confirm br9', {}, "'br9' has no uplink to confirm"],
]

test.each(REFUSED)('pipework %s, refused with exit code 1', async (line, options, message) => {
  const { code, text } = await hear(line.split(' '), options)
  expect(code).toBe(1)
  expect(text).toContain(message)
})
