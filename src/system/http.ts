import type { IncomingMessage } from 'node:http'
import { splitLines } from './lines'
import type { HttpResponse, LineFollower } from './types'

/** Longer answers are refused; the limit allows thousands of containers. */
const MAX_ANSWER_BYTES = 8 << 20
/** Seconds to wait for a daemon to start answering. */
const OPEN_LIMIT = 30

function systemError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

/** Sends a GET over a Unix socket and resolves with the head of the answer. Rejects with the system's error. */
async function openResponse(
  { socket, path }: { readonly socket: string; readonly path: string },
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const { get } = await import('node:http')
  return new Promise((resolve, reject) => {
    // No agent: each query has its own connection.
    const request = get({ socketPath: socket, path, agent: false, headers: { Host: 'localhost' }, signal }, resolve)
    request.on('error', reject)
  })
}

export async function getOverUnixSocket(socket: string, path: string, limit: number): Promise<HttpResponse> {
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(), limit * 1000)
  try {
    const response = await openResponse({ socket, path }, controller.signal)
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > MAX_ANSWER_BYTES)
        throw systemError('EMSGSIZE', `the answer is longer than ${MAX_ANSWER_BYTES >> 20} MB`)
      chunks.push(chunk)
    }
    return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }
  } catch (error) {
    throw controller.signal.aborted ? systemError('ETIMEDOUT', 'no answer') : error
  } finally {
    clearTimeout(timer)
    controller.abort()
  }
}

/** Follows the lines of an answer. Returns why it ended; empty when the signal ended it. */
export async function followHttp(
  source: { readonly socket: string; readonly path: string },
  follower: LineFollower,
  signal: AbortSignal,
): Promise<string> {
  const controller = new AbortController()
  const stop = () => controller.abort()
  signal.addEventListener('abort', stop)
  const timer = setTimeout(stop, OPEN_LIMIT * 1000)
  try {
    const response = await openResponse(source, controller.signal)
    clearTimeout(timer)
    if (response.statusCode !== 200) return `HTTP ${response.statusCode} ${response.statusMessage ?? ''}`.trim()
    follower.onOpen()
    for await (const line of splitLines(response.setEncoding('utf8'))) follower.onLine(line)
    return signal.aborted ? '' : 'it closed the connection'
  } catch (error) {
    if (signal.aborted) return ''
    return controller.signal.aborted ? 'ETIMEDOUT' : ((error as NodeJS.ErrnoException).code ?? String(error))
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
    controller.abort()
  }
}
