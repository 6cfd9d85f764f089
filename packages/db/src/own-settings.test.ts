// Connections of the application's with settings of its own: none bends an answer.
import { randomUUID } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { SessionStore, SessionWarning } from '@coatcheck/core'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { afterAll, describe, expect } from 'vitest'
import { testWith } from '../../../testing/needs.ts'
import { mariadb, postgres } from '../../../testing/services.ts'
import { mysqlStore } from './mysql.ts'
import { postgresStore } from './postgres.ts'

const freshTable = () => `test_${randomUUID().replaceAll('-', '')}`
const freshKey = () => randomUUID().replaceAll('-', '')

const warnings: SessionWarning[] = []
const note = (message: unknown) => warnings.push(message as SessionWarning)
subscribe('coatcheck:warning', note)
afterAll(() => unsubscribe('coatcheck:warning', note))

/** Texts that a setting could take for something else. */
const TEXTS = [
  `{"a":"it's \\\\ \\" :name ? ? $1 %s"}`,
  '"ä€😀"',
  '12345678901234567890',
  '"2100-01-01"',
  'null',
  '""   ',
]

/** Every call, with every answer it can give. */
async function visit(store: SessionStore): Promise<void> {
  const expiresAt = Date.UTC(2100, 6, 1, 0, 30, 0, 123)
  const refuses = (call: () => unknown, code: string) =>
    expect((async () => call())()).rejects.toMatchObject({ code: `ERR_SESSION_${code}` })
  for (const data of TEXTS) {
    const key = freshKey()
    expect(await store.load(key)).toBeUndefined()
    expect(await store.create(key, { data: '1', expiresAt })).toBe(key)
    await refuses(() => store.create(key, { data: '2', expiresAt }), 'KEY_EXISTS')
    expect(await store.save(key, { data, expiresAt }, '1')).toBe(key)
    await refuses(() => store.save(key, { data: '3', expiresAt }, '1'), 'CONFLICT')
    expect(await store.load(key)).toEqual({ data, expiresAt })
    expect(await store.save(key, { data, expiresAt }, data)).toBe(key)
    expect(await store.touch(key, expiresAt + 7, expiresAt)).toBe(key)
    await refuses(() => store.touch(key, expiresAt, expiresAt), 'CONFLICT')
    expect(await store.load(key)).toEqual({ data, expiresAt: expiresAt + 7 })
    await store.save(key, { data: '', expiresAt }, data)
    await refuses(() => store.save(key, { data, expiresAt }), 'GONE')
    await store.delete(key)
    await refuses(() => store.touch(key, expiresAt), 'GONE')
  }
  for (let n = 0; n < 3; n++) await store.create(freshKey(), { data: '1', expiresAt: 1000 })
  expect(await store.clearExpired!({ batchSize: 2 })).toBe(3)
}

const onMariadb = await testWith(mariadb)
const onPostgres = await testWith(postgres)
afterAll(async () => {
  await onMariadb.service?.[Symbol.asyncDispose]()
  await onPostgres.service?.[Symbol.asyncDispose]()
})

describe('mysql2', () => {
  const { test, url } = onMariadb
  const options: Record<string, mysql.PoolOptions> = {
    rowsAsArray: { rowsAsArray: true },
    'nestTables: true': { nestTables: true } as mysql.PoolOptions,
    'nestTables: _': { nestTables: '_' } as mysql.PoolOptions,
    'typeCast: false': { typeCast: false },
    'a typeCast of its own': { typeCast: () => 'bent' },
    namedPlaceholders: { namedPlaceholders: true },
    multipleStatements: { multipleStatements: true },
    'numbers as text': {
      supportBigNumbers: true,
      bigNumberStrings: true,
      decimalNumbers: true,
    },
    dateStrings: { dateStrings: true },
    timezone: { timezone: '+05:30' },
    '-FOUND_ROWS': { flags: ['-FOUND_ROWS'] },
    stringifyObjects: { stringifyObjects: true },
    jsonStrings: { jsonStrings: true } as mysql.PoolOptions,
    disableEval: { disableEval: true },
    compress: { compress: true } as mysql.PoolOptions,
    'few prepared statements': { maxPreparedStatements: 1 },
    'without trace': { trace: false },
    'a queryFormat of its own': {
      queryFormat: (sql: string) => sql.replaceAll(':', ''),
    } as mysql.PoolOptions,
    'a small queue': { connectionLimit: 1, maxIdle: 1, idleTimeout: 1000 },
  }
  for (const [what, option] of Object.entries(options)) {
    test(`with ${what} every call answers as the contract says`, async () => {
      const pool = mysql.createPool({ uri: url!, ...option })
      const connection = await mysql.createConnection({
        uri: url!,
        ...(option as mysql.ConnectionOptions),
      })
      for (const database of [pool, connection]) {
        const store = mysqlStore(database, { table: freshTable() })
        await store.migrate()
        await visit(store)
      }
      await pool.end()
      await connection.end()
    })
  }

  const settings = [
    `time_zone = '-08:00'`,
    `sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES'`,
    `sql_mode = 'ORACLE'`,
    `sql_mode = ''`,
    `tx_isolation = 'SERIALIZABLE'`,
    `collation_connection = utf8mb4_bin`,
    `lc_time_names = 'de_DE'`,
    `sql_auto_is_null = 1`,
    `sql_select_limit = 1000`,
    `updatable_views_with_limit = 0`,
    `innodb_snapshot_isolation = 1`,
  ]
  for (const setting of settings) {
    test(`with ${setting} every call answers as the contract says`, async () => {
      const pool = mysql.createPool(url!)
      pool.on('connection', (connection) => void connection.query(`SET SESSION ${setting}`))
      const store = mysqlStore(pool, { table: freshTable() })
      await store.migrate()
      await visit(store)
      await pool.end()
    })
  }

  test('in a pool without autocommit no write is acknowledged', async () => {
    const table = freshTable()
    const other = mysqlStore(url!, { table })
    await other.migrate()
    const pool = mysql.createPool(url!)
    pool.on('connection', (connection) => void connection.query('SET autocommit = 0'))
    const store = mysqlStore(pool, { table })
    const key = freshKey()
    await expect(store.create(key, { data: '1', expiresAt: Date.now() + 60_000 })).rejects.toThrow(
      /NOT_COMMITTED/,
    )
    await pool.end()
    expect(await other.load(key)).toBeUndefined()
    await other.close?.()
  })

  test('what has ended opens on no connection without autocommit, or inside a transaction', async () => {
    const table = freshTable()
    const writer = mysqlStore(url!, { table })
    await writer.migrate()
    const key = freshKey()
    const login = () => writer.create(key, { data: '1', expiresAt: Date.now() + 60_000 })
    // A pool without autocommit.
    const pool = mysql.createPool(url!)
    pool.on('connection', (connection) => void connection.query('SET autocommit = 0'))
    await expect((async () => mysqlStore(pool, { table }).load(key))()).rejects.toThrow(
      /NOT_COMMITTED/,
    )
    await pool.end()
    // One to which a connection was given back within a transaction.
    const lent = mysql.createPool({ uri: url!, connectionLimit: 1 })
    const store = mysqlStore(lent, { table })
    await login()
    expect(await store.load(key)).toBeDefined()
    const loan = await lent.getConnection()
    await loan.beginTransaction()
    await loan.query(`SELECT * FROM ${table}`)
    loan.release()
    await writer.delete(key)
    expect(await store.load(key)).toBeUndefined()
    await lent.end()
    // The server's default, for the engine's own pool.
    const admin = await mysql.createConnection(url!)
    await admin.query('SET GLOBAL autocommit = 0')
    const own = mysqlStore(url!, { table })
    await login()
    expect(await own.load(key)).toBeDefined()
    await writer.delete(key)
    expect(await own.load(key)).toBeUndefined()
    await admin.query('SET GLOBAL autocommit = 1')
    await admin.end()
    await own.close?.()
    await writer.close?.()
  })

  test('a save that a deadlock ended with the application’s transaction is not made again outside it', async () => {
    const table = freshTable()
    const other = await mysql.createConnection(url!)
    const connection = await mysql.createConnection(url!)
    const store = mysqlStore(connection, { table })
    await store.migrate()
    const [mine, theirs] = [freshKey(), freshKey()]
    const record = { data: '1', expiresAt: Date.now() + 60_000 }
    for (const key of [mine, theirs]) await store.create(key, record)
    await connection.beginTransaction()
    await store.save(mine, { ...record, data: '2' })
    await other.beginTransaction()
    // The one that has changed less is the victim.
    for (let n = 0; n < 20; n++) {
      await other.query(`INSERT INTO ${table} VALUES ('${freshKey()}', '', now(6))`)
    }
    await other.query(`UPDATE ${table} SET session_data = '3' WHERE session_key = '${theirs}'`)
    const blocked = other.query(`SELECT * FROM ${table} WHERE session_key = '${mine}' FOR UPDATE`)
    const saved = Promise.resolve(store.save(theirs, { ...record, data: '2' }))
    const failed = saved.then(
      () => 'saved',
      (error) => error.message,
    )
    await blocked
    expect(await failed).toMatch(/ER_LOCK_DEADLOCK/)
    await other.rollback()
    await connection.rollback()
    expect(await store.load(theirs)).toMatchObject({ data: '1' })
    await other.end()
    await connection.end()
  })

  test('a connection inside a transaction of the application’s is told of once', async () => {
    const connection = await mysql.createConnection(url!)
    const store = mysqlStore(connection, { table: freshTable() })
    await store.migrate()
    await store.create(freshKey(), { data: '1', expiresAt: Date.now() + 60_000 })
    const before = warnings.length
    await connection.beginTransaction()
    for (let n = 0; n < 3; n++) {
      await store.create(freshKey(), { data: '1', expiresAt: Date.now() + 60_000 })
    }
    await connection.commit()
    expect(warnings.slice(before).map(({ code }) => code)).toEqual(['IN_TRANSACTION'])
    await connection.end()
  })

  test('sweeps of every size leave the server few prepared statements', async () => {
    const pool = mysql.createPool({ uri: url!, connectionLimit: 1 })
    const store = mysqlStore(pool, { table: freshTable() })
    await store.migrate()
    await visit(store)
    const count = async () => {
      const [[row]] = (await pool.query(`SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'`)) as any
      return Number(row.Value)
    }
    const before = await count()
    for (let n = 1; n <= 30; n++) {
      await Promise.all(
        Array.from({ length: n }, () => store.create(freshKey(), { data: '1', expiresAt: 1000 })),
      )
      expect(await store.clearExpired!()).toBe(n)
    }
    expect((await count()) - before).toBeLessThanOrEqual(1)
    await pool.end()
  })
})

describe('pg', () => {
  const { test, url } = onPostgres
  const bent = { getTypeParser: () => () => 'bent' }
  const options: Record<string, pg.PoolConfig> = {
    'parsers of its own': { types: bent },
    'binary answers': { binary: true } as pg.PoolConfig,
    pipelining: { pipeline: true } as pg.PoolConfig,
    'statement_timeout and the like': {
      statement_timeout: 30_000,
      query_timeout: 30_000,
      lock_timeout: 30_000,
      idle_in_transaction_session_timeout: 30_000,
    },
    'a client for each use': { maxUses: 1 },
    'a pool of one': { max: 1, allowExitOnIdle: true, maxLifetimeSeconds: 60 },
    keepAlive: { keepAlive: true, application_name: 'app' },
  }
  for (const setting of [
    'extra_float_digits=-15',
    'DateStyle=SQL,DMY',
    'TimeZone=Asia/Kolkata',
    'IntervalStyle=sql_standard',
    'bytea_output=escape',
    'standard_conforming_strings=off',
    'backslash_quote=off',
    'default_transaction_isolation=serializable',
    'default_transaction_deferrable=on',
    'search_path=other,public',
    'plan_cache_mode=force_generic_plan',
    'transform_null_equals=on',
    'lc_numeric=C',
    'enable_indexscan=off',
  ]) {
    options[setting] = { options: `-c ${setting}` }
  }
  for (const [what, option] of Object.entries(options)) {
    test(`with ${what} every call answers as the contract says`, async () => {
      const pool = new pg.Pool({ connectionString: url, ...option })
      const client = new pg.Client({ connectionString: url, ...option })
      await client.connect()
      for (const database of [pool, client]) {
        const store = postgresStore(database, { table: freshTable() })
        await store.migrate()
        await visit(store)
      }
      await pool.end()
      await client.end()
    })
  }

  test('with parsers set for all of pg every call answers as the contract says', async () => {
    const types = [20, 23, 25, 701, 1043, 1184, 1700]
    const parsers = types.map((oid) => [oid, pg.types.getTypeParser(oid)] as const)
    for (const oid of types) pg.types.setTypeParser(oid, () => 'bent')
    const store = postgresStore(url!, { table: freshTable() })
    await store.migrate()
    await visit(store)
    await store.close?.()
    for (const [oid, parser] of parsers) pg.types.setTypeParser(oid, parser as any)
  })

  test('a client inside a transaction of the application’s is told of once', async () => {
    const client = new pg.Client(url!)
    await client.connect()
    const store = postgresStore(client, { table: freshTable() })
    await store.migrate()
    await store.create(freshKey(), { data: '1', expiresAt: Date.now() + 60_000 })
    const before = warnings.length
    await client.query('BEGIN')
    for (let n = 0; n < 3; n++) {
      await store.create(freshKey(), { data: '1', expiresAt: Date.now() + 60_000 })
    }
    await client.query('COMMIT')
    expect(warnings.slice(before).map(({ code }) => code)).toEqual(['IN_TRANSACTION'])
    await client.end()
  })

  test('a save that lost a race with the application’s transaction is not made again outside it', async () => {
    const client = new pg.Client(url!)
    const other = new pg.Client(url!)
    await client.connect()
    await other.connect()
    const table = freshTable()
    const store = postgresStore(client, { table })
    await store.migrate()
    const key = freshKey()
    const record = { data: '1', expiresAt: Date.now() + 60_000 }
    await store.create(key, record)
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    await client.query('SELECT 1 FROM ' + table)
    await other.query(`UPDATE ${table} SET session_data = '3'`)
    const saved = Promise.resolve(store.save(key, { ...record, data: '2' }))
    const ended = saved.catch((error) => error.message)
    await new Promise(setImmediate)
    const rolledBack = client.query('ROLLBACK')
    expect(await ended).toMatch(/40001/)
    await rolledBack
    expect(await store.load(key)).toMatchObject({ data: '3' })
    await client.end()
    await other.end()
  })

  test('a client that somebody has put back into the pool within a transaction is not used', async () => {
    const pool = new pg.Pool({ connectionString: url, max: 1 })
    const store = postgresStore(pool, { table: freshTable() })
    await store.migrate()
    for (const sql of ['SELECT 1', 'SELECT 1/0']) {
      const client = await pool.connect()
      await client.query('BEGIN')
      await client.query(sql).catch(() => {})
      client.release()
      const key = freshKey()
      await store.create(key, { data: '1', expiresAt: Date.now() + 60_000 })
      await pool.query('ROLLBACK')
      expect(await store.load(key)).toBeDefined()
    }
    await pool.end()
  })

  test('many calls at once on one client send it one query at a time', async () => {
    const told: string[] = []
    const listen = (warning: Error) => void told.push(warning.message)
    process.on('warning', listen)
    const client = new pg.Client(url!)
    await client.connect()
    const store = postgresStore(client, { table: freshTable() })
    await store.migrate()
    await Promise.all(Array.from({ length: 20 }, () => store.load(freshKey())))
    await new Promise(setImmediate)
    process.off('warning', listen)
    expect(told.filter((message) => message.includes('already executing'))).toEqual([])
    await client.end()
  })
})
