// The in-memory engine: the conformance suite, and its two bounds.
import { expect, test } from 'vitest'
import { proveEngines } from '../../../testing/prove.ts'
import { lruStore } from './lru.ts'

await proveEngines('lru')

const key = (n: number) => `key-${String(n).padStart(8, '0')}`
const later = () => Date.now() + 60_000

test('at most `max` sessions are kept, and the least recently used one goes first', async () => {
  const store = lruStore({ max: 3 })
  for (const n of [1, 2, 3]) await store.create(key(n), { data: '{}', expiresAt: later() })
  await store.load(key(1))
  await store.create(key(4), { data: '{}', expiresAt: later() })
  const kept = [1, 2, 3, 4].filter((n) => store.load(key(n)))
  expect(kept).toEqual([1, 3, 4])
})

test('at most `maxBytes` of data are kept, counted in bytes', async () => {
  const store = lruStore({ maxBytes: 1000 })
  for (const n of [1, 2, 3]) {
    await store.create(key(n), { data: 'é'.repeat(200), expiresAt: later() })
  }
  expect([1, 2, 3].filter((n) => store.load(key(n)))).toEqual([2, 3])
})

test('a session larger than everything is refused, and the old one stays', async () => {
  const store = lruStore({ maxBytes: 1000 })
  await store.create(key(1), { data: 'old', expiresAt: later() })
  expect(() => store.save(key(1), { data: 'é'.repeat(500), expiresAt: later() })).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_TOO_LARGE', bytes: 1000, limit: 999 }),
  )
  expect(store.load(key(1))).toMatchObject({ data: 'old' })
})

test.each([{ max: 0 }, { max: 1.5 }, { maxBytes: Number.NaN }])('%j is refused', (options) => {
  expect(() => lruStore(options)).toThrow(expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }))
})
