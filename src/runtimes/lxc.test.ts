import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parseGuestName } from '../model/guest-name'
import { createFakeSystem } from '../system/fake'
import { findGuest, holdGuestNetns } from './find'

const recorded = (file: string) => readFileSync(`src/fixtures/lxc-5.0/${file}`, 'utf8')
const blue = { kind: 'lxc', name: 'blue', pid: 5542, nsPath: '/proc/5542/ns/net' } as const

test('a container that runs', async () => {
  const system = createFakeSystem({ answers: { 'lxc-info': { stdout: recorded('running.txt') } } })
  expect(await findGuest(parseGuestName('lxc:blue'), system)).toEqual(blue)
  expect(system.calls).toEqual(['lxc-info -n blue -s -p'])
})

test.each<[string, Parameters<typeof createFakeSystem>[0] & object, string, string]>([
  [
    'idle',
    { answers: { 'lxc-info': { stdout: recorded('stopped.txt') } } },
    "the LXC container 'idle' is not running (stopped)",
    'lxc-start -n idle',
  ],
  [
    'blue',
    { answers: { 'lxc-info': { stdout: recorded('frozen.txt') } } },
    "the LXC container 'blue' is frozen",
    'lxc-unfreeze -n blue',
  ],
  [
    'blu',
    {
      answers: { 'lxc-info': { code: 1, stderr: recorded('unknown.txt') }, 'lxc-ls': { stdout: recorded('list.txt') } },
    },
    "there is no container 'blu' in LXC",
    'Did you mean blue?',
  ],
  [
    'blu',
    { isRoot: false, answers: { 'lxc-info': { code: 1, stderr: recorded('unknown.txt') } } },
    "there is no container 'blu' in LXC",
    "none of root's",
  ],
  [
    'blue',
    { answers: { 'lxc-info': { code: 1, stderr: 'Failed to create lock for blue\n' } } },
    'lxc-info failed: Failed to create lock for blue',
    '',
  ],
])('refuses %s', async (name, options, message, hint) => {
  const error = await findGuest(parseGuestName(`lxc:${name}`), createFakeSystem(options)).catch(
    (thrown: unknown) => thrown,
  )
  expect(error).toMatchObject({ message })
  expect((error as { hint?: string }).hint ?? '').toContain(hint)
})

test.each([
  ['its own cgroup', recorded('cgroup.txt'), true],
  ['a cgroup beside the one that is in the way', '0::/lxc.payload.blue-1\n', true],
  ['a cgroup that does not say', '0::/pipework/blue\n', true],
  ["another container's", '0::/lxc.payload.green\n', false],
])('a process in %s', (_, cgroup, fits) => {
  const inodes = { '/proc/self/ns/net': 1, [blue.nsPath]: 2 }
  const system = createFakeSystem({ inodes, files: { '/proc/5542/cgroup': cgroup } })
  if (fits) expect(holdGuestNetns(blue, system).inode).toBe(2)
  else expect(() => holdGuestNetns(blue, system)).toThrow("no longer in the container 'blue'")
})
