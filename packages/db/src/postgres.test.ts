// PostgreSQL, as a real server of its own: the conformance suite, and what only this engine has.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { inspect } from 'node:util'
import { createSessions } from '@coatcheck/core'
import pg from 'pg'
import { afterAll, expect, onTestFinished } from 'vitest'
import { controlled } from '../../../testing/controlled-store.ts'
import { proveEngines } from '../../../testing/prove.ts'
import { countRoundTrips } from '../../../testing/round-trips.ts'
import { openBrowser, opens, type Any } from '../../../testing/visitors.ts'
import { postgresDialect } from './postgres-dialect.ts'
import { postgresStore } from './postgres.ts'

const { url, test } = (await proveEngines('postgres'))['postgres']!
const pool = new pg.Pool({ connectionString: url })
pool.on('error', () => {})
afterAll(() => pool.end())

const freshTable = () => `test_${randomUUID().replaceAll('-', '')}`
const KEY = 'k'.repeat(32)
const later = () => Date.now() + 60_000

test('by a URL, with a pool of its own', async () => {
  const store = postgresStore(url!, { table: freshTable() })
  await store.migrate()
  await store.create(KEY, { data: '{}', expiresAt: later() })
  expect(await store.load(KEY)).toBeDefined()
  await store.close?.()
  await store.close?.()
})

test('a missing table is an error that says what to call', async () => {
  const store = postgresStore(pool, { table: freshTable() })
  await expect(async () => store.load(KEY)).rejects.toMatchObject({
    code: 'ERR_SESSION_STORE',
    message: expect.stringMatching(/Call store\.migrate\(\) once/),
  })
})

test('ten processes that migrate at once do not disturb each other', async () => {
  const table = freshTable()
  const stores = Array.from({ length: 10 }, () => postgresStore(pool, { table }))
  await Promise.all(stores.map((store) => store.migrate()))
})

test('migrate() of a table that is there sends the client no notice, which some print', async () => {
  const table = freshTable()
  const client = new pg.Client({ connectionString: url })
  const notices: unknown[] = []
  client.on('notice', ({ message }) => notices.push(message))
  await client.connect()
  const store = postgresStore(client, { table })
  await store.migrate()
  await client.query(`DROP INDEX ${table}_expire_date`)
  await store.migrate()
  await store.migrate()
  const indexes = await client.query('SELECT FROM pg_indexes WHERE tablename = $1', [table])
  expect(indexes.rowCount).toBe(2)
  expect(notices).toEqual([])
  await client.end()
})

test('a row without a key, which a table may have, ends no sweep', async () => {
  const table = freshTable()
  await pool.query(
    `CREATE TABLE ${table} (session_key varchar(64) UNIQUE, session_data text NOT NULL, expire_date timestamptz NOT NULL);
     INSERT INTO ${table} SELECT NULLIF(i, 0)::text, 'x', '2020-01-01' FROM generate_series(0, 5) AS i`,
  )
  expect(await postgresStore(pool, { table }).clearExpired!({ batchSize: 2 })).toBe(5)
})

test('migrate() makes no second index over the ends, and none where the role may not', async () => {
  const table = freshTable()
  const owner = postgresStore(pool, { table })
  await owner.migrate()
  await pool.query(`ALTER INDEX ${table}_expire_date RENAME TO ${table}_django`)
  await owner.migrate()
  await pool.query(`CREATE ROLE ${table}_role; GRANT ALL ON ${table} TO ${table}_role`)
  const client = new pg.Client({ connectionString: url, options: `-c role=${table}_role` })
  await client.connect()
  await postgresStore(client, { table }).migrate()
  await client.end()
  const indexes = 'SELECT indexname FROM pg_indexes WHERE tablename = $1 ORDER BY indexname'
  expect((await pool.query(indexes, [table])).rows).toEqual([
    { indexname: `${table}_django` },
    { indexname: `${table}_pkey` },
  ])
})

test('migrate() makes no second table in the first schema of the search path, which would hide the one in use', async () => {
  const table = freshTable()
  const owner = postgresStore(pool, { table })
  await owner.migrate()
  await owner.create(KEY, { data: '{}', expiresAt: later() })
  await pool.query(`CREATE SCHEMA IF NOT EXISTS app`)
  const client = new pg.Client({ connectionString: url, options: '-c search_path=app,public' })
  await client.connect()
  const store = postgresStore(client, { table })
  await store.migrate()
  expect(await store.load(KEY)).toMatchObject({ data: '{}' })
  const fresh = postgresStore(client, { table: freshTable() })
  await fresh.migrate()
  await fresh.create(KEY, { data: '{}', expiresAt: later() })
  await client.end()
})

for (const [what, make] of [
  [
    'partitioned table',
    (table: string) => `PARTITION BY HASH (session_key);
      CREATE TABLE ${table}_0 PARTITION OF ${table} FOR VALUES WITH (MODULUS 2, REMAINDER 0);
      CREATE TABLE ${table}_1 PARTITION OF ${table} FOR VALUES WITH (MODULUS 2, REMAINDER 1)`,
  ],
  ['table with a child', (table: string) => `; CREATE TABLE ${table}_0 () INHERITS (${table})`],
] as const) {
  test(`a sweep of a ${what} takes what has expired and nothing else`, async () => {
    const table = freshTable()
    await pool.query(
      `CREATE TABLE ${table} (session_key varchar(64) PRIMARY KEY, session_data text NOT NULL, expire_date timestamptz NOT NULL) ${make(table)}`,
    )
    const store = postgresStore(pool, { table })
    await store.migrate()
    for (let n = 0; n < 100; n++) {
      await store.create(randomUUID(), { data: '1', expiresAt: n % 2 ? 1000 : later() })
    }
    if (what === 'table with a child') {
      await pool.query(
        `INSERT INTO ${table}_0 SELECT 'child' || session_key, '1', now() + interval '1 day' FROM ${table}`,
      )
    }
    const { rows } = await pool.query(
      `SELECT count(*)::int AS n FROM ${table} WHERE expire_date > now()`,
    )
    expect(await store.clearExpired!({ batchSize: 7 })).toBe(50)
    const left = await pool.query(`SELECT count(*)::int AS n FROM ${table}`)
    expect(left.rows).toEqual(rows)
  })
}

test('a sweep of a large table reads by its indexes alone', async () => {
  const table = freshTable()
  await postgresStore(pool, { table }).migrate()
  await pool.query(
    `INSERT INTO ${table} SELECT md5(n::text), '1', now() + (n - 20000) * interval '1 s' FROM generate_series(1, 100000) AS n`,
  )
  await pool.query(`ANALYZE ${table}`)
  const { rows } = await pool.query(
    `EXPLAIN ${postgresDialect.statementsOf(table).sweep(0).text.replace('$1', 'now()').replace('$2', '10000')}`,
  )
  const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
  expect(plan).toMatch(/Index (Only )?Scan/)
  expect(plan).not.toContain('Seq Scan')
})

test('the cause of an error holds the server’s code, and neither key nor data', async () => {
  const table = freshTable()
  await pool.query(
    `CREATE TABLE ${table} (session_key varchar(64) PRIMARY KEY, session_data text NOT NULL CHECK (length(session_data) < 5), expire_date timestamptz NOT NULL)`,
  )
  const error: any = await Promise.resolve(
    postgresStore(pool, { table }).create(KEY, { data: 'secret', expiresAt: later() }),
  ).catch((reason) => reason)
  expect(error.cause).toMatchObject({ code: '23514', severity: 'ERROR' })
  expect(inspect(error, { depth: 9, showHidden: true })).not.toMatch(/secret|kkkk/)
})

for (const zone of ['Asia/Kolkata', 'America/St_Johns', 'UTC']) {
  test(`expiry is the same moment on a connection in time zone ${zone}`, async () => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    await client.query(`SET TIME ZONE '${zone}'`)
    const store = postgresStore(client, { table: freshTable() })
    await store.migrate()
    const expiresAt = Date.UTC(2100, 6, 1, 0, 30, 0, 123)
    await store.create(KEY, { data: '{}', expiresAt })
    expect(await store.load(KEY)).toMatchObject({ expiresAt })
    await client.end()
  })
}

for (const isolation of ['read committed', 'repeatable read', 'serializable']) {
  const openStrict = async () => {
    const strict = new pg.Pool({
      connectionString: url,
      max: 20,
      options: `-c default_transaction_isolation=${isolation.replace(' ', '\\ ')}`,
    })
    const { rows } = await strict.query('SHOW transaction_isolation')
    expect(rows[0].transaction_isolation).toBe(isolation)
    const store = postgresStore(strict, { table: freshTable() })
    await store.migrate()
    return { strict, store }
  }
  const codeOf = (error: { code?: string }) => error.code
  /** Runs calls at once: the code of the error of each, undefined where it succeeded. */
  const codes = (calls: (() => unknown)[]) =>
    Promise.all(calls.map(async (call) => Promise.resolve(call()).then(() => undefined, codeOf)))

  test(`with ${isolation} as the default isolation fifty increments at once are fifty`, async () => {
    const { strict, store } = await openStrict()
    await store.create(KEY, { data: '0', expiresAt: later() })
    const increment = async (): Promise<string> => {
      const { data } = (await store.load(KEY))!
      const next = { data: `${Number(data) + 1}`, expiresAt: later() }
      return Promise.resolve(store.save(KEY, next, data)).catch((error) => {
        if (error.code !== 'ERR_SESSION_CONFLICT') throw error
        return increment()
      })
    }
    await Promise.all(Array.from({ length: 50 }, increment))
    expect(await store.load(KEY)).toMatchObject({ data: '50' })
    await strict.end()
  })

  test(`with ${isolation} as the default isolation every call at once answers as the contract says`, async () => {
    const { strict, store } = await openStrict()
    for (let round = 0; round < 3; round++) {
      const expiresAt = later()
      await store.create(KEY, { data: 'old', expiresAt })
      const swapped = await codes(
        Array.from(
          { length: 20 },
          (_, n) => () => store.save(KEY, { data: `${n}`, expiresAt }, 'old'),
        ),
      )
      expect(swapped.toSorted()).toEqual([...Array(19).fill('ERR_SESSION_CONFLICT'), undefined])
      const touched = await codes(
        Array.from({ length: 20 }, (_, n) => () => store.touch(KEY, expiresAt + n + 1, expiresAt)),
      )
      expect(touched.toSorted()).toEqual([...Array(19).fill('ERR_SESSION_CONFLICT'), undefined])
      // None of these expects anything: all must get through, but for those that come after the delete.
      const all = await codes([
        ...Array.from(
          { length: 15 },
          (_, n) => () => store.save(KEY, { data: `${n}`, expiresAt: later() }),
        ),
        ...Array.from({ length: 15 }, (_, n) => () => store.touch(KEY, later() + n)),
        () => store.load(KEY),
        () => store.delete(KEY),
      ])
      for (const code of all) expect([undefined, 'ERR_SESSION_GONE']).toContain(code)
      expect(all.slice(-2)).toEqual([undefined, undefined])
      expect(await store.load(KEY)).toBeUndefined()
      const created = await codes(
        Array.from({ length: 20 }, (_, n) => () => store.create(KEY, { data: `${n}`, expiresAt })),
      )
      expect(created.toSorted()).toEqual([...Array(19).fill('ERR_SESSION_KEY_EXISTS'), undefined])
      const ended = await codes(
        Array.from({ length: 20 }, () => () => store.save(KEY, { data: '', expiresAt: 0 })),
      )
      expect(ended.toSorted()).toEqual([...Array(19).fill('ERR_SESSION_GONE'), undefined])
    }
    await strict.end()
  })
}

test('a statement that loses to others for ever is a SessionStoreError within seconds', async () => {
  const lost = Object.assign(new Error('could not serialize access'), { code: '40001' })
  const store = postgresStore({ query: () => Promise.reject(lost) })
  await expect(store.load(KEY)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE', cause: lost })
})

test('a deadlock is no conflict: the statement is run again', async () => {
  let deadlocks = 3
  const store = postgresStore(
    {
      query: (query) =>
        query.text.includes('CREATE TABLE') && deadlocks-- > 0
          ? Promise.reject(Object.assign(new Error('deadlock detected'), { code: '40P01' }))
          : pool.query(query),
    },
    { table: freshTable() },
  )
  await store.migrate()
  expect(deadlocks).toBe(-1)
})

test('a table that is altered under prepared statements goes on being read and written', async () => {
  const table = freshTable()
  await pool.query(
    `CREATE TABLE ${table} (session_key varchar(40) PRIMARY KEY, session_data varchar(100) NOT NULL, expire_date timestamptz(3) NOT NULL)`,
  )
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const stores = [url!, pool, client].map((database) => postgresStore(database, { table }))
  const visit = async () => {
    for (const store of stores) {
      await store.create(KEY, { data: '1', expiresAt: later() })
      await store.save(KEY, { data: '2', expiresAt: later() }, '1')
      expect(await store.load(KEY)).toMatchObject({ data: '2' })
      await store.delete(KEY)
    }
  }
  await visit()
  await pool.query(
    `ALTER TABLE ${table} ALTER session_key TYPE varchar(64), ALTER session_data TYPE text, ALTER expire_date TYPE timestamptz`,
  )
  await visit()
  await pool.query(`DROP TABLE ${table}`)
  await stores[0]!.migrate()
  await visit()
  await stores[0]!.close?.()
  await client.end()
})

test('a row that Django wrote, to the microsecond, is touched from the end that load tells', async () => {
  const table = freshTable()
  const store = postgresStore(pool, { table })
  await store.migrate()
  for (const fraction of ['.000001', '.123456', '.1239', '.999999', '']) {
    await pool.query(`DELETE FROM ${table}`)
    await pool.query(
      `INSERT INTO ${table} VALUES ('${KEY}', '{}', '2100-07-01 00:00:00${fraction}+00')`,
    )
    const { expiresAt } = (await store.load(KEY))!
    for (const from of [expiresAt - 2, expiresAt + 2]) {
      await expect(store.touch(KEY, later(), from)).rejects.toMatchObject({
        code: 'ERR_SESSION_CONFLICT',
      })
    }
    expect(await store.touch(KEY, later(), expiresAt)).toBe(KEY)
  }
})

test('a server that is not there is a SessionStoreError within seconds', async () => {
  const store = postgresStore('postgres://test@127.0.0.1:1/test')
  await expect(async () => store.load(KEY)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  await store.close?.()
})

test('a row that ends after the year 9999 is a session', async () => {
  const name = freshTable()
  const store = postgresStore(url!, { table: name })
  await store.migrate()
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(`INSERT INTO ${name} VALUES ($1, '{}', '12000-05-01 00:00:00.5Z')`, [KEY])
  const expiresAt = Date.UTC(12_000, 4, 1, 0, 0, 0, 500)
  expect(await store.load(KEY)).toEqual({ data: '{}', expiresAt })
  await store.touch(KEY, Date.now() + 60_000, expiresAt)
  await client.end()
  await store.close?.()
})

test('each call is one round trip, once its statement is prepared', async () => {
  const relay = await countRoundTrips(url!)
  const store = postgresStore(relay.url, { table: freshTable() })
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

for (const isolation of ['repeatable read', 'serializable']) {
  test(`under ${isolation.toUpperCase()} isolation a logout beside saves of other processes ends the session, and none of them fails for a race`, async () => {
    const strict = new pg.Pool({
      connectionString: url,
      options: `-c default_transaction_isolation=${isolation.replace(' ', '\\ ')}`,
    })
    const store = postgresStore(strict, { table: freshTable() })
    await store.migrate()
    const processes = Array.from({ length: 5 }, () => {
      const calls = controlled(store)
      return { calls, sessions: createSessions<Any>({ store: calls.store }) }
    })
    for (let round = 0; round < 20; round++) {
      const browser = openBrowser(processes[0]!)
      await browser.visit((session) => session.set('user', 'ann'))
      const { cookie } = browser
      const requests = await Promise.all(
        processes.map((process) => openBrowser(process, cookie).open()),
      )
      for (const [n, { session }] of requests.entries()) {
        if (n === 0) session.flush()
        else session.update('visits', (visits = 0) => visits + 1)
      }
      const [logout, ...others] = await Promise.all(requests.map(({ answer }) => answer()))
      expect(logout!.status).toBe(200)
      expect(await opens(processes[1]!.sessions, cookie)).toEqual({})
      // Each one came before the logout or after it.
      for (const { status } of others) expect(status).toBeOneOf([200, 400])
    }
    await strict.end()
  })
}

test('a serialization failure is a lost race for a save alone: load and delete are tried again', async () => {
  let failures = 0
  const racing = {
    async query(query: { name?: string; text: string; values?: unknown[] }) {
      if (failures > 0) {
        failures--
        throw Object.assign(new Error('could not serialize access'), { code: '40001' })
      }
      return pool.query(query)
    },
  }
  const store = postgresStore(racing, { table: freshTable() })
  await store.migrate()
  await store.create(KEY, { data: '{}', expiresAt: later() })
  failures = 1
  expect(await store.load(KEY)).toMatchObject({ data: '{}' })
  failures = 1
  await store.delete(KEY)
  expect(await store.load(KEY)).toBeUndefined()
  failures = Infinity
  const outcomes = await Promise.allSettled([store.load(KEY), store.delete(KEY)])
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({ reason: { code: 'ERR_SESSION_STORE' } })
  }
})

const message = (type: string, body: Buffer | string) => {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(Buffer.byteLength(body) + 4, 1)
  return Buffer.concat([head, Buffer.from(body)])
}

/** A server that answers whoever comes with one packet, as a busy process reads it; a real one does so only now and then. */
async function answering(...messages: Buffer[]) {
  const server = createServer((socket) => {
    socket.on('error', () => {}).once('data', () => socket.end(Buffer.concat(messages)))
  }).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  return `postgres://app@127.0.0.1:${(server.address() as AddressInfo).port}/app`
}

test('a server that goes down with the very packet of its welcome ends no process', async () => {
  const connectionString = await answering(
    message('R', Buffer.alloc(4)),
    message('Z', 'I'),
    message('E', 'SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0'),
  )
  const own = new pg.Pool({ connectionString })
  for (const store of [postgresStore(connectionString), postgresStore(own)]) {
    await expect(store.load(KEY)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    await store.close?.()
  }
  await own.end()
})

/** By TLS: what it answers with to the first packet that is not the request for it. */
async function answeringInPrivate(answer: Buffer) {
  const server = createServer((socket) => {
    socket
      .on('error', () => {})
      .once('data', () => {
        socket.write('S')
        const secure = new TLSSocket(socket, { isServer: true, key: CERTIFIED, cert: CERTIFIED })
        secure.on('error', () => {}).once('data', () => secure.write(answer))
      })
  }).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  return `postgres://app@127.0.0.1:${(server.address() as AddressInfo).port}/app?sslmode=no-verify`
}

test('a server that asks for a method of authentication that pg does not know ends no process', async () => {
  const gssapi = message('R', Buffer.from([0, 0, 0, 7]))
  for (const of of [await answering(gssapi), await answeringInPrivate(gssapi)]) {
    const store = postgresStore(of)
    await expect(store.load(KEY)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    await store.close?.()
  }
})

/** A server that answers what a client sends with one packet after the other, and then with nothing. */
async function inTurn(...packets: Buffer[]) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    const left = [...packets]
    socket.on('error', () => {}).on('data', () => socket.write(left.shift() ?? ''))
  }).listen(0, '127.0.0.1')
  onTestFinished(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  await once(server, 'listening')
  return `postgres://app@127.0.0.1:${(server.address() as AddressInfo).port}/app`
}

const WELCOME = Buffer.concat([message('R', Buffer.alloc(4)), message('Z', 'I')])

const sentences: [string, Buffer[], object, string][] = [
  [
    'a password is asked for, and there is none',
    [
      message('R', Buffer.from('\0\0\0\x0aSCRAM-SHA-256\0\0')),
      message('R', Buffer.from('\0\0\0\x0br=a,s=a,i=4096')),
    ],
    {},
    'it asks for a password, and none is given',
  ],
  [
    'there is no TLS',
    [Buffer.from('N')],
    { ssl: true },
    'it has no TLS, which is asked for (sslmode)',
  ],
  ['a query has no answer', [WELCOME], { query_timeout: 50 }, 'no answer in time (query_timeout)'],
  [
    'there is no welcome',
    [],
    { connectionTimeoutMillis: 50 },
    'no connection in time (connectionTimeoutMillis)',
  ],
]
for (const [when, packets, options, why] of sentences) {
  test(`what pg says in a sentence is told: ${when}`, async () => {
    const connectionString = await inTurn(...packets)
    const own = new pg.Pool({ connectionString, ...options })
    own.on('error', () => {})
    await expect(postgresStore(own).load(KEY)).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
      message: expect.stringContaining(
        `PostgreSQL failed to look at the columns of 'coatcheck_session': ${why}.`,
      ),
    })
    await own.end()
  })
}

test("an application's pool that has ended is told in words", async () => {
  const own = new pg.Pool({ connectionString: url })
  await own.end()
  await expect(postgresStore(own).load(KEY)).rejects.toThrow(": the application's pool is closed.")
})

/** A key that is nobody's, and its certificate. */
const CERTIFIED = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQguxzIPeROB/zyyW1z
UKGaDKBrJ3nlL2oiJqV+RQVvxe2hRANCAAQRbsHiBHk7zWAKPC7O5BF9zp+2WFj9
YWNyMVW/hDV3fEaVk2FErZy4cHEvxBmXsfmUngPuIyno3TYK9P7SLB7K
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUPZjQvPMIDW93sPSVCp9/UKbw4acwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMzAxMzAwNTBaGA8yMTI2MTEwNjEzMDA1
MFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBFu
weIEeTvNYAo8Ls7kEX3On7ZYWP1hY3IxVb+ENXd8RpWTYUStnLhwcS/EGZex+ZSe
A+4jKejdNgr0/tIsHsqjUzBRMB0GA1UdDgQWBBS6Onj8loqyQK+Mskn4r6tRQpn3
fTAfBgNVHSMEGDAWgBS6Onj8loqyQK+Mskn4r6tRQpn3fTAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIQDPOK37/Hm/VDuFVuuPyknEQHLuH1hUHxSP
CMQgJSLanQIgMMIn7iSft4sP/mTpPdE0i81BxafKCKB5SMVpzOzW/KY=
-----END CERTIFICATE-----
`
