import { describe, expect, test } from 'vitest'
import { toShell } from '../plan/shell'
import { createFakeSystem } from '../system/fake'
import { planNetnsName, planNetnsPrune } from './netns-name'

const PROC = '/proc/42/ns/net'
const web = { name: 'web', nsPath: PROC }
type Options = Parameters<typeof createFakeSystem>[0]

const plan = (options: Options, guest = web) =>
  planNetnsName('/run/netns/web', guest, { system: createFakeSystem(options), inode: 7 })
const lines = (steps: ReturnType<typeof plan>) => steps.map(({ command }) => toShell(command))
const undo = (steps: ReturnType<typeof plan>) => steps.map((step) => [step.undo ?? []].flat().map(toShell).join())

describe('a name', () => {
  test('is a link, and its directory is made', () => {
    const steps = plan({ inodes: { [PROC]: 7 } })
    expect(lines(steps)).toEqual(['mkdir -p /run/netns', `ln -s -T ${PROC} /run/netns/web`])
    expect(undo(steps)).toEqual(['', 'rm -f /run/netns/web'])
  })

  test('that it has already changes nothing, whoever gave it', () => {
    expect(plan({ inodes: { [PROC]: 7, '/run/netns/web': 7 } })).toEqual([])
    expect(plan({ inodes: { '/run/netns/web': 7 } }, { name: 'web', nsPath: '/run/netns/web' })).toEqual([])
  })

  test('that leads nowhere any more is replaced, and comes back when that fails', () => {
    const steps = plan({ inodes: { [PROC]: 7 }, links: { '/run/netns/web': '/proc/41/ns/net' } })
    expect(lines(steps)).toEqual(['rm /run/netns/web', `ln -s -T ${PROC} /run/netns/web`])
    expect(undo(steps)).toEqual(['ln -s -T /proc/41/ns/net /run/netns/web', 'rm -f /run/netns/web'])
  })

  test.each<[string, Options]>([
    ['of another namespace', { inodes: { '/run/netns/web': 8 } }],
    ['that links to another', { inodes: { '/run/netns/web': 8 }, links: { '/run/netns/web': '/proc/41/ns/net' } }],
    ['of which nothing can be told', { files: { '/run/netns/web': '' } }],
  ])('%s is refused', (_, options) => {
    expect(() => plan(options)).toThrow("'/run/netns/web' is the name of another network namespace")
  })

  test('for what has one is refused', () => {
    expect(() => plan({ inodes: { '/run/netns/blue': 7 } }, { name: 'blue', nsPath: '/run/netns/blue' })).toThrow(
      "'blue' has a name already",
    )
  })
})

test('prune takes the links that lead nowhere, and nothing else', () => {
  const system = createFakeSystem({
    links: { '/run/netns/dead': '/proc/41/ns/net', '/run/netns/alive': PROC, '/run/netns/odd one': '/gone' },
    inodes: { '/run/netns/alive': 7, '/run/netns/mount': 8 },
    files: { '/run/netns/file': '' },
  })
  const steps = planNetnsPrune(system)
  expect(lines(steps)).toEqual(['rm /run/netns/dead', "rm '/run/netns/odd one'"])
  expect(undo(steps)).toEqual(['ln -s -T /proc/41/ns/net /run/netns/dead', "ln -s -T /gone '/run/netns/odd one'"])
})
