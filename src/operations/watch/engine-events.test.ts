import { describe, expect, test } from 'vitest'
import { createFakeSystem } from '../../system/fake'
import type { LineSource } from '../../system/types'
import { type ContainerEvent, followEngineEvents, parseContainerEvent } from './engine-events'

const ID = 'caab5d29fe85bcd75d70ebb1a616a8b57f3e56eac86e979b602bf1110567872d'
const start = { engine: 'docker', action: 'start', id: ID, name: 'web' }

// As recorded: Docker 20.10, Podman 4.3's service, `podman events`.
const docker = (action: string) =>
  `{"status":"${action}","id":"${ID}","from":"busybox","Type":"container","Action":"${action}","Actor":{"ID":"${ID}","Attributes":{"image":"busybox","name":"web","oldName":"/old"}},"scope":"local","time":1795267859,"timeNano":1795267859171626873}`
const podman = (status: string) =>
  `{"ContainerExitCode":137,"ID":"${ID}","Image":"localhost/busybox:latest","Name":"web","Status":"${status}","Time":"2026-11-21T13:31:04.914723499Z","Type":"container","Attributes":{}}`

describe('parseEvent', () => {
  test.each([
    [docker('start'), 'start'],
    [docker('unpause'), 'start'],
    [docker('rename'), 'rename'],
    [docker('die'), 'end'],
    [docker('destroy'), 'end'],
    [podman('start'), 'start'],
    [podman('died'), 'end'],
    [podman('remove'), 'end'],
  ])('%s', (line, what) => {
    expect(parseContainerEvent(line, 'docker')).toEqual({ ...start, action: what })
  })

  test.each([docker('exec_create: sh'), podman('init'), docker('start').replace('"container"', '"network"'), '{', ''])(
    'is nothing: %s',
    (line) => expect(parseContainerEvent(line, 'docker')).toBeUndefined(),
  )
})

describe('followEngine', () => {
  test('asks from a moment before the connection on, and again with longer pauses, telling of an end once', async () => {
    const socket = '/var/run/docker.sock'
    const fake = createFakeSystem({ inodes: { [socket]: 1 } })
    const stop = new AbortController()
    const [asked, told]: [LineSource[], (ContainerEvent | string)[]] = [[], []]
    const system = {
      ...fake,
      now: () => 1000,
      followLines: async (source: LineSource, { onOpen, onLine }: { onOpen(): void; onLine(line: string): void }) => {
        asked.push(source)
        if (asked.length === 4) stop.abort()
        if (asked.length !== 2) return 'ECONNREFUSED'
        onOpen()
        onLine(docker('start'))
        return 'it closed the connection'
      },
    }
    const listener = {
      onConnect: () => told.push('up'),
      onEvent: (event: ContainerEvent) => told.push(event),
      onDisconnect: (_: string, why: string) => told.push(why),
    }
    await followEngineEvents('docker', listener, { system, signal: stop.signal })
    expect(told).toEqual(['ECONNREFUSED', 'up', start, 'it closed the connection'])
    expect(fake.calls.filter((it) => it.startsWith('sleep'))).toEqual([
      'sleep 0.25',
      'sleep 0.25',
      'sleep 0.5',
      'sleep 1',
    ])
    expect(asked[0]).toMatchObject({ socket, path: expect.stringMatching(/^\/events\?since=1\.000&filters=/) })
  })
})
