// How calls get connections, and what becomes of those: with connections that are none.
import { setTimeout } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
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

test('a call whose time is over while it waits for the only connection leaves no trace', async () => {
  setFlagsFromString('--expose-gc')
  const collectGarbage: () => void = runInNewContext('gc')
  const calls = createCalls<object>(
    { most: 1, take: async () => ({}), free() {} },
    { isBroken: () => false, isLostRace: () => false },
  )
  let isFirstOver = false
  void calls.run(() => setTimeout(1000)).then(() => (isFirstOver = true))
  const wait = async () => {
    const data = { large: 'data' }
    // The error itself knows where it was made, and all that is there.
    const code = await calls.run(async () => data, { time: 50 }).catch((error) => error.code)
    return { code, data: new WeakRef(data) }
  }
  const { code, data } = await wait()
  expect(code).toBe('ETIMEDOUT')
  await setTimeout(10)
  collectGarbage()
  expect(data.deref()).toBeUndefined()
  expect(isFirstOver).toBe(false)
})
