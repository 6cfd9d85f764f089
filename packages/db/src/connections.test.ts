// How calls get connections, and what becomes of those: with connections that are none.
import { expect, test } from 'vitest'
import { createCalls } from './connections.ts'

test.each([
  [
    'at once',
    () => {
      throw new Error('it cannot')
    },
  ],
  [
    'later',
    async () => {
      throw new Error('it cannot')
    },
  ],
])('connections that fail to end, %s, are destroyed, and close() is over', async (_, end) => {
  let isDestroyed = false
  const calls = createCalls<object>(
    {
      most: 1,
      take: async () => ({}),
      free() {},
      end,
      destroy: () => void (isDestroyed = true),
    },
    { isBroken: () => false, isLostRace: () => false },
  )
  await calls.close()
  expect(isDestroyed).toBe(true)
})
