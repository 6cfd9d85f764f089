// The write-through engine: the conformance suite, and what a cache that fails may cost.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lruStore } from '@coatcheck/cache/lru'
import { SessionStoreError, type SessionStore } from '@coatcheck/core/store'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { afterAll, expect, test } from 'vitest'
import { counting } from '../../../testing/wrappers.ts'
import { proveEngines } from '../../../testing/prove.ts'
import { cachedDbStore } from './index.ts'

const suite = mkdtempSync(join(tmpdir(), 'coatcheck-cached-db-'))
afterAll(() => rmSync(suite, { recursive: true }))

function sqlite(name: string, now = Date.now): SessionStore {
  const db = sqliteStore(join(suite, `${name}.sqlite`), { now })
  db.migrate()
  return db
}

await proveEngines('cached-db (lru over sqlite)')

const KEY = 'k'.repeat(32)
const record = (data: string) => ({ data, expiresAt: Date.now() + 60_000 })

/** A cache that can be taken down: every call then fails as a lost connection does. */
function fallible(cache: SessionStore) {
  const state = { down: false }
  const failing = new Proxy(cache, {
    get(target, name: keyof SessionStore) {
      const member = target[name]
      if (typeof member !== 'function') return member
      return (...args: unknown[]) => {
        if (state.down) throw new SessionStoreError('connection lost')
        return (member as Function).apply(target, args)
      }
    },
  })
  return { cache: failing, state }
}

test('a loaded session is answered by the cache: the database is not asked again', async () => {
  const calls: string[] = []
  const store = cachedDbStore({ cache: lruStore(), db: counting(sqlite('hits'), calls) })
  await store.create(KEY, record('1'))
  await store.load(KEY)
  await store.save(KEY, record('2'), '1')
  await store.load(KEY)
  expect(await store.load(KEY)).toMatchObject({ data: '2' })
  expect(calls).toEqual(['create', 'save'])
})

test('a cold cache is filled by the first load', async () => {
  const calls: string[] = []
  await sqlite('cold').create(KEY, record('1'))
  const store = cachedDbStore({ cache: lruStore(), db: counting(sqlite('cold'), calls) })
  for (let n = 0; n < 3; n++) expect(await store.load(KEY)).toMatchObject({ data: '1' })
  expect(calls).toEqual(['load'])
})

test('a cache that is down costs no session and no change', async () => {
  const { cache, state } = fallible(lruStore())
  const store = cachedDbStore({ cache, db: sqlite('down') })
  await store.create(KEY, record('1'))
  state.down = true
  expect(await store.load(KEY)).toMatchObject({ data: '1' })
  await store.save(KEY, record('2'), '1')
  await store.touch(KEY, Date.now() + 90_000)
  expect(await store.load(KEY)).toMatchObject({ data: '2' })
  const other = 'o'.repeat(32)
  await store.create(other, record('other'))
  expect(await store.load(other)).toMatchObject({ data: 'other' })
})

test('what was deleted or changed while the cache was down is not believed when it is back', async () => {
  const { cache, state } = fallible(lruStore())
  const store = cachedDbStore({ cache, db: sqlite('back') })
  const other = 'o'.repeat(32)
  await store.create(KEY, record('old'))
  await store.create(other, record('old'))
  state.down = true
  await store.delete(KEY)
  await store.save(other, record('new'), 'old')
  state.down = false
  // The cache still holds both as they were.
  expect(await cache.load(KEY)).toMatchObject({ data: 'old' })
  expect(await store.load(KEY)).toBeUndefined()
  expect(await store.load(other)).toMatchObject({ data: 'new' })
  // And it is told by itself, so that other processes do not believe it either.
  await expect.poll(async () => (await cache.load(KEY))?.data, { timeout: 5000 }).not.toBe('old')
})

test('a process that dies in the middle of a delete leaves nothing in the cache that the database may have deleted', async () => {
  const cache = lruStore()
  const db = sqlite('dies')
  const dying: SessionStore = {
    ...db,
    async delete(key) {
      await db.delete(key)
      // What follows in this process never happens.
      await new Promise(() => {})
    },
  }
  const store = cachedDbStore({ cache, db: dying })
  await store.create(KEY, record('1'))
  void store.delete(KEY)
  await new Promise((resolve) => setImmediate(resolve))
  expect(await db.load(KEY)).toBeUndefined()
  expect(await cachedDbStore({ cache, db }).load(KEY)).toBeUndefined()
})

test('a request that read before a delete cannot put the session back into the cache', async () => {
  const db = sqlite('race')
  let release = () => {}
  const held = new Promise<void>((resolve) => (release = resolve))
  const slowDb: SessionStore = {
    ...db,
    traits: {},
    async load(key) {
      const found = await db.load(key)
      await held
      return found
    },
  }
  const cache = lruStore()
  const slowStore = cachedDbStore({ cache, db: slowDb })
  const store = cachedDbStore({ cache, db })
  await db.create(KEY, record('1'))
  const loading = slowStore.load(KEY)
  await new Promise((resolve) => setImmediate(resolve))
  await store.delete(KEY)
  release()
  await loading
  expect(await store.load(KEY)).toBeUndefined()
})

test('a retired key is told from the cache, and after its delete from nowhere', async () => {
  const cache = lruStore()
  const db = sqlite('retired')
  const calls: string[] = []
  const store = cachedDbStore({ cache, db: counting(db, calls) })
  await store.create(KEY, record('1'))
  await store.save(KEY, record(''), '1')
  expect(await store.load(KEY)).toMatchObject({ data: '' })
  expect(calls).toEqual(['create', 'save'])
  await store.delete(KEY)
  expect(await store.load(KEY)).toBeUndefined()
  expect((await cache.load(KEY))?.data).not.toBe('')
})

test('a touch that the database refuses is not answered from the copy any more', async () => {
  const db = sqlite('refused')
  const store = cachedDbStore({ cache: lruStore(), db })
  const first = record('1')
  await store.create(KEY, first)
  const moved = first.expiresAt - 20_000
  // Another server, whose cache is another.
  await db.touch(KEY, moved)
  await expect(store.touch(KEY, first.expiresAt + 1, first.expiresAt)).rejects.toMatchObject({
    code: 'ERR_SESSION_CONFLICT',
  })
  expect(await store.load(KEY)).toMatchObject({ expiresAt: moved })
})

test.each([
  ['has been ended by a save', { data: '', expiresAt: 0 }],
  ['was saved with so short a life that it has ended', { data: '2', expiresAt: 500 }],
])(
  'a request that read a session before it %s cannot put it back into the cache',
  async (_, ended) => {
    let time = Date.now()
    const now = () => time
    const db = sqlite(`ended ${ended.expiresAt}`, now)
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    const slowDb: SessionStore = {
      ...db,
      traits: {},
      async load(key) {
        const found = await db.load(key)
        await held
        return found
      },
    }
    const cache = lruStore({ now })
    const store = cachedDbStore({ cache, db, now })
    await store.create(KEY, record('1'))
    await cache.delete(KEY)
    const loading = cachedDbStore({ cache, db: slowDb, now }).load(KEY)
    await new Promise((resolve) => setImmediate(resolve))
    await cache.create(KEY, record('1'))
    await store.save(KEY, { ...ended, expiresAt: ended.expiresAt && time + ended.expiresAt }, '1')
    time += 1000
    release()
    await loading
    expect(await store.load(KEY)).toBeUndefined()
  },
)
