// What only sqlStore has: what it asks of the function that runs statements, and what it makes of its answers and failures.
import { DatabaseSync } from 'node:sqlite'
import { setTimeout } from 'node:timers/promises'
import { inspect } from 'node:util'
import { PGlite } from '@electric-sql/pglite'
import { describe, expect, test } from 'vitest'
import { testWith } from '../../../testing/needs.ts'
import { mariadb } from '../../../testing/services.ts'
import { mysqlStore } from './mysql.ts'
import { schema, sqlStore, type SqlDialect, type SqlRun, type SqlStore } from './sql.ts'

const { url, test: testMariadb } = await testWith(mariadb)

const KEY = 'k'.repeat(32)
const later = () => Date.now() + 60_000
const record = () => ({ data: '{"name":"Ann"}', expiresAt: later() })

/** A database in memory, and what runs statements on it. */
function open() {
  const database = new DatabaseSync(':memory:')
  const run: SqlRun = (sql, parameters) => {
    const statement = database.prepare(sql)
    return sql.startsWith('SELECT')
      ? { rows: statement.all(...parameters) }
      : statement.run(...parameters)
  }
  return { database, run }
}

const runOn =
  (database: PGlite): SqlRun =>
  async (sql, parameters) => {
    const { rows, affectedRows } = await database.query(sql, parameters)
    return { rows, changes: affectedRows }
  }

const storeError = (message: string | RegExp) =>
  expect.objectContaining({
    code: 'ERR_SESSION_STORE',
    message:
      typeof message === 'string'
        ? expect.stringContaining(message)
        : expect.stringMatching(message),
  })

const failureOf = (call: unknown): Promise<any> =>
  Promise.resolve(call).then(
    () => expect.unreachable(),
    (error) => error,
  )

test('a missing table is an error that says what to call', async () => {
  const store = sqlStore({ dialect: 'sqlite', run: open().run })
  await expect(store.load(KEY)).rejects.toEqual(
    storeError(
      /Call store\.migrate\(\) once.*or run what schema\(\) of @coatcheck\/db\/sql returns/,
    ),
  )
})

test('rows may be objects or lists, and changes a number or a bigint', async () => {
  const { run } = open()
  const store = sqlStore({
    dialect: 'sqlite',
    run: async (sql, parameters) => {
      const { rows, changes } = await run(sql, parameters)
      return {
        rows: rows?.map((row) => Object.values(row as object)),
        ...(changes !== undefined && { changes: BigInt(changes) }),
      }
    },
  })
  await store.migrate()
  const stored = record()
  await store.create(KEY, stored)
  expect(await store.load(KEY)).toEqual(stored)
  await expect(store.create(KEY, stored)).rejects.toMatchObject({ code: 'ERR_SESSION_KEY_EXISTS' })
})

describe('an answer that does not say what it must is an error, and neither a lost session nor a success', () => {
  const answers: [string, (rows: unknown[]) => any, RegExp][] = [
    ['nothing', () => undefined, /must answer a SELECT with `rows`, a list, and gave undefined/],
    ['a list in place of the answer', (rows) => rows, /a list, and gave undefined/],
    ['changes alone', () => ({ changes: 1 }), /a list, and gave undefined/],
    ['text for rows', () => ({ rows: 'secret' }), /a list, and gave text\.$/m],
    ['rows that are none', () => ({ rows: [5] }), /rows that hold data, expires, and gave 5/],
    ['rows without a column', () => ({ rows: [{ data: 'x' }] }), /hold data, expires, and gave an/],
    ['rows that are too short', () => ({ rows: [['x']] }), /hold data, expires, and gave a list/],
    ['a date for text', () => ({ rows: [['x', new Date()]] }), /does not hold text/],
    [
      'a date in another form',
      () => ({ rows: [['x', '2099-11-24T15:04:05.123Z']] }),
      /has an end that is no date, such as '1970-01-01 00:00:00\.000000', so it is no session\.$/m,
    ],
  ]
  test.each(answers)('of a load: %s', async (_, answer, message) => {
    const { run } = open()
    const store = sqlStore({
      dialect: 'sqlite',
      run: async (sql, parameters) => {
        const { rows, ...rest } = await run(sql, parameters)
        return sql.includes('AS data') ? answer(rows as unknown[]) : { rows, ...rest }
      },
    })
    await expect(store.migrate().then(() => store.load(KEY))).rejects.toEqual(storeError(message))
  })

  const changes = [undefined, null, -1, NaN, 1.5, '1', {}]
  test.each(changes)('of a write: changes of %j', async (wrong) => {
    const { run } = open()
    let isWrong = false
    const store = sqlStore({
      dialect: 'sqlite',
      run: async (sql, parameters) => {
        const answer = await run(sql, parameters)
        return isWrong && answer.changes !== undefined ? { changes: wrong as never } : answer
      },
    })
    await store.migrate()
    await store.create(KEY, record())
    isWrong = true
    const message = /must answer a write with `changes`, a whole number from 0 on, and gave/
    for (const call of [
      () => store.create('other'.repeat(4), record()),
      () => store.save(KEY, record()),
      () => store.touch(KEY, later()),
      () => store.delete(KEY),
      () => store.clearExpired!(),
    ]) {
      await expect(call()).rejects.toEqual(storeError(message))
    }
  })
})

test('a run that never answers is an error after 5 seconds, and close() waits no longer', async () => {
  const store = sqlStore({ dialect: 'postgres', run: () => new Promise(() => {}) })
  const start = performance.now()
  // A sweep may take longer; who waits for its look at the table does not.
  const calls = [store.clearExpired!(), store.load(KEY), store.save(KEY, record())]
  for (const call of calls) {
    await expect(call).rejects.toEqual(storeError(/^PostgreSQL failed to .*: ETIMEDOUT\.$/m))
  }
  expect(performance.now() - start).toBeLessThan(7000)
  await store.close!()
  await expect(store.load(KEY)).rejects.toEqual(storeError(/The store is closed/))
})

test('a call has one end, however many statements it runs; after it none is sent', async () => {
  const sent: string[] = []
  const store = sqlStore({
    dialect: 'mysql',
    run: async (sql) => {
      if (sql.startsWith('SELECT')) return { rows: [] }
      sent.push(sql.slice(0, 6))
      await setTimeout(5200)
      throw Object.assign(new Error(), { errno: 1062, sqlState: '23000' })
    },
  })
  await expect(store.create(KEY, record())).rejects.toEqual(storeError(/ETIMEDOUT/))
  await setTimeout(500)
  expect(sent).toEqual(['INSERT'])
})

test('a create over what has ended goes well where a sweep removes that in the midst of it', async () => {
  const sent: string[] = []
  const store = sqlStore({
    dialect: 'mysql',
    run: async (sql) => {
      if (sql.startsWith('SELECT')) return { rows: [] }
      sent.push(sql.slice(0, 6))
      if (sent.length === 1) throw Object.assign(new Error(), { errno: 1062, sqlState: '23000' })
      return { changes: sql.startsWith('INSERT') ? 1 : 0 }
    },
  })
  expect(await store.create(KEY, record())).toBe(KEY)
  expect(sent).toEqual(['INSERT', 'UPDATE', 'INSERT'])
})

test('what is run again asks anew what time it is', async () => {
  const { run } = open()
  const start = Date.now()
  let now = start
  const store = sqlStore({
    dialect: 'sqlite',
    now: () => now,
    run: (sql, parameters) => {
      if (sql.startsWith('UPDATE') && now === start) {
        now += 2000
        throw Object.assign(new Error(), { code: 'SQLITE_BUSY' })
      }
      return run(sql, parameters)
    },
  })
  await store.migrate()
  await store.create(KEY, { data: '0', expiresAt: start + 1000 })
  await expect(store.touch(KEY, later())).rejects.toMatchObject({ code: 'ERR_SESSION_GONE' })
})

test.each<SqlDialect>(['sqlite', 'postgres', 'mysql'])(
  'a write that finds nothing is looked into only where a client may count changes alone: %s',
  async (dialect) => {
    const sent: string[] = []
    const store = sqlStore({
      dialect,
      run: async (sql) => {
        sent.push(sql.slice(0, 6))
        return sql.startsWith('SELECT') ? { rows: [] } : { changes: 0 }
      },
    })
    await store.load(KEY)
    sent.length = 0
    const failure = await failureOf(store.touch(KEY, later()))
    expect(failure.code).toBe('ERR_SESSION_GONE')
    expect(sent).toEqual(dialect === 'mysql' ? ['UPDATE', 'SELECT'] : ['UPDATE'])
  },
)

test('migrate() that fails says that it was to make the table', async () => {
  const refuse = () => Promise.reject(Object.assign(new Error(), { code: '3D000' }))
  await expect(sqlStore({ dialect: 'postgres', run: refuse }).migrate()).rejects.toEqual(
    storeError(/^PostgreSQL failed to make the table 'coatcheck_session': 3D000/),
  )
})

const thrower = () => {
  throw new Error(KEY)
}
const revoked = Proxy.revocable({}, {})
revoked.revoke()

describe.each<SqlDialect>(['sqlite', 'postgres', 'mysql'])('on %s', (dialect) => {
  test.each<[string, unknown]>([
    ['null', null],
    ['nothing', undefined],
    ['a symbol', Symbol(KEY)],
    ['a stack that is a number', { stack: 5 }],
    ['a code that has no text', Object.assign(new Error(), { code: Object.create(null) })],
    ['a code whose text throws', Object.assign(new Error(), { code: { toString: thrower } })],
    ['fields that throw', Object.defineProperty(new Error(KEY), 'cause', { get: thrower })],
    ['a proxy that throws', new Proxy(new Error(KEY), { get: thrower, has: thrower })],
    ['a proxy that is revoked', revoked.proxy],
    ['a key as a code', Object.assign(new Error(), { code: KEY })],
    ['a key as a name', Object.assign(new Error(), { name: `QueryError: ${KEY}` })],
    [
      'a key as a host',
      Object.assign(new Error(), { code: 'ENOTFOUND', syscall: 'query', hostname: KEY }),
    ],
    ['a message with a line of a stack', new Error(`Failed\n    at ${KEY} (/a.js:1:2)`)],
    [
      'a message that is no more what it was',
      Object.assign(new Error(`Failed\n    at ${KEY} (/a.js:1:2)`), { message: 'Failed' }),
    ],
  ])('whatever is thrown is a SessionStoreError without a key: %s', async (_, thrown) => {
    const store = sqlStore({
      dialect,
      run() {
        throw thrown
      },
    })
    const failure = await failureOf(store.load(KEY))
    expect(failure.code).toBe('ERR_SESSION_STORE')
    expect(inspect(failure, { depth: 9, showHidden: true })).not.toMatch(/kkkk|TypeError/)
  })
})

test('a row or a count that is a symbol is not shown', async () => {
  const store = sqlStore({ dialect: 'sqlite', run: () => ({ rows: [Symbol(KEY)] }) })
  await expect(store.load(KEY)).rejects.toEqual(storeError(/and gave a symbol\.$/m))
})

test.each<[string, SqlDialect, object]>([
  ['a deadlock of PostgreSQL', 'postgres', { code: '40P01', severity: 'ERROR' }],
  ['a serialization failure without its severity', 'postgres', { code: '40001' }],
  ['a deadlock of MySQL', 'mysql', { errno: 1213, sqlState: '40001', code: 'ER_LOCK_DEADLOCK' }],
  ['a busy file', 'sqlite', { code: 'SQLITE_BUSY' }],
  ['a busy file of node:sqlite', 'sqlite', { errcode: 5 }],
])('%s is run again, also where an ORM has wrapped it', async (_, dialect, fields) => {
  const lost = Object.assign(new Error('lost'), fields)
  const errors: unknown[] = [
    lost,
    new Error('wrapped', { cause: new Error('twice', { cause: lost }) }),
    Object.assign(new Error('as TypeORM does'), { driverError: lost }),
    Object.assign(new Error('as Sequelize does'), { original: lost }),
  ]
  const store = sqlStore({
    dialect,
    run: async (sql) => {
      if (sql.startsWith('SELECT')) return { rows: [] }
      const error = errors.shift()
      if (error) throw error
      return { changes: 1 }
    },
  })
  await store.delete(KEY)
  expect(errors).toEqual([])
})

test.each([
  ['with a code', Object.assign(new Error(), { code: '23514', severity: 'ERROR' }), '23514'],
  [
    'of the system',
    Object.assign(new Error(), { code: 'ECONNREFUSED', syscall: 'connect' }),
    'connect ECONNREFUSED',
  ],
  ['with nothing', new Error(), ''],
  ['that is a sentence', 'Ann', ''],
])(
  'an error %s tells its code, where it was thrown, and no statement and parameter',
  async (_, origin, code) => {
    const text = `insert into sessions values ('${KEY}', 'Ann')`
    const error =
      typeof origin === 'string' ? origin : Object.assign(origin, { message: text, detail: 'Ann' })
    const wrapped = Object.assign(new Error(text, { cause: error }), {
      query: text,
      params: ['Ann'],
    })
    const store = sqlStore({
      dialect: 'postgres',
      run: () => Promise.reject(typeof origin === 'string' ? origin : wrapped),
    })
    const failure = await failureOf(store.load(KEY))
    expect(failure).toEqual(
      storeError(
        `PostgreSQL failed to look at the columns of 'coatcheck_session'${code && `: ${code}`}.`,
      ),
    )
    expect(inspect(failure, { depth: 9, showHidden: true })).not.toMatch(/Ann|kkkk|insert/)
    if (typeof origin !== 'string') expect(failure.cause.stack).toMatch(/\n {4}at .*sql\.test\.ts/)
  },
)

test('what runs statements is given one at a time, with text and whole numbers in the order of their places', async () => {
  const { database, run } = open()
  const given: [string, unknown[]][] = []
  const store = sqlStore({
    dialect: 'sqlite',
    run: (sql, parameters) => {
      given.push([sql, parameters])
      return run(sql, parameters)
    },
  })
  await store.migrate()
  await everyCall(store)
  for (const [sql, parameters] of given) {
    expect(sql).not.toMatch(/;\s*$/)
    expect(sql.match(/\?/g) ?? []).toHaveLength(parameters.length)
    expect(parameters.every((one) => typeof one === 'string' || Number.isInteger(one))).toBe(true)
  }
  database.close()
})

test('PostgreSQL’s places are numbered once each, in the order in which they stand', async () => {
  const database = await PGlite.create()
  const given: [string, unknown[]][] = []
  const store = sqlStore({
    dialect: 'postgres',
    run: (sql, parameters) => {
      given.push([sql, parameters])
      return runOn(database)(sql, parameters)
    },
  })
  await store.migrate()
  await everyCall(store)
  for (const [sql, parameters] of given) {
    const places = [...sql.matchAll(/\$(\d+)/g)].map(([, place]) => Number(place))
    expect(places).toEqual(parameters.map((_, at) => at + 1))
    expect(sql).not.toContain('?')
  }
  await database.close()
})

/** Calls that send each statement that there is. */
async function everyCall(store: ReturnType<typeof sqlStore>): Promise<void> {
  const { data, expiresAt } = record()
  await store.create(KEY, { data, expiresAt })
  await store.save(KEY, { data: 'a', expiresAt })
  await store.save(KEY, { data: 'b', expiresAt }, 'a')
  await store.touch(KEY, expiresAt + 1)
  await store.touch(KEY, expiresAt + 2, expiresAt + 1)
  await store.save(KEY, { data: 'b', expiresAt: 0 }, 'b')
  await store.create(KEY, { data, expiresAt })
  await store.save(KEY, { data: 'b', expiresAt: 0 })
  await store.delete(KEY)
  await store.clearExpired!()
}

describe('schema() has what migrate() makes', () => {
  test('on SQLite', async () => {
    const tablesIn = (database: DatabaseSync) =>
      database.prepare('SELECT type, name, sql FROM sqlite_master ORDER BY name').all()
    const [mine, theirs] = [open(), open()]
    for (const statement of schema('sqlite', { table: 'visits' })) {
      mine.database.prepare(statement).run()
    }
    await sqlStore({ dialect: 'sqlite', table: 'visits', run: theirs.run }).migrate()
    expect(tablesIn(mine.database)).toEqual(tablesIn(theirs.database))
    expect(tablesIn(mine.database)).toHaveLength(3)
  })

  test('on PostgreSQL', async () => {
    const database = await PGlite.create()
    const tables = async (name: string) => {
      const columns = await database.query(
        `SELECT column_name, data_type, character_maximum_length, is_nullable, collation_name
         FROM information_schema.columns WHERE table_name = '${name}' ORDER BY ordinal_position`,
      )
      const indexes = await database.query<{ indexdef: string }>(
        `SELECT indexdef FROM pg_indexes WHERE tablename = '${name}' ORDER BY indexname`,
      )
      return [columns.rows, indexes.rows.map(({ indexdef }) => indexdef.replaceAll(name, 'x'))]
    }
    for (const statement of schema('postgres', { table: 'mine' })) await database.query(statement)
    await sqlStore({ dialect: 'postgres', table: 'theirs', run: runOn(database) }).migrate()
    expect(await tables('mine')).toEqual(await tables('theirs'))
    expect((await tables('mine'))[1]).toHaveLength(2)
    await database.close()
  })

  testMariadb('on MariaDB', async () => {
    const { createPool } = await import('mysql2/promise')
    const pool = createPool(url!)
    const create = async (name: string) =>
      ((await pool.query(`SHOW CREATE TABLE ${name}`)) as any)[0][0]['Create Table'].replaceAll(
        name,
        'x',
      )
    for (const statement of schema('mysql', { table: 'mine' })) await pool.query(statement)
    const run: SqlRun = async (sql, parameters) => {
      const [result] = await pool.query<any>(sql, parameters)
      return Array.isArray(result) ? { rows: result } : { changes: result.affectedRows }
    }
    await sqlStore({ dialect: 'mysql', table: 'theirs', run }).migrate()
    expect(await create('mine')).toBe(await create('theirs'))
    await pool.end()
  })
})

test('close() waits for the calls under way, and leaves the client open', async () => {
  const { database, run } = open()
  const store = sqlStore({
    dialect: 'sqlite',
    run: async (sql, parameters) => {
      await setTimeout(20)
      return run(sql, parameters)
    },
  })
  await store.migrate()
  const creating = store.create(KEY, record())
  await store.close!()
  expect(await creating).toBe(KEY)
  expect(database.isOpen).toBe(true)
})

const pglite = await PGlite.create()

test.each<[string, SqlDialect, SqlRun]>([
  ['SQLite', 'postgres', open().run],
  ['SQLite', 'mysql', open().run],
  ['PostgreSQL', 'sqlite', runOn(pglite)],
  ['PostgreSQL', 'mysql', runOn(pglite)],
])(
  '%s that is given statements of another dialect, %s, is asked about',
  async (_, dialect, run) => {
    const store = sqlStore({ dialect, run })
    const message = new RegExp(
      `is \`dialect: '${dialect}'\` what \`run\` speaks\\? \\(\\w+\\)\\.$`,
      'm',
    )
    await expect(store.migrate()).rejects.toEqual(storeError(message))
    await expect(store.load(KEY)).rejects.toEqual(storeError(message))
  },
)

testMariadb('MariaDB that is given statements of another dialect is asked about', async () => {
  const { createPool } = await import('mysql2/promise')
  const pool = createPool(url!)
  const run: SqlRun = async (sql, parameters) => ({
    rows: (await pool.query<any>(sql, parameters))[0],
  })
  for (const dialect of ['postgres', 'sqlite'] as const) {
    const message = new RegExp(`is \`dialect: '${dialect}'\` what \`run\` speaks\\? \\(ER_\\w+\\)`)
    await expect(sqlStore({ dialect, run }).load(KEY)).rejects.toEqual(storeError(message))
  }
  await pool.end()
})

testMariadb(
  'MariaDB in which a backslash marks no quote is refused, before a session is stored: it would be run',
  async () => {
    const { createPool } = await import('mysql2/promise')
    const pool = createPool({ uri: url!, charset: 'utf8mb4' })
    const mode = `SET sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')`
    pool.on('connection', (connection) => void connection.query(mode))
    const run: SqlRun = async (sql, parameters) => {
      const [result] = await pool.query<any>(sql, parameters)
      return Array.isArray(result) ? { rows: result } : { changes: result.affectedRows }
    }
    const prepared = mysqlStore(pool, { table: 'quoted' })
    await prepared.migrate()
    const stored = { ...record(), data: `{"a":"', '2099-01-01') -- \\"}` }
    await prepared.create(KEY, stored)
    const message = /sql_mode has NO_BACKSLASH_ESCAPES.* Take that mode out of sql_mode/
    for (const call of [
      (store: SqlStore) => store.migrate(),
      (store: SqlStore) => store.load(KEY),
      (store: SqlStore) => store.save(KEY, record()),
    ]) {
      const store = sqlStore({ dialect: 'mysql', table: 'quoted', run })
      await expect(call(store)).rejects.toEqual(storeError(message))
    }
    expect(await prepared.load(KEY)).toEqual(stored)
    await pool.end()
  },
)

test.each<[string, (changes: number | bigint | undefined) => object]>([
  ['no changes', () => ({})],
  ['changes that are always 0', (changes) => (changes === undefined ? {} : { changes: 0 })],
])('migrate() refuses a run with %s, and leaves no row', async (_, answer) => {
  const { database, run } = open()
  const store = sqlStore({
    dialect: 'sqlite',
    run: async (sql, parameters) => {
      const { rows, changes } = await run(sql, parameters)
      return { rows, ...answer(changes) }
    },
  })
  await expect(store.migrate()).rejects.toEqual(
    storeError(/^sqlStore: `run` must answer a write with `changes`/),
  )
  expect(database.prepare('SELECT * FROM coatcheck_session').all()).toEqual([])
})

/** Changes a count; each has its own. */
const miscounts: [string, () => (changes: number) => number][] = [
  ['is always 1', () => () => 1],
  [
    'is of all writes together',
    () => {
      let sum = 0
      return (changes) => (sum += changes)
    },
  ],
]
const miscounting =
  (run: SqlRun, miscount: (changes: number) => number): SqlRun =>
  async (sql, parameters) => {
    const { rows, changes } = await run(sql, parameters)
    return { rows, ...(changes !== undefined && { changes: miscount(Number(changes)) }) }
  }

test.each(miscounts)('migrate() refuses a run whose count %s', async (_, makeMiscount) => {
  const { database, run } = open()
  const store = sqlStore({ dialect: 'sqlite', run: miscounting(run, makeMiscount()) })
  await expect(store.migrate()).rejects.toEqual(
    storeError(/gave some for one that has changed none/),
  )
  expect(database.prepare('SELECT * FROM coatcheck_session').all()).toEqual([])
})

test.each(miscounts)('a sweep by a run whose count %s has an end', async (_, makeMiscount) => {
  const { run } = open()
  const store = sqlStore({ dialect: 'sqlite', run })
  await store.migrate()
  await store.create(KEY, { data: '{}', expiresAt: 1 })
  const wrong = sqlStore({ dialect: 'sqlite', run: miscounting(run, makeMiscount()) })
  await expect(wrong.clearExpired!({ batchSize: 1 })).rejects.toEqual(
    storeError(/gave some for one that has changed none/),
  )
})

test('migrate() refuses a run that gives no rows', async () => {
  const { run } = open()
  const store = sqlStore({
    dialect: 'sqlite',
    run: async (sql, parameters) => ({ ...(await run(sql, parameters)), rows: [] }),
  })
  await expect(store.migrate()).rejects.toEqual(
    storeError(/not told, though it was made: does `run` give the rows of a SELECT\?$/m),
  )
})

test('an error of the application’s own in run says where it was thrown, and how its text is read', async () => {
  const store = sqlStore({
    dialect: 'sqlite',
    run: () => (undefined as any).execute(),
  })
  const { cause } = await failureOf(store.load(KEY))
  expect(cause).toMatchObject({
    name: 'TypeError',
    message: expect.stringMatching(/its text is withheld.*catch it within `run` to read it$/m),
  })
  expect(cause.stack).toMatch(/\n {4}at .*sql\.test\.ts/)
})
