// SQLite: the conformance suite, and what only this engine has.
import { fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  mkdirSync,
  mkdtempSync,
  symlinkSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { SessionRecord } from '@coatcheck/core/store'
import Database from 'better-sqlite3'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { proveHerd } from '../../../testing/herd.ts'
import { proveEngines } from '../../../testing/prove.ts'
import { smallDisk, type SmallDisk } from '../../../testing/small-disk.ts'
import { sqliteStore, type SqliteConnection, type SqliteStore } from './sqlite.ts'

const folders: string[] = []
function filename(): string {
  const folder = mkdtempSync(join(tmpdir(), 'coatcheck-sqlite-'))
  folders.push(folder)
  return join(folder, 'sessions.sqlite')
}
afterEach(() => {
  vi.restoreAllMocks()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

const migrated = (store: SqliteStore) => {
  store.migrate()
  return store
}

await proveEngines('sqlite', 'sqlite on a connection of its own', 'sqlite by node:sqlite')

const KEY = 'k'.repeat(32)
const later = () => Date.now() + 60_000

test('a missing table is an error that says what to call', () => {
  const store = sqliteStore(filename())
  expect(() => store.load(KEY)).toThrow(
    expect.objectContaining({
      code: 'ERR_SESSION_STORE',
      message: expect.stringMatching(/Call store\.migrate\(\) once/),
    }),
  )
  store.migrate()
  expect(store.load(KEY)).toBeUndefined()
})

test.each(['2030-01-01', '2030-01-01T10:00:00Z', 'soon', 1_893_456_000])(
  'a row whose end is no date of Django’s is no session: %s',
  (date) => {
    const connection = new Database(':memory:')
    const store = migrated(sqliteStore(connection))
    connection.prepare('INSERT INTO coatcheck_session VALUES (?, ?, ?)').run(KEY, '{}', date)
    expect(store.load(KEY)).toBeUndefined()
  },
)

test('an end past the year 9999 is refused, as it would not be found again', () => {
  const store = migrated(sqliteStore(':memory:'))
  const expiresAt = Date.UTC(10_000)
  const refused = expect.objectContaining({ code: 'ERR_SESSION_USAGE' })
  expect(() => store.create(KEY, { data: '0', expiresAt })).toThrow(refused)
  store.create(KEY, { data: '0', expiresAt: expiresAt - 1 })
  expect(() => store.touch(KEY, expiresAt)).toThrow(refused)
  expect(store.load(KEY)).toEqual({ data: '0', expiresAt: expiresAt - 1 })
})

test('what Django ends within this millisecond has ended for every call', () => {
  const connection = new Database(':memory:')
  const now = Date.parse('2026-11-24T15:04:05.123Z')
  const store = migrated(sqliteStore(connection, { now: () => now }))
  connection
    .prepare('INSERT INTO coatcheck_session VALUES (?, ?, ?)')
    .run(KEY, '{}', '2026-11-24 15:04:05.123500')
  expect(store.load(KEY)).toBeUndefined()
  expect(() => store.touch(KEY, now + 1000)).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_GONE' }),
  )
})

test('migrate can run again, and keeps the sessions', () => {
  const store = migrated(sqliteStore(filename()))
  store.create(KEY, { data: '{}', expiresAt: later() })
  store.migrate()
  expect(store.load(KEY)).toBeDefined()
})

test('a session outlives the process: a second store on the file finds it', () => {
  const file = filename()
  const record = { data: '{"a":1}', expiresAt: later() }
  const first = migrated(sqliteStore(file))
  first.create(KEY, record)
  first.close?.()
  expect(sqliteStore(file).load(KEY)).toEqual(record)
})

test('on a connection of the application’s the wait may be of any length: it is the engine’s own', async () => {
  const connection = new Database(filename())
  const store = migrated(sqliteStore(connection, { busyTimeout: 3e9 }))
  connection.exec('BEGIN')
  const creating = store.create(KEY, { data: '{}', expiresAt: later() })
  await setTimeout(50)
  connection.exec('COMMIT')
  expect(await creating).toBe(KEY)
})

test('migrate() on a connection of the application’s waits for a lock as long as it is told, whatever that one does by itself', async () => {
  for (const timeout of [0, LONG]) {
    const file = filename()
    const connection = new Database(file, { timeout })
    using other = await otherProcess(file)
    await other.ask('BEGIN IMMEDIATE')
    const { error } = timed(() => sqliteStore(connection, { busyTimeout: 50 }).migrate())
    const [, waited] = /stayed locked by another program for (\d+) ms/.exec(String(error))!
    expect(Number(waited)).toBeGreaterThanOrEqual(40)
    expect(Number(waited)).toBeLessThan(LONG / 2)
    // It is busy for a while, and the thread waits meanwhile.
    const freed = other.ask(
      `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT max(i) FROM n; COMMIT`,
    )
    sqliteStore(connection, { busyTimeout: LONG }).migrate()
    await freed
    expect(connection.pragma('busy_timeout', { simple: true })).toBe(timeout)
  }
})

test("the application's own connection stays open", () => {
  const connection = new Database(':memory:')
  const store = migrated(sqliteStore(connection))
  store.close?.()
  expect(connection.open).toBe(true)
})

test("the table is Django's shape, with its dates as text in UTC", () => {
  const connection = new Database(':memory:')
  const store = migrated(sqliteStore(connection, { table: 'django_session' }))
  store.create(KEY, { data: '{}', expiresAt: Date.UTC(2100, 0, 2, 3, 4, 5, 678) })
  expect(connection.prepare('SELECT * FROM django_session').all()).toEqual([
    { session_key: KEY, session_data: '{}', expire_date: '2100-01-02 03:04:05.678000' },
  ])
  connection.exec(`UPDATE django_session SET expire_date = '2100-01-02 03:04:05'`)
  expect(store.load(KEY)).toMatchObject({ expiresAt: Date.UTC(2100, 0, 2, 3, 4, 5) })
})

test('migrate() makes the index that a table lacks, and no second one', () => {
  const columns =
    'session_key varchar(40) PRIMARY KEY, session_data text NOT NULL, expire_date datetime NOT NULL'
  const indexesAfter = (sql: string) => {
    const connection = new Database(':memory:')
    connection.exec(`CREATE TABLE django_session (${columns}); ${sql}`)
    migrated(sqliteStore(connection, { table: 'django_session' }))
    const indexes = `SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL`
    return connection.prepare(indexes).pluck().all()
  }
  const made = 'django_session_expire_date'
  const on = 'ON django_session'
  expect(indexesAfter('')).toEqual([made])
  expect(indexesAfter(`CREATE INDEX a ${on} (Expire_date, session_key)`)).toEqual(['a'])
  expect(indexesAfter(`CREATE INDEX a ${on} (session_key, expire_date)`)).toEqual(['a', made])
  expect(indexesAfter(`CREATE INDEX a ${on} (expire_date) WHERE expire_date > '2030'`)).toEqual([
    'a',
    made,
  ])
})

test('the sweep finds expired rows by the index', () => {
  const connection = new Database(':memory:')
  migrated(sqliteStore(connection))
  const plan = connection
    .prepare(`EXPLAIN QUERY PLAN SELECT session_key FROM coatcheck_session WHERE expire_date <= ?`)
    .all('2026') as { detail: string }[]
  expect(plan[0]?.detail).toContain('coatcheck_session_expire_date')
})

test('a folder that is not there is an error that names the file', () => {
  expect(() => sqliteStore('/nowhere/at/all.sqlite')).toThrow(
    expect.objectContaining({
      code: 'ERR_SESSION_STORE',
      message: expect.stringMatching(/\/nowhere\/at\/all\.sqlite/),
    }),
  )
})

test('a new file may be opened by four at once', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'coatcheck-sqlite-'))
  folders.push(folder)
  const [files, threads] = [100, 4]
  const gate = new Int32Array(new SharedArrayBuffer(files * 4))
  const workers = Array.from(
    { length: threads },
    () =>
      new Worker(new URL('fixtures/open-at-once.ts', import.meta.url), {
        workerData: { folder, files, threads, gate },
      }),
  )
  try {
    // A thread that throws rejects here, and the others then wait at the gate.
    await Promise.all(workers.map((worker) => once(worker, 'exit')))
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()))
  }
})

test('a file that stays locked is an error that says so, after the busy timeout', () => {
  const file = filename()
  const holder = new Database(file)
  holder.exec('BEGIN EXCLUSIVE')
  const started = performance.now()
  expect(() => sqliteStore(file, { busyTimeout: 200 })).toThrow(
    expect.objectContaining({
      code: 'ERR_SESSION_STORE',
      message: expect.stringMatching(/stayed locked by another process for 200 ms/),
    }),
  )
  expect(performance.now() - started).toBeGreaterThan(190)
  holder.close()
})

test('a row that Django wrote, to the microsecond, is touched from the end that load tells', () => {
  const connection = new Database(':memory:')
  const store = migrated(sqliteStore(connection, { table: 'sessions' }))
  for (const fraction of ['.000001', '.123456', '.999999', '']) {
    connection.exec(
      `REPLACE INTO sessions VALUES ('${KEY}', '{}', '2100-07-01 00:00:00${fraction}')`,
    )
    const { expiresAt } = store.load(KEY) as SessionRecord
    for (const from of [expiresAt - 1, expiresAt + 1]) {
      expect(() => store.touch(KEY, later(), from)).toThrow(
        expect.objectContaining({ code: 'ERR_SESSION_CONFLICT' }),
      )
    }
    expect(store.touch(KEY, later(), expiresAt)).toBe(KEY)
  }
})

/** Another process's connection: its locks are not ours. */
async function otherProcess(file: string) {
  const child = fork(`${import.meta.dirname}/fixtures/run-sql.ts`, [file])
  const ask = async (message: string) => {
    const answer = once(child, 'message')
    child.send(message)
    await answer
  }
  return { ask, [Symbol.dispose]: () => void child.kill('SIGKILL') }
}

/** How long a call blocks the thread, in ms, and what it answers or throws. */
function timed<T>(call: () => T): { ms: number; answer?: T; error?: unknown } {
  const start = performance.now()
  try {
    const answer = call()
    return { ms: performance.now() - start, answer }
  } catch (error) {
    return { ms: performance.now() - start, error }
  }
}

/** How long a connection waits by itself, in ms: what blocks the thread for that takes longer than a busy machine. */
const LONG = 30_000
const connections: Record<string, (file: string) => SqliteConnection> = {
  'better-sqlite3': (file) => new Database(file, { timeout: LONG }),
  'node:sqlite': (file) => new DatabaseSync(file, { timeout: LONG }) as SqliteConnection,
}
const stores: Record<string, (file: string, busyTimeout?: number) => SqliteStore> = {
  'a filename': (file, busyTimeout = LONG) => sqliteStore(file, { busyTimeout }),
}
for (const [name, connect] of Object.entries(connections)) {
  stores[`a connection of ${name}`] = (file, busyTimeout = LONG) => {
    const connection = connect(file)
    connection.exec('PRAGMA journal_mode = WAL')
    return sqliteStore(connection, { busyTimeout })
  }
}

describe.each(Object.entries(stores))('a lock of another program, by %s', (_, open) => {
  test('a thousand writes wait for it off the thread, in order; loads go on', async () => {
    const file = filename()
    const store = migrated(open(file))
    store.create(KEY, { data: '0', expiresAt: later() })
    using other = await otherProcess(file)
    await other.ask('BEGIN IMMEDIATE')
    const { ms, answer } = timed(() =>
      Array.from({ length: 1000 }, (__, n) =>
        store.save(KEY, { data: `${n + 1}`, expiresAt: later() }, `${n}`),
      ),
    )
    expect(ms).toBeLessThan(LONG / 2)
    expect(timed(() => store.load(KEY))).toMatchObject({ answer: { data: '0' } })
    const sleeps = vi.spyOn(Atomics, 'wait')
    let longest = 0
    let last = performance.now()
    const measuring = setInterval(() => {
      longest = Math.max(longest, performance.now() - last)
      last = performance.now()
    }, 5)
    await setTimeout(500)
    await other.ask('COMMIT')
    await Promise.all(answer!)
    clearInterval(measuring)
    expect(longest).toBeLessThan(LONG / 2)
    expect(sleeps).not.toHaveBeenCalled()
    expect(store.load(KEY)).toMatchObject({ data: '1000' })
  })

  test('a session that ends while a write waits for it stays ended', async () => {
    const file = filename()
    const store = migrated(open(file))
    using other = await otherProcess(file)
    const expiresAt = Date.now() + 200
    const [touched, saved, taken] = ['t', 's', 'c'].map((letter) => letter.repeat(32))
    for (const key of [touched!, saved!, taken!]) store.create(key, { data: '0', expiresAt })
    await other.ask('BEGIN IMMEDIATE')
    const settling = Promise.allSettled([
      store.touch(touched!, later()),
      store.save(saved!, { data: '1', expiresAt: later() }),
      store.create(taken!, { data: '1', expiresAt: later() }),
    ])
    await setTimeout(300)
    await other.ask('COMMIT')
    expect(await settling).toMatchObject([
      { reason: { code: 'ERR_SESSION_GONE' } },
      { reason: { code: 'ERR_SESSION_GONE' } },
      { value: taken },
    ])
  })

  test('a save that waits for it is refused by what is there in its turn', async () => {
    const file = filename()
    const store = migrated(open(file))
    store.create(KEY, { data: '0', expiresAt: later() })
    using other = await otherProcess(file)
    await other.ask('BEGIN IMMEDIATE')
    const settling = Promise.allSettled([
      store.save(KEY, { data: '2', expiresAt: later() }, '1'),
      store.delete(KEY),
    ])
    await other.ask('COMMIT')
    expect(await settling).toMatchObject([
      { reason: { code: 'ERR_SESSION_CONFLICT' } },
      { status: 'fulfilled' },
    ])
  })

  test('is an error after the busy timeout, and nothing has been written', async () => {
    const file = filename()
    const store = migrated(open(file, 300))
    store.create(KEY, { data: '0', expiresAt: later() })
    using other = await otherProcess(file)
    await other.ask('BEGIN IMMEDIATE')
    const start = performance.now()
    const calls = [
      () => store.create('n'.repeat(32), { data: '1', expiresAt: later() }),
      () => store.save(KEY, { data: '1', expiresAt: later() }, '0'),
      () => store.touch(KEY, later()),
      () => store.delete(KEY),
      () => store.clearExpired!(),
    ]
    const settled = await Promise.allSettled(calls.map((call) => call()))
    expect(performance.now() - start).toBeGreaterThan(290)
    expect(performance.now() - start).toBeLessThan(LONG / 2)
    for (const { reason } of settled as PromiseRejectedResult[]) {
      expect(reason).toMatchObject({
        code: 'ERR_SESSION_STORE',
        message: expect.stringMatching(/stayed locked by another program for 300 ms/),
      })
    }
    await other.ask('COMMIT')
    expect(store.load(KEY)).toMatchObject({ data: '0' })
    expect(store.delete(KEY)).toBeUndefined()
  })
})

test('a lock that stops readers too costs a load 50 ms of the thread, and those that follow nothing', async () => {
  const file = filename()
  // Without WAL a writer stops readers.
  const connection = new Database(file)
  const store = migrated(sqliteStore(connection))
  using other = await otherProcess(file)
  await other.ask('BEGIN EXCLUSIVE')
  const sleeps = vi.spyOn(Atomics, 'wait')
  const asleep = () => sleeps.mock.calls.reduce((sum, [, , , ms]) => sum + ms!, 0)
  const first = timed(() => store.load(KEY))
  expect(first.error).toMatchObject({
    code: 'ERR_SESSION_STORE',
    message: expect.stringMatching(/stayed locked/),
  })
  // By itself the connection would wait for 5 s.
  expect(first.ms).toBeLessThan(4000)
  expect(asleep()).toBeLessThanOrEqual(50)
  const next = timed(() => {
    for (let n = 0; n < 20; n++) expect(() => store.load(KEY)).toThrow(/stayed locked/)
  })
  expect(next.ms).toBeLessThan(4000)
  // One that comes a second later, where the machine was stopped, may wait again.
  expect(asleep()).toBeLessThanOrEqual(100)
  await other.ask('COMMIT')
  expect(store.load(KEY)).toBeUndefined()
  expect(connection.pragma('busy_timeout', { simple: true })).toBe(5000)
})

test.each(Object.entries(connections))(
  "what is saved beside a transaction of the application's is not rolled back with it: %s",
  async (_, connect) => {
    const connection = connect(filename())
    const store = migrated(sqliteStore(connection))
    connection.exec('CREATE TABLE cart (item text)')
    store.create(KEY, { data: '1', expiresAt: later() })
    connection.exec('BEGIN')
    connection.exec("INSERT INTO cart VALUES ('hat')")
    const loggedOut = store.save(KEY, { data: '', expiresAt: 0 }, '1')
    expect(loggedOut).toBeInstanceOf(Promise)
    await setTimeout(50)
    expect(store.load(KEY)).toMatchObject({ data: '1' })
    connection.exec('ROLLBACK')
    await loggedOut
    expect(store.load(KEY)).toBeUndefined()
    expect(connection.prepare('SELECT count(*) AS n FROM cart').get()).toMatchObject({ n: 0 })
  },
)

test('what is saved within a synchronous transaction of the application is stored after it', async () => {
  const connection = new Database(filename())
  const store = migrated(sqliteStore(connection))
  let created: unknown
  const transaction = connection.transaction(() => {
    created = store.create(KEY, { data: '1', expiresAt: later() })
    throw new Error('the order failed')
  })
  expect(transaction).toThrow('the order failed')
  expect(await created).toBe(KEY)
  expect(store.load(KEY)).toMatchObject({ data: '1' })
})

test("a transaction of the application's that stays open is an error that says so, and nothing is stored in it", async () => {
  const connection = new Database(filename())
  const store = migrated(sqliteStore(connection, { busyTimeout: 100 }))
  connection.exec('BEGIN')
  await expect(store.create(KEY, { data: '1', expiresAt: later() })).rejects.toThrow(
    /The application's transaction on this connection stayed open for 100 ms/,
  )
  connection.exec('COMMIT')
  expect(store.load(KEY)).toBeUndefined()
})

test('a query of the application whose rows are being read makes writes wait, not fail', async () => {
  const connection = new Database(filename())
  const store = migrated(sqliteStore(connection))
  store.create(KEY, { data: '1', expiresAt: later() })
  let saved: unknown
  const rows = connection.prepare('SELECT * FROM coatcheck_session').iterate()
  for (let row = rows.next(); !row.done; row = rows.next()) {
    expect(store.load(KEY)).toMatchObject({ data: '1' })
    saved = store.save(KEY, { data: '2', expiresAt: later() }, '1')
  }
  await saved
  expect(store.load(KEY)).toMatchObject({ data: '2' })
})

test('close waits for the writes that wait, and takes no more', async () => {
  const file = filename()
  const store = migrated(sqliteStore(file))
  using other = await otherProcess(file)
  await other.ask('BEGIN IMMEDIATE')
  const created = store.create(KEY, { data: '1', expiresAt: later() })
  const closed = store.close!()
  expect(() => store.delete(KEY)).toThrow(expect.objectContaining({ code: 'ERR_SESSION_STORE' }))
  await other.ask('COMMIT')
  await closed
  expect(await created).toBe(KEY)
  expect(sqliteStore(file).load(KEY)).toMatchObject({ data: '1' })
})

describe("options of the application's connection bend no answer", () => {
  const better = (set: (connection: Database.Database) => unknown) => () => {
    const connection = new Database(filename())
    set(connection)
    return connection as SqliteConnection
  }
  const builtIn = (options: object) => () =>
    new DatabaseSync(filename(), options) as SqliteConnection
  test.each<[string, () => SqliteConnection]>([
    ['safeIntegers', better((connection) => connection.defaultSafeIntegers(true))],
    ['unsafeMode', better((connection) => connection.unsafeMode(true))],
    ...[
      'case_sensitive_like = ON',
      "encoding = 'UTF-16le'",
      'foreign_keys = ON',
      'recursive_triggers = ON',
      'journal_mode = MEMORY',
      'journal_mode = OFF',
      'synchronous = OFF',
      'locking_mode = EXCLUSIVE',
      'reverse_unordered_selects = ON',
      'auto_vacuum = FULL',
    ].map((pragma): [string, () => SqliteConnection] => [
      pragma,
      better((connection) => connection.pragma(pragma)),
    ]),
    [
      'full_column_names',
      better((connection) => {
        connection.pragma('short_column_names = OFF')
        connection.pragma('full_column_names = ON')
      }),
    ],
    ['count_changes', better((connection) => connection.pragma('count_changes = ON'))],
    ['readBigInts', builtIn({ readBigInts: true })],
    ['returnArrays', builtIn({ returnArrays: true })],
  ])('%s', async (_, connect) => {
    const store = migrated(sqliteStore(connect()))
    const refused = (code: string) => expect.objectContaining({ code })
    const ends = later()
    store.create(KEY, { data: 'ä', expiresAt: ends })
    expect(store.load(KEY)).toEqual({ data: 'ä', expiresAt: ends })
    expect(() => store.create(KEY, { data: 'x', expiresAt: ends })).toThrow(
      refused('ERR_SESSION_KEY_EXISTS'),
    )
    expect(() => store.save(KEY, { data: 'x', expiresAt: ends }, 'Ä')).toThrow(
      refused('ERR_SESSION_CONFLICT'),
    )
    expect(() => store.touch(KEY, ends, ends + 1)).toThrow(refused('ERR_SESSION_CONFLICT'))
    expect(store.touch(KEY, ends + 5, ends)).toBe(KEY)
    expect(() => store.save(KEY.toUpperCase(), { data: 'x', expiresAt: ends })).toThrow(
      refused('ERR_SESSION_GONE'),
    )
    expect(store.save(KEY, { data: '', expiresAt: 0 }, 'ä')).toBe(KEY)
    expect(() => store.touch(KEY, ends)).toThrow(refused('ERR_SESSION_GONE'))
    store.create('deaddead', { data: 'x', expiresAt: Date.now() - 1 })
    expect(await store.clearExpired!()).toBe(1)
  })

  test.each<[string, (file: string) => SqliteConnection]>([
    ['readonly', (file) => new Database(file, { readonly: true }) as SqliteConnection],
    [
      'query_only',
      (file) => {
        const connection = new Database(file)
        connection.pragma('query_only = ON')
        return connection as SqliteConnection
      },
    ],
  ])('%s: loads go on, all else is an error at once that says so', (_, connect) => {
    const file = filename()
    const own = migrated(sqliteStore(file))
    own.create(KEY, { data: '1', expiresAt: later() })
    const store = sqliteStore(connect(file))
    expect(store.load(KEY)).toMatchObject({ data: '1' })
    for (const call of [
      () => store.create('n'.repeat(32), { data: '1', expiresAt: later() }),
      () => store.save(KEY, { data: '2', expiresAt: later() }, '1'),
      () => store.touch(KEY, later()),
      () => store.delete(KEY),
    ]) {
      expect(call).toThrow(/read-only for this process \(SQLITE_READONLY\)/)
    }
    own.close?.()
  })
})

const FILLED = {
  'by another program': (store: SqliteStore, disk: SmallDisk) => {
    for (let n = 0; n < 400; n++) fillIn(store, n)
    disk.fill()
  },
  'by sessions': (store: SqliteStore) => {
    let isFull = false
    for (let n = 0; !isFull; n++) {
      try {
        fillIn(store, n)
      } catch (error) {
        expect(error).toMatchObject({ message: expect.stringMatching(/the disk is full/) })
        isFull = true
      }
    }
  },
}
const keyOf = (n: number) => `${n}-`.padEnd(32, 'k')
/** Every other one has ended. */
const fillIn = (store: SqliteStore, n: number) =>
  store.create(keyOf(n), {
    data: 'x'.repeat(500),
    expiresAt: n % 2 ? later() : Date.now() - 1,
  })
for (const [name, fill] of Object.entries(FILLED)) {
  for (const isOpenedAnew of [false, true]) {
    test(`a disk that was filled ${name}: logouts and the sweep work${isOpenedAnew ? ', also after a start on it' : ''}`, async (context) => {
      using disk = smallDisk(context, 'size=24m')
      const file = join(disk.path, 'sessions.sqlite')
      let store = migrated(sqliteStore(file))
      // A store that is in use for a second keeps room.
      await setTimeout(1100)
      store.load(KEY)
      fill(store, disk)
      if (isOpenedAnew) {
        store.close?.()
        store = sqliteStore(file)
      }
      const { ms, error } = timed(() => {
        for (let n = 1; n < 100; n += 2) store.save(keyOf(n), { data: '', expiresAt: 0 })
        store.delete(keyOf(101))
        expect(store.load(keyOf(1))).toBeUndefined()
        expect(store.load(keyOf(103))).toBeDefined()
      })
      expect(error).toBeUndefined()
      // One that waits does so for 5 s.
      expect(ms).toBeLessThan(4000)
      expect(await store.clearExpired!()).toBeGreaterThan(100)
      // New sessions take the room of those, and leave what logouts need.
      let fresh = 100_001
      const fillUp = () => {
        for (; ; fresh += 2) fillIn(store, fresh)
      }
      for (let round = 0; round < 3; round++) expect(fillUp).toThrow(/the disk is full/)
      for (let n = 103; n < 150; n += 2) store.save(keyOf(n), { data: '', expiresAt: 0 })
      disk.free()
      // What the sweep has freed is used again.
      for (let n = 0; n < 100; n += 2) store.create(keyOf(n), { data: '1', expiresAt: later() })
      store.close?.()
    })
  }
}

test('a backup put in place under a running application is refused, and nothing is written into it', async () => {
  const file = filename()
  const store = migrated(sqliteStore(file))
  const backup = `${file}-backup`
  for (let n = 0; n < 200; n++)
    store.create(keyOf(n), { data: 'x'.repeat(500), expiresAt: later() })
  const connection = new Database(file)
  connection.prepare('VACUUM INTO ?').run(backup)
  connection.close()
  for (let n = 0; n < 200; n++) store.delete(keyOf(n))
  for (let n = 200; n < 500; n++) store.create(keyOf(n), { data: 'y', expiresAt: later() })
  expect(statSync(`${file}-wal`).size).toBeGreaterThan(0)
  const bytes = readFileSync(backup)

  renameSync(file, `${file}-old`)
  await setTimeout(1100)
  expect(() => store.load(KEY)).toThrow(/was removed .* Stop the application/)
  renameSync(backup, file)
  for (let tries = 0; tries < 2; tries++) {
    expect(() => store.load(KEY)).toThrow(/was replaced .* Stop the application/)
    expect(() => store.delete(keyOf(0))).toThrow(/was replaced/)
  }
  store.close?.()
  expect(readFileSync(file).equals(bytes)).toBe(true)

  for (const ending of ['-wal', '-shm']) rmSync(`${file}${ending}`, { force: true })
  const restored = new Database(file)
  expect(restored.pragma('integrity_check')).toEqual([{ integrity_check: 'ok' }])
  restored.close()
  const again = sqliteStore(file)
  expect(again.load(keyOf(0))).toMatchObject({ data: 'x'.repeat(500) })
  expect(again.load(keyOf(200))).toBeUndefined()
  again.close?.()
})

test("on a full disk the log is restarted without a wait in the thread, and the application's timeout stays", () => {
  const connection = new Database(filename(), { timeout: 5000 })
  connection.pragma('journal_mode = WAL')
  const timeout = () => connection.pragma('busy_timeout', { simple: true })
  const timeouts: unknown[] = []
  const store = migrated(
    sqliteStore({
      prepare: (sql) => connection.prepare(sql),
      exec(sql) {
        if (sql.includes('wal_checkpoint')) timeouts.push(timeout())
        return connection.exec(sql)
      },
    }),
  )
  // As a full disk does.
  connection.pragma('max_page_count = 1')
  const fillUp = () => {
    for (let n = 0; n < 1000; n++) fillIn(store, n)
  }
  expect(fillUp).toThrow(/the disk is full/)
  expect(timeouts).toContain(0)
  expect(new Set(timeouts).size).toBe(1)
  expect(timeout()).toBe(5000)
})

test("the first call of all does not wait in the thread either, on the application's connection", () => {
  const file = filename()
  const other = new Database(file)
  migrated(sqliteStore(other)).close?.()
  const connection = new Database(file, { timeout: 5000 })
  const timeouts: unknown[] = []
  const store = sqliteStore({
    prepare(sql) {
      const isOurs = sql.includes('coatcheck_session')
      if (isOurs) timeouts.push(connection.pragma('busy_timeout', { simple: true }))
      return connection.prepare(sql)
    },
    exec: (sql) => connection.exec(sql),
  })
  expect(store.load(KEY)).toBeUndefined()
  expect(new Set(timeouts)).toEqual(new Set([0]))
})

test('close ends a sweep after the batch under way, which tells what it has removed; later ones are refused', async () => {
  const store = migrated(sqliteStore(filename()))
  for (let n = 0; n < 10; n += 2) fillIn(store, n)
  const swept = store.clearExpired!({ batchSize: 1 })
  store.close!()
  expect(await swept).toBe(1)
  await expect(store.clearExpired!()).rejects.toThrow('The store is closed. Make another one.')
})

test('close ends it on a connection of the application’s too, which can be closed then', async () => {
  const connection = new Database(filename())
  const store = migrated(sqliteStore(connection))
  for (let n = 0; n < 10; n += 2) fillIn(store, n)
  const swept = store.clearExpired!({ batchSize: 1 })
  await store.close!()
  connection.close()
  expect(await swept).toBe(1)
  expect(() => store.load(KEY)).toThrow('The store is closed. Make another one.')
})

describe('a table that somebody else has made', () => {
  const KEYS = 'session_key varchar(40) PRIMARY KEY'
  const made = (columns: string, rest = '') => {
    const connection = new Database(filename())
    connection.exec(`CREATE TABLE coatcheck_session (expire_date datetime, ${columns})${rest}`)
    return { connection, store: sqliteStore(connection) }
  }

  test.each([
    [
      'session_key varchar(40) COLLATE NOCASE PRIMARY KEY, session_data text',
      /session_key .* is varchar\(40\).*BINARY/,
    ],
    ['session_key text, session_data text', /session_key .* is text, and has no unique index/i],
    ['session_key text, session_data text, UNIQUE (session_key, session_data)', /no unique index/],
    ['session_key bigint PRIMARY KEY, session_data text', /session_key .* does not keep keys/],
    [`${KEYS}, session_data json`, /session_data .* is json, which does not keep text/],
    ['id text', /is no session table: it lacks a column/],
  ])('(%s) is refused by every call, and migrate() too', (columns, message) => {
    const { store } = made(columns)
    for (const call of [
      () => store.load(KEY),
      () => store.create(KEY, { data: '1', expiresAt: later() }),
      () => store.migrate(),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: 'ERR_SESSION_STORE' }))
      expect(call).toThrow(message)
    }
  })

  test('a view is refused as such', () => {
    const { connection } = made(`${KEYS}, session_data text`)
    connection.exec('CREATE VIEW a_view AS SELECT * FROM coatcheck_session')
    const store = sqliteStore(connection, { table: 'a_view' })
    for (const call of [() => store.load(KEY), () => store.migrate()]) {
      expect(call).toThrow("The session table 'a_view' is a view")
    }
  })

  test('a view in an attached database is refused as such', () => {
    const { connection } = made(`${KEYS}, session_data text`)
    connection.exec(`ALTER TABLE coatcheck_session RENAME TO theirs;
      ATTACH ':memory:' AS other;
      CREATE TABLE other.theirs (expire_date datetime, ${KEYS}, session_data text);
      CREATE VIEW other.coatcheck_session AS SELECT * FROM other.theirs`)
    expect(() => sqliteStore(connection).load(KEY)).toThrow(
      "The session table 'coatcheck_session' is a view, and not a table.",
    )
  })

  test('of tables of one name the temporary one is meant, and is looked at', () => {
    const { connection } = made(`${KEYS}, session_data text`)
    connection.exec(`CREATE TEMP VIEW coatcheck_session AS SELECT * FROM main.coatcheck_session`)
    expect(() => sqliteStore(connection).load(KEY)).toThrow('is a view, and not a table.')
  })

  test('a strict one of ANY columns keeps text, however much it looks like a number', () => {
    const columns = 'session_key ANY PRIMARY KEY, session_data ANY'
    const strict = (rest: string) => {
      const connection = new Database(filename())
      connection.exec(`CREATE TABLE coatcheck_session (expire_date ANY, ${columns})${rest}`)
      return sqliteStore(connection)
    }
    const store = strict(' STRICT')
    const key = '0123456789'
    store.create(key, { data: '1.50', expiresAt: later() })
    expect(store.load(key)).toMatchObject({ data: '1.50' })
    expect(() => strict('').load(key)).toThrow('session_key of the session table')
  })

  test('what the error says to run helps, and the collation is of no account then', () => {
    const { connection, store } = made(
      'session_key varchar(40) COLLATE NOCASE PRIMARY KEY, session_data text',
    )
    let mend = ''
    try {
      store.load(KEY)
    } catch (error) {
      mend = /Run: (.*)/.exec((error as Error).message)![1]!
    }
    connection.exec(mend)
    store.migrate()
    store.create(KEY, { data: '1', expiresAt: later() })
    expect(store.load(KEY)).toMatchObject({ data: '1' })
    expect(store.load(KEY.toUpperCase())).toBeUndefined()
    store.delete(KEY.toUpperCase())
    expect(store.load(KEY)).toBeDefined()
  })

  test.each(['NOCASE', 'RTRIM'])('data is compared byte for byte in the collation %s', (name) => {
    const { store } = made(`${KEYS}, session_data text COLLATE ${name}`)
    store.migrate()
    store.create(KEY, { data: '"a"', expiresAt: later() })
    for (const other of ['"A"', '"a" ']) {
      expect(() => store.save(KEY, { data: '2', expiresAt: later() }, other)).toThrow(
        expect.objectContaining({ code: 'ERR_SESSION_CONFLICT' }),
      )
    }
    store.save(KEY, { data: '2', expiresAt: later() }, '"a"')
  })

  test('one WITHOUT ROWID is swept', async () => {
    const { store } = made(`${KEYS}, session_data text`, ' WITHOUT ROWID')
    store.migrate()
    for (let n = 0; n < 10; n++) fillIn(store, n)
    expect(await store.clearExpired!({ batchSize: 2 })).toBe(5)
  })

  test('it is looked at once a connection', () => {
    const { connection } = made(`${KEYS}, session_data text`)
    const looks: string[] = []
    const store = sqliteStore({
      exec: (sql) => connection.exec(sql),
      prepare: (sql) => {
        if (sql.includes('pragma_table_info')) looks.push(sql)
        return connection.prepare(sql)
      },
    })
    store.load(KEY)
    store.create(KEY, { data: '1', expiresAt: later() })
    store.load(KEY)
    expect(looks).toHaveLength(1)
  })
})

test('migrate() of a file that was removed, or of a store that was closed, says so', () => {
  const file = filename()
  const store = migrated(sqliteStore(file))
  renameSync(file, `${file}-away`)
  expect(() => store.migrate()).toThrow(/was removed while it was open/)
  renameSync(`${file}-away`, file)
  store.migrate()
  store.close!()
  expect(() => store.migrate()).toThrow('The store is closed. Make another one.')
})

test('a store that was closed says so, to reads and writes', () => {
  const store = migrated(sqliteStore(filename()))
  store.close?.()
  const message = 'The store is closed. Make another one.'
  expect(() => store.load(KEY)).toThrow(message)
  expect(() => store.delete(KEY)).toThrow(message)
})

test.each([20, 1500])(
  'a thousand requests of one session beside a lock of %i ms are answered when it is over, and all is kept',
  async (ms) => {
    const file = filename()
    const store = migrated(sqliteStore(file))
    await proveHerd(store, () => {
      const other = new Database(file)
      other.exec('BEGIN IMMEDIATE')
      void setTimeout(ms).then(() => other.close())
    })
  },
  120_000,
)

describe('a file that cannot be opened is an error that says why', () => {
  const message = (file: string) => (timed(() => sqliteStore(file)).error as Error).message

  test('no folder, a folder, not a database', () => {
    expect(message('/nowhere/at/all.sqlite')).toMatch(/its folder '\/nowhere\/at' is not there/)
    const file = filename()
    mkdirSync(file)
    expect(message(file)).toMatch(/it is a folder/)
    writeFileSync(`${file}.txt`, 'a text of some length '.repeat(100))
    expect(message(`${file}.txt`)).toMatch(/is no SQLite database \(SQLITE_NOTADB\)/)
  })

  test('a disk that is read-only', (context) => {
    using disk = smallDisk(context, 'size=1m')
    disk.setReadOnly(true)
    expect(message(join(disk.path, 'sessions.sqlite'))).toMatch(/the disk is read-only/)
  })

  test('an addon of another Node', () => {
    const script = `${import.meta.dirname}/fixtures/other-addon.ts`
    const { stdout } = spawnSync(process.execPath, [script], { encoding: 'utf8' })
    expect(stdout).toMatch(
      /^ERR_SESSION_DRIVER_MISSING sqliteStore: better-sqlite3 is installed, and not built for this Node .*Run: npm rebuild better-sqlite3/,
    )
  })
})

test('a table name that is no name is refused', () => {
  expect(() => sqliteStore(':memory:', { table: 'x"; DROP TABLE y; --' })).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }),
  )
})

test('a closed database is a SessionStoreError, never an empty answer', () => {
  const connection = new Database(':memory:')
  const store = migrated(sqliteStore(connection))
  store.load(KEY)
  connection.close()
  for (const call of [
    () => store.load(KEY),
    () => store.create(KEY, { data: '{}', expiresAt: later() }),
    () => store.save(KEY, { data: '{}', expiresAt: later() }),
    () => store.touch(KEY, later()),
    () => store.delete(KEY),
  ]) {
    expect(call).toThrow(
      expect.objectContaining({
        code: 'ERR_SESSION_STORE',
        message: expect.stringMatching(/: the application's connection is closed\.$/m),
      }),
    )
  }
})

test('so is a closed one of node:sqlite, also at its first call', () => {
  const connection = new DatabaseSync(':memory:')
  connection.close()
  expect(() => sqliteStore(connection).load(KEY)).toThrow("the application's connection is closed")
})

test.each(['a file', 'a link'])(
  '%s that is called as the reserve would be, and is not ours, stays as it is',
  async (kind) => {
    const path = filename()
    const theirs = `${path}.txt`
    writeFileSync(theirs, 'important')
    if (kind === 'a link') symlinkSync(theirs, `${path}-reserve`)
    else renameSync(theirs, `${path}-reserve`)
    const store = sqliteStore(path)
    store.migrate()
    await setTimeout(1100)
    await store.load('k'.repeat(32))
    await store.close!()
    expect(readFileSync(`${path}-reserve`, 'utf8')).toBe('important')
  },
)
