// Tables that somebody else has made: what they cannot hold is refused in one sentence, and never cut or garbled.
import { randomUUID } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { SessionWarning } from '@coatcheck/core'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { afterAll, describe, expect } from 'vitest'
import { testWith } from '../../../testing/needs.ts'
import { mariadb, postgres } from '../../../testing/services.ts'
import { mysqlStore } from './mysql.ts'
import { postgresStore } from './postgres.ts'

const freshTable = () => `test_${randomUUID().replaceAll('-', '')}`
const later = () => Date.now() + 60_000
const SHORT = 'k'.repeat(32)
const LONG = 'k'.repeat(64)
const CAPITAL = `${'k'.repeat(31)}K`
const record = (data = '{}') => ({ data, expiresAt: later() })

const warnings: SessionWarning[] = []
const note = (message: unknown) => warnings.push(message as SessionWarning)
subscribe('coatcheck:warning', note)
afterAll(() => unsubscribe('coatcheck:warning', note))

/** What the columns are, as a whole table of MySQL's. */
const table = ({
  key = 'varchar(64) COLLATE ascii_bin PRIMARY KEY',
  data = 'longtext',
  date = 'datetime(6)',
  rest = 'CHARSET=utf8mb4',
  index = '',
}) =>
  `(session_key ${key}, session_data ${data} NOT NULL, expire_date ${date} NOT NULL${index && `, ${index}`}) ${rest}`
/** As Django makes it. */
const DJANGO = table({ key: 'varchar(40) NOT NULL PRIMARY KEY' })

const onMariadb = await testWith(mariadb)
const onPostgres = await testWith(postgres)
afterAll(async () => {
  await onMariadb.service?.[Symbol.asyncDispose]()
  await onPostgres.service?.[Symbol.asyncDispose]()
})

for (const mode of ['STRICT_TRANS_TABLES', '']) {
  describe(`MariaDB ${mode ? 'in strict mode' : 'without strict mode'}`, () => {
    const { test, url } = onMariadb
    const withTable = async (sql: string) => {
      const name = freshTable()
      const pool = mysql.createPool({ uri: url!, charset: 'utf8mb4' })
      pool.on('connection', (connection) => void connection.query(`SET sql_mode = '${mode}'`))
      await pool.query(`CREATE TABLE ${name} ${sql}`)
      return { store: mysqlStore(pool, { table: name }), pool, name }
    }

    test('Django’s own table holds what Django and we make, and refuses longer keys and such with capitals', async () => {
      const { store, pool, name } = await withTable(DJANGO)
      await store.migrate()
      await store.create(SHORT, record('"ä€😀"'))
      expect(await store.load(SHORT)).toMatchObject({ data: '"ä€😀"' })
      await store.save(SHORT, record('"Ä€😀"'), '"ä€😀"')
      await expect(store.create(LONG, record())).rejects.toThrow(
        /column session_key of the session table '\w+' is varchar\(40\) of utf8mb4 \(utf8mb4_general_ci\), and would cut a key of 64 characters\. Run: ALTER TABLE `\w+` MODIFY session_key varchar\(64\)/,
      )
      await expect(store.create(CAPITAL, record())).rejects.toThrow(/ignores case/)
      expect(await store.load(CAPITAL)).toBeUndefined()
      expect(await store.load(LONG)).toBeUndefined()
      for (const key of [CAPITAL, LONG]) {
        await expect(store.save(key, record())).rejects.toMatchObject({ code: 'ERR_SESSION_GONE' })
        await expect(store.touch(key, later())).rejects.toMatchObject({ code: 'ERR_SESSION_GONE' })
        await store.delete(key)
      }
      expect(await store.load(SHORT)).toMatchObject({ data: '"Ä€😀"' })
      const [[{ n }]] = (await pool.query(`SELECT COUNT(*) AS n FROM ${name}`)) as any
      expect(n).toBe(1)
      await pool.end()
    })

    test('what is to be run makes it hold them', async () => {
      const { store, pool, name } = await withTable(
        table({ key: 'varchar(40) PRIMARY KEY', data: 'text', rest: 'CHARSET=latin1' }),
      )
      for (const call of [
        async () => store.create(LONG, record()),
        async () => store.create(SHORT, record('"€"')),
      ]) {
        const { message } = await call().then(
          () => new Error('it was taken'),
          (error: Error) => error,
        )
        await pool.query(/Run: (.*)/.exec(message)![1]!)
      }
      const fresh = mysqlStore(pool, { table: name })
      for (const key of [SHORT, LONG, CAPITAL]) {
        const data = `"${key} 😀 ${'x'.repeat(70_000)}"`
        await fresh.create(key, record(data))
        expect(await fresh.load(key)).toMatchObject({ data })
      }
      await pool.end()
    })

    for (const charset of ['latin1', 'utf8mb3']) {
      test(`a table in ${charset} holds text of ASCII, and refuses what it has no characters for`, async () => {
        const { store, pool } = await withTable(table({ rest: `CHARSET=${charset}` }))
        await store.create(SHORT, record('"ascii"'))
        await store.save(SHORT, record('"more"'), '"ascii"')
        const strange = charset === 'latin1' ? '"ä€"' : '"😀"'
        await expect(store.create(LONG, record(strange))).rejects.toThrow(
          new RegExp(`column session_data .* is longtext of ${charset} .*garble.*Run: ALTER TABLE`),
        )
        await expect(store.save(SHORT, record(strange))).rejects.toMatchObject({
          code: 'ERR_SESSION_STORE',
        })
        expect(await store.load(SHORT)).toMatchObject({ data: '"more"' })
        await pool.end()
      })
    }

    test('a column of 64 KB refuses more, as too large, and keeps what was there', async () => {
      const { store, pool } = await withTable(table({ data: 'text' }))
      await store.create(SHORT, record('x'.repeat(65_535)))
      for (const data of ['x'.repeat(65_536), 'ä'.repeat(32_768)]) {
        await expect(store.save(SHORT, record(data))).rejects.toMatchObject({
          code: 'ERR_SESSION_TOO_LARGE',
          limit: 65_535,
        })
      }
      expect((await store.load(SHORT))!.data).toHaveLength(65_535)
      await pool.end()
    })

    test('a column of 50 characters keeps 50 emoji, and refuses more', async () => {
      const { store, pool } = await withTable(table({ data: 'varchar(50)' }))
      await store.create(SHORT, record('😀'.repeat(50)))
      expect(await store.load(SHORT)).toMatchObject({ data: '😀'.repeat(50) })
      await expect(store.save(SHORT, record('😀'.repeat(51)))).rejects.toThrow(
        /takes 51 characters and the limit is 50\./,
      )
      await pool.end()
    })

    const unfit: Record<string, { sql: string; says: RegExp }> = {
      'a date without fractions': {
        sql: table({ date: 'datetime' }),
        says: /expire_date .* is datetime, which is no moment to the millisecond\. Run: .*datetime\(6\)/,
      },
      'a date that depends on the time zone': {
        sql: table({ date: 'timestamp(6)' }),
        says: /expire_date .* is timestamp\(6\)/,
      },
      'a date that is a number': {
        sql: table({ date: 'bigint' }),
        says: /expire_date .* is bigint/,
      },
      'data that is bytes': {
        sql: table({ data: 'longblob' }),
        says: /session_data .* is longblob/,
      },
      'data in UTF-16': {
        sql: table({ data: 'longtext CHARACTER SET utf16' }),
        says: /session_data .* utf16/,
      },
      'data that loses its blanks': { sql: table({ data: 'char(200)' }), says: /char\(200\)/ },
      'a key that is not unique': {
        sql: table({ key: 'varchar(64)' }),
        says: /not unique.* Run: ALTER TABLE `\w+` ADD PRIMARY KEY \(session_key\)/,
      },
      'a key that is unique with its date alone': {
        sql: table({
          key: 'varchar(64) COLLATE ascii_bin',
          rest: 'CHARSET=utf8mb4',
          index: 'PRIMARY KEY (session_key, expire_date)',
        }),
        says: /not unique by itself.* Run: ALTER TABLE `\w+` ADD UNIQUE \(session_key\)/,
      },
      'a key whose beginning is unique': {
        sql: table({ key: 'varchar(64)', index: 'UNIQUE (session_key(10))' }),
        says: /not unique by itself/,
      },
      'no date': {
        sql: '(session_key varchar(64) PRIMARY KEY, session_data longtext)',
        says: /is no session table/,
      },
    }
    for (const [what, { sql, says }] of Object.entries(unfit)) {
      test(`${what}: every call, migrate() too, says what to run`, async () => {
        const { store, pool } = await withTable(sql)
        for (const call of [
          () => store.load(SHORT),
          () => store.create(SHORT, record()),
          () => store.clearExpired!(),
          () => store.migrate(),
        ]) {
          await expect((async () => call())()).rejects.toThrow(says)
        }
        await pool.end()
      })
    }

    test('a table without transactions is used, with a warning', async () => {
      const { store, pool, name } = await withTable(
        table({ rest: 'ENGINE=MyISAM CHARSET=utf8mb4' }),
      )
      await store.migrate()
      await store.create(SHORT, record())
      const told = warnings.filter(({ message }) => message.includes(name))
      expect(told).toMatchObject([
        { code: 'TABLE_ENGINE', message: expect.stringContaining('ENGINE=InnoDB') },
      ])
      await pool.end()
    })

    test('a table whose name differs only in case is another one', async () => {
      const { store, pool, name } = await withTable(DJANGO)
      await pool.query(`CREATE TABLE ${name.toUpperCase()} (id int PRIMARY KEY, session_key text)`)
      expect(await store.create(SHORT, record())).toBe(SHORT)
      await pool.end()
    })

    test('a temporary table, of which the server tells nothing, is used, with a warning', async () => {
      const name = freshTable()
      const connection = await mysql.createConnection(url!)
      await connection.query(`CREATE TEMPORARY TABLE ${name} ${DJANGO}`)
      const store = mysqlStore(connection, { table: name })
      await store.create(SHORT, record())
      expect(await store.load(SHORT)).toBeDefined()
      const told = warnings.filter(({ message }) => message.includes(name))
      expect(told.map(({ code }) => code)).toEqual(['TABLE_UNCHECKED'])
      await connection.end()
    })

    test('a view is refused as such', async () => {
      const { pool, name } = await withTable(DJANGO)
      await pool.query(`CREATE VIEW ${name}_v AS SELECT * FROM ${name}`)
      const store = mysqlStore(pool, { table: `${name}_v` })
      await expect((async () => store.load(SHORT))()).rejects.toThrow(/is a view, and not a table/)
      await pool.end()
    })

    test('a server that refuses the first look is asked again: no key opens another’s session', async () => {
      const { store, pool } = await withTable(DJANGO)
      await pool.query('SET GLOBAL max_prepared_stmt_count = 0')
      await expect((async () => store.load(CAPITAL))()).rejects.toThrow(/look at the columns/)
      await pool.query('SET GLOBAL max_prepared_stmt_count = 16382')
      await store.create(SHORT, record())
      expect(await store.load(CAPITAL)).toBeUndefined()
      await pool.end()
    })

    test('migrate() looks anew at a table that was altered', async () => {
      const { store, pool, name } = await withTable(table({ key: 'varchar(40) PRIMARY KEY' }))
      await expect((async () => store.create(LONG, record()))()).rejects.toThrow(/would cut/)
      await pool.query(`ALTER TABLE ${name} MODIFY session_key varchar(64) COLLATE ascii_bin`)
      await store.migrate()
      await store.create(LONG, record())
      await pool.end()
    })

    test('a connection in another character set is refused', async () => {
      const { pool, name } = await withTable(DJANGO)
      for (const charset of ['latin1', 'utf8mb3']) {
        const connection = await mysql.createConnection({ uri: url!, charset: 'utf8mb4' })
        await connection.query(`SET NAMES ${charset}`)
        const store = mysqlStore(connection, { table: name })
        await expect((async () => store.load(SHORT))()).rejects.toThrow(
          new RegExp(`character sets are ${charset}.*charset: 'utf8mb4'`),
        )
        await connection.end()
      }
      await pool.end()
    })
  })
}

describe('PostgreSQL', () => {
  const { test, url } = onPostgres
  const withTable = async (
    { key = 'varchar(64) PRIMARY KEY', data = 'text', date = 'timestamptz' },
    database = url!,
  ) => {
    const name = freshTable()
    const pool = new pg.Pool({ connectionString: database, max: 2 })
    await pool.query(
      `CREATE TABLE ${name} (session_key ${key}, session_data ${data} NOT NULL, expire_date ${date} NOT NULL)`,
    )
    return { store: postgresStore(pool, { table: name }), pool, name }
  }

  test('Django’s own table refuses longer keys, and keeps those with capitals apart', async () => {
    const { store, pool } = await withTable({ key: 'varchar(40) PRIMARY KEY' })
    await store.create(SHORT, record())
    await store.create(CAPITAL, record('"other"'))
    expect(await store.load(SHORT)).toMatchObject({ data: '{}' })
    await expect(store.create(LONG, record())).rejects.toThrow(
      /session_key .* is character varying\(40\), and would cut a key of 64 characters\. Run: ALTER TABLE "\w+" ALTER session_key TYPE varchar\(64\)/,
    )
    expect(await store.load(LONG)).toBeUndefined()
    await pool.end()
  })

  test('a column of 50 characters keeps 50 emoji, and refuses more', async () => {
    const { store, pool } = await withTable({ data: 'varchar(50)' })
    await store.create(SHORT, record('😀'.repeat(50)))
    expect(await store.load(SHORT)).toMatchObject({ data: '😀'.repeat(50) })
    await expect(store.save(SHORT, record('😀'.repeat(51)))).rejects.toThrow(
      /takes 51 characters and the limit is 50\./,
    )
    await pool.end()
  })

  test('a key column of char(64) keeps every key', async () => {
    const { store, pool } = await withTable({ key: 'char(64) PRIMARY KEY' })
    for (const key of [SHORT, LONG, CAPITAL]) {
      await store.create(key, record(`"${key}"`))
      await store.save(key, record('"new"'), `"${key}"`)
      expect(await store.load(key)).toMatchObject({ data: '"new"' })
    }
    await pool.end()
  })

  test('a key that ignores case refuses capitals', async () => {
    const admin = new pg.Client(url!)
    await admin.connect()
    await admin.query('CREATE EXTENSION IF NOT EXISTS citext')
    await admin.query(
      `CREATE COLLATION IF NOT EXISTS ignoring (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
    )
    await admin.end()
    for (const key of ['citext PRIMARY KEY', 'varchar(64) COLLATE ignoring PRIMARY KEY']) {
      const { store, pool } = await withTable({ key })
      await store.create(SHORT, record())
      await expect(store.create(CAPITAL, record())).rejects.toThrow(/ignores case/)
      expect(await store.load(CAPITAL)).toBeUndefined()
      await pool.end()
    }
    const { store, pool } = await withTable({ data: 'citext' })
    await expect(store.create(SHORT, record())).rejects.toThrow(/session_data .* is citext/)
    await pool.end()
  })

  for (const [column, type] of [
    ['date', 'timestamp'],
    ['date', 'timestamptz(0)'],
    ['date', 'bigint'],
    ['data', 'json'],
    ['data', 'jsonb'],
    ['data', 'bytea'],
    ['data', 'char(200)'],
  ] as const) {
    test(`a column ${column} of ${type}: every call, migrate() too, says what to run, and that helps`, async () => {
      const { store, pool } = await withTable({ [column]: type })
      const says = /The column \w+ of the session table .* Run: (ALTER TABLE .*)/
      for (const call of [
        () => store.load(SHORT),
        () => store.create(SHORT, record()),
        () => store.clearExpired!(),
        () => store.migrate(),
      ]) {
        await expect((async () => call())()).rejects.toThrow(says)
      }
      if (type === 'bigint' || type === 'bytea') return pool.end()
      const { message } = await store.migrate().catch((error: Error) => error as any)
      await pool.query(says.exec(message)![1]!)
      await store.create(SHORT, record())
      return pool.end()
    })
  }

  test('a key without a unique index is refused by every call, migrate() too, and what is to be run helps', async () => {
    for (const index of ['', 'UNIQUE (session_key, expire_date)']) {
      const { store, pool, name } = await withTable({ key: 'varchar(64)' })
      if (index) await pool.query(`ALTER TABLE ${name} ADD ${index}`)
      const says = /has no unique index of its own.* Run: (ALTER TABLE .*)/
      for (const call of [() => store.migrate(), () => store.load(SHORT)]) {
        await expect((async () => call())()).rejects.toThrow(says)
      }
      const { message } = await store.migrate().catch((error: Error) => error as any)
      await pool.query(says.exec(message)![1]!)
      await store.create(SHORT, record())
      await pool.end()
    }
  })

  test('a view is refused as such, by migrate() too', async () => {
    const { pool, name } = await withTable({})
    await pool.query(`CREATE VIEW ${name}_v AS SELECT * FROM ${name}`)
    const store = postgresStore(pool, { table: `${name}_v` })
    for (const call of [() => store.migrate(), () => store.load(SHORT)]) {
      await expect((async () => call())()).rejects.toThrow(/is a view, and not a table/)
    }
    await pool.end()
  })

  test('a server that refuses the first look is asked again, and one that may never tell is not', async () => {
    const { pool, name } = await withTable({ key: 'varchar(40) PRIMARY KEY' })
    for (const [code, told] of [
      ['57014', 0],
      ['28000', 0],
      ['42501', 1],
    ] as const) {
      const before = warnings.length
      let refusals = 1
      const refusing = {
        query: (query: any) =>
          refusals-- > 0
            ? Promise.reject(Object.assign(new Error('no'), { code, severity: 'ERROR' }))
            : pool.query(query),
      }
      const store = postgresStore(refusing, { table: name })
      const first = Promise.resolve(store.load(LONG))
      if (told === 0) await expect(first).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
      else await first
      const created = (async () => store.create(LONG, record()))()
      await expect(created).rejects.toThrow(told === 0 ? /would cut/ : /22001/)
      expect(warnings.slice(before).map((warning) => warning.code)).toEqual(
        Array(told).fill('TABLE_UNCHECKED'),
      )
    }
    await pool.end()
  })

  test('a database in LATIN1 refuses what it has no characters for; one in SQL_ASCII keeps all', async () => {
    for (const encoding of ['LATIN1', 'SQL_ASCII']) {
      const admin = new pg.Client(url!)
      await admin.connect()
      const name = `db_${encoding.toLowerCase()}`
      await admin.query(
        `CREATE DATABASE ${name} TEMPLATE template0 ENCODING '${encoding}' LC_COLLATE 'C' LC_CTYPE 'C'`,
      )
      await admin.end()
      const to = new URL(url!)
      to.pathname = name
      const { store, pool } = await withTable({}, to.href)
      await store.create(SHORT, record('"ä"'))
      await store.save(SHORT, record('"ö"'), '"ä"')
      expect(await store.load(SHORT)).toMatchObject({ data: '"ö"' })
      if (encoding === 'SQL_ASCII') {
        await store.create(LONG, record('"€😀"'))
        expect(await store.load(LONG)).toMatchObject({ data: '"€😀"' })
      } else {
        await expect(store.create(LONG, record('"€😀"'))).rejects.toThrow(/: 22P05/)
      }
      await pool.end()
    }
  })

  test('a connection in another encoding is refused', async () => {
    const { pool, name } = await withTable({})
    const client = new pg.Client(url!)
    await client.connect()
    await client.query('SET client_encoding = LATIN1')
    const store = postgresStore(client, { table: name })
    await expect((async () => store.load(SHORT))()).rejects.toThrow(/client_encoding is LATIN1/)
    await client.end()
    await pool.end()
  })
})
