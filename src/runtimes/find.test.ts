import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { ExitCode, PipeworkError } from '../model/errors'
import { parseGuestName } from '../model/guest-name'
import { captureError, createFakeSystem, systemError } from '../system/fake'
import { findGuest, type Guest, GuestNotFoundError, holdGuestNetns, waitForGuest } from './find'

const recorded = (file: string) => readFileSync(`src/fixtures/docker-20.10/${file}`, 'utf8')

type Options = NonNullable<Parameters<typeof createFakeSystem>[0]>

const SOCKET = '/var/run/docker.sock'
const ID = '82327124bf10f5015e4c3fefc25d776a84782b4eb44b419144f9d67f61a7dc7d'
const running: Guest = {
  kind: 'docker',
  name: 'fx-running',
  id: ID,
  pid: 28096,
  nsPath: '/proc/28096/ns/net',
  sandbox: '/tmp/leadhost/exec/netns/e6fe558bc6a7',
}
const files = { '/proc/28096/cgroup': recorded('cgroup.txt') }

const ok = (file: string) => ({ status: 200, body: recorded(file) })
const unknown = { status: 404, body: recorded('unknown.json') }
/** A Docker that gives one answer for every name, and lists what it has. */
const docker = (
  answer: Options['answers'] extends infer A | undefined ? NonNullable<A>[keyof A] : never,
  list = 'list.json',
) => ({
  '/json?all=1': ok(list),
  '/containers/': answer,
})

const find = (typed: string, options: Options) =>
  findGuest(parseGuestName(typed), createFakeSystem({ files, ...options }))
const refused = async (typed: string, options: Options) => {
  const error: unknown = await find(typed, options).catch((thrown: unknown) => thrown)
  if (!(error instanceof PipeworkError)) throw error
  return error
}

describe('a running container of Docker', () => {
  test.each([
    ['by name', 'fx-running'],
    ['by its kind', 'docker:fx-running'],
    ['by id', ID],
    ['by the twelve digits that docker ps shows', ID.slice(0, 12)],
  ])('%s is found by one question', async (_, typed) => {
    const system = createFakeSystem({ files, answers: docker(ok('running.json')) })
    expect(await findGuest(parseGuestName(typed), system)).toEqual(running)
    expect(system.calls).toEqual([`GET ${SOCKET} /containers/${typed.replace('docker:', '')}/json`])
  })

  test('by a prefix of its id', async () =>
    expect(await find('8232', { answers: docker(ok('running.json')) })).toEqual(running))

  test('that the docker command finds', async () => {
    const system = createFakeSystem({
      files: {
        '/proc/2524/cgroup': recorded('cgroup.txt').replaceAll(
          ID,
          '00ffe8476f91dbdf6648ad62873b82508084a33b4b15f70862ed94ad967e089a',
        ),
      },
      env: { DOCKER_CONTEXT: 'office' },
      answers: { 'docker inspect': { stdout: recorded('inspect-running.json') } },
    })
    expect(await findGuest({ name: 'fx-running' }, system)).toMatchObject({
      kind: 'docker',
      name: 'fx-running',
      pid: 2524,
    })
    expect(system.calls).toEqual(['docker inspect --type container fx-running'])
  })
})

describe('where Docker is asked', () => {
  const config = (context: string) => ({
    '/home/u/.docker/config.json': JSON.stringify({ auths: {}, currentContext: context }),
  })
  const viaSocket = (socket: string) => `GET ${socket} /containers/web/json`
  const viaCommand = 'docker inspect --type container web'

  test.each<[string, Options, string]>([
    ['nothing set', {}, viaSocket(SOCKET)],
    ['an empty DOCKER_HOST', { env: { DOCKER_HOST: '' } }, viaSocket(SOCKET)],
    [
      'DOCKER_HOST with a socket',
      { env: { DOCKER_HOST: 'unix:///run/user/1000/docker.sock' } },
      viaSocket('/run/user/1000/docker.sock'),
    ],
    ['DOCKER_HOST with TCP', { env: { DOCKER_HOST: 'tcp://10.0.0.1:2376' } }, viaCommand],
    ['DOCKER_HOST over SSH', { env: { DOCKER_HOST: 'ssh://u@server' } }, viaCommand],
    [
      'DOCKER_HOST before a context',
      { env: { DOCKER_HOST: 'unix:///x.sock', DOCKER_CONTEXT: 'office' } },
      viaSocket('/x.sock'),
    ],
    ['DOCKER_CONTEXT', { env: { DOCKER_CONTEXT: 'office' } }, viaCommand],
    [
      'DOCKER_CONTEXT=default before the configured',
      { env: { DOCKER_CONTEXT: 'default', HOME: '/home/u' }, files: config('office') },
      viaSocket(SOCKET),
    ],
    ['a configured context', { env: { HOME: '/home/u' }, files: config('office') }, viaCommand],
    ['the configured default', { env: { HOME: '/home/u' }, files: config('default') }, viaSocket(SOCKET)],
    [
      'a configuration without context',
      { env: { HOME: '/home/u' }, files: { '/home/u/.docker/config.json': '{}' } },
      viaSocket(SOCKET),
    ],
    [
      'a configuration elsewhere',
      {
        env: { HOME: '/home/u', DOCKER_CONFIG: '/etc/d' },
        files: { '/etc/d/config.json': '{"currentContext": "office"}' },
      },
      viaCommand,
    ],
  ])('%s', async (_, options, expected) => {
    const system = createFakeSystem(options)
    await findGuest({ name: 'web' }, system).catch(() => undefined)
    expect(system.calls[0]).toBe(expected)
  })
})

describe('a guest that cannot be used is refused', () => {
  test.each<[string, string, Options, string, string]>([
    // what, name, options, message, hint
    [
      'exited',
      'fx-exited',
      { answers: docker(ok('exited.json')) },
      "the container 'fx-exited' is not running (exited)",
      'docker start fx-exited',
    ],
    [
      'created',
      'fx-created',
      { answers: docker(ok('created.json')) },
      "the container 'fx-created' is not running (created)",
      '--wait-guest',
    ],
    [
      'paused',
      'fx-paused',
      { answers: docker(ok('paused.json')) },
      "the container 'fx-paused' is paused",
      'docker unpause fx-paused',
    ],
    [
      'restarting',
      'fx-restarting',
      { answers: docker(ok('restarting.json')) },
      "the container 'fx-restarting' is restarting",
      'docker logs fx-restarting',
    ],
    [
      "the host's network",
      'fx-host',
      { answers: docker(ok('host.json')) },
      "'fx-host' shares the network of the host",
      '--network',
    ],
    [
      'unknown, with a name that is near',
      'fx-runing',
      { answers: docker(unknown) },
      "there is no container 'fx-runing'",
      'Did you mean fx-running?',
    ],
    [
      'unknown, with nothing near',
      'nobody',
      { answers: docker(unknown) },
      "there is no container 'nobody'",
      'docker ps',
    ],
    [
      'the prefix of several ids',
      '6',
      { answers: docker({ status: 500, body: recorded('ambiguous.json') }, 'list-ambiguous.json') },
      "'6' is ambiguous",
      'more digits of the id',
    ],
    [
      'an answer that is no answer',
      'web',
      {
        answers: {
          '/json?all=1': { status: 500, body: '' },
          '/containers/': { status: 500, body: '{"message":"disk \\"full\\""}' },
        },
      },
      "Docker cannot tell which container 'web' is: disk ",
      '',
    ],
    [
      'no socket',
      'web',
      { answers: docker(systemError('ENOENT')) },
      `Docker is not running: nobody listens on '${SOCKET}'`,
      'systemctl start docker',
    ],
    [
      'a socket of nobody',
      'web',
      { answers: docker(systemError('ECONNREFUSED')) },
      'Docker is not running',
      'DOCKER_HOST',
    ],
    [
      'a forbidden socket',
      'web',
      { answers: docker(systemError('EACCES')) },
      `no permission on Docker's socket '${SOCKET}'`,
      'group docker',
    ],
    [
      'a Docker that hangs',
      'web',
      { answers: docker(systemError('ETIMEDOUT')) },
      `Docker does not answer on '${SOCKET}' within 10 s`,
      'docker version',
    ],
    [
      'a Docker that breaks off',
      'web',
      { answers: docker(systemError('ECONNRESET')) },
      `Docker does not answer on '${SOCKET}': ECONNRESET`,
      'docker version',
    ],
    [
      'unknown to the docker command',
      'fx-runing',
      {
        env: { DOCKER_HOST: 'tcp://x' },
        answers: {
          inspect: { code: 1, stderr: recorded('inspect-unknown.txt'), stdout: '[]\n' },
          'docker ps': { stdout: recorded('ps.txt') },
        },
      },
      "there is no container 'fx-runing'",
      'Did you mean fx-running?',
    ],
    [
      'a docker command that fails',
      'web',
      {
        env: { DOCKER_HOST: 'tcp://x' },
        answers: { inspect: { code: 1, stderr: 'Cannot connect to the Docker daemon\n' } },
      },
      'docker inspect failed: Cannot connect to the Docker daemon',
      '',
    ],
    [
      'no such namespace',
      'netns:blu',
      { inodes: { '/run/netns/blue': 5, '/run/netns/pipework-1-2-3': 6 } },
      "there is no network namespace 'blu'",
      'Did you mean blue?',
    ],
  ])('%s', async (_, typed, options, message, hint) => {
    const error = await refused(typed, options)
    expect(error.message).toContain(message)
    expect(error.hint ?? '').toContain(hint)
    expect(error.exitCode).toBe(ExitCode.failed)
    expect(error instanceof GuestNotFoundError).toBe(message.startsWith('there is no'))
  })

  test.each(['paused', 'exited', 'host'])('%s: at once, by one question', async (state) => {
    const system = createFakeSystem({ answers: docker(ok(`${state}.json`)) })
    await expect(findGuest({ name: `fx-${state}` }, system)).rejects.toBeInstanceOf(PipeworkError)
    expect(system.calls).toHaveLength(1)
  })

  test('the several that a prefix may mean are named', async () => {
    const answers = docker({ status: 500, body: recorded('ambiguous.json') }, 'list-ambiguous.json')
    expect((await refused('6', { answers })).message).toMatch(/docker:fx-amb12 \(6c6a62f4d263\) or docker:fx-amb8 /)
  })
})

describe('netns:', () => {
  test('is a namespace of ip netns', async () => {
    const system = createFakeSystem({ inodes: { '/run/netns/blue': 5 } })
    expect(await findGuest(parseGuestName('netns:blue'), system)).toEqual({
      kind: 'netns',
      name: 'blue',
      nsPath: '/run/netns/blue',
    })
    expect(system.calls).toEqual([])
  })

  test('a bare name is never one', async () => {
    const error = await refused('blue', { inodes: { '/run/netns/blue': 5 }, answers: docker(unknown) })
    expect(error.hint).toContain('netns:blue')
  })
})

describe('awaitGuest', () => {
  const wait = async (options: Options, limit: number, requested = () => false) => {
    const system = createFakeSystem({ files, ...options })
    const interrupt = {
      get requested() {
        return requested()
      },
    }
    const outcome: unknown = await waitForGuest({ name: 'fx-running' }, system, { timeout: limit, interrupt }).catch(
      (thrown: unknown) => thrown,
    )
    return { outcome, naps: system.calls.filter((it) => it.startsWith('sleep')).length }
  }

  test('gives the guest as soon as it runs', async () => {
    const answers = docker([unknown, ok('created.json'), ok('restarting.json'), ok('running.json')])
    expect(await wait({ answers }, 5)).toEqual({ outcome: running, naps: 3 })
  })

  test.each([
    ['missing', unknown, "timed out after 0.5 s: there is no container 'fx-running'"],
    ['not started', ok('created.json'), "timed out after 0.5 s: the container 'fx-created' is not running (created)"],
    ['behind a Docker that is down', systemError('ECONNREFUSED'), 'timed out after 0.5 s: Docker is not running'],
  ])('times out for one that is %s, with code 124', async (_, answer, message) => {
    const { outcome, naps } = await wait({ answers: docker(answer) }, 0.5)
    expect(outcome).toMatchObject({ exitCode: ExitCode.timeout, message: expect.stringContaining(message) })
    expect(naps).toBe(5)
  })

  test('does not wait when it is not asked to', async () => {
    const { outcome, naps } = await wait({ answers: docker(ok('created.json')) }, 0)
    expect(outcome).toMatchObject({
      exitCode: ExitCode.failed,
      message: "the container 'fx-created' is not running (created)",
    })
    expect(naps).toBe(0)
  })

  test('ends with a signal', async () => {
    const seen = { looks: 0 }
    const { outcome, naps } = await wait({ answers: docker(unknown) }, 100, () => {
      seen.looks += 1
      return seen.looks === 3
    })
    expect(outcome).toMatchObject({ exitCode: ExitCode.failed, message: expect.stringContaining('interrupted') })
    expect(naps).toBe(2)
  })

  test('does not swallow a bug', async () => {
    const bug = new TypeError('oh')
    expect((await wait({ answers: docker(bug) }, 5)).outcome).toBe(bug)
  })
})

describe('pinGuest', () => {
  const { sandbox, ...noSandbox } = running
  const own = { '/proc/self/ns/net': 1, [running.nsPath]: 2 }
  const netns: Guest = { kind: 'netns', name: 'blue', nsPath: '/run/netns/blue' }
  const foreign = recorded('cgroup.txt').replaceAll(ID, ID.replace('8', '9'))

  test.each<[string, Guest, Options]>([
    ['the namespace that Docker has mounted', running, { inodes: { ...own, [`${sandbox}`]: 2 } }],
    ['a process in the cgroup of the container', noSandbox, { inodes: own, files }],
    ['a sandbox that is not seen here, and the cgroup', running, { inodes: own, files }],
    ['a cgroup without ids', noSandbox, { inodes: own, files: { '/proc/28096/cgroup': '0::/\n' } }],
    ['a namespace by name', netns, { inodes: { '/proc/self/ns/net': 1, '/run/netns/blue': 2 } }],
  ])('holds %s', (_, guest, options) => {
    const system = createFakeSystem(options)
    const pin = holdGuestNetns(guest, system)
    expect(pin.inode).toBe(2)
    expect(system.calls).toEqual([`pin ${guest.nsPath}`])
    pin.release()
    expect(system.calls.at(-1)).toBe(`release ${guest.nsPath}`)
  })

  test.each<[string, Guest, Options, string, string]>([
    [
      "the host's own namespace",
      running,
      { inodes: { ...own, '/proc/self/ns/net': 2 } },
      'shares the network of the host',
      'nothing to attach',
    ],
    [
      'the same by name',
      netns,
      { inodes: { '/proc/self/ns/net': 2, '/run/netns/blue': 2 } },
      "'blue' shares the network of the host",
      'nothing to attach',
    ],
    [
      'a process with a reused number, by its namespace',
      running,
      { inodes: { ...own, [`${sandbox}`]: 3 } },
      "process 28096 is no longer in the container 'fx-running'",
      'run the command again',
    ],
    [
      'a process with a reused number, by its cgroup',
      noSandbox,
      { inodes: own, files: { '/proc/28096/cgroup': foreign } },
      'is no longer in the container',
      'run the command again',
    ],
  ])('refuses %s, and lets it go', (_, guest, options, message, hint) => {
    const system = createFakeSystem(options)
    const error = captureError(() => holdGuestNetns(guest, system))
    expect(error.message).toContain(message)
    expect(error.hint).toContain(hint)
    expect(system.calls).toEqual([`pin ${guest.nsPath}`, `release ${guest.nsPath}`])
  })

  test.each([
    ['ENOENT', 'is gone'],
    ['ESRCH', 'is gone'],
    ['EINVAL', 'is gone'],
    ['EROFS', 'cannot be given a name in /run/netns'],
    ['EACCES', 'cannot be given a name in /run/netns'],
  ])('explains %s', (code, message) => {
    const error = captureError(() => holdGuestNetns(running, createFakeSystem({ answers: { pin: systemError(code) } })))
    expect(error.message).toContain(`the network namespace of 'fx-running' ${message}`)
  })
})
