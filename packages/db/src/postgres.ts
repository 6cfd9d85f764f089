// The PostgreSQL engine: one row a session, in Django's table shape, by pg.
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import {
  assertOptions,
  createLock,
  isSessionKey,
  KeyExistsError,
  loadDriver,
  RETIRED,
  rules,
  SessionConflictError,
  SessionGoneError,
  SessionUsageError,
  systemClock,
  type SessionError,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { assertBatchSize, assertDatabase, DEFAULT_TABLE, failed, tableName } from './table.ts'

/** As much of a pg `Pool` or `Client` as the engine uses. */
export interface PostgresConnection {
  query(query: {
    name?: string
    text: string
    values?: unknown[]
  }): Promise<{ rows: any[]; rowCount: number | null }>
}

/** Options of {@link postgresStore}. */
export interface PostgresStoreOptions {
  /** The table's name. Default `coatcheck_session`. */
  readonly table?: string
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** Rows that one batch of `clearExpired` removes. It locks no live row, so what counts is how often it waits for the disk. */
const BATCH_SIZE = 10_000

/**
 * A statement that PostgreSQL has failed because of another one is run again for so long, in ms. Of those that change one row
 * at a time, one gets through in each turn, so that a number of turns would be no bound that is right for all.
 */
const RUN_AGAIN_FOR = 5000

/** A session store on PostgreSQL. */
export interface PostgresStore extends SessionStore {
  /** Makes the table and its index where they are missing. Throws SessionStoreError if PostgreSQL refuses. */
  migrate(): Promise<void>
}

/**
 * Keeps sessions in a table `(session_key, session_data, expire_date)`, as Django's database engine does, on PostgreSQL
 * 12 or newer.
 *
 * @param database A URL (`postgres://…`), for which a pool is made, or a pg pool or client of your own, whose settings
 * hold and which `close()` leaves open.
 * @throws SessionUsageError for a bad option, or if a URL is given and pg is not installed.
 */
export function postgresStore(
  database: string | PostgresConnection,
  options: PostgresStoreOptions = {},
): PostgresStore {
  assertDatabase(
    'postgresStore',
    database,
    'a URL such as postgres://user@localhost/app, or a pool or client of pg',
    (url) => /^(postgres(ql)?:\/\/|socket:|\/)/i.test(url),
    ['query'],
  )
  assertOptions('postgresStore', options, { table: tableName, now: rules.clock })
  const { table = DEFAULT_TABLE, now = systemClock } = options
  const own = typeof database === 'string' ? open(database) : undefined
  const connection = own ?? (database as PostgresConnection)
  const statements = prepare(table)

  /** Queries under way, and who waits for the last one: a pool that ends drops what still waits for a connection. */
  let pending = 0
  let onIdle: (() => void) | undefined
  const lock = createLock()

  async function query(
    action: string,
    statement: { name?: string; text: string },
    values: unknown[] = [],
  ) {
    pending++
    try {
      const run = () => connection.query({ ...statement, values })
      return await run().catch((error) => {
        if (!isLostRace(error)) throw error
        const end = performance.now() + RUN_AGAIN_FOR
        // One at a time of those of this process that want the same row.
        return lock(String(values[0]), () => runAgain(run, error, end))
      })
    } catch (error) {
      const missing = (error as { code?: string }).code === '42P01'
      throw failed({ database: 'PostgreSQL', action, table }, missing, error)
    } finally {
      if (--pending === 0) onIdle?.()
    }
  }

  let closing: Promise<void> | undefined
  async function closePool(): Promise<void> {
    if (pending > 0) await new Promise<void>((resolve) => (onIdle = resolve))
    await own?.end()
  }

  const load = async (key: string): Promise<SessionRecord | undefined> => {
    if (!isSessionKey(key)) return undefined
    const { rows } = await query('load', statements.select, [key])
    if (rows.length === 0) return undefined
    const expiresAt = Math.round(rows[0].expires_at)
    return expiresAt > now() ? { data: rows[0].session_data, expiresAt } : undefined
  }

  /** Why a save or touch under a condition has changed no row. */
  const refusal = async (key: string): Promise<SessionError> =>
    (await load(key))?.data ? new SessionConflictError() : new SessionGoneError()

  return {
    load,

    async create(key, { data, expiresAt }) {
      if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
      const values = [key, data, date(expiresAt), date(now())]
      const { rowCount } = await query('create', statements.insert, values)
      if (!rowCount) throw new KeyExistsError()
      return key
    },

    async save(key, { data, expiresAt }, expected) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      // Only a retired key holds this, and that is never saved.
      if (expected === RETIRED) throw await refusal(key)
      const time = now()
      const where = expected === undefined ? [key, date(time)] : [key, date(time), expected]
      const how = expected === undefined ? 'any' : 'expected'
      const { rowCount } =
        expiresAt <= time
          ? await query('save', statements.end[how], where)
          : await query('save', statements.update[how], [...where, data, date(expiresAt)])
      if (rowCount) return key
      throw expected === undefined ? new SessionGoneError() : await refusal(key)
    },

    async touch(key, expiresAt, from) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const values = [key, date(now()), date(expiresAt)]
      const { rowCount } =
        from === undefined
          ? await query('touch', statements.touch.any, values)
          : await query('touch', statements.touch.from, [...values, date(from)])
      if (rowCount) return key
      throw from === undefined ? new SessionGoneError() : await refusal(key)
    },

    async delete(key) {
      if (isSessionKey(key)) await query('delete', statements.remove, [key])
    },

    async clearExpired({ batchSize = BATCH_SIZE, signal } = {}) {
      assertBatchSize(batchSize)
      const time = date(now())
      let removed = 0
      for (;;) {
        if (signal?.aborted) return removed
        const { rowCount } = await query('clearExpired', statements.sweep, [time, batchSize])
        removed += rowCount ?? 0
        if ((rowCount ?? 0) < batchSize) return removed
      }
    },

    async close() {
      await (closing ??= closePool())
    },

    async migrate() {
      await query('migrate', statements.migrate)
    },
  }
}

/** Lost to another transaction, under a stricter isolation than the default; or to one that waits for this one. */
function isLostRace(error: unknown): boolean {
  const { code } = error as { code?: string }
  return code === '40001' || code === '40P01'
}

/** Runs a statement again, on what is stored now, for as long as it loses to others. */
async function runAgain<T>(run: () => Promise<T>, lost: unknown, end: number): Promise<T> {
  let error = lost
  for (let pause = 0; performance.now() < end; pause = Math.min(pause + 1, 20)) {
    // At different times, so that processes do not all meet again; the first one at once.
    if (pause > 0) await setTimeout(Math.random() * pause)
    try {
      return await run()
    } catch (again) {
      if (!isLostRace(again)) throw again
      error = again
    }
  }
  throw error
}

/** A moment as PostgreSQL reads it, whatever its time zone. */
function date(ms: number): string {
  return new Date(ms).toISOString()
}

/** A live record; one that is not a retired key's, by a length that is known without the data; one with this data. */
const LIVE = 'session_key = $1 AND expire_date > $2'
const OPEN = `${LIVE} AND octet_length(session_data) > 0`
const EXPECTED = `${LIVE} AND session_data = $3 COLLATE "C"`

function prepare(table: string) {
  const sql = (name: string, text: string) => ({
    name: `coatcheck_${name}_${table}`.slice(0, 63),
    text: text.replaceAll('@', `"${table}"`),
  })
  return {
    select: sql(
      'load',
      `SELECT session_data, date_part('epoch', expire_date) * 1000 AS expires_at
       FROM @ WHERE session_key = $1`,
    ),
    insert: sql(
      'create',
      `INSERT INTO @ AS old (session_key, session_data, expire_date) VALUES ($1, $2, $3)
       ON CONFLICT (session_key) DO UPDATE
       SET session_data = excluded.session_data, expire_date = excluded.expire_date
       WHERE old.expire_date <= $4`,
    ),
    update: {
      any: sql('save', `UPDATE @ SET session_data = $3, expire_date = $4 WHERE ${OPEN}`),
      expected: sql('swap', `UPDATE @ SET session_data = $4, expire_date = $5 WHERE ${EXPECTED}`),
    },
    end: {
      any: sql('end', `DELETE FROM @ WHERE ${OPEN}`),
      expected: sql('end_if', `DELETE FROM @ WHERE ${EXPECTED}`),
    },
    touch: {
      any: sql('touch', `UPDATE @ SET expire_date = $3 WHERE ${OPEN}`),
      // As load rounds it: Django writes microseconds.
      from: sql(
        'renew',
        `UPDATE @ SET expire_date = $3 WHERE ${OPEN}
         AND expire_date > $4::timestamptz - interval '1 ms'
         AND expire_date < $4::timestamptz + interval '1 ms'`,
      ),
    },
    remove: sql('delete', 'DELETE FROM @ WHERE session_key = $1'),
    sweep: sql(
      'sweep',
      `DELETE FROM @ WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM @ WHERE expire_date <= $1
         ORDER BY expire_date LIMIT $2 FOR UPDATE SKIP LOCKED))`,
    ),
    // Several statements sent as one run in one transaction; the lock keeps two processes that start together apart.
    migrate: {
      text: `
        SELECT pg_advisory_xact_lock(hashtext('coatcheck ${table}'));
        CREATE TABLE IF NOT EXISTS "${table}" (
          "session_key" varchar(64) COLLATE "C" NOT NULL PRIMARY KEY,
          "session_data" text NOT NULL,
          "expire_date" timestamp with time zone NOT NULL
        );
        CREATE INDEX IF NOT EXISTS "${table}_expire_date" ON "${table}" ("expire_date");`,
    },
  }
}

/** What the engine uses of the pool it made itself. */
interface OwnPool extends PostgresConnection {
  on(event: 'error', listener: () => void): unknown
  end(): Promise<void>
}

type Driver = { Pool: new (options: object) => OwnPool }

function open(connectionString: string): OwnPool {
  const { Pool } = loadDriver({
    by: 'postgresStore',
    driver: 'pg',
    from: import.meta.url,
    pass: 'postgresStore(new Pool({ connectionString }))',
  }) as Driver
  // A request waits this long, in ms, and then hears of the failure.
  const pool = new Pool({ connectionString, connectionTimeoutMillis: 5000, query_timeout: 10_000 })
  // An idle connection that breaks is replaced when it is needed; without a listener it would end the process.
  pool.on('error', () => {})
  return pool
}
