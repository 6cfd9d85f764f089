// express-session's own store under our suite, and what other stores do that is out of the ordinary.
import { conformance } from '@coatcheck/conformance'
import { MemoryStore } from 'express-session'
import { afterEach, expect, test, vi } from 'vitest'
import { fromExpressStore, type ExpressStore } from './index.ts'

afterEach(() => void vi.restoreAllMocks())

const traits = { ephemeral: true, unshared: true } as const
conformance(
  {
    name: 'MemoryStore',
    traits: { nonAtomic: true, ...traits },
    open({ now }) {
      // MemoryStore has no option for a clock.
      vi.spyOn(Date, 'now').mockImplementation(now)
      return fromExpressStore(new MemoryStore(), { traits })
    },
  },
  test,
)

const KEY = 'k'.repeat(32)
const later = () => Date.now() + 60_000

test('a session keeps the form that express-session gives it: its fields, and the cookie beside them', async () => {
  const express = new MemoryStore()
  const store = fromExpressStore(express)
  const expiresAt = later()
  await store.create(KEY, { data: '{"user":7,"cart":[1]}', expiresAt })
  const session = await new Promise<any>((resolve) =>
    express.get(KEY, (_, found) => resolve(found)),
  )
  expect(session).toMatchObject({ user: 7, cart: [1] })
  expect(session.cookie).toMatchObject({ path: '/', httpOnly: true })
  expect(new Date(session.cookie.expires).getTime()).toBe(expiresAt)
})

test('the attributes that express-session has put into the cookie are kept by a save', async () => {
  const express = new MemoryStore()
  const cookie = {
    originalMaxAge: 60_000,
    expires: new Date(later()),
    sameSite: 'strict',
    path: '/app',
  }
  express.set(KEY, { cookie, user: 7 } as never)
  const store = fromExpressStore(express)
  expect(await store.load(KEY)).toMatchObject({ data: '{"user":7}' })
  await store.save(KEY, { data: '{"user":8}', expiresAt: later() }, '{"user":7}')
  const session = await new Promise<any>((resolve) =>
    express.get(KEY, (_, found) => resolve(found)),
  )
  expect(session).toMatchObject({ user: 8, cookie: { sameSite: 'strict', path: '/app' } })
})

test('a session whose cookie ends with the browser lives for the ttl', async () => {
  const express = new MemoryStore()
  express.set(KEY, { cookie: { originalMaxAge: null, expires: null }, user: 7 } as never)
  let time = Date.now()
  const store = fromExpressStore(express, { ttl: 60, now: () => time })
  expect((await store.load(KEY))!.expiresAt).toBe(time + 60_000)
  time += 1
})

/** What a store that only loads has besides. */
const others: Omit<ExpressStore, 'get'> = { set() {}, destroy() {} }
const failing: Record<string, Partial<ExpressStore>> = {
  'calls back with an error': { get: (_, done) => done(new Error('down')) },
  throws: {
    get() {
      throw new Error('down')
    },
  },
  rejects: { get: () => Promise.reject(new Error('down')) },
}
test.each(Object.keys(failing))('a store that %s is a SessionStoreError', async (how) => {
  const store = fromExpressStore({ ...others, ...failing[how] } as ExpressStore)
  await expect(store.load(KEY)).rejects.toMatchObject({
    code: 'ERR_SESSION_STORE',
    cause: expect.objectContaining({ message: 'down' }),
  })
})

test('a store that never calls back is a SessionStoreError within seconds', async () => {
  const store = fromExpressStore({ ...others, get() {} })
  await expect(store.load(KEY)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
})

test('a call ends within 5 seconds, its wait for others of its session and all its steps counted, and is not made later', async () => {
  let destroyed = 0
  const slow = fromExpressStore({
    // A little less than the whole time.
    get: (_, done) => void setTimeout(done, 4000, null, { cookie: { expires: null }, a: 1 }),
    set() {},
    destroy: () => void destroyed++,
  })
  const since = performance.now()
  // All begin at the same moment.
  const clock = vi.spyOn(performance, 'now').mockReturnValue(since)
  const calls = [
    async () => slow.save(KEY, { data: '{"a":2}', expiresAt: later() }),
    ...Array.from({ length: 6 }, () => async () => slow.delete('d'.repeat(32))),
  ]
  const failures = calls.map((call) =>
    expect(call()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' }),
  )
  clock.mockRestore()
  await Promise.all(failures)
  // With a time of its own for each step or wait it would be 9 at least.
  expect(performance.now() - since).toBeLessThan(8500)
  // Timers may be a moment early, and leave the second one that moment.
  expect(destroyed).toBeLessThan(3)
}, 40_000)

test('a store that says ENOENT for a session that is not there has none', async () => {
  const missing = Object.assign(new Error('no such file'), { code: 'ENOENT' })
  const store = fromExpressStore({ ...others, get: (_, done) => done(missing) })
  expect(await store.load(KEY)).toBeUndefined()
})

test('a touch from a known end moves a session whose cookie says when it ends, and only from there', async () => {
  const express = new MemoryStore()
  const store = fromExpressStore(express)
  const expiresAt = later()
  await store.create(KEY, { data: '{"user":7}', expiresAt })
  await expect(store.touch(KEY, expiresAt + 5, expiresAt + 1)).rejects.toMatchObject({
    code: 'ERR_SESSION_CONFLICT',
  })
  await store.touch(KEY, expiresAt + 5, expiresAt)
  expect(await store.load(KEY)).toEqual({ data: '{"user":7}', expiresAt: expiresAt + 5 })
})

test('a session that ends with the browser has another end with each look, and is touched from any', async () => {
  const express = new MemoryStore()
  express.set(KEY, { cookie: { originalMaxAge: null, expires: null }, user: 7 } as never)
  let time = Date.now()
  const store = fromExpressStore(express, { ttl: 60, now: () => time })
  const { expiresAt } = (await store.load(KEY))!
  time += 1000
  expect(await store.touch(KEY, time + 60_000, expiresAt)).toBe(KEY)
})

test.each<[unknown, string]>([
  [undefined, "fromExpressStore needs a store of express-session's, and got undefined."],
  [{ get() {} }, 'fromExpressStore: the store has no method set, destroy.'],
])('what is no store of express-session’s is refused: %s', (store, message) => {
  expect(() => fromExpressStore(store as ExpressStore)).toThrow(message)
  expect(() => fromExpressStore(new MemoryStore(), { TTL: 5 } as object)).toThrow(
    'did you mean `ttl`?',
  )
})
