// What a call gets, and within what time, while a database server is stopped, silent, restarted, failed over or locked; and that all is
// well soon after.
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { afterAll, describe, expect } from 'vitest'
import { testWith } from '../../../testing/needs.ts'
import { proxyTo } from '../../../testing/proxy.ts'
import { freePort, mariadb, postgres, type Kind } from '../../../testing/services.ts'
import { mysqlStore, type MysqlStore } from './mysql.ts'
import { postgresStore, type PostgresStore } from './postgres.ts'

/** A call is over within 5 s, in ms: one that waits twice takes 10, and one without a bound for ever. */
const BOUND = 9500

/** All is well again within so many ms of the server being back, on a machine that is busy with other tests. */
const RECOVERY = 15_000

type Store = PostgresStore | MysqlStore

/** A connection to the server past the store. */
interface Session {
  run(sql: string): Promise<any[]>
  end(): Promise<void>
}

/** How one engine is opened, and what an operator says to its server. */
interface Engine {
  readonly kind: Kind
  open(database: any, table: string): Store
  connect(url: string): Promise<Session>
  /** A pool, whose connections the application itself may use all at once, and a single connection of the application's. */
  pool(url: string): { database: unknown; useAll(): Promise<void>; end(): unknown }
  single(url: string): Promise<{ database: unknown; end(): unknown }>
  /** Makes the server a standby's: it refuses to write. */
  readonly readOnly: readonly string[]
  readonly writable: readonly string[]
  /** What a connection that is new then is answered once it has come into force: on or off. */
  readonly isReadOnly: string
  /** A user who may not write to a standby. */
  readonly user: { readonly sql: readonly string[]; readonly name: string }
  /** How many statements wait for a lock. */
  readonly lockWaits: string
}

const ignore = () => {}

async function useAll(lend: () => Promise<{ release(): void }>): Promise<void> {
  const loans = await Promise.all(Array.from({ length: 10 }, lend))
  for (const loan of loans) loan.release()
}

const engines: Record<string, Engine> = {
  postgres: {
    kind: postgres,
    open: (database, table) => postgresStore(database, { table }),
    async connect(connectionString) {
      const client = new pg.Client({ connectionString }).on('error', ignore)
      await client.connect()
      return { run: async (sql) => (await client.query(sql)).rows, end: () => client.end() }
    },
    pool(connectionString) {
      const pool = new pg.Pool({ connectionString }).on('error', ignore)
      return { database: pool, useAll: () => useAll(() => pool.connect()), end: () => pool.end() }
    },
    async single(connectionString) {
      const client = new pg.Client({ connectionString }).on('error', ignore)
      await client.connect()
      return { database: client, end: () => client.end() }
    },
    readOnly: ['ALTER SYSTEM SET default_transaction_read_only = on', 'SELECT pg_reload_conf()'],
    writable: ['ALTER SYSTEM RESET default_transaction_read_only', 'SELECT pg_reload_conf()'],
    isReadOnly: `SELECT current_setting('default_transaction_read_only') AS answer`,
    user: { sql: [], name: 'test' },
    lockWaits: `SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'`,
  },
  mysql: {
    kind: mariadb,
    open: (database, table) => mysqlStore(database, { table }),
    async connect(url) {
      const connection = await mysql.createConnection(url)
      return {
        run: async (sql) => (await connection.query(sql))[0] as any[],
        end: () => connection.end(),
      }
    },
    pool(url) {
      const pool = mysql.createPool(url)
      return {
        database: pool,
        useAll: () => useAll(() => pool.getConnection()),
        end: () => pool.end(),
      }
    },
    async single(url) {
      const connection = await mysql.createConnection(url)
      connection.on('error', ignore)
      return { database: connection, end: () => connection.destroy() }
    },
    readOnly: ['SET GLOBAL read_only = 1'],
    writable: ['SET GLOBAL read_only = 0'],
    isReadOnly: `SELECT IF(@@read_only, 'on', 'off') AS answer`,
    user: {
      sql: ['CREATE USER IF NOT EXISTS app', 'GRANT ALL ON mysql.* TO app'],
      name: 'app',
    },
    lockWaits: `SELECT COUNT(*) AS n FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'`,
  },
}

const freshTable = () => `test_${randomUUID().replaceAll('-', '')}`
const freshKey = () => randomUUID().replaceAll('-', '')
const KEY = 'k'.repeat(32)
const later = () => Date.now() + 60_000

/** One call's outcome: undefined or the error's code, and how long it took, in ms. */
async function outcome(call: () => unknown): Promise<{ code: string | undefined; ms: number }> {
  const start = performance.now()
  const code = await Promise.resolve(call()).then(
    () => undefined,
    (error) => error.code,
  )
  return { code, ms: performance.now() - start }
}

const visit = (store: Store) => async () => {
  const key = freshKey()
  await store.create(key, { data: '1', expiresAt: later() })
  await store.save(key, { data: '2', expiresAt: later() }, '1')
}

/** So many requests at once fail, each within the bound. */
async function failInTime(store: Store, calls: number): Promise<void> {
  const outcomes = await Promise.all(
    Array.from({ length: calls }, (_, n) => outcome(n % 2 ? () => store.load(KEY) : visit(store))),
  )
  for (const { code, ms } of outcomes) {
    expect(code).toBe('ERR_SESSION_STORE')
    expect(ms).toBeLessThan(BOUND)
  }
}

/** Requests succeed again, and go on to. */
async function recover(store: Store): Promise<void> {
  const end = performance.now() + RECOVERY
  for (;;) {
    const { code } = await outcome(visit(store))
    if (code === undefined) break
    expect(performance.now(), 'it should be well again').toBeLessThan(end)
    await setTimeout(50)
  }
  const outcomes = await Promise.all(Array.from({ length: 50 }, () => outcome(visit(store))))
  expect(new Set(outcomes.map(({ code }) => code))).toEqual(new Set([undefined]))
}

for (const [name, engine] of Object.entries(engines)) {
  const { url, test, service } = await testWith(engine.kind)
  afterAll(() => service?.[Symbol.asyncDispose]())

  /** Says something to a server as its operator; resolves to what the last statement answers. */
  const tell = async (at: string, ...statements: readonly string[]) => {
    const session = await engine.connect(at)
    let rows: any[] = []
    for (const sql of statements) rows = await session.run(sql)
    await session.end()
    return rows
  }

  const setReadOnly = async (answer: 'on' | 'off') => {
    await tell(url!, ...(answer === 'on' ? engine.readOnly : engine.writable))
    while ((await tell(url!, engine.isReadOnly))[0].answer !== answer) await setTimeout(10)
  }

  /** Stops the server's clock meanwhile. */
  const whileStopped = async <T>(run: () => T | Promise<T>): Promise<T> => {
    service!.freeze(true)
    try {
      // What it was just about to do is done by then.
      await setTimeout(300)
      return await run()
    } finally {
      service!.freeze(false)
    }
  }

  const opened = async (database: unknown, table = freshTable()) => {
    const store = engine.open(database, table)
    await store.migrate()
    await Promise.all(Array.from({ length: 20 }, visit(store)))
    return store
  }

  describe(name, () => {
    test('while the server is stopped a hundred requests at once each hear of it in time, and it is found again', async () => {
      const store = await opened(url)
      await whileStopped(async () => {
        await failInTime(store, 100)
        await failInTime(store, 100)
      })
      await recover(store)
      await store.close?.()
    })

    test('a server that was killed and started again is found by the first request', async () => {
      const store = await opened(url)
      await service!.stop('SIGKILL')
      await failInTime(store, 30)
      await service!.start()
      await recover(store)
      await store.close?.()
    })

    test('where the old server answers no more, one wait of those who are there is enough: the next request reaches the new one', async () => {
      const { url: proxied, proxy } = await proxyTo(url!)
      const store = await opened(proxied)
      proxy.abandon()
      await failInTime(store, 1)
      const outcomes = []
      for (let n = 0; n < 20; n++) outcomes.push(await outcome(visit(store)))
      expect(outcomes.map(({ code }) => code)).toEqual(Array(20).fill(undefined))
      await store.close?.()
      proxy.cut()
    })

    test('a load whose connection turns out to be dead is run again, and no save is', async () => {
      const { url: proxied, proxy } = await proxyTo(url!)
      const store = await opened(proxied)
      await store.create(KEY, { data: 'here', expiresAt: later() })
      for (let n = 0; n < 10; n++) {
        // The save that failed has left no connection that could turn out to be dead.
        await store.load(KEY)
        const load = outcome(() => store.load(KEY))
        proxy.cut()
        await proxy.restore()
        expect((await load).code).toBeUndefined()
        const save = outcome(() => store.save(KEY, { data: 'twice', expiresAt: later() }))
        proxy.cut()
        await proxy.restore()
        expect((await save).code).toBe('ERR_SESSION_STORE')
      }
      await store.close?.()
      proxy.cut()
    })

    test('a server that has become read-only by a failover is left: the next request writes to the new one', async () => {
      await using other = await engine.kind.launch!()
      const table = freshTable()
      const asUser = (at: string) => {
        const to = new URL(at)
        to.username = engine.user.name
        return to.href
      }
      for (const at of [url!, other.url]) {
        await tell(at, ...engine.user.sql)
        await engine.open(at, table).migrate()
      }
      const { url: proxied, proxy } = await proxyTo(asUser(url!))
      const pool = engine.pool(proxied)
      for (const database of [proxied, pool.database]) {
        // Of the connections of the application's pool the store has used few.
        if (database === pool.database) await pool.useAll()
        const store = engine.open(database, table)
        await (database === pool.database
          ? visit(store)()
          : Promise.all(Array.from({ length: 20 }, visit(store))))
        await setReadOnly('on')
        proxy.pointTo(Number(new URL(other.url).port))
        // Loads are under way when the fault is found, and answered after it.
        proxy.delay(200)
        const first = outcome(visit(store))
        await setTimeout(50)
        await Promise.all(Array.from({ length: 3 }, () => store.load(KEY)))
        expect((await first).code).toBe('ERR_SESSION_STORE')
        proxy.delay(0)
        const outcomes = await Promise.all(Array.from({ length: 20 }, () => outcome(visit(store))))
        expect(outcomes.map(({ code }) => code)).toEqual(Array(20).fill(undefined))
        await setReadOnly('off')
        proxy.cut()
        proxy.pointTo(Number(new URL(url!).port))
        await proxy.restore()
      }
      proxy.cut()
    })

    test('a row that somebody holds locked is an error in time; what waited is not done later, and nothing waits on', async () => {
      const table = freshTable()
      const store = await opened(url, table)
      await store.create(KEY, { data: 'old', expiresAt: later() })
      const holder = await engine.connect(url!)
      await holder.run('BEGIN')
      await holder.run(`SELECT * FROM ${table} WHERE session_key = '${KEY}' FOR UPDATE`)
      const saves = await Promise.all(
        Array.from({ length: 10 }, (_, n) =>
          outcome(() => store.save(KEY, { data: `late ${n}`, expiresAt: later() })),
        ),
      )
      for (const { code, ms } of saves) {
        expect(code).toBe('ERR_SESSION_STORE')
        expect(ms).toBeLessThan(BOUND)
      }
      const lockWaits = async () => Number((await tell(url!, engine.lockWaits))[0].n)
      await expect.poll(lockWaits, { timeout: 15_000 }).toBe(0)
      await holder.run('COMMIT')
      await holder.end()
      await setTimeout(300)
      expect(await store.load(KEY)).toMatchObject({ data: 'old' })
      await store.close?.()
    })

    if (name === 'postgres') {
      test('what waited for it is not done later where the application’s pool itself waits for less (query_timeout)', async () => {
        const table = freshTable()
        const patient = await opened(url, table)
        await patient.create(KEY, { data: 'old', expiresAt: later() })
        const pool = new pg.Pool({ connectionString: url, query_timeout: 2000 })
        const store = await opened(pool, table)
        const holder = await engine.connect(url!)
        await holder.run('BEGIN')
        await holder.run(`SELECT * FROM ${table} WHERE session_key = '${KEY}' FOR UPDATE`)
        const { code } = await outcome(() => store.save(KEY, { data: 'late', expiresAt: later() }))
        expect(code).toBe('ERR_SESSION_STORE')
        const lockWaits = async () => Number((await tell(url!, engine.lockWaits))[0].n)
        await expect.poll(lockWaits, { timeout: 15_000 }).toBe(0)
        await holder.run('COMMIT')
        await holder.end()
        expect(await store.load(KEY)).toMatchObject({ data: 'old' })
        await Promise.all([store.close?.(), patient.close?.(), pool.end()])
      })

      test('on a single client what waited for a lock is not done later, and what the application itself runs is let be', async () => {
        const table = freshTable()
        const single = await engine.single(url!)
        const busy = await engine.single(url!)
        const store = await opened(single.database, table)
        const behind = await opened(busy.database, table)
        await store.create(KEY, { data: 'old', expiresAt: later() })
        const holder = await engine.connect(url!)
        await holder.run('BEGIN')
        await holder.run(`SELECT * FROM ${table} WHERE session_key = '${KEY}' FOR UPDATE`)
        const own = (busy.database as pg.Client).query('SELECT pg_sleep(6)')
        const saves = [store, behind].map((one) =>
          outcome(() => one.save(KEY, { data: 'late', expiresAt: later() })),
        )
        const codes = (await Promise.all(saves)).map(({ code }) => code)
        expect(codes).toEqual(['ERR_SESSION_STORE', 'ERR_SESSION_STORE'])
        const lockWaits = async () => Number((await tell(url!, engine.lockWaits))[0].n)
        await expect.poll(lockWaits, { timeout: 15_000 }).toBe(0)
        expect((await own).rowCount).toBe(1)
        await holder.run('COMMIT')
        await holder.end()
        for (const one of [store, behind])
          expect(await one.load(KEY)).toMatchObject({ data: 'old' })
        await Promise.all([single.end(), busy.end()])
      })
    }

    test('on a pool and on a connection of the application’s a stopped server costs a bounded time too, and what waited is not done later', async () => {
      const pool = engine.pool(url!)
      const single = await engine.single(url!)
      for (const { database } of [pool, single]) {
        const table = freshTable()
        const store = await opened(database, table)
        const unsent = Array.from({ length: 30 }, freshKey)
        const outcomes = await whileStopped(() =>
          Promise.all(
            unsent.map((key) =>
              outcome(() => store.create(key, { data: '1', expiresAt: later() })),
            ),
          ),
        )
        for (const { code, ms } of outcomes) {
          expect(code).toBe('ERR_SESSION_STORE')
          expect(ms).toBeLessThan(BOUND)
        }
        await recover(store)
        const [{ n }] = await tell(
          url!,
          `SELECT COUNT(*) AS n FROM ${table} WHERE session_key IN ('${unsent.join("','")}')`,
        )
        // Those that were sent before the server was found to be stopped: one a connection.
        expect(Number(n)).toBeLessThanOrEqual(10)
      }
      await pool.end()
      await single.end()
    })

    for (const fault of ['stopped', 'silent', 'killed', 'well']) {
      test(`close() returns in time, twice at once, and lets the process end, while the server is ${fault}`, async () => {
        const { url: proxied, proxy } = await proxyTo(url!)
        const table = freshTable()
        await engine.open(url!, table).migrate()
        const program = spawn(
          process.execPath,
          [
            fileURLToPath(new URL('fixtures/close-while-away.ts', import.meta.url)),
            name,
            proxied,
            table,
          ],
          { stdio: ['pipe', 'pipe', 'inherit'] },
        )
        let output = ''
        program.stdout.on('data', (chunk) => (output += chunk))
        await once(program.stdout, 'data')
        if (fault === 'stopped') service!.freeze(true)
        if (fault === 'silent') proxy.freeze(true)
        if (fault === 'killed') await service!.stop('SIGKILL')
        program.stdin.write('close\n')
        const start = performance.now()
        const [code] = await once(program, 'close')
        if (fault === 'stopped') service!.freeze(false)
        if (fault === 'killed') await service!.start()
        proxy.cut()
        expect(code).toBe(0)
        expect(output).toMatch(/closed after/)
        expect(performance.now() - start).toBeLessThan(2 * BOUND)
      })
    }

    test('close() waits for saves that are under way', async () => {
      const table = freshTable()
      const store = await opened(url, table)
      const keys = Array.from({ length: 50 }, freshKey)
      const saves = Promise.all(
        keys.map((key) => store.create(key, { data: '1', expiresAt: later() })),
      )
      await store.close?.()
      expect(await saves).toEqual(keys)
      const reader = engine.open(url, table)
      for (const key of keys) expect(await reader.load(key)).toMatchObject({ data: '1' })
      await reader.close?.()
    })

    test('close() before the first connection, and a call after it, harm nobody', async () => {
      const store = engine.open(url, freshTable())
      await store.close?.()
      await expect(async () => store.load(KEY)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    })

    test('an error says where the server was looked for, and neither the password nor the key', async () => {
      const port = await freePort()
      for (const host of ['127.0.0.1', 'localhost']) {
        const to = new URL(url!)
        to.username = 'app'
        to.password = 'hush-hush'
        to.hostname = host
        to.port = `${port}`
        const store = engine.open(to.href, freshTable())
        const error: Error = await Promise.resolve(store.load(KEY)).catch((reason) => reason)
        expect(error.message).toContain(`ECONNREFUSED`)
        expect(error.message).toContain(`:${port}`)
        expect(error.message).not.toMatch(/hush|kkkk/)
        await store.close?.()
      }
    })
  })
}
