// The write-through engine: the conformance suite, and what a cache that fails may cost.
import { randomUUID } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { lruStore } from '@coatcheck/cache/lru'
import { createSessions, type Session } from '@coatcheck/core'
import { SessionStoreError, type SessionRecord, type SessionStore } from '@coatcheck/core/store'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { afterAll, describe, expect, test } from 'vitest'
import { signal } from '../../../testing/controlled-store.ts'
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

const SAVED = 'c'.repeat(32)

type Method = 'load' | 'create' | 'save' | 'touch' | 'delete'

/** A cache as one process reaches it: whole, cut off, without an answer, or for some calls only. */
function reachable(cache: SessionStore) {
  const state: {
    is: 'there' | 'away' | 'silent'
    refuses: Method[]
    calls: Method[]
    /** Comes before a copy is taken away. */
    beforeDelete?: (key: string) => unknown
  } = { is: 'there', refuses: [], calls: [] }
  const call =
    <A extends unknown[], R>(name: Method, method: (...args: A) => R) =>
    async (...args: A): Promise<Awaited<R>> => {
      state.calls.push(name)
      if (name === 'delete') await state.beforeDelete?.(String(args[0]))
      if (state.is === 'silent') await new Promise(() => {})
      if (state.is === 'away' || state.refuses.includes(name)) {
        throw new SessionStoreError('connection lost')
      }
      return await method(...args)
    }
  const { load, create, save, touch, delete: remove } = cache
  const reached: SessionStore = {
    traits: { ephemeral: true },
    load: call('load', load),
    create: call('create', create),
    save: call('save', save),
    touch: call('touch', touch),
    delete: call('delete', remove),
  }
  return { cache: reached, state }
}

/** Two processes over one database and one cache, each with a connection of its own. */
async function twoProcesses(name: string, { freshFor = 0.5, now = Date.now } = {}) {
  const shared = lruStore({ now })
  const [a, b] = [reachable(shared), reachable(shared)]
  const process = (cache: SessionStore) =>
    cachedDbStore({ cache, db: sqlite(name, now), freshFor, now })
  return { a: process(a.cache), b: process(b.cache), reach: a.state, restart: process, shared }
}

/** A clock that stands still until it is let go; from then on it goes by the time that timers go by. */
function stoppedClock() {
  let time = Date.now()
  let since = Infinity
  return {
    now: () => time + Math.max(0, Math.floor(performance.now() - since)),
    pass: (ms: number) => void (time += ms),
    go: () => void (since = performance.now()),
  }
}

/** What another process sees when this one has ended a session, and is to wait for the cache: the clock goes from then on. */
function seenAtTheWait(
  reach: ReturnType<typeof reachable>['state'],
  other: SessionStore,
  go: () => void,
): Promise<SessionRecord | undefined> {
  return new Promise((resolve) => {
    reach.beforeDelete = async (key) => {
      if (key !== KEY) return
      delete reach.beforeDelete
      const found = await other.load(KEY)
      go()
      resolve(found)
    }
  })
}

async function took(work: () => unknown): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
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

test('a cache that is away costs no session and no change', async () => {
  const { cache, state } = reachable(lruStore())
  const store = cachedDbStore({ cache, db: sqlite('down') })
  await store.create(KEY, record('1'))
  state.is = 'away'
  expect(await store.load(KEY)).toMatchObject({ data: '1' })
  await store.save(KEY, record('2'), '1')
  await store.touch(KEY, Date.now() + 90_000)
  expect(await store.load(KEY)).toMatchObject({ data: '2' })
  await store.create(SAVED, record('other'))
  expect(await store.load(SAVED)).toMatchObject({ data: 'other' })
})

const ends: [string, (store: SessionStore, now?: () => number) => unknown][] = [
  ['deleted', (store) => store.delete(KEY)],
  ['ended by a save', (store) => store.save(KEY, { data: '1', expiresAt: 0 }, '1')],
  ['retired', (store) => store.save(KEY, record(''), '1')],
  [
    'given a short life',
    async (store, now = Date.now) => {
      await store.touch(KEY, now() + 1)
      await sleep(2)
    },
  ],
]
const opens = (found: SessionRecord | undefined) => found !== undefined && found.data !== ''

describe.each(ends)('what a process has %s that cannot reach the cache', (what, end) => {
  test('is acknowledged when no other process believes its copy any more, and not before', async () => {
    const { now, go } = stoppedClock()
    const { a, b, reach } = await twoProcesses(`away ${what}`, { now })
    await a.create(KEY, record('1'))
    reach.is = 'away'
    const before = seenAtTheWait(reach, b, go)
    await end(a, now)
    // The test can fail: in between the copy was there to be seen.
    expect(opens(await before)).toBe(true)
    expect(opens(await b.load(KEY))).toBe(false)
  })

  test('is not seen by its successor either, after a clean close()', async () => {
    const { a, b, reach, restart, shared } = await twoProcesses(`successor ${what}`)
    await a.create(KEY, record('1'))
    reach.is = 'away'
    await end(a)
    await a.close?.()
    expect(opens(await b.load(KEY))).toBe(false)
    expect(opens(await restart(shared).load(KEY))).toBe(false)
  })

  test('is acknowledged as soon as the cache is back', async () => {
    const { a, b, reach } = await twoProcesses(`back ${what}`, { freshFor: 60 })
    await a.create(KEY, record('1'))
    reach.is = 'away'
    const ending = end(a)
    await sleep(400)
    expect(opens(await b.load(KEY))).toBe(true)
    reach.is = 'there'
    await ending
    expect(opens(await b.load(KEY))).toBe(false)
  })

  test('needs no memory there: a cache that only deletes is enough', async () => {
    const { a, b, reach } = await twoProcesses(`full ${what}`, { freshFor: 60 })
    await a.create(KEY, record('1'))
    reach.refuses = ['save', 'create', 'touch']
    // And not those 60 s.
    expect(await took(() => end(a))).toBeLessThan(15_000)
    expect(opens(await b.load(KEY))).toBe(false)
  })

  test('is not believed by others if the process dies between the database and the cache', async () => {
    const cache = lruStore()
    const db = sqlite(`dies ${what}`)
    const died = signal()
    const dying = Object.fromEntries(
      Object.entries(db).map(([name, method]) => [
        name,
        ['save', 'touch', 'delete'].includes(name)
          ? async (...args: unknown[]) => {
              await (method as Function)(...args)
              died.resolve()
              // What follows in this process never happens.
              await new Promise(() => {})
            }
          : method,
      ]),
    ) as unknown as SessionStore
    const store = cachedDbStore({ cache, db: dying })
    await store.create(KEY, record('1'))
    void end(store)
    await died.promise
    await sleep(20)
    expect(opens(await cachedDbStore({ cache, db }).load(KEY))).toBe(false)
  })
})

test('a life that is short by the time the database has answered is an end', async () => {
  const { now, pass, go } = stoppedClock()
  const { b, shared } = await twoProcesses('slow end', { now })
  const db = sqlite('slow end', now)
  const [asked, answered] = [signal(), signal()]
  const slow: SessionStore = {
    ...db,
    async touch(...args) {
      asked.resolve()
      await answered.promise
      return db.touch(...args)
    },
  }
  const away = reachable(shared)
  const a = cachedDbStore({ cache: away.cache, db: slow, freshFor: 0.5, now })
  await b.create(KEY, record('1'))
  away.state.is = 'away'
  const expiresAt = now() + 600
  const ending = a.touch(KEY, expiresAt)
  await asked.promise
  pass(350)
  await shared.delete(KEY)
  // The copy of before the end is as fresh as it can be.
  expect(await b.load(KEY)).toBeDefined()
  pass(50)
  go()
  answered.resolve()
  await ending
  await sleep(expiresAt - now())
  expect(await b.load(KEY)).toBeUndefined()
})

test('what is looked for, and found to have ended, is told when no other process believes its copy', async () => {
  const { now, go } = stoppedClock()
  const { a, b, reach } = await twoProcesses('found', { now })
  await a.create(KEY, record('1'))
  reach.is = 'away'
  await sqlite('found').delete(KEY)
  expect(await b.load(KEY)).toMatchObject({ data: '1' })
  go()
  expect(await a.load(KEY, true)).toBeUndefined()
  expect(await b.load(KEY)).toBeUndefined()
})

test('a change that the cache could not be told of is seen by its own process at once, by others within freshFor', async () => {
  const { now, pass } = stoppedClock()
  const { a, b, reach } = await twoProcesses('change', { freshFor: 20, now })
  await a.create(KEY, record('1'))
  reach.is = 'away'
  expect(await took(() => a.save(KEY, record('2'), '1'))).toBeLessThan(15_000)
  reach.is = 'there'
  await sleep(0)
  expect(await a.load(KEY)).toMatchObject({ data: '2' })
  pass(20_000)
  expect(await b.load(KEY)).toMatchObject({ data: '2' })
  expect(await a.load(KEY)).toMatchObject({ data: '2' })
})

test('a process does not believe an older copy of what it has changed, also when the cache is back', async () => {
  const { a, reach, shared } = await twoProcesses('own change', { freshFor: 20 })
  await a.create(KEY, record('1'))
  reach.is = 'away'
  await a.save(KEY, record('2'), '1')
  reach.is = 'there'
  expect((await shared.load(KEY))?.data).toMatch(/:1$/)
  // It is looked for after a second, beside a load.
  const seen = new Set<string | undefined>()
  const copy = async () => {
    seen.add((await a.load(KEY))?.data)
    return (await shared.load(KEY))?.data
  }
  await expect.poll(copy).toMatch(/:2$/)
  seen.add((await a.load(KEY))?.data)
  expect(seen).toEqual(new Set(['2']))
})

test('a change whose process dies between the database and the cache is seen by others at once', async () => {
  const cache = lruStore()
  const db = sqlite('dies in a change')
  const died = signal()
  const dying: SessionStore = {
    ...db,
    async save(...args) {
      await db.save(...args)
      died.resolve()
      return new Promise(() => {})
    },
  }
  const store = cachedDbStore({ cache, db: dying })
  await store.create(KEY, record('1'))
  void store.save(KEY, record('2'), '1')
  await died.promise
  expect(await cachedDbStore({ cache, db }).load(KEY)).toMatchObject({ data: '2' })
})

test('of two changes that cross, data and end are those of the database', async () => {
  const time = Date.now()
  const end = (n: number) => time + 60_000 + n
  const shared = lruStore()
  const db = sqlite('cross')
  const slow = reachable(shared)
  let held = signal()
  let released = signal()
  // The first process's last word to the cache comes late.
  const late: SessionStore = {
    ...slow.cache,
    async save(key, entry, expected) {
      if (expected?.startsWith('reserved')) {
        held.resolve()
        await released.promise
      }
      return slow.cache.save(key, entry, expected)
    },
  }
  const b = cachedDbStore({ cache: shared, db })
  for (const first of [
    (a: SessionStore) => a.touch(KEY, end(2), end(1)),
    (a: SessionStore) => a.save(KEY, { data: '1', expiresAt: end(2) }, '1'),
  ]) {
    for (const second of [
      () => b.touch(KEY, end(3), end(2)),
      () => b.save(KEY, { data: '1', expiresAt: end(3) }, '1'),
      () => b.save(KEY, { data: '2', expiresAt: end(3) }, '1'),
    ]) {
      await b.create(KEY, { data: '1', expiresAt: end(1) })
      held = signal()
      released = signal()
      // A process of its own: one whose cache was late for a second leaves it alone.
      const crossing = first(cachedDbStore({ cache: late, db }))
      await held.promise
      await second()
      released.resolve()
      await crossing
      const stored = await db.load(KEY)
      for (let n = 0; n < 3; n++) expect(await b.load(KEY)).toEqual(stored)
      await b.delete(KEY)
    }
  }
})

test('a renewal puts no older copy under its newer end', async () => {
  const { a, b, reach, shared } = await twoProcesses('renewed', { freshFor: 20 })
  const first = record('1')
  await a.create(KEY, first)
  const copy = (await shared.load(KEY))!
  await a.save(KEY, { data: '2', expiresAt: first.expiresAt + 1000 }, '1')
  // A copy that was made before, as a process that was cut off has left it.
  await shared.delete(KEY)
  await shared.create(KEY, copy)
  const { expiresAt } = (await sqlite('renewed').load(KEY)) as SessionRecord
  await b.touch(KEY, expiresAt + 5000, expiresAt)
  expect(await b.load(KEY)).toEqual({ data: '2', expiresAt: expiresAt + 5000 })
  expect(reach.is).toBe('there')
})

test('six ends of one session at once, while the cache is away, take no longer than one', async () => {
  const { a, reach } = await twoProcesses('six', { freshFor: 2 })
  const other = await twoProcesses('one', { freshFor: 2 })
  const sessions = createSessions({ store: a })
  const open = async () => {
    const session = await sessions.open(`sessionid=${KEY}`)
    session.get('n')
    return session
  }
  for (const store of [a, other.a]) await store.create(KEY, record('{"n":1}'))
  const all = await Promise.all(Array.from({ length: 6 }, open))
  reach.is = other.reach.is = 'away'
  const logout = async (session: Session) => {
    session.flush()
    await sessions.commit(session)
  }
  const [six, one] = await Promise.all([
    took(() => Promise.all(all.map(logout))),
    took(() => other.a.delete(KEY)),
  ])
  expect(six).toBeLessThan(1.7 * one)
})

describe('of a login or logout that is sent twice, while the first one waits for the cache', () => {
  const twice: [string, (session: Session) => void, (session: Session) => void][] = [
    ['login, login', login, login],
    ['logout, login', (session) => session.flush(), login],
    ['login, logout and login', login, (session) => (session.flush(), session.set('user', 'b'))],
    ['logout, logout', (session) => session.flush(), (session) => session.flush()],
  ]
  function login(session: Session) {
    session.cycleKey()
    session.set('user', 'b')
  }
  test.each(twice)('the second is not acknowledged earlier: %s', async (name, one, two) => {
    const { now, go } = stoppedClock()
    const { a, b, reach } = await twoProcesses(`twice ${name}`, { freshFor: 1, now })
    const sessions = createSessions<any>({ store: a })
    await a.create(KEY, record('{"n":1}'))
    const visit = async (handler: (session: Session) => void) => {
      const session = await sessions.open(`sessionid=${KEY}`)
      handler(session)
      await sessions.commit(session)
      return opens(await b.load(KEY))
    }
    reach.is = 'away'
    const before = seenAtTheWait(reach, b, go)
    const first = visit(one)
    expect(opens(await before)).toBe(true)
    expect(await visit(two)).toBe(false)
    expect(await first).toBe(false)
  })
})

test('a cache that only removes costs no change its being seen', async () => {
  const { a, b, reach } = await twoProcesses('full', { freshFor: 60 })
  await a.create(KEY, record('1'))
  reach.refuses = ['save', 'create']
  await a.save(KEY, record('2'), '1')
  expect(await b.load(KEY)).toMatchObject({ data: '2' })
})

test('one cached-db in front of another: what has ended is told by the innermost', async () => {
  const { a, b, reach } = await twoProcesses('tiers')
  const outer = cachedDbStore({ cache: lruStore(), db: a, freshFor: 0.5 })
  await outer.create(KEY, record('1'))
  reach.is = 'away'
  const ending = outer.delete(KEY)
  const db = sqlite('tiers')
  await expect.poll(() => db.load(KEY)).toBeUndefined()
  expect(await outer.load(KEY, true)).toBeUndefined()
  expect(await b.load(KEY)).toBeUndefined()
  await ending
})

test('a cache whose promises are not Promises is as good', async () => {
  const cache = lruStore()
  const thenable = (value: unknown) => ({
    // oxlint-disable-next-line unicorn/no-thenable
    then: (resolve: (value: unknown) => void) => void queueMicrotask(() => resolve(value)),
  })
  const odd = { ...cache, traits: {}, load: (key: string) => thenable(cache.load(key)) } as any
  const store = cachedDbStore({ cache: odd, db: sqlite('thenables') })
  await store.create(KEY, record('1'))
  expect(await store.load(KEY)).toMatchObject({ data: '1' })
})

test('a cache that does not answer costs those who ask then one wait, and nobody else', async () => {
  const { cache, state } = reachable(lruStore())
  const store = cachedDbStore({ cache, db: sqlite('silent') })
  await store.create(KEY, record('1'))
  state.is = 'silent'
  state.calls = []
  const all = () => Promise.all(Array.from({ length: 50 }, () => store.load(KEY)))
  expect(await took(all)).toBeLessThan(15_000)
  expect(state.calls).toEqual(Array(50).fill('load'))
  // The database answers at once, so only who waits for the cache comes after a timer.
  const waits = (call: unknown) => Promise.race([call, sleep(500, 'waits')])
  // As long as it is silent, it is looked for beside the requests.
  const end = performance.now() + 3000
  let n = 0
  while (performance.now() < end) {
    expect(await waits(store.save(KEY, record(`${++n}`)))).toBe(KEY)
    expect(await waits(store.load(KEY))).toMatchObject({ data: `${n}` })
    await sleep(20)
  }
  expect(state.calls.length - 50).toBeLessThan(5)
  state.is = 'there'
  await expect
    .poll(
      async () => {
        state.calls = []
        await store.load(KEY)
        return state.calls.length
      },
      { timeout: 20_000, interval: 50 },
    )
    .toBeGreaterThan(0)
  expect(await store.load(KEY)).toMatchObject({ data: `${n}` })
})

test('a cache that is away is told of once, to whoever listens', async () => {
  const { cache, state } = reachable(lruStore())
  const store = cachedDbStore({ cache, db: sqlite('warned') })
  const heard: unknown[] = []
  const listen = (warning: unknown) => heard.push(warning)
  subscribe('coatcheck:warning', listen)
  state.is = 'away'
  for (let n = 0; n < 3; n++) await store.load(KEY)
  unsubscribe('coatcheck:warning', listen)
  expect(heard).toEqual([
    {
      code: 'CACHE_AWAY',
      message: expect.stringContaining(
        'cachedDbStore: the cache cannot be reached, or refuses. connection lost Until it is back the database answers alone, and each login and logout takes `freshFor` longer.',
      ),
    },
  ])
})

test('a key that nobody has leaves nothing in the cache', async () => {
  const cache = lruStore()
  const store = cachedDbStore({ cache, db: sqlite('nobody') })
  expect(await store.load(KEY)).toBeUndefined()
  await sleep(0)
  expect(await cache.load(KEY)).toBeUndefined()
})

test('a copy of an earlier version, or of something else, is not taken for a session', async () => {
  const cache = lruStore()
  const db = sqlite('earlier')
  const store = cachedDbStore({ cache, db })
  for (const other of ['{"n":1}', '', 'reserved:x', '12:x:{}', '{"_session_uncertain":true}']) {
    await cache.delete(KEY)
    await cache.create(KEY, record(other))
    expect(await store.load(KEY)).toBeUndefined()
    await store.create(KEY, record('1'))
    expect(await store.load(KEY)).toMatchObject({ data: '1' })
    await store.save(KEY, record('2'), '1')
    expect(await store.load(KEY)).toMatchObject({ data: '2' })
    await store.delete(KEY)
    expect(await store.load(KEY)).toBeUndefined()
  }
})

test.each([undefined, null, 5, { a: 1 }])(
  'what a cache has that is no text is not taken for a session: %j',
  async (data) => {
    const cache = { ...lruStore(), load: () => ({ data, expiresAt: Date.now() + 60_000 }) as never }
    const store = cachedDbStore({ cache, db: sqlite(`no text ${typeof data}`) })
    const key = randomUUID().replaceAll('-', '')
    await store.create(key, record('1'))
    expect(await store.load(key)).toMatchObject({ data: '1' })
    await store.touch(key, Date.now() + 90_000, (await store.load(key))!.expiresAt)
  },
)

test.each([
  [
    'cache',
    'at once',
    () => {
      throw new Error('not closed')
    },
  ],
  [
    'db',
    'at once',
    () => {
      throw new Error('not closed')
    },
  ],
  [
    'cache',
    'later',
    async () => {
      throw new Error('not closed')
    },
  ],
])('a %s that fails to close, %s, does not keep the other one open', async (which, _, fail) => {
  const closed: string[] = []
  const closing = (name: string, store: SessionStore): SessionStore => ({
    ...store,
    close:
      name === which
        ? fail
        : async () => {
            await sleep(1)
            closed.push(name)
          },
  })
  const store = cachedDbStore({
    cache: closing('cache', lruStore()),
    db: closing('db', sqlite('closing')),
  })
  await expect(store.close!()).rejects.toThrow('not closed')
  expect(closed).toEqual([which === 'db' ? 'cache' : 'db'])
})

test('a clock and a freshFor that are no whole milliseconds are as good', async () => {
  const cache = lruStore()
  const strict: SessionStore = {
    ...cache,
    traits: {},
    create: (key, entry) => (expect(entry.expiresAt % 1).toBe(0), cache.create(key, entry)),
    save: (key, entry, expected) => (
      expect(entry.expiresAt % 1).toBe(0),
      cache.save(key, entry, expected)
    ),
  }
  const calls: string[] = []
  const db = counting(sqlite('fractions'), calls)
  const store = cachedDbStore({ cache: strict, db, freshFor: 4.35, now: () => Date.now() + 0.25 })
  await store.create(KEY, record('1'))
  await store.load(KEY)
  await store.load(KEY)
  expect(calls).toEqual(['create'])
})

test('a copy that another clock has confirmed far ahead is not believed', async () => {
  const cache = lruStore()
  const db = sqlite('clocks')
  const ahead = () => Date.now() + 30_000
  await cachedDbStore({ cache, db, now: ahead }).create(KEY, record('1'))
  await db.delete(KEY)
  expect(await cachedDbStore({ cache, db }).load(KEY)).toBeUndefined()
})

const own = lruStore()
test.each([
  [{ cache: undefined }, 'cachedDbStore: `cache` must be a store, such as'],
  [{ cache: 'redis://localhost' }, '`cache` must be a store'],
  [{ db: {} }, '`db` must be a store'],
  [{ db: { ...lruStore(), traits: { stateless: true } } }, '`db` keeps nothing on the server'],
  [{ cache: own, db: own }, '`cache` and `db` are one and the same store'],
  [{ db: lruStore() }, '`db` may forget sessions'],
  [{ freshFor: 0 }, '`freshFor` must be a number of seconds up to 60, and is 0.'],
  [{ freshFor: 5000 }, 'and is 5000.'],
  [{ freshFor: '5' }, "and is '5'."],
  [{ freshFor: Infinity }, 'and is Infinity.'],
  [{ now: 5 }, '`now` must be a function'],
  [{ fresh_for: 5 }, '`fresh_for` is no option: did you mean `freshFor`?'],
])('an option that cannot work is refused at the start: %o', (wrong, message) => {
  const options = { cache: lruStore(), db: sqlite('options'), ...wrong } as any
  expect(() => cachedDbStore(options)).toThrow(message)
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

test('a retired key is told as such, and after its delete as nothing', async () => {
  const store = cachedDbStore({ cache: lruStore(), db: sqlite('retired') })
  await store.create(KEY, record('1'))
  await store.save(KEY, record(''), '1')
  for (let n = 0; n < 2; n++) expect(await store.load(KEY)).toMatchObject({ data: '' })
  await store.delete(KEY)
  expect(await store.load(KEY)).toBeUndefined()
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
    await store.save(KEY, { ...ended, expiresAt: ended.expiresAt && time + ended.expiresAt }, '1')
    time += 1000
    release()
    await loading
    expect(await store.load(KEY)).toBeUndefined()
  },
)
