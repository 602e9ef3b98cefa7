import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { main } from './cli'
import { readLines } from './model/attachment-file'
import { createFakeHost } from './system/fake'

/** What is typed, and all that is said to it, as on a screen. `UPDATE_GOLDEN=1 npx vitest run` writes the answers. */
const SCREENS = 'src/errors.golden.txt'

type Options = Parameters<typeof createFakeHost>[0]

/** One run: its exit code, and all that it says on either stream. */
async function hear(argv: readonly string[], options: Options) {
  const [host, said] = [createFakeHost(options), [] as string[]]
  const say = (text: string) => void said.push(text)
  const code = await main(argv, host, { out: say, err: say, interrupt: { heard: false } })
  return { code, text: said.join(''), ran: host.ran }
}

async function typeLine(line: string): Promise<string> {
  const argv = readLines(line, {}).lines[0]?.words.map(({ text }) => text) ?? []
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
  ['uplink confirm br9', {}, "'br9' has no uplink that could be confirmed"],
]

test.each(REFUSED)('pipework %s, refused with exit code 1', async (line, options, message) => {
  const { code, text } = await hear(line.split(' '), options)
  expect(code).toBe(1)
  expect(text).toContain(message)
})

/** What is said by runs: on the screens above, and as the other tests quote it, which run on real components. */
const QUOTED = [...listTests('src').filter((it) => !it.endsWith('errors.test.ts')), ...listTests('bats-tests')]
  .map((path) => readFileSync(path, 'utf8').replaceAll('\\', ''))
  .concat(REFUSED.map(([, , message]) => message))
  .join('\n')
  .replaceAll(/\s+/g, ' ')

function listTests(folder: string): readonly string[] {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  return files.filter((name) => /\.test\.ts$|\.bats$|\.bash$/.test(name)).map((name) => `${folder}/${name}`)
}

/** Whether a test quotes so much of a message that it can only mean this one: three words in a row, or all there are. */
function isQuoted(message: string): boolean {
  return message.split('…').some((piece) => {
    const words = piece.split(' ').filter((word) => /\w/.test(word))
    const runs = words
      .map((_, index) => words.slice(index, index + 3).join(' '))
      .slice(0, Math.max(1, words.length - 2))
    return words.length > 0 && runs.some((run) => run.length > 8 && QUOTED.includes(run))
  })
}

function isOnScreen(message: string): boolean {
  const pattern = message.split('…').map((piece) => piece.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`(^pipework: |"message":")${pattern.join('.*')}($|")`, 'm').test(screens.join(''))
}

/** What no test quotes word for word, and why: what it takes, or who runs into it and quotes less. */
const NOT_QUOTED: readonly (readonly [RegExp, string])[] = [
  [
    /^another pipework has been (at|moving)/,
    'a lock that is held for a minute; concurrency.bats waits for shorter ones',
  ],
  [/^could not ……$/, "execute.test.ts and cli.test.ts, which fill in the step's reason"],
  [/^'…' of '…' …$/, 'plan.test.ts and attach.bats, which fill in what differs'],
  [/^'…' stopped while it was being attached$/, 'a guest that dies in the milliseconds between two steps'],
  [/^'…' cannot be moved as it is/, 'uplink.bats and uml.bats quote what is in the way'],
  [/^the uplink of '…' was put back: …$/, 'uplink.bats quotes why'],
  [/^systemd cannot be asked/, 'a systemctl that ends with an error of its own'],
  [/^the DHCP client of '…' has ended$|^'…' is in another namespace$/, 'heard by the keeper of a client alone'],
  [/^'…' is InfiniBand, where the hardware gives/, 'ipoib.bats quotes the address'],
  [/^'…' is a … and no NIC$/, 'nic.bats quotes the kind'],
  [/^'…' is this host's way to its default gateway$/, 'nic.bats quotes its end'],
  [/^the NIC '…' is in '…'$/, 'nic.bats and uml.bats quote the guest'],
  [
    /^'…' would lead through '…' itself$/,
    'a route to the other host that goes over the bridge; vxlan.bats has the other loops',
  ],
]

test('each is said by a test that runs into it', () => {
  const isExplained = (message: string) => NOT_QUOTED.some(([pattern]) => pattern.test(message))
  const unsaid = listSites().filter(
    ({ message }) => !isOnScreen(message) && !isQuoted(message) && !isExplained(message),
  )
  expect(unsaid.map(({ at, message }) => `${at} ${message}`)).toEqual([])
})
