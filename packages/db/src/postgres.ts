// The PostgreSQL engine: one row a session, in Django's table shape, by pg.
import {
  isSessionKey,
  KeyExistsError,
  SessionConflictError,
  SessionGoneError,
  SessionUsageError,
  type SessionError,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { assertBatchSize, assertTableName, DEFAULT_TABLE, failed, loadDriver } from './table.ts'

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
  /** The clock, in ms since the Unix epoch. Default `Date.now`. */
  readonly now?: () => number
}

/** Rows that one batch of `clearExpired` removes. It locks no live row, so what counts is how often it waits for the disk. */
const BATCH_SIZE = 10_000

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
  const { table = DEFAULT_TABLE, now = Date.now } = options
  assertTableName('postgresStore', table)
  const own = typeof database === 'string' ? open(database) : undefined
  const connection = own ?? (database as PostgresConnection)
  const statements = prepare(table)

  /** Queries under way, and who waits for the last one: a pool that ends drops what still waits for a connection. */
  let pending = 0
  let onIdle: (() => void) | undefined

  async function query(
    action: string,
    statement: { name?: string; text: string },
    values: unknown[] = [],
  ) {
    pending++
    try {
      return await connection.query({ ...statement, values })
    } catch (error) {
      throw postgresError(action, error)
    } finally {
      if (--pending === 0) onIdle?.()
    }
  }

  function postgresError(action: string, error: unknown): SessionError {
    const { code } = error as { code?: string }
    // Where the application has set a stricter isolation, PostgreSQL reports a lost race by this code.
    if (code === '40001') return new SessionConflictError()
    return failed({ database: 'PostgreSQL', action, table }, code === '42P01', error)
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
      const values = [data, date(expiresAt), key, date(now())]
      const { rowCount } =
        expected === undefined
          ? await query('save', statements.update, values)
          : await query('save', statements.updateExpected, [...values, expected])
      if (rowCount) return key
      throw expected !== undefined && (await load(key))
        ? new SessionConflictError()
        : new SessionGoneError()
    },

    async touch(key, expiresAt) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const { rowCount } = await query('touch', statements.touch, [
        date(expiresAt),
        key,
        date(now()),
      ])
      if (!rowCount) throw new SessionGoneError()
      return key
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

/** A moment as PostgreSQL reads it, whatever its time zone. */
function date(ms: number): string {
  return new Date(ms).toISOString()
}

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
    update: sql(
      'save',
      'UPDATE @ SET session_data = $1, expire_date = $2 WHERE session_key = $3 AND expire_date > $4',
    ),
    updateExpected: sql(
      'swap',
      `UPDATE @ SET session_data = $1, expire_date = $2
       WHERE session_key = $3 AND expire_date > $4 AND session_data = $5 COLLATE "C"`,
    ),
    touch: sql(
      'touch',
      'UPDATE @ SET expire_date = $1 WHERE session_key = $2 AND expire_date > $3',
    ),
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
  const { Pool } = loadDriver('postgresStore', 'pg') as Driver
  // A request waits this long, in ms, and then hears of the failure.
  const pool = new Pool({ connectionString, connectionTimeoutMillis: 5000, query_timeout: 10_000 })
  // An idle connection that breaks is replaced when it is needed; without a listener it would end the process.
  pool.on('error', () => {})
  return pool
}
