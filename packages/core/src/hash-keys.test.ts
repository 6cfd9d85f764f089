import { expect, test } from 'vitest'
import { mapStore } from '../../../testing/map-store.ts'
import { hashKeys } from './hash-keys.ts'

test('the store sees the SHA-256 of a key, and the caller the key itself', async () => {
  const inner = mapStore()
  const store = hashKeys(inner)
  const key = 'abcdefghijklmnopqrstuvwxyz012345'
  const record = { data: '{}', expiresAt: Date.now() + 60_000 }
  expect(await store.create(key, record)).toBe(key)
  expect(await inner.load(key)).toBeUndefined()
  const { createHash } = await import('node:crypto')
  expect(await inner.load(createHash('sha256').update(key).digest('hex'))).toEqual(record)
})

test('a stateless store is refused', () => {
  expect(() => hashKeys({ ...mapStore(), traits: { stateless: true } })).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }),
  )
})

test('a retired key stays one, and a touch names the end that it moves from', async () => {
  const store = hashKeys(mapStore())
  const key = 'abcdefghijklmnopqrstuvwxyz012345'
  const expiresAt = Date.now() + 60_000
  await store.create(key, { data: '{}', expiresAt })
  expect(() => store.touch(key, expiresAt + 2, expiresAt + 1)).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_CONFLICT' }),
  )
  expect(await store.touch(key, expiresAt + 2, expiresAt)).toBe(key)
  await store.save(key, { data: '', expiresAt }, '{}')
  expect(await store.load(key)).toEqual({ data: '', expiresAt })
  expect(() => store.touch(key, expiresAt, expiresAt)).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_GONE' }),
  )
})
