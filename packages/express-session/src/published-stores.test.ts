// Stores of express-session as they are published, under ours: each takes a session's end from the cookie in its own way.
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { MAX_EXPIRES_AT } from '@coatcheck/core/store'
import Database from 'better-sqlite3'
import { ConnectSessionKnexStore } from 'connect-session-knex'
import expressSession from 'express-session'
import knex from 'knex'
import { afterEach, expect, test, vi } from 'vitest'
import { fromExpressStore, type ExpressStore } from './index.ts'

const require = createRequire(import.meta.url)
const closing: (() => unknown)[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const close of closing.splice(0).toReversed()) await close()
})

const SID = 's'.repeat(32)
const DAY = 86_400_000

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'coatcheck-published-'))
  closing.push(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A store, and when it takes a session to end by its own table. */
interface Published {
  store: ExpressStore
  end(sid: string): unknown
}

const published: Record<string, (folder: string) => Published> = {
  'connect-session-knex'(folder) {
    const connection = knex({
      client: 'better-sqlite3',
      connection: { filename: join(folder, 'knex.sqlite') },
      useNullAsDefault: true,
    })
    closing.push(() => connection.destroy())
    return {
      store: new ConnectSessionKnexStore({ knex: connection, cleanupInterval: 0 }) as ExpressStore,
      end: async (sid) => (await connection('sessions').where({ sid }).first('expired')).expired,
    }
  },
  'connect-sqlite3'(folder) {
    const database = new Database(join(folder, 'connect.sqlite'))
    closing.push(() => database.close())
    const SQLiteStore = require('connect-sqlite3')(expressSession)
    return {
      store: new SQLiteStore({ db: inCallbacks(database) }),
      end: (sid) => database.prepare('SELECT expired FROM sessions WHERE sid = ?').pluck().get(sid),
    }
  },
  'better-sqlite3-session-store'(folder) {
    const database = new Database(join(folder, 'better.sqlite'))
    closing.push(() => database.close())
    const SqliteStore = require('better-sqlite3-session-store')(expressSession)
    return {
      store: new SqliteStore({ client: database }),
      end: (sid) => database.prepare('SELECT expire FROM sessions WHERE sid = ?').pluck().get(sid),
    }
  },
  memorystore() {
    const MemoryStore = require('memorystore')(expressSession)
    const store = new MemoryStore({ max: 10 })
    return { store, end: (sid) => store.store.dump().find(({ k }: { k: string }) => k === sid).e }
  },
}

type Callback = (error: unknown, result?: unknown) => void

/** What connect-sqlite3 calls of a connection of the package sqlite3, whose build needs the network: SQLite all the same. */
function inCallbacks(database: Database.Database) {
  const by =
    (method: 'run' | 'get' | 'all') =>
    (sql: string, values: unknown[], done: Callback = () => {}) => {
      const statement = database.prepare(sql)
      // The package answers a write by `all` too.
      const result = statement[statement.reader ? method : 'run'](...values)
      setImmediate(done, null, result)
    }
  return {
    run: by('run'),
    get: by('get'),
    all: by('all'),
    exec(sql: string, done: Callback) {
      database.exec(sql)
      setImmediate(done, null)
    },
  }
}

for (const [name, open] of Object.entries(published)) {
  test(`${name}: a session is there until its last millisecond, whatever the store rounds its own end to`, async () => {
    const store = fromExpressStore(open(newFolder()).store)
    // Where seconds of the clock end somewhere in the session's life, its own last one is not yet over.
    const expiresAt = Math.ceil(Date.now() / 1000) * 1000 + 1900
    await store.create(SID, { data: '{"n":1}', expiresAt })
    for (;;) {
      const found = await store.load(SID)
      if (Date.now() >= expiresAt) break
      expect(found).toEqual({ data: '{"n":1}', expiresAt })
      await setTimeout(10)
    }
    expect(await store.load(SID)).toBeUndefined()
  })

  test(`${name}: the latest end that there is can be given to a session`, async () => {
    const store = fromExpressStore(open(newFolder()).store)
    const record = { data: '{"n":1}', expiresAt: MAX_EXPIRES_AT }
    await store.create(SID, record)
    expect(await store.load(SID)).toEqual(record)
  })

  test(`${name}: a session of 14 days ends in 14 days, in the store's own table too`, async () => {
    const { store: theirs, end } = open(newFolder())
    const store = fromExpressStore(theirs)
    const day = Date.now()
    vi.useFakeTimers({ toFake: ['Date'], now: day })
    const first = { data: '{"n":1}', expiresAt: day + 14 * DAY }
    const ends = async (record: typeof first) => {
      expect(await store.load(SID)).toEqual(record)
      const theirEnd = new Date((await end(SID)) as string).getTime()
      expect(Math.abs(theirEnd - record.expiresAt)).toBeLessThan(1100)
    }
    await store.create(SID, first)
    await ends(first)
    const second = { data: '{"n":2}', expiresAt: day + 15 * DAY }
    await store.save(SID, second, first.data)
    await ends(second)
    const third = { ...second, expiresAt: day + 16 * DAY }
    await store.touch(SID, third.expiresAt, second.expiresAt)
    await ends(third)
    vi.setSystemTime(day + 16 * DAY - 2000)
    expect(await store.load(SID)).toEqual(third)
  })
}

/** express-session's own, as its stores get it. */
const { Cookie } = expressSession as unknown as { Cookie: new (options: object) => any }

test.each<Record<string, unknown>>([
  {},
  { sameSite: 'strict', path: '/app', secure: true, domain: 'example.org' },
  { httpOnly: false, partitioned: true, priority: 'high', sameSite: 'none', secure: true },
])('a store is given the cookie that express-session would give it: %o', async (attributes) => {
  vi.useFakeTimers({ toFake: ['Date'], now: 1_800_000_000_000 })
  const given: any[] = []
  const before = JSON.parse(JSON.stringify({ cookie: new Cookie({ ...attributes, maxAge: DAY }) }))
  const store = fromExpressStore({
    get: (_, done) => done(null, { ...before, n: 1 }),
    set(_, session, done) {
      given.push(session)
      done()
    },
    destroy: (_, done) => done(),
  })
  await store.save(SID, { data: '{"n":2}', expiresAt: Date.now() + 14 * DAY })
  const [{ cookie, ...fields }] = given
  const theirs = new Cookie({ ...attributes, maxAge: 14 * DAY })
  expect(fields).toEqual({ n: 2 })
  expect(JSON.stringify(cookie)).toBe(JSON.stringify(theirs))
  for (const name of ['expires', 'originalMaxAge', 'data', '_expires', ...Object.keys(theirs)])
    expect([name, cookie[name]]).toEqual([name, theirs[name]])
  vi.setSystemTime(Date.now() + DAY)
  // A second more than what is left, for stores that compare whole seconds.
  expect(cookie.maxAge).toBe(13 * DAY + 1000)
  // A store may keep the session's members by copying them.
  expect({ ...cookie }).toEqual({ ...theirs })
  cookie.maxAge = DAY
  theirs.maxAge = DAY
  expect(cookie.toJSON()).toEqual(theirs.toJSON())
})

test.each<[unknown, string]>([
  [undefined, 'no cookie'],
  [null, 'null'],
  ['a string', 'text'],
  [{}, 'an empty cookie'],
  [{ expires: 'tomorrow' }, 'no date'],
  [{ expires: new Date('') }, 'an invalid Date'],
  [{ expires: Number.NaN, originalMaxAge: Number.NaN }, 'NaN'],
  [{ expires: {}, originalMaxAge: Infinity }, 'an object'],
  [{ expires: 1n }, 'a bigint'],
])('a session whose cookie (%o) does not say when it ends lives for the ttl', async (cookie) => {
  const sessions = new Map<string, any>([[SID, { cookie, n: 1 }]])
  const store = fromExpressStore(
    {
      get: (sid, done) => done(null, sessions.get(sid)),
      set: (sid, session, done) => done(void sessions.set(sid, session)),
      destroy: (sid, done) => done(void sessions.delete(sid)),
    },
    { ttl: 60, now: () => 1_800_000_000_000 },
  )
  const record = { data: '{"n":1}', expiresAt: 1_800_000_060_000 }
  expect(await store.load(SID)).toEqual(record)
  await store.save(SID, { ...record, expiresAt: record.expiresAt + 1 }, record.data)
  expect(await store.load(SID)).toEqual({ ...record, expiresAt: record.expiresAt + 1 })
})

test.each([
  [new Date(8.64e15), 253_402_300_799_999],
  ['2030-01-01T00:00:00.000Z', Date.UTC(2030, 0, 1)],
  [new Date(Date.UTC(2030, 0, 1)), Date.UTC(2030, 0, 1)],
  [Date.UTC(2030, 0, 1) + 0.5, Date.UTC(2030, 0, 1)],
])('a session whose cookie expires at %o ends then', async (expires, expiresAt) => {
  const get: ExpressStore['get'] = (_, done) => done(null, { cookie: { expires }, n: 1 })
  const store = fromExpressStore({ get, set() {}, destroy() {} }, { now: () => 1_800_000_000_000 })
  expect(await store.load(SID)).toEqual({ data: '{"n":1}', expiresAt })
})

test.each<[unknown]>([['a string'], [42], [true], [[1]]])(
  'what is no session (%o) is a SessionStoreError',
  async (what) => {
    const store = fromExpressStore({ get: (_, done) => done(null, what), set() {}, destroy() {} })
    await expect(store.load(SID)).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
      message: expect.stringContaining('object'),
    })
  },
)
