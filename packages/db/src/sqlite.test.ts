// SQLite: the conformance suite, and what only this engine has.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { SessionRecord } from '@coatcheck/core/store'
import Database from 'better-sqlite3'
import { afterEach, expect, test } from 'vitest'
import { proveEngines } from '../../../testing/prove.ts'
import { sqliteStore, type SqliteStore } from './sqlite.ts'

const folders: string[] = []
function filename(): string {
  const folder = mkdtempSync(join(tmpdir(), 'coatcheck-sqlite-'))
  folders.push(folder)
  return join(folder, 'sessions.sqlite')
}
afterEach(() => {
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
    expect(call).toThrow(expect.objectContaining({ code: 'ERR_SESSION_STORE' }))
  }
})
