import { describe, expect, test, vi } from 'vitest'
import { createFakeSystem } from '../../system/fake'
import { type QueuedWork, WorkQueues } from './queue'

/** A host whose time passes as it does here, for whole seconds a hundredth. */
const system = {
  ...createFakeSystem(),
  sleep: (seconds: number, signal?: AbortSignal) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, seconds * 10)
      signal?.addEventListener('abort', () => {
        clearTimeout(timer)
        resolve()
      })
    }),
}

function createWork() {
  const done: string[] = []
  const gates = new Map<string, () => void>()
  /** Work that goes on until its gate is opened. */
  const work =
    (name: string): QueuedWork =>
    async (interrupt) => {
      done.push(`${name} begins`)
      await new Promise<void>((resolve) => gates.set(name, resolve))
      done.push(`${name} ends${interrupt.isLate ? ', too late' : interrupt.requested ? ', interrupted' : ''}`)
    }
  const open = async (name: string) => {
    await vi.waitFor(() => expect(gates.has(name)).toBe(true), { interval: 5, timeout: 5000 })
    gates.get(name)?.()
  }
  return { done, work, open }
}

const make = (atOnce = 8, share = 1000, limit = 1000) => {
  const [onSlow, onError] = [vi.fn(), vi.fn()]
  return {
    queues: new WorkQueues({
      system,
      concurrency: atOnce,
      slotTime: share,
      timeout: limit,
      onTimeout: onSlow,
      onError,
    }),
    onSlow,
    onError,
  }
}

describe('Queues', () => {
  test('of several only the last is worked on, after the one under way, which is interrupted', async () => {
    const [{ queues }, { done, work, open }] = [make(), createWork()]
    queues.put('web', work('a'))
    queues.put('web', work('b'))
    queues.put('web', work('c'))
    queues.put('db', work('d'))
    await open('d')
    await open('a')
    await open('c')
    await queues.settled()
    expect(done).toEqual(['a begins', 'd begins', 'd ends', 'a ends, interrupted', 'c begins', 'c ends'])
  })

  test('what is put off waits, is replaced by what comes, and keeps nobody from being settled', async () => {
    const [{ queues }, { done, work, open }] = [make(), createWork()]
    queues.put('web', work('late'), 1000)
    await queues.settled()
    queues.put('web', work('later'), 1)
    queues.put('db', work('never'), 1000)
    await open('later')
    await queues.stop()
    expect(done).toEqual(['later begins', 'later ends'])
  })

  test('what is dropped is interrupted, or never begins', async () => {
    const [{ queues }, { done, work, open }] = [make(), createWork()]
    queues.put('web', work('a'))
    queues.put('web', work('b'), 1)
    queues.put('db', work('c'), 1)
    expect([queues.isWaiting('web'), queues.isWaiting('db'), queues.isWaiting('x')]).toEqual([true, true, false])
    for (const key of ['web', 'db', 'x']) queues.drop(key)
    await open('a')
    await queues.settled()
    expect(done).toEqual(['a begins', 'a ends, interrupted'])
    expect(queues.isWaiting('web')).toBe(false)
  })

  test('what takes long gives its place to others, but not its queue', async () => {
    const [{ queues, onSlow }, { done, work, open }] = [make(1, 50), createWork()]
    queues.put('stuck', work('a'))
    queues.put('web', work('b'))
    await open('b')
    queues.put('db', work('d'))
    await open('d')
    queues.put('stuck', work('c'))
    expect(done).not.toContain('c begins')
    await open('a')
    await open('c')
    await queues.settled()
    expect(done.slice(-3)).toEqual(['a ends, interrupted', 'c begins', 'c ends'])
    expect(onSlow).not.toHaveBeenCalled()
  })

  test('what takes too long is interrupted; that it is late is of no account when something newer comes', async () => {
    const [{ queues, onSlow }, { done, work, open }] = [make(8, 10, 20), createWork()]
    queues.put('late', work('a'))
    queues.put('past', work('b'))
    await vi.waitFor(() => expect(onSlow.mock.calls).toEqual([['late'], ['past']]))
    queues.put('past', work('c'))
    for (const name of ['a', 'b', 'c']) await open(name)
    await queues.settled()
    expect(done.slice(2)).toEqual(['a ends, too late', 'b ends, interrupted', 'c begins', 'c ends'])
  })

  test('so many at once, and an error holds up nobody', async () => {
    const [{ queues, onError }, { done, work, open }] = [make(2), createWork()]
    const error = new Error('as the test wants it')
    queues.put('bad', () => Promise.reject(error))
    for (const name of ['a', 'b', 'c']) queues.put(name, work(name))
    await vi.waitFor(() => expect(done).toEqual(['a begins', 'b begins']))
    for (const name of ['a', 'b', 'c']) await open(name)
    await queues.settled()
    expect(onError).toHaveBeenCalledWith('bad', error)
    expect(done).toContain('c ends')
  })
})
