import { describe, expect, test } from 'vitest'
import { createFakeHost } from '../../system/fake'
import type { Source } from '../../system/types'
import { type ContainerEvent, followEngine, parseEvent } from './engine-events'

const ID = 'caab5d29fe85bcd75d70ebb1a616a8b57f3e56eac86e979b602bf1110567872d'
const start = { engine: 'docker', what: 'start', id: ID, name: 'web' }

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
    expect(parseEvent(line, 'docker')).toEqual({ ...start, what })
  })

  test.each([docker('exec_create: sh'), podman('init'), docker('start').replace('"container"', '"network"'), '{', ''])(
    'is nothing: %s',
    (line) => expect(parseEvent(line, 'docker')).toBeUndefined(),
  )
})

describe('followEngine', () => {
  test('asks from a moment before the connection on, and again with longer pauses, telling of an end once', async () => {
    const socket = '/var/run/docker.sock'
    const fake = createFakeHost({ inodes: { [socket]: 1 } })
    const stop = new AbortController()
    const [asked, told]: [Source[], (ContainerEvent | string)[]] = [[], []]
    const host = {
      ...fake,
      now: () => 1000,
      follow: async (source: Source, { onOpen, onLine }: { onOpen(): void; onLine(line: string): void }) => {
        asked.push(source)
        if (asked.length === 4) stop.abort()
        if (asked.length !== 2) return 'ECONNREFUSED'
        onOpen()
        onLine(docker('start'))
        return 'it closed the connection'
      },
    }
    const listener = {
      onUp: () => told.push('up'),
      onEvent: (event: ContainerEvent) => told.push(event),
      onDown: (_: string, why: string) => told.push(why),
    }
    await followEngine('docker', listener, { host, signal: stop.signal })
    expect(told).toEqual(['ECONNREFUSED', 'up', start, 'it closed the connection'])
    expect(fake.ran.filter((it) => it.startsWith('sleep'))).toEqual([
      'sleep 0.25',
      'sleep 0.25',
      'sleep 0.5',
      'sleep 1',
    ])
    expect(asked[0]).toMatchObject({ socket, path: expect.stringMatching(/^\/events\?since=1\.000&filters=/) })
  })
})
