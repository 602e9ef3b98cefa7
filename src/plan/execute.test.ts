import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { ExitCode, PipeworkError } from '../model/errors'
import { createFakeSystem } from '../system/fake'
import { type ExecuteOptions, executePlan } from './execute'
import { guestNetns, ip, ipInGuest, type Plan, type QueryCommand, type Step, sysctlInGuest } from './step'

const guest = { nsPath: '/proc/77/ns/net' }
const recorded = (file: string) => readFileSync(`src/fixtures/iproute2-6.1/${file}`, 'utf8')

/** A change in the host and its inverse. */
const host = (name: string): Step => ({ description: `add ${name}`, command: ip`add ${name}`, undo: ip`del ${name}` })
/** The same in the guest. */
const inside = (name: string): Step => ({
  description: `add ${name}`,
  command: ipInGuest`add ${name}`,
  undo: ipInGuest`del ${name}`,
})
const program: Step = {
  description: 'run prog',
  command: { kind: 'run', in: 'guest', argv: ['prog', 'on'] },
  undo: { kind: 'run', in: 'guest', argv: ['prog', 'off'] },
}
const ask = (more: Partial<QueryCommand> = {}): Step => ({
  description: 'ask',
  command: { kind: 'ask', in: 'host', argv: ['ask'], timeout: 1, ...more },
})

type Options = NonNullable<Parameters<typeof createFakeSystem>[0]>

/** Carries the plan out on a fake host: what ran there, and the error, if any. */
async function perform(plan: Plan, options: Options = {}, more: Partial<ExecuteOptions> = {}) {
  const fake = createFakeSystem(options)
  const run: ExecuteOptions = { system: fake, guest, netns: 'pinned', interrupt: { requested: false }, ...more }
  const error = await executePlan(plan, run).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error !== undefined && !(error instanceof PipeworkError)) throw error
  return { ran: fake.calls, error, atOnce: fake.maxConcurrent() }
}

const failsAt = (line: number) => ({ code: 1, stderr: `RTNETLINK answers: No\nCommand failed -:${line}\n` })
describe('batching', () => {
  const batches: readonly [string, Plan, readonly string[]][] = [
    ['nothing', [], []],
    ['neighbours in one place', [host('a'), host('b'), host('c')], ['ip | add a | add b | add c']],
    [
      'each place in its turn',
      [host('a'), inside('b'), inside('c'), host('d')],
      ['ip | add a', 'ip -n pinned | add b | add c', 'ip | add d'],
    ],
    [
      'the name of the namespace',
      [
        { description: '', command: ip`add netns ${guestNetns}` },
        { description: '', command: sysctlInGuest({ 'net/x': '1' }) },
      ],
      ['ip | add netns pinned | netns exec pinned sysctl -qw net/x=1'],
    ],
    [
      'a program between',
      [host('a'), program, host('b')],
      ['ip | add a', 'nsenter --net=/run/netns/pinned prog on', 'ip | add b'],
    ],
    [
      'a conditional command, alone',
      [host('a'), { description: '', command: { ...ip`del br`, onlyIfEmpty: '/empty' } }, host('b')],
      ['ip | add a', 'ip | del br', 'ip | add b'],
    ],
    [
      'a conditional command whose directory is not empty',
      [host('a'), { description: '', command: { ...ip`del br`, onlyIfEmpty: '/full' } }, host('b')],
      ['ip | add a', 'ip | add b'],
    ],
  ]

  test.each(batches)('%s', async (_, plan, expected) => {
    const { ran, error } = await perform(plan, { files: { '/full/port': '' } })
    expect(error).toBeUndefined()
    expect(ran).toEqual(expected)
  })

  test('questions are asked side by side, programs one after the other', async () => {
    const questions = await perform([ask(), ask({ in: 'guest' }), ask()])
    expect(questions.ran).toEqual(['ask', 'nsenter --net=/run/netns/pinned ask', 'ask'])
    expect(questions.atOnce).toBe(3)
    expect((await perform([program, program])).atOnce).toBe(1)
  })

  test('each step is told of before it runs', async () => {
    const told: string[] = []
    await perform(
      [host('a'), inside('b'), host('c')],
      { answers: { 'add b': failsAt(1) } },
      { onStep: ({ description }) => told.push(description) },
    )
    expect(told).toEqual(['add a', 'add b'])
  })
})

describe('a step that fails', () => {
  const plan = [host('a'), host('b'), host('c'), inside('d'), inside('e')]
  const IN_GUEST = 'ip -n pinned | add d | add e'
  const ALL = ['ip -n pinned | del e', 'ip -n pinned | del d', 'ip | del c', 'ip | del b', 'ip | del a']

  test.each<[string, Options['answers'], readonly string[]]>([
    // what fails, answers, what ran after it
    ['line 1', { 'add a': failsAt(1) }, []],
    ['line 2', { 'add a': failsAt(2) }, ['ip | del a']],
    ['line 3', { 'add a': failsAt(3) }, ['ip | del b', 'ip | del a']],
    // How far it came is unknown: all of the batch is undone, and what was not done cannot be.
    ['an unknown line', { 'add a': { code: 1, stderr: 'Error: what?' } }, ALL.slice(2)],
    [
      'an unknown line that was the first',
      { 'add a': { code: 1, stderr: recorded('batch-unreadable.txt') }, 'del c': { code: 1 }, 'del b': { code: 1 } },
      ALL.slice(2),
    ],
    ['ip, which did not end', { 'add a': new PipeworkError('ip did not end') }, ALL.slice(2)],
    ['line 1 in the guest', { 'add d': failsAt(1) }, [IN_GUEST, ...ALL.slice(2)]],
    ['line 2 in the guest', { 'add d': failsAt(2) }, [IN_GUEST, ...ALL.slice(1)]],
    [
      'an unknown line in the guest',
      { 'add d': { code: 1, stderr: 'Error' }, 'del d': { code: 1 }, 'del e': { code: 1 } },
      [IN_GUEST, ...ALL],
    ],
  ])('%s: what was done is undone, last first', async (_, answers, expected) => {
    const { ran, error } = await perform(plan, { answers })
    expect(ran).toEqual(['ip | add a | add b | add c', ...expected])
    expect(error?.exitCode).toBe(ExitCode.failed)
    expect(error?.leftovers).toEqual([])
  })

  test('says which step, what ip said, and the command', async () => {
    const { error } = await perform([inside('a'), inside('b')], {
      answers: { 'add a': { code: 1, stderr: recorded('batch-failed.txt') } },
    })
    expect(error?.message).toBe('could not add b: Cannot find device "nope"')
    expect(error?.hint).toBe('The command was: ip -n "$netns" add b')
  })

  test('explains itself where the plan knows better', async () => {
    const explain = ({ code }: { code: number }) => ({ message: `taken (${code})`, hint: 'take another' })
    const { error } = await perform([host('a'), { ...ask(), explainFailure: explain }], {
      answers: { ask: { code: 1 } },
    })
    expect([error?.message, error?.hint]).toEqual(['taken (1)', 'take another'])
  })

  test('a program that fails may have done its work by half: it is undone, and may fail at that', async () => {
    const { ran, error } = await perform([host('a'), program], { answers: { prog: { code: 1, stderr: 'no' } } })
    expect(ran.slice(2)).toEqual(['nsenter --net=/run/netns/pinned prog off', 'ip | del a'])
    expect(error?.message).toBe('could not run prog: no')
    expect(error?.exitCode).toBe(ExitCode.failed)
  })

  test('a question that is refused changes nothing and needs no undoing', async () => {
    const { ran, error } = await perform([host('a'), ask(), ask({ argv: ['other'] })], {
      answers: { ask: { code: 1 } },
    })
    expect(ran).toEqual(['ip | add a', 'ask', 'other', 'ip | del a'])
    expect(error?.leftovers).toEqual([])
  })

  test('an error that is a bug goes on as it is, after the roll back', async () => {
    const bug = new TypeError('oh')
    const fake = createFakeSystem({ answers: { ask: bug } })
    const run = { system: fake, guest, netns: 'pinned', interrupt: { requested: false } }
    await expect(executePlan([host('a'), ask()], run)).rejects.toBe(bug)
    expect(fake.calls).toEqual(['ip | add a', 'ask', 'ip | del a'])
  })

  test('a step with several inverses takes them back in their order', async () => {
    const step = { ...host('x'), undo: [ip`first`, ipInGuest`second`] }
    const { ran } = await perform([step, host('y')], { answers: { 'add x': failsAt(2) } })
    expect(ran.slice(1)).toEqual(['ip | first', 'ip -n pinned | second'])
  })
})

describe('what cannot be undone', () => {
  const plan: Plan = [
    host('a'),
    inside('b'),
    { description: 'set x', command: ip`set x`, undo: sysctlInGuest({ 'net/x': '0' }) },
    { description: 'make c', command: ip`add c`, undo: ip`add c netns ${guestNetns}` },
    program,
    host('d'),
  ]
  const answers = {
    'add d': failsAt(1),
    'del a': { code: 1 },
    'del b': new Error('gone'),
    sysctl: { code: 1 },
    'prog off': { code: 1 },
    'add c netns': { code: 1 },
  }

  test('is named, each with a command that works when the pinned name is gone; the rest is undone all the same', async () => {
    const { ran, error } = await perform(plan, { answers })
    expect(ran.slice(-5)).toEqual([
      'nsenter --net=/run/netns/pinned prog off',
      'ip | add c netns pinned',
      'ip | netns exec pinned sysctl -qw net/x=0',
      'ip -n pinned | del b',
      'ip | del a',
    ])
    expect(error?.exitCode).toBe(ExitCode.leftover)
    expect(error?.message).toBe('could not add d: RTNETLINK answers: No')
    expect(error?.leftovers).toEqual([
      { what: 'run prog', command: 'nsenter --net=/proc/77/ns/net prog off' },
      { what: 'make c', command: 'ip add c netns /proc/77/ns/net' },
      { what: 'set x', command: 'nsenter --net=/proc/77/ns/net sysctl -qw net/x=0' },
      { what: 'add b', command: 'nsenter --net=/proc/77/ns/net ip del b' },
      { what: 'add a', command: 'ip del a' },
    ])
  })
})

describe('a signal', () => {
  test.each([
    ['before the first step', 0, []],
    ['in the guest', 2, ['ip | add a', 'ip -n pinned | add b', 'ip -n pinned | del b', 'ip | del a']],
  ])('%s: that is finished, then all is taken back', async (_, count, expected) => {
    const seen = { steps: 0 }
    const interrupt = {
      get requested() {
        return seen.steps >= count
      },
    }
    const onStep = () => {
      seen.steps += 1
    }
    const { ran, error } = await perform([host('a'), inside('b'), host('c')], {}, { interrupt, onStep })
    expect(ran).toEqual(expected)
    expect(error?.message).toContain('interrupted')
    expect(error?.exitCode).toBe(ExitCode.failed)
  })

  test('after the last step is too late', async () => {
    const interrupt = { requested: false }
    const onStep = () => {
      interrupt.requested = true
    }
    expect((await perform([host('a')], {}, { interrupt, onStep })).error).toBeUndefined()
  })
})

describe('a look at the end', () => {
  const gone = new PipeworkError('it is gone', { hint: 'again' })
  const verify = () => {
    throw gone
  }

  test('that finds it otherwise takes all back', async () => {
    const { ran, error } = await perform([host('a'), inside('b')], {}, { verify })
    expect(error).toBe(gone)
    expect(ran.slice(2)).toEqual(['ip -n pinned | del b', 'ip | del a'])
  })

  test('keeps its words when something is left', async () => {
    const { error } = await perform([host('a')], { answers: { 'del a': { code: 1 } } }, { verify })
    expect(error).toMatchObject({ message: 'it is gone', hint: 'again', exitCode: ExitCode.leftover, cause: gone })
  })

  test('is not taken after a failure', async () => {
    const { error } = await perform([host('a')], { answers: { 'add a': failsAt(1) } }, { verify })
    expect(error?.message).toContain('could not add a')
  })
})

describe('PIPEWORK_FAIL_AFTER', () => {
  const plan = [host('a'), host('b'), inside('c'), program, host('d')]
  const undone = [
    'ip | del d',
    'nsenter --net=/run/netns/pinned prog off',
    'ip -n pinned | del c',
    'ip | del b',
    'ip | del a',
  ]

  test.each(plan.map((_, n) => n))('=%i stops there and takes back that many', async (n) => {
    const { ran, error } = await perform(plan, {
      env: { PIPEWORK_FAIL_AFTER: `${n}` },
      answers: { false: { code: 1 } },
    })
    expect(ran.slice(ran.indexOf('false') + 1)).toEqual(undone.slice(5 - n))
    expect(error?.message).toBe(`stopped after step ${n} of 5, as PIPEWORK_FAIL_AFTER asks`)
  })

  test.each(['5', '99', 'x', ''])('=%j stops nothing', async (value) => {
    const { ran, error } = await perform(plan.slice(0, value === '' ? 0 : 5), { env: { PIPEWORK_FAIL_AFTER: value } })
    expect(error).toBeUndefined()
    expect(ran).not.toContain('false')
  })

  test('PIPEWORK_KILL_AFTER dies there', async () => {
    const { ran } = await perform(plan, { env: { PIPEWORK_KILL_AFTER: '2' }, answers: { false: { code: 1 } } })
    expect(ran.slice(0, 3)).toEqual(['ip | add a | add b', 'false', 'kill 4711'])
  })
})

describe('a question', () => {
  const dad = ask({ retryWhile: 'tentative', failIf: 'dadfailed', timeout: 0.2 })
  const [tentative, failed] = [recorded('tentative.txt'), recorded('dadfailed.txt')].map((stdout) => ({ stdout }))
  if (tentative === undefined || failed === undefined) throw new Error('no fixtures')
  const again = ['ask', 'sleep 0.05']

  test.each<[string, Step, NonNullable<Options['answers']>[string], readonly string[], boolean]>([
    ['answered at once', dad, { stdout: '' }, ['ask'], true],
    [
      'asked again while the word stands there',
      dad,
      [tentative, tentative, { stdout: '' }],
      [...again, ...again, 'ask'],
      true,
    ],
    ['refused by a word', dad, [tentative, failed], [...again, 'ask'], false],
    ['refused by an exit status', dad, { code: 1 }, ['ask'], false],
    ['refused when the time is over', dad, tentative, [...again, ...again, ...again, ...again, 'ask'], false],
    [
      'asked again when it was stopped before it had asked',
      ask({ retryOnExit: 130, timeout: 0.2 }),
      [{ code: 130 }, { stdout: '' }],
      [...again, 'ask'],
      true,
    ],
    [
      'refused when it is always stopped before it has asked',
      ask({ retryOnExit: 130, timeout: 0.1 }),
      { code: 130 },
      [...again, ...again, 'ask'],
      false,
    ],
    ['without words to look for', ask({ timeout: 0 }), tentative, ['ask'], true],
  ])('%s', async (_, step, answer, expected, isFine) => {
    const { ran, error } = await perform([step], { answers: { ask: answer } })
    expect(ran).toEqual(expected)
    expect(error === undefined).toBe(isFine)
  })

  test('is not asked again after a signal', async () => {
    const interrupt = { requested: false }
    const onStep = () => {
      interrupt.requested = true
    }
    const { ran, error } = await perform(
      [host('a'), dad],
      { answers: { ask: tentative } },
      {
        interrupt: {
          get requested() {
            return interrupt.requested && told.length > 1
          },
        },
        onStep: (step) => {
          told.push(step.description)
          onStep()
        },
      },
    )
    expect(ran).toEqual(['ip | add a', 'ask', 'ip | del a'])
    expect(error).toBeInstanceOf(PipeworkError)
  })
  const told: string[] = []
})
