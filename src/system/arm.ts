import { spawn } from 'node:child_process'
import { ReadStream } from 'node:tty'
import { PipeworkError } from '../model/errors'
import type { NodeProcess } from './types'

/** Seconds in which it must be ready. */
const READY_TIMEOUT = 30

/** Starts pipework once more, in a session of its own; comes back when that one has said the first word. */
export function spawnPipework(
  { selfCommand: [node, script], env }: NodeProcess,
  words: readonly string[],
): Promise<void> {
  // What stops this process at a step, in a test, is not meant for the one that mends it.
  const { PIPEWORK_FAIL_AFTER, PIPEWORK_KILL_AFTER, ...rest } = env
  const stdio = ['ignore', 'pipe', 'ignore'] as const
  const child = spawn(node, [script, ...words], { detached: true, stdio: [...stdio], env: rest, cwd: '/' })
  return new Promise((resolve, reject) => {
    const fail = (reason: string) => {
      clearTimeout(timer)
      child.removeAllListeners().kill('SIGKILL')
      reject(new PipeworkError(`'pipework ${words.join(' ')}' could not be started: ${reason}`))
    }
    const timer = setTimeout(() => fail(`not ready within ${READY_TIMEOUT} s`), READY_TIMEOUT * 1000)
    child.on('error', ({ message }) => fail(message))
    child.on('exit', (code) => fail(`it ended with ${code}`))
    child.stdout.once('data', () => {
      clearTimeout(timer)
      child.removeAllListeners()
      child.stdout.destroy()
      child.unref()
      resolve()
    })
  })
}

/** Tells of what is typed. Not through a file's stream: a read of the terminal under way would hold the process. */
export function watchInputLines(tell: () => void): () => void {
  const input = new ReadStream(0)
  input.on('data', tell).on('error', () => {})
  return () => input.destroy()
}
