// MySQL and MariaDB, as a real server of its own: the conformance suite, and what only this engine has.
import { randomUUID } from 'node:crypto'
import { inspect } from 'node:util'
import mysql from 'mysql2/promise'
import { afterAll, expect } from 'vitest'
import { proveEngines } from '../../../testing/prove.ts'
import { countRoundTrips } from '../../../testing/round-trips.ts'
import { mysqlStore } from './mysql.ts'

const { url, test } = (await proveEngines('mysql'))['mariadb']!
const pool = url === undefined ? undefined : mysql.createPool({ uri: url, charset: 'utf8mb4' })
afterAll(() => pool?.end())

const freshTable = () => `test_${randomUUID().replaceAll('-', '')}`
const KEY = 'k'.repeat(32)
const later = () => Date.now() + 60_000

test('by a URL, with a pool of its own', async () => {
  const store = mysqlStore(url!, { table: freshTable() })
  await store.migrate()
  await store.create(KEY, { data: '{}', expiresAt: later() })
  expect(await store.load(KEY)).toBeDefined()
  await store.close?.()
  await store.close?.()
})

test('a missing table is an error that says what to call', async () => {
  const store = mysqlStore(pool!, { table: freshTable() })
  await expect(async () => store.load(KEY)).rejects.toMatchObject({
    code: 'ERR_SESSION_STORE',
    message: expect.stringMatching(/Call store\.migrate\(\) once/),
  })
})

test('migrate() makes the index that a table lacks, once, and asks for no privilege where it lacks nothing', async () => {
  const table = freshTable()
  const columns =
    'session_key varchar(64) COLLATE ascii_bin PRIMARY KEY, session_data longtext NOT NULL, expire_date datetime(6) NOT NULL'
  await pool!.query(`CREATE TABLE ${table} (${columns}) CHARSET=utf8mb4`)
  const indexes = async () => {
    const [rows] = await pool!.query<any[]>(`SHOW INDEX FROM ${table}`)
    return rows.map(({ Key_name, Column_name }) => [Key_name, Column_name])
  }
  const stores = Array.from({ length: 4 }, () => mysqlStore(pool!, { table }))
  await Promise.all(stores.map((store) => store.migrate()))
  const made = [
    ['PRIMARY', 'session_key'],
    [`${table}_expire_date`, 'expire_date'],
  ]
  expect(await indexes()).toEqual(made)
  await pool!.query(`ALTER TABLE ${table} RENAME INDEX ${table}_expire_date TO django`)
  await pool!.query(`CREATE USER ${table}@'%' IDENTIFIED BY 'x'`)
  await pool!.query(`GRANT SELECT, INSERT, UPDATE, DELETE ON ${table} TO ${table}@'%'`)
  const allowed = new URL(url!)
  allowed.username = table
  allowed.password = 'x'
  const store = mysqlStore(allowed.href, { table })
  await store.migrate()
  await store.close!()
  expect(await indexes()).toEqual([made[0], ['django', 'expire_date']])
  // One that has the name and begins otherwise is the application's affair.
  await pool!.query(`ALTER TABLE ${table} DROP INDEX django`)
  await pool!.query(`CREATE INDEX ${table}_expire_date ON ${table} (session_key, expire_date)`)
  await stores[0]!.migrate()
  expect(await indexes()).toHaveLength(3)
})

test('the cause of an error holds the server’s code, and neither key nor data', async () => {
  const table = freshTable()
  const store = mysqlStore(pool!, { table })
  await store.migrate()
  await pool!.query(`ALTER TABLE ${table} ADD UNIQUE (session_data(20))`)
  await store.create(`x${KEY}`, { data: 'secret', expiresAt: later() })
  await store.create(KEY, { data: '1', expiresAt: later() })
  const error: any = await Promise.resolve(
    store.save(KEY, { data: 'secret', expiresAt: later() }),
  ).catch((reason) => reason)
  expect(error.cause).toMatchObject({ code: 'ER_DUP_ENTRY', errno: 1062, sqlState: '23000' })
  expect(inspect(error, { depth: 9, showHidden: true })).not.toMatch(/secret|kkkk/)
})

test('expiry is the same moment on a connection in another time zone', async () => {
  const connection = await mysql.createConnection({ uri: url!, timezone: '+05:30' })
  await connection.query("SET time_zone = '-08:00'")
  const store = mysqlStore(connection, { table: freshTable() })
  await store.migrate()
  const expiresAt = Date.UTC(2100, 6, 1, 0, 30, 0, 123)
  await store.create(KEY, { data: '{}', expiresAt })
  expect(await store.load(KEY)).toMatchObject({ expiresAt })
  await connection.end()
})

test('a connection that counts only changed rows tells a kept session from a lost one', async () => {
  const connection = await mysql.createConnection({ uri: url!, flags: ['-FOUND_ROWS'] })
  const store = mysqlStore(connection, { table: freshTable() })
  await store.migrate()
  const record = { data: '{}', expiresAt: later() }
  await store.create(KEY, record)
  expect(await store.save(KEY, record)).toBe(KEY)
  expect(await store.save(KEY, record, '{}')).toBe(KEY)
  expect(await store.touch(KEY, record.expiresAt)).toBe(KEY)
  expect(await store.touch(KEY, record.expiresAt, record.expiresAt)).toBe(KEY)
  await expect(store.touch(KEY, record.expiresAt, record.expiresAt - 5)).rejects.toMatchObject({
    code: 'ERR_SESSION_CONFLICT',
  })
  const retired = { data: '', expiresAt: record.expiresAt }
  await store.save(KEY, retired, '{}')
  for (const call of [
    () => store.save(KEY, retired),
    () => store.save(KEY, retired, ''),
    () => store.touch(KEY, record.expiresAt),
    () => store.touch(KEY, record.expiresAt, record.expiresAt),
  ]) {
    await expect(call()).rejects.toMatchObject({ code: 'ERR_SESSION_GONE' })
  }
  await connection.end()
})

test('a row that Django wrote, to the microsecond, is touched from the end that load tells', async () => {
  const connection = await mysql.createConnection({ uri: url! })
  const table = freshTable()
  const store = mysqlStore(connection, { table })
  await store.migrate()
  for (const fraction of ['.000001', '.123456', '.999999', '']) {
    await connection.query(
      `REPLACE INTO ${table} VALUES ('${KEY}', '{}', '2100-07-01 00:00:00${fraction}')`,
    )
    const { expiresAt } = (await store.load(KEY))!
    for (const from of [expiresAt - 1, expiresAt + 1]) {
      await expect(store.touch(KEY, later(), from)).rejects.toMatchObject({
        code: 'ERR_SESSION_CONFLICT',
      })
    }
    expect(await store.touch(KEY, later(), expiresAt)).toBe(KEY)
  }
  await connection.end()
})

test('a server that is not there is a SessionStoreError within seconds', async () => {
  const store = mysqlStore('mysql://root@127.0.0.1:1/test')
  await expect(async () => store.load(KEY)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  await store.close?.()
})

for (const isolation of ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE']) {
  for (const snapshot of [0, 1]) {
    test(`under ${isolation}${snapshot ? ' with snapshot isolation' : ''} every call at once answers as the contract says, and none fails for a race`, async () => {
      const strict = mysql.createPool({ uri: url!, connectionLimit: 20 })
      strict.on('connection', (connection) => {
        connection.query(`SET SESSION TRANSACTION ISOLATION LEVEL ${isolation}`)
        connection.query(`SET SESSION innodb_snapshot_isolation = ${snapshot}`)
      })
      const store = mysqlStore(strict, { table: freshTable() })
      await store.migrate()
      const codes = (calls: (() => unknown)[]) =>
        Promise.all(
          calls.map(async (call) =>
            Promise.resolve(call()).then(
              () => undefined,
              (error) => error.code,
            ),
          ),
        )
      const twenty = (call: (n: number) => unknown) =>
        codes(Array.from({ length: 20 }, (_, n) => () => call(n)))
      for (let round = 0; round < 5; round++) {
        const expiresAt = later()
        const created = await twenty((n) => store.create(KEY, { data: `${n}`, expiresAt }))
        expect(created.toSorted()).toEqual([...Array(19).fill('ERR_SESSION_KEY_EXISTS'), undefined])
        await store.save(KEY, { data: 'old', expiresAt })
        const swapped = await twenty((n) => store.save(KEY, { data: `${n}`, expiresAt }, 'old'))
        expect(swapped.toSorted()).toEqual([...Array(19).fill('ERR_SESSION_CONFLICT'), undefined])
        const touched = await twenty((n) => store.touch(KEY, expiresAt + n + 1, expiresAt))
        expect(touched.toSorted()).toEqual([...Array(19).fill('ERR_SESSION_CONFLICT'), undefined])
        // Sweeps of many rows, beside logins whose keys lie between them.
        const mixed = await codes([
          ...Array.from(
            { length: 40 },
            (_, n) => () =>
              store.create(`${randomUUID()}`, { data: '1', expiresAt: n % 2 ? 1000 : later() }),
          ),
          ...Array.from({ length: 5 }, () => () => store.clearExpired!()),
          () => store.delete(KEY),
        ])
        expect(new Set(mixed)).toEqual(new Set([undefined]))
      }
      await strict.end()
    })
  }
}

test('each call is one round trip, once its statement is prepared', async () => {
  const relay = await countRoundTrips(url!)
  const store = mysqlStore(relay.url, { table: freshTable() })
  await store.migrate()
  await relay.duringEach(store, 'o'.repeat(32))
  expect(await relay.duringEach(store, KEY)).toEqual({
    create: 1,
    load: 1,
    save: 1,
    touch: 1,
    end: 1,
    delete: 1,
  })
  await store.close?.()
  relay.close()
})

test("an application's pool that has ended is told in words", async () => {
  const own = mysql.createPool(url!)
  await own.end()
  await expect(mysqlStore(own).load('k'.repeat(32))).rejects.toThrow(
    ": the application's pool is closed.",
  )
})
