import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { followHttp, getOverUnixSocket } from './http'

let directory = ''
let server: Server | undefined
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pipework-http-'))
})
afterEach(() => {
  server?.closeAllConnections()
  server?.close()
  rmSync(directory, { recursive: true })
})

async function serve(listener: RequestListener): Promise<string> {
  const path = join(directory, 'socket')
  const listening = createServer(listener)
  server = listening
  await new Promise<void>((resolve) => listening.listen(path, resolve))
  return path
}

test('an answer has a status and a body', async () => {
  const socket = await serve((request, response) => response.writeHead(404).end(`no ${request.url}`))
  expect(await getOverUnixSocket(socket, '/x', 5)).toEqual({ status: 404, body: 'no /x' })
})

test('an answer of many megabytes is refused', async () => {
  const socket = await serve((_, response) => {
    const chunk = Buffer.alloc(1 << 20, 'x')
    const send = () => response.write(chunk, (error) => error || send())
    send()
  })
  await expect(getOverUnixSocket(socket, '/x', 20)).rejects.toMatchObject({ code: 'EMSGSIZE' })
})

test('no answer is an error after the limit, and so is one without an end', async () => {
  const socket = await serve((request, response) => void (request.url === '/slow' && response.write('x')))
  await expect(getOverUnixSocket(socket, '/silent', 0.1)).rejects.toMatchObject({ code: 'ETIMEDOUT' })
  await expect(getOverUnixSocket(socket, '/slow', 0.1)).rejects.toMatchObject({ code: 'ETIMEDOUT' })
})

test('a socket that is not there has a code', async () => {
  await expect(getOverUnixSocket(join(directory, 'none'), '/x', 5)).rejects.toMatchObject({ code: 'ENOENT' })
})

test('lines are followed until the server closes', async () => {
  const socket = await serve((_, response) => {
    response.write('{"a":')
    response.write('1}\n\n{"b":2}\n')
    setTimeout(() => response.end(), 50)
  })
  const lines: string[] = []
  const follower = { onOpen: () => void lines.push('open'), onLine: (line: string) => void lines.push(line) }
  const why = await followHttp({ socket, path: '/events' }, follower, new AbortController().signal)
  expect(lines).toEqual(['open', '{"a":1}', '{"b":2}'])
  expect(why).toBe('it closed the connection')
})
