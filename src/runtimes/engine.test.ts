import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { PipeworkError } from '../model/errors'
import { parseGuestName } from '../model/guest-name'
import { createFakeSystem, systemError } from '../system/fake'
import { findGuest } from './find'

const read = (folder: string) => (file: string) => readFileSync(`src/fixtures/${folder}/${file}`, 'utf8')
const podman = read('podman-4.3')
const nerdctl = read('nerdctl-2.3')
const docker = read('docker-20.10')

type Options = NonNullable<Parameters<typeof createFakeSystem>[0]>

const ask = (typed: string, options: Options) => findGuest(parseGuestName(typed), createFakeSystem(options))
const refused = async (typed: string, options: Options) => {
  const error: unknown = await ask(typed, options).catch((thrown: unknown) => thrown)
  if (!(error instanceof PipeworkError)) throw error
  return error
}

const PODMAN_ID = '275b4b94432c7076a597d9bbf6ee940fa9f0b10883fa212456e5a55dbdafcfa9'
const web = { kind: 'podman', name: 'web', id: PODMAN_ID, pid: 5087, nsPath: '/proc/5087/ns/net' }

describe('Podman', () => {
  const socket = { inodes: { '/run/podman/podman.sock': 7 } }
  const shared = { 'container side': { stdout: podman('shared.json') }, inspect: { stdout: podman('running.json') } }

  test('by its command', async () => {
    const system = createFakeSystem({ answers: { inspect: { stdout: podman('running.json') } } })
    expect(await findGuest(parseGuestName('podman:web'), system)).toEqual(web)
    expect(system.calls).toEqual(['podman inspect --type container web'])
  })

  test('by its socket, where it serves one', async () => {
    const system = createFakeSystem({ ...socket, answers: { GET: { status: 200, body: podman('api-running.json') } } })
    expect(await findGuest(parseGuestName('podman:web'), system)).toEqual(web)
    expect(system.calls).toEqual(['GET /run/podman/podman.sock /containers/web/json'])
  })

  test.each(['EACCES', 'ECONNREFUSED', 'ENOENT'])('by its command when the socket says %s', async (code) => {
    const answers = { GET: systemError(code), inspect: { stdout: podman('running.json') } }
    expect(await ask('podman:web', { ...socket, answers })).toEqual(web)
  })

  test('where CONTAINER_HOST says', async () => {
    const answers = { 'GET /x.sock': { status: 200, body: podman('api-running.json') } }
    const env = { CONTAINER_HOST: 'unix:///x.sock' }
    const files = { '/proc/5087/cgroup': podman('cgroup.txt') }
    expect(await ask('podman:web', { inodes: { '/x.sock': 7 }, env, files, answers })).toEqual(web)
  })

  test("another's network: whose it is", async () =>
    expect(await ask('podman:side', { answers: shared })).toMatchObject({ name: 'side', sharedWith: 'web' }))

  test("another's network, and the other is gone: the beginning of its id", async () => {
    const answers = { 'container side': { stdout: podman('shared.json') }, inspect: { code: 125 } }
    expect(await ask('podman:side', { answers })).toMatchObject({ sharedWith: PODMAN_ID.slice(0, 12) })
  })

  test.each<[string, Options['answers'] & object, string, string]>([
    ['idle', { inspect: { stdout: podman('created.json') } }, 'is not running (created)', 'podman start idle'],
    ['gone', { inspect: { stdout: podman('exited.json') } }, 'is not running (exited)', 'podman start gone'],
    ['asleep', { inspect: { stdout: podman('paused.json') } }, 'is paused', 'podman unpause asleep'],
    ['hosty', { inspect: { stdout: podman('host.json') } }, 'shares the network of the host', '--network'],
    [
      'wob',
      { inspect: { code: 125, stdout: '[]\n', stderr: podman('unknown.txt') }, ps: { stdout: podman('list.txt') } },
      "there is no container 'wob' in Podman",
      'Did you mean web?',
    ],
    [
      '2',
      { inspect: { code: 125, stdout: '[]\n', stderr: podman('ambiguous.txt') }, ps: { stdout: podman('list.txt') } },
      "'2' is ambiguous: it may mean podman:web (275b4b94432c) or podman:gone (21532467096a)",
      'more digits',
    ],
    ['web', { inspect: { code: 125, stderr: 'Error: no space left' } }, 'podman inspect failed: Error: no space', ''],
    ['web', { inspect: { code: 1 } }, 'podman inspect failed: exit code 1', ''],
  ])('refuses %s', async (name, answers, message, hint) => {
    const error = await refused(`podman:${name}`, { answers })
    expect(error.message).toContain(message)
    expect(error.hint ?? '').toContain(hint)
  })

  test.each([
    ['2', 'api-ambiguous.json', "'2' is ambiguous: it may mean podman:"],
    ['wob', 'api-unknown.json', "there is no container 'wob' in Podman"],
  ])('refuses %s by its socket', async (name, file, message) => {
    const list = { status: 200, body: podman('api-list.json') }
    const answers = { '/json?all=1': list, '/containers/': { status: 404, body: podman(file) } }
    expect((await refused(`podman:${name}`, { ...socket, answers })).message).toContain(message)
  })
})

describe('nerdctl, after the structures that it prints', () => {
  const [one] = JSON.parse(nerdctl('running.json')) as [{ Id: string; Name: string }]

  test('a container that would be restarted is one that runs', async () =>
    expect(await ask('nerdctl:cd', { answers: { inspect: { stdout: nerdctl('running.json') } } })).toEqual({
      kind: 'nerdctl',
      name: 'cd',
      id: one.Id,
      pid: 10000,
      nsPath: '/proc/10000/ns/net',
    }))

  test('what has exited does not run, though it keeps its PID', async () => {
    const error = await refused('nerdctl:cd', { answers: { inspect: { stdout: nerdctl('exited.json') } } })
    expect(error.message).toBe("the container 'cd' is not running (exited)")
  })

  test('the beginning of several ids inspects them all', async () => {
    const all = [one, { ...one, Id: '6c2f', Name: 'ef' }]
    const list = all.map(({ Id, Name }) => `${Id} ${Name}\n`).join('')
    const answers = { inspect: { stdout: JSON.stringify(all) }, ps: { stdout: list } }
    expect((await refused('nerdctl:6c', { answers })).message).toContain(
      'nerdctl:cd (6c1f0a7e1b0d) or nerdctl:ef (6c2f)',
    )
    expect(await ask('nerdctl:cd', { answers })).toMatchObject({ name: 'cd' })
  })

  test('what was never started has no state (its issue 2269), what Kubernetes made no name (483)', async () => {
    const inspect = (it: object) => ({ answers: { inspect: { stdout: JSON.stringify([{ ...one, ...it }]) } } })
    expect((await refused('nerdctl:cd', inspect({ State: null }))).message).toBe(
      "the container 'cd' is not running (created)",
    )
    expect(await ask('nerdctl:6c1f0a7e1b0d', inspect({ Name: '' }))).toMatchObject({ name: '6c1f0a7e1b0d', id: one.Id })
  })

  test('unknown', async () => {
    const answers = { inspect: { code: 1, stderr: nerdctl('unknown.txt') } }
    expect((await refused('nerdctl:nosuch', { answers })).message).toBe("there is no container 'nosuch' in nerdctl")
  })
})

describe('a container whose process is not on this machine', () => {
  const get = { '/containers/': { status: 200, body: docker('running.json') } }
  const info = (OperatingSystem: string, SecurityOptions: string[] = []) => ({
    status: 200,
    body: JSON.stringify({ OperatingSystem, SecurityOptions }),
  })
  const stranger = { '/proc/28096/cgroup': '0::/user.slice\n' }
  const inspect = { stdout: docker('inspect-running.json') }

  test.each<[string, string, Options, string, string]>([
    [
      'Docker Desktop',
      'web',
      { answers: { ...get, '/info': info('Docker Desktop') }, files: stranger },
      "the container 'fx-running' is out of reach: Docker Desktop runs it in a virtual machine",
      'docker context use default',
    ],
    [
      'a Docker far away',
      'web',
      { answers: { inspect }, env: { DOCKER_HOST: 'ssh://u@server' } },
      "is out of reach: DOCKER_HOST is 'ssh://u@server'",
      'on the machine where',
    ],
    [
      'a context far away',
      'web',
      { answers: { inspect }, env: { DOCKER_CONTEXT: 'office' } },
      "is out of reach: the Docker context is 'office'",
      'on the machine where',
    ],
    [
      'Docker Desktop by its context',
      'web',
      {
        answers: { inspect, 'docker info': { stdout: '{"OperatingSystem":"Docker Desktop"}' } },
        env: { DOCKER_CONTEXT: 'desktop-linux' },
      },
      'Docker Desktop runs it',
      'docker context use default',
    ],
    [
      'a rootless Docker with processes of its own',
      'web',
      { answers: { ...get, '/info': info('Debian', ['name=seccomp,profile=default', 'name=rootless']) } },
      'is out of reach: its Docker is rootless',
      'pid:N',
    ],
    [
      'a Podman far away',
      'podman:web',
      {
        answers: { inspect: { stdout: podman('running.json') } },
        env: { CONTAINER_HOST: 'ssh://u@server/run/x.sock' },
      },
      "is out of reach: CONTAINER_HOST is 'ssh://u@server/run/x.sock'",
      'on the machine where',
    ],
  ])('%s', async (_, typed, options, message, hint) => {
    const error = await refused(typed, options)
    expect(error.message).toContain(message)
    expect(error.hint).toContain(hint)
  })

  test.each<[string, Options]>([
    [
      'a rootless Docker among the processes of this machine',
      { files: stranger, answers: { ...get, '/info': info('Debian', ['name=rootless']) } },
    ],
    ['an Engine that does not say', { files: stranger, answers: { ...get, '/info': systemError('ECONNRESET') } }],
  ])('%s is no reason to refuse', async (_, options) =>
    expect(await ask('web', options)).toMatchObject({ kind: 'docker', pid: 28096 }),
  )
})
