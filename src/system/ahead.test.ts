import { expect, test } from 'vitest'
import { createIpPrespawner } from './ahead'
import { createFakeSystem } from './fake'

/** What became of the `ip` that were started, in their order. */
function watchAhead() {
  const fates: string[] = []
  const system = {
    ...createFakeSystem(),
    runIpBatch: async () => {
      fates.push('anew')
      return { code: 0, stdout: '', stderr: '' }
    },
    startIpBatch: async (netns?: string) => {
      const index = fates.push(`waits for ${netns ?? 'the host'}`) - 1
      return {
        send: async () => {
          fates[index] = 'sent'
          return { code: 0, stdout: '', stderr: '' }
        },
        cancel: () => {
          fates[index] = 'ended'
        },
      }
    },
  }
  return { fates, ahead: createIpPrespawner(system) }
}

/** Until all that was begun has gone as far as it can. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 0))

test('lines go to the one that waits for that namespace, and one for another ends', async () => {
  const { fates, ahead } = watchAhead()
  ahead.start('blue')
  ahead.start('red')
  await ahead.send('blue', [['link']])
  ahead.start()
  await ahead.send('blue', [['link']])
  await settle()
  expect(fates).toEqual(['sent', 'ended', 'anew'])
})

test('what is started after the end would wait for ever, so it is not', async () => {
  const { fates, ahead } = watchAhead()
  ahead.start()
  ahead.dismiss()
  ahead.start()
  await ahead.send(undefined, [['link']])
  await settle()
  expect(fates).toEqual(['ended', 'anew'])
})
