// How calls get connections, and what becomes of those: with connections that are none.
import { setTimeout } from 'node:timers/promises'
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

test('waiting behind another call for the same row counts in the time of a call', async () => {
  const calls = createCalls<object>(
    { most: Infinity, take: async () => ({}), free() {} },
    { isBroken: () => false, isLostRace: () => true },
  )
  const lost = new Error('lost')
  const lose = () => Promise.reject(lost)
  let isFirst = true
  const first = calls.run(
    async () => {
      if (!isFirst) return setTimeout(1000)
      isFirst = false
      throw lost
    },
    { name: 'a' },
  )
  let isFirstOver = false
  void first.then(() => (isFirstOver = true))
  await expect(calls.run(lose, { name: 'a', time: 200 })).rejects.toBe(lost)
  expect(isFirstOver).toBe(false)
  await first
})
