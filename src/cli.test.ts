import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { main } from './cli'
import { loadCommands } from './commands'
import { findCommand, parseArguments } from './commands/parser'
import { GLOBAL_OPTIONS } from './commands/types'
import { ExitCode } from './model/errors'
import { createFakeSystem } from './system/fake'
import type { OptionSpec } from './ui/command-spec'

// A define of the build.
beforeAll(() => void vi.stubGlobal('PIPEWORK_VERSION', '1.2.3'))
afterAll(() => void vi.unstubAllGlobals())

type Options = NonNullable<Parameters<typeof createFakeSystem>[0]>

/** One run: exit code, the two streams, and what ran on the host. */
async function run(argv: readonly string[], options: Options = {}) {
  const system = createFakeSystem(options)
  const streams = { out: '', err: '' }
  const code = await main(argv, system, {
    out: (text) => {
      streams.out += text
    },
    err: (text) => {
      streams.err += text
    },
    interrupt: { requested: false },
  })
  return { code, ...streams, ran: system.calls }
}

const words = (line: string) => line.split(' ')

const COMMANDS = await loadCommands()

/** The command, its words and its options, of a line. */
async function parse(line: string) {
  const call = await findCommand(words(line))
  const { words: positionals, given: _, ...options } = parseArguments(call)
  return { word: call.command.word, positionals, options }
}

describe('options in any order and place', () => {
  test.each<[string, readonly string[], Readonly<Record<string, string | boolean>>]>([
    ['br1 web 10.0.0.2/24', ['br1', 'web', '10.0.0.2/24'], {}],
    ['br1 -i eth2 web 10.0.0.2/24', ['br1', 'web', '10.0.0.2/24'], { i: 'eth2' }],
    ['-i eth2 br1 web 10.0.0.2/24', ['br1', 'web', '10.0.0.2/24'], { i: 'eth2' }],
    ['br1 web 10.0.0.2/24 -i eth2', ['br1', 'web', '10.0.0.2/24'], { i: 'eth2' }],
    ['br1 -i=eth2 web 10.0.0.2/24 -l=x', ['br1', 'web', '10.0.0.2/24'], { i: 'eth2', l: 'x' }],
    ['br1 -ieth2 web 10.0.0.2/24', ['br1', 'web', '10.0.0.2/24'], { i: 'eth2' }],
    ['br1 web -a 6 10.0.0.2/24 -nv', ['br1', 'web', '10.0.0.2/24'], { a: '6', dryRun: true, verbose: true }],
    ['--wait-guest 5 br1 web 0/0 --force', ['br1', 'web', '0/0'], { waitGuest: '5', force: true }],
    ['br1 web 0/0 --no-probe', ['br1', 'web', '0/0'], { noProbe: true }],
    ['br1 007 0/0', ['br1', '007', '0/0'], {}],
    ['br1 1e3 0/0', ['br1', '1e3', '0/0'], {}],
    ['br1 0x1F 0/0', ['br1', '0x1F', '0/0'], {}],
    ['br1 -i 007 web 0/0', ['br1', 'web', '0/0'], { i: '007' }],
    ['br1 true 0/0 --force', ['br1', 'true', '0/0'], { force: true }],
    ['-- ls web 0/0', ['ls', 'web', '0/0'], {}],
    ['-i eth2 -- ls web 0/0', ['ls', 'web', '0/0'], { i: 'eth2' }],
    ['br1 -- web -i eth2', ['br1', 'web', '-i', 'eth2'], {}],
  ])('pipework %s', async (line, expected, values) => {
    expect(await parse(line)).toEqual({ word: '', positionals: expected, options: values })
  })

  test.each([
    ['ls', 'ls', []],
    ['ls --json', 'ls', []],
    ['--json ls', 'ls', []],
    ['disconnect web eth1 -n', 'disconnect', ['web', 'eth1']],
    ['--dry-run disconnect web', 'disconnect', ['web']],
    ['-n -v disconnect ls', 'disconnect', ['ls']],
    // An option of that command alone, and its value is no word.
    ['--filter bridge=br1 ls web', 'ls', ['web']],
    ['--wait web', '--wait', ['web']],
    ['-i eth2 --wait web', '--wait', ['web']],
    ['br1 ls 0/0', '', ['br1', 'ls', '0/0']],
    ['-i ls br1 web 0/0', '', ['br1', 'web', '0/0']],
  ])('pipework %s: the command %j', async (line, word, expected) => {
    const parsed = await parse(line)
    expect([parsed.word, parsed.positionals]).toEqual([word, expected])
  })
})

test('an option takes the next word with each command that has it, or with none', () => {
  const all = COMMANDS.flatMap(({ builder }) => Object.entries(builder))
  const takes = all.map(([name, { requiresArg }]) => [name, requiresArg === true] as const)
  expect(takes.filter(([name, it]) => takes.some(([other, that]) => other === name && that !== it))).toEqual([])
})

describe('wrong usage: exit code 2, nothing on stdout, nothing run', () => {
  test.each<[readonly string[], string, string]>([
    [[], 'nothing to do', 'pipework br1 web 192.168.1.10/24@192.168.1.1'],
    [
      ['disconect', 'web'],
      "'disconect' is neither a command nor an interface of this host",
      'Did you mean pipework disconnect?',
    ],
    [['help', 'disconect'], "unknown command 'disconect'", 'Did you mean disconnect?'],
    [['help', 'zzzzzzz'], "unknown command 'zzzzzzz'", 'The commands are ls, '],
    [['--forse', 'br1', 'web', '0/0'], "unknown option '--forse'", 'Did you mean --force?'],
    [['br1', 'web', '0/0', '--dryrun'], "unknown option '--dryrun'", 'Did you mean --dry-run?'],
    [['br1', 'web', '0/0', '-x'], "unknown option '-x'", ''],
    [['br1', 'web', '0/0', '--no-such-thing-at-all'], "unknown option '--no-such-thing-at-all'", 'pipework --help'],
    [['br1', 'web', '0/0', '--constructor'], "unknown option '--constructor'", ''],
    [['br1', 'web', '0/0', '--toString=x'], "unknown option '--toString'", ''],
    [['ls', '--force'], "unknown option '--force'", ''],
    [['br1', 'web', '0/0', '-i', 'a', '-i', 'b'], '-i is given 2 times', 'Give it once'],
    [['br1', 'web', '0/0', '--mtu', '1400', '--mtu=1300'], '--mtu is given 2 times', 'Give it once'],
    [['br1', 'web', '0/0', '--route', '10.0.0.0/8', '--route='], '--route needs a value', ''],
    [['br1', 'web', '0/0', '--force=yes'], "--force takes no value, but 'yes' is given", ''],
    [['br1', 'web', '0/0', '-i'], '-i needs a value: -i <ifname>', ''],
    [['br1', '-i', '--force', 'web', '0/0'], '-i needs a value: -i <ifname>', ''],
    [['br1', 'web', '0/0', '--wait-guest='], '--wait-guest needs a value: --wait-guest <seconds>', ''],
    [['br1', 'web', '0/0', '--wait-guest', 'soon'], "--wait-guest 'soon' is not a number of seconds", ''],
    [['br1', 'web'], "missing address after 'web'", 'pipework <bridge>'],
    [['br1', 'web', '10.1.1.1'], "'10.1.1.1' has no prefix length", 'Did you mean 10.1.1.1/24?'],
    [['disconnect'], 'disconnect: missing argument <guest>', 'pipework disconnect <guest>'],
    [['disconnect', 'web', 'eth1', 'x'], "unexpected argument 'x'", 'pipework disconnect <guest>'],
    [['disconnect', 'web', 'a/b'], "'a/b' cannot be the name of the interface in the guest", ''],
  ])('%j', async (argv, message, hint) => {
    const { code, out, err, ran } = await run(argv)
    expect(code).toBe(ExitCode.usage)
    expect(out).toBe('')
    expect(err).toContain(`pipework: ${message}`)
    expect(err).toContain(hint)
    expect(ran).toEqual([])
  })
})

describe('--help', () => {
  const shown = COMMANDS.filter(({ hidden }) => hidden !== true)
  // Wide enough that an option's name cannot continue on the next line, beside what is said of it.
  const unicode: Options = { columns: 120, env: { LANG: 'C.UTF-8', NO_COLOR: '1' } }

  test.each(shown.map((command) => [command.word || 'the main form', command] as const))(
    'of %s names every option, every example and the synopsis',
    async (_, { word, builder, examples, synopsis }) => {
      const { code, out, err } = await run([...(word === '' ? [] : [word]), '--help'], unicode)
      expect([code, err]).toEqual([ExitCode.ok, ''])
      const said = out.replaceAll(/\s+/g, ' ')
      for (const form of synopsis.split(' | ')) expect(said).toContain(`pipework ${form}`)
      for (const [name, { alias, describe: text }] of Object.entries<OptionSpec>({ ...builder, ...GLOBAL_OPTIONS })) {
        expect(said).toMatch(new RegExp(name.length === 1 ? `-${name} ` : `--${name}( |\\[=)`))
        if (alias !== undefined) expect(said).toContain(`-${alias}, `)
        expect(said).toContain(text)
      }
      for (const { line, does } of examples) {
        expect(said).toContain(line)
        expect(said).toContain(does)
      }
      expect((await run(['help', ...(word === '' ? [] : [word.replace(/^-+/, '')])], unicode)).out).toBe(out)
    },
  )

  test('of the main form names every command', async () => {
    const said = (await run(['-h'], unicode)).out.replaceAll(/\s+/g, ' ')
    for (const { word, describe: text } of shown)
      expect(said.toLowerCase()).toContain(`${word} ${text.toLowerCase()}`.trim())
    expect(said).not.toContain('__complete')
  })

  test.each(COMMANDS.flatMap(({ examples, word }) => examples.map(({ line }) => [line, word] as const)))(
    'its example is understood: %s',
    async (line, word) => {
      expect(line).toMatch(/^pipework /)
      expect((await parse(line.slice(9))).word).toBe(word)
    },
  )
})

test.each(['--version', '-V'])('%s', async (option) =>
  expect(await run([option], { isRoot: false })).toMatchObject({ code: ExitCode.ok, out: '1.2.3\n', err: '' }),
)

const NET = '/sys/class/net'
const alias = 'pipework1;g=docker:web;c=3f2a9c1d0b7e;i=eth1;h=br1;a=10.0.0.2/24@10.0.0.1'
/** A host with one attachment whose guest is gone. */
const attached: Options = {
  files: {
    [`${NET}/v1/ifindex`]: '6',
    [`${NET}/v1/iflink`]: '2',
    [`${NET}/v1/mtu`]: '1500',
    [`${NET}/v1/flags`]: '0x1003',
    [`${NET}/v1/ifalias`]: `${alias}\n`,
    [`${NET}/lo/ifindex`]: '1',
    [`${NET}/lo/ifalias`]: '',
  },
  links: { [`${NET}/v1/master`]: '../br1' },
}
/** A namespace of `ip netns` in which there is nothing, and a kernel without IPv6. */
const blue: Options = {
  inodes: { '/run/netns/blue': 5, '/proc/self/ns/net': 1 },
  answers: { 'address show': { stdout: '[]\n[]\n' } },
}
const attach = ['br1', 'netns:blue', '10.0.0.2/24']

describe('streams and exit codes', () => {
  test('ls', async () => {
    const { code, out, err } = await run(['ls'], attached)
    expect([code, err]).toEqual([ExitCode.ok, ''])
    expect(out.split('\n')[1]).toMatch(/^web +eth1 +10\.0\.0\.2\/24@10\.0\.0\.1 +br1 +v1 +up$/)
  })

  test('ls --json', async () => {
    const { out } = await run(['ls', '--json'], attached)
    expect(JSON.parse(out)).toMatchObject({
      ok: true,
      attachments: [
        { guest: { kind: 'docker', name: 'web' }, ifname: 'eth1', hostif: 'br1', hostEnd: 'v1', state: 'up' },
      ],
    })
  })

  test('ls of nothing is a head', async () => expect((await run(['ls'])).out).toMatch(/^GUEST .*STATE\n$/))

  test.each<[string, readonly string[], Options, number, RegExp | undefined]>([
    // what, words, host, exit code, the error
    ['not root', attach, { ...blue, isRoot: false }, ExitCode.failed, /only root can change network interfaces/],
    ['no such guest', attach, {}, ExitCode.failed, /there is no network namespace 'blue'/],
    ['no such bridge', ['nope', ...attach.slice(1)], blue, ExitCode.failed, /there is no interface 'nope'/],
    [
      'a guest that never comes',
      [...attach, '--wait-guest', '0.2'],
      {},
      ExitCode.timeout,
      /timed out after 0.2 s: there is no network namespace 'blue'/,
    ],
    [
      'a step that fails',
      attach,
      {
        ...blue,
        answers: { ...blue.answers, 'link add': { code: 1, stderr: 'RTNETLINK answers: No\nCommand failed -:1\n' } },
      },
      ExitCode.failed,
      /could not create the bridge br1: RTNETLINK answers: No/,
    ],
    [
      'a step that fails and cannot be undone',
      attach,
      {
        ...blue,
        answers: {
          ...blue.answers,
          'link add': { code: 1, stderr: 'No\nCommand failed -:5\n' },
          'link del': { code: 1 },
        },
      },
      ExitCode.leftover,
      /left: connect eth1 in blue to br1; remove it with:\n {4}ip link del dev veth1pl/,
    ],
    ['a bug', attach, { ...blue, answers: { 'address show': new TypeError('oh') } }, ExitCode.failed, /this is a bug/],
    ['no root, but a dry run', [...attach, '-n'], { ...blue, isRoot: false }, ExitCode.ok, undefined],
    ['a dry run', [...attach, '-n'], blue, ExitCode.ok, undefined],
    ['a dry run, quiet', [...attach, '-nq'], blue, ExitCode.ok, undefined],
    ['nothing to disconnect', ['disconnect', 'netns:blue'], blue, ExitCode.ok, undefined],
    [
      'a guest that nobody knows',
      ['disconnect', 'netns:red'],
      blue,
      ExitCode.failed,
      /there is no network namespace 'red'/,
    ],
    ['help', ['--help'], {}, ExitCode.ok, undefined],
    ['version', ['--version'], {}, ExitCode.ok, undefined],
    ['wrong usage', ['br1'], {}, ExitCode.usage, /missing guest/],
  ])('%s', async (_, argv, options, expected, message) => {
    const { code, out, err } = await run(argv, options)
    expect(code).toBe(expected)
    if (message === undefined) expect([out === '', err]).toEqual([false, ''])
    else expect([out, err]).toEqual(['', expect.stringMatching(message)])

    const json = await run([...argv, '--json'], options)
    expect([json.code, json.err]).toEqual([expected, ''])
    expect(json.out).toMatch(/^\{.*\}\n$/)
    const document: unknown = JSON.parse(json.out)
    expect(document).toMatchObject({ ok: expected === ExitCode.ok })
    if (message !== undefined)
      expect(document).toMatchObject({ exitCode: expected, error: { message: expect.any(String) } })
  })

  test('the pinned namespace is let go after a failure, too', async () => {
    const { ran } = await run(attach, { ...blue, answers: { ...blue.answers, 'link add': { code: 1, stderr: 'no' } } })
    expect(ran[0]).toBe('pin /run/netns/blue')
    expect(ran.at(-1)).toBe('release /run/netns/blue')
  })

  test('a dry run changes nothing and prints a script', async () => {
    const { out, ran } = await run([...attach, '-n', '--no-probe'], blue)
    expect(out).toMatch(/^#!\/bin\/sh\n# pipework br1 netns:blue 10\.0\.0\.2\/24\n/)
    expect(ran).toEqual([
      'pin /run/netns/blue',
      'ip -n pinned | address show | route show table main',
      'release /run/netns/blue',
    ])
  })

  test('--quiet says nothing of a success, and all of a failure', async () => {
    expect(await run(['disconnect', 'netns:blue', '-q'], blue)).toMatchObject({ code: ExitCode.ok, out: '', err: '' })
    expect((await run(['disconnect', 'netns:red', '-q'], blue)).err).toContain("'red'")
  })

  test('--verbose shows each step on stderr', async () => {
    const { err } = await run([...attach, '-v'], {
      ...blue,
      env: { PIPEWORK_FAIL_AFTER: '2' },
      answers: { ...blue.answers, false: { code: 1 } },
    })
    expect(err).toContain('# create the bridge br1\nip link add dev br1 ')
    expect(err).toContain('pipework: stopped after step 2 of')
  })
})
