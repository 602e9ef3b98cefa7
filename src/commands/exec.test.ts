import { describe, expect, test } from 'vitest'
import { main } from '../cli'
import { createFakeSystem } from '../system/fake'

const blue = { inodes: { '/run/netns/blue': 7, '/proc/self/ns/net': 1 } }

async function runMain(argv: readonly string[], options: Parameters<typeof createFakeSystem>[0] = {}) {
  const system = createFakeSystem({ ...blue, ...options })
  const code = await main(argv, system, {
    out: (text) => system.write(1, text),
    err: (text) => system.write(2, text),
    interrupt: { requested: false },
  })
  const attended = system.calls.filter((it) => it.startsWith('attend ')).map((it) => it.slice('attend '.length))
  return { code, attended, system, out: system.written[1], err: system.written[2] }
}

describe('what follows the guest is passed on as it is', () => {
  const enter = 'ip netns exec pinned nsenter --'
  test.each<[string, string]>([
    ['exec netns:blue ping -c 1 -h', `${enter} ping -c 1 -h`],
    ['exec netns:blue ip --json -V link', `${enter} ip --json -V link`],
    ['exec netns:blue -- a', `${enter} -- a`],
    ['exec netns:blue a -- b --', `${enter} a -- b --`],
    ['exec -- netns:blue a', `${enter} a`],
    ['exec netns:blue --help', `${enter} --help`],
    ['exec netns:blue 007 1e3 -0x10 --no-x --x.y=1', `${enter} 007 1e3 -0x10 --no-x --x.y=1`],
    ['exec netns:blue a -i -i -a -n --wait --wait-guest', `${enter} a -i -i -a -n --wait --wait-guest`],
    ['--wait-guest 5 exec netns:blue a', `${enter} a`],
    ['exec --wait-guest 5 netns:blue a --wait-guest x', `${enter} a --wait-guest x`],
    ['--wait-guest=5 exec netns:blue exec', `${enter} exec`],
    ['route netns:blue --help', 'ip -n pinned route --help'],
    ['route netns:blue add default via 10.0.0.1', 'ip -n pinned route add default via 10.0.0.1'],
    ['route -a 6 netns:blue show -a 4', 'ip -n pinned -6 route show -a 4'],
    ['-a inet rule netns:blue show', 'ip -n pinned -4 rule show'],
    [
      'tc netns:blue qdisc add dev eth1 root netem delay 10ms',
      'nsenter --net=/run/netns/pinned tc qdisc add dev eth1 root netem delay 10ms',
    ],
    ['tc netns:blue -s qdisc', 'nsenter --net=/run/netns/pinned tc -s qdisc'],
  ])('%s', async (line, expected) => {
    const { code, attended, out, err } = await runMain(line.split(' '))
    expect({ code, attended, out, err }).toEqual({ code: 0, attended: [expected], out: '', err: '' })
  })

  test.each([['a b'], [''], ['a\nb'], ['$x `y` "z" \'w\' \\'], ['é∆']])('%j is one word', async (word) => {
    expect((await runMain(['exec', 'netns:blue', 'echo', word])).attended).toEqual([`${enter} echo ${word}`])
  })
})

test.each([0, 1, 3, 124, 127, 137, 255])('the exit code is the child’s: %i', async (code) => {
  const ran = await runMain(['exec', 'netns:blue', 'a'], { answers: { attend: { code } } })
  expect(ran.code).toBe(code)
})

test('the pin lasts as long as the child', async () => {
  const { system } = await runMain(['exec', 'netns:blue', 'a'])
  expect(system.calls.map((it) => it.split(' ')[0])).toEqual(['pin', 'attend', 'release'])
})

describe('refused, and nothing is run', () => {
  test.each<[string, number, string]>([
    ['exec', 2, 'exec: missing argument <guest>'],
    ['exec netns:blue', 2, 'exec: missing argument <command>'],
    ['route netns:blue', 2, 'route: missing argument <words>'],
    ['exec -x netns:blue a', 2, "unknown option '-x'"],
    ['exec -i eth2 netns:blue a', 2, "unknown option '-i'"],
    ['exec -a 6 netns:blue a', 2, "unknown option '-a'"],
    ['route -a 5 netns:blue show', 2, "-a '5' is not an address family"],
    ['exec --wait-guest x netns:blue a', 2, 'not a number of seconds'],
    ['exec ../etc a', 2, 'not a guest name'],
    ['exec netns:red a', 1, "network namespace 'red'"],
  ])('%s', async (line, expected, message) => {
    const { code, attended, err } = await runMain(line.split(' '))
    expect({ code, attended }).toEqual({ code: expected, attended: [] })
    expect(err).toContain(message)
  })

  test('without root, in one line', async () => {
    const { code, attended, err } = await runMain(['exec', 'netns:blue', 'a'], { isRoot: false })
    expect({ code, attended }).toEqual({ code: 1, attended: [] })
    expect(err.trim().split('\n')).toHaveLength(1)
  })

  test('--json of pipework’s own, as JSON; that of the child is its own', async () => {
    const ours = await runMain(['--json', 'exec', 'netns:blue', 'a'])
    expect({ code: ours.code, ok: JSON.parse(ours.out).ok, attended: ours.attended }).toEqual({
      code: 2,
      ok: false,
      attended: [],
    })
    const theirs = await runMain(['exec', 'netns:red', 'a', '--json'])
    expect(theirs.out).toBe('')
    expect(theirs.err).toContain("'red'")
  })
})

test('a dry run prints the script, without root too', async () => {
  for (const isRoot of [true, false]) {
    const { code, attended, out } = await runMain(['-n', 'exec', 'netns:blue', 'echo', 'a b', '-n'], { isRoot })
    expect({ code, attended }).toEqual({ code: 0, attended: [] })
    expect(out).toContain(`ip netns exec "$netns" nsenter -- echo 'a b' -n\n`)
  }
  const { out } = await runMain(['--json', '--dry-run', 'route', '-a', '6', 'netns:blue', 'show'])
  expect(JSON.parse(out).script).toContain('# pipework route -a 6 netns:blue show\n')
})

test('--wait is an option, in any place; after -- a word is an interface', async () => {
  const inContainer = {
    files: { '/proc/net/dev': 'eth9: 0', '/sys/class/net/eth9/carrier': '1' },
    inodes: { '/sys/class/net/eth9': 1 },
  }
  expect((await runMain(['--wait', '-i', 'eth9'], inContainer)).code).toBe(0)
  expect((await runMain(['-i', 'eth9', '--wait'], inContainer)).code).toBe(0)
  expect((await runMain(['-i', 'eth9', '--timeout=1', '--wait', 'web'], inContainer)).err).toContain(
    "unexpected argument 'web'",
  )
  expect((await runMain(['--', 'exec', 'netns:blue'])).err).toContain('missing address')
  expect((await runMain(['exec', 'netns:blue', 'a', '--wait'])).attended).toHaveLength(1)
})
