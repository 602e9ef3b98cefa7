import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import type { LineFollower, LineSource } from './types'

/** A line that never ends would fill the memory: nobody's event is that long. */
const MAX_LINE_LENGTH = 1 << 20
/** Seconds that a daemon may take until it begins to answer. */
const OPEN_TIMEOUT = 30

/** Cuts text into lines as it comes. */
function createLineSplitter(onLine: (line: string) => void) {
  let rest = ''
  return (text: string) => {
    const lines = (rest + text).split('\n')
    rest = (lines.pop() ?? '').slice(0, MAX_LINE_LENGTH)
    for (const line of lines) if (line !== '') onLine(line)
  }
}

/**
 * HTTP/1.0, as for a single answer: the events follow the head as they are, in no chunks. The server's status stands
 * in its first line; one that is not 200 is the end.
 */
function followSocket(
  { socket: path, path: url }: { socket: string; path: string },
  follower: LineFollower,
  signal: AbortSignal,
): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    const end = (why: string) => {
      signal.removeEventListener('abort', stop)
      socket.destroy()
      resolve(why)
    }
    const stop = () => end('')
    const tellLine = createLineSplitter(follower.onLine)
    let head = ''
    let isOpen = false
    const readHead = (text: string) => {
      head += text
      const body = head.indexOf('\r\n\r\n')
      if (body < 0) return
      const [first = '', rest] = [head.slice(0, head.indexOf('\r\n')), head.slice(body + 4)]
      isOpen = true
      if (first.split(' ', 2)[1] !== '200') return end(first)
      socket.setTimeout(0)
      follower.onOpen()
      tellLine(rest)
    }
    signal.addEventListener('abort', stop)
    socket.setEncoding('utf8').on('data', (text: string) => (isOpen ? tellLine(text) : readHead(text)))
    socket.setTimeout(OPEN_TIMEOUT * 1000, () => end('ETIMEDOUT'))
    socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message))
    socket.on('close', () => end('it closed the connection'))
    socket.write(`GET ${url} HTTP/1.0\r\n\r\n`)
  })
}

function followProgram([file = '', ...args]: readonly string[], follower: LineFollower, signal: AbortSignal) {
  return new Promise<string>((resolve) => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    const said: string[] = []
    const stop = () => child.kill()
    const end = (why: string) => {
      signal.removeEventListener('abort', stop)
      resolve(signal.aborted ? '' : why)
    }
    signal.addEventListener('abort', stop)
    child.stdout.setEncoding('utf8').on('data', createLineSplitter(follower.onLine))
    // What it says last tells why it ends.
    child.stderr.setEncoding('utf8').on('data', (text: string) => said.splice(0, said.length, text.trim()))
    child.on('spawn', () => follower.onOpen())
    child.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message))
    child.on('close', (code) => end(said[0] || `exit code ${code}`))
  })
}

/** Follows a source until it ends, or the signal says so. Why it ended, in few words; nothing when it was the signal. */
export function followSource(source: LineSource, follower: LineFollower, signal: AbortSignal): Promise<string> {
  if (signal.aborted) return Promise.resolve('')
  return 'argv' in source ? followProgram(source.argv, follower, signal) : followSocket(source, follower, signal)
}
