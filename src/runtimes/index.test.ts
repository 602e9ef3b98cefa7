import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { createFakeSystem, systemError } from '../system/fake'
import { findGuest, GuestNotFoundError } from './find'

const recorded = (file: string) => readFileSync(`src/fixtures/${file}`, 'utf8')

type Options = NonNullable<Parameters<typeof createFakeSystem>[0]>
type Answers = NonNullable<Options['answers']>

const programs = ['docker', 'podman', 'lxc-info', 'nerdctl']
const dockerHas: Answers = { '/containers/': { status: 200, body: recorded('docker-20.10/running.json') } }
const dockerLacks: Answers = {
  '/json?all=1': { status: 200, body: '[]' },
  '/containers/': { status: 404, body: recorded('docker-20.10/unknown.json') },
}
const podmanHas: Answers = { 'podman inspect': { stdout: recorded('podman-4.3/running.json') } }
const podmanLacks: Answers = { 'podman inspect': { code: 125, stderr: recorded('podman-4.3/unknown.txt') } }
const lxcHas: Answers = { 'lxc-info': { stdout: recorded('lxc-5.0/running.txt') } }
const lxcLacks: Answers = { 'lxc-info': { code: 1, stderr: recorded('lxc-5.0/unknown.txt') } }
const nerdctlLacks: Answers = { 'nerdctl inspect': { code: 1, stderr: recorded('nerdctl-2.3/unknown.txt') } }
const cgroup = { '/proc/28096/cgroup': recorded('docker-20.10/cgroup.txt') }

const look = async (name: string, answers: Answers, options: Options = {}) => {
  const system = createFakeSystem({ programs, files: cgroup, answers, ...options })
  const outcome: unknown = await findGuest({ name }, system).catch((thrown: unknown) => thrown)
  return { system, outcome }
}

describe('a bare name', () => {
  test("of Docker's costs nobody else a question", async () => {
    const { system, outcome } = await look('fx-running', { ...dockerHas, ...podmanHas, ...lxcHas })
    expect(outcome).toMatchObject({ kind: 'docker' })
    expect(system.calls).toHaveLength(1)
  })

  test('that Docker lacks is looked for in all others side by side; the first wins', async () => {
    const { system, outcome } = await look('web', { ...dockerLacks, ...podmanHas, ...lxcHas, ...nerdctlLacks })
    expect(outcome).toMatchObject({ kind: 'podman' })
    expect(system.maxConcurrent()).toBe(3)
  })

  test('of LXC', async () => {
    const { outcome } = await look('blue', { ...dockerLacks, ...podmanLacks, ...lxcHas, ...nerdctlLacks })
    expect(outcome).toMatchObject({ kind: 'lxc', name: 'blue' })
  })

  test('is looked for where something is installed', async () => {
    const { system } = await look('web', { ...dockerLacks, ...podmanHas }, { programs: ['podman'] })
    expect(system.calls.filter((it) => !it.startsWith('GET'))).toEqual(['podman inspect --type container web'])
  })

  test('that nobody has', async () => {
    const { outcome } = await look('zz', { ...dockerLacks, ...podmanLacks, ...lxcLacks, ...nerdctlLacks })
    expect(outcome).toBeInstanceOf(GuestNotFoundError)
    expect(outcome).toMatchObject({ message: "there is no container 'zz' in Docker, Podman, LXC or nerdctl" })
    expect((outcome as GuestNotFoundError).hint).toContain('docker ps, podman ps, lxc-ls --fancy and nerdctl ps')
  })

  test('that begins an id of Docker’s and is a name in Podman means the name', async () => {
    const answers = { ...dockerHas, ...podmanHas, ...lxcLacks, ...nerdctlLacks }
    expect((await look('web', answers)).outcome).toMatchObject({ kind: 'podman', name: 'web' })
    expect((await look('8232', { ...answers, ...podmanLacks })).outcome).toMatchObject({ kind: 'docker' })
  })

  test('that begins an id here and an id there is ambiguous', async () => {
    const { outcome } = await look('8', { ...dockerHas, ...podmanHas, ...lxcLacks, ...nerdctlLacks })
    expect(outcome).toMatchObject({
      message: "'8' is ambiguous: it may mean docker:fx-running (82327124bf10) or podman:web (275b4b94432c)",
    })
  })

  test('of a process or a namespace: how to write it', async () => {
    const files = { ...cgroup, '/proc/12/stat': '12 (sh) S' }
    const answers = { ...dockerLacks, ...podmanLacks, ...lxcLacks, ...nerdctlLacks }
    const { outcome } = await look('12', answers, { files, inodes: { '/run/netns/12': 5 } })
    expect(outcome).toMatchObject({ hint: 'Did you mean netns:12 or pid:12?' })
  })
})

describe('when Docker does not answer', () => {
  const down = (code: string): Answers => ({ '/containers/': systemError(code) })
  const others = { ...podmanLacks, ...lxcLacks, ...nerdctlLacks }

  test.each(['ENOENT', 'EACCES', 'ETIMEDOUT'])('(%s) others do', async (code) =>
    expect((await look('web', { ...down(code), ...others, ...podmanHas })).outcome).toMatchObject({ kind: 'podman' }),
  )

  test.each([
    ['EACCES', "no permission on Docker's socket", 'group docker'],
    ['ENOENT', 'Docker is not running', 'systemctl start docker'],
    ['ETIMEDOUT', 'Docker does not answer', 'docker version'],
  ])('(%s) and nobody has the name, that is said', async (code, message, hint) => {
    const { outcome } = await look('web', { ...down(code), ...others })
    expect(outcome).not.toBeInstanceOf(GuestNotFoundError)
    expect((outcome as GuestNotFoundError).message).toMatch(
      /^there is no container 'web' in Podman, LXC or nerdctl, and not all/,
    )
    expect((outcome as GuestNotFoundError).message).toContain(message)
    expect((outcome as GuestNotFoundError).hint).toContain(hint)
  })

  test('because it is not installed, that is no news', async () => {
    const { outcome } = await look('web', { ...down('ENOENT'), ...others }, { programs: ['podman'] })
    expect(outcome).toBeInstanceOf(GuestNotFoundError)
    expect(outcome).toMatchObject({ message: "there is no container 'web' in Podman" })
  })

  test('and nothing else is installed, the reason cannot be combined', async () => {
    const { outcome } = await look('web', down('ENOENT'), { programs: [] })
    expect((outcome as GuestNotFoundError).message).toContain('Docker is not running')
  })
})
