// The SQLite engine: one row a session, in Django's table shape, by better-sqlite3.
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import {
  assertOptions,
  isSessionKey,
  KeyExistsError,
  loadDriver,
  RETIRED,
  rules,
  SessionConflictError,
  SessionGoneError,
  SessionStoreError,
  SessionUsageError,
  systemClock,
  type SessionError,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { datesOf, formatDate, parseDate } from './date.ts'
import {
  assertBatchSize,
  assertDatabase,
  BATCH_SIZE,
  DEFAULT_TABLE,
  failed,
  tableName,
} from './table.ts'

/** As much of a better-sqlite3 `Database` as the engine uses. */
export interface SqliteConnection {
  prepare(sql: string): SqliteStatement
  exec(sql: string): unknown
}

/** As much of a better-sqlite3 `Statement` as the engine uses. */
export interface SqliteStatement {
  get(...parameters: unknown[]): unknown
  run(...parameters: unknown[]): { changes: number | bigint }
}

/** Options of {@link sqliteStore}. */
export interface SqliteStoreOptions {
  /** The table's name. Default `coatcheck_session`. */
  readonly table?: string
  /** How long a statement waits for another process's lock, in ms; for a filename only. Default 5000. */
  readonly busyTimeout?: number
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/**
 * The log grows to so many pages of 4 KB before it is copied into the database, which costs two waits for the disk. A
 * session's pages are in it many times over by then, and are copied once.
 */
const CHECKPOINT_PAGES = 4000

/** A session store on SQLite. Every method but `clearExpired` answers without a promise. */
export interface SqliteStore extends SessionStore {
  /** Makes the table and its index where they are missing. Throws SessionStoreError if SQLite refuses. */
  migrate(): void
}

/**
 * Keeps sessions in a table `(session_key, session_data, expire_date)`, as Django's database engine does.
 *
 * @param database A filename, which is opened in WAL mode with `synchronous = NORMAL` (what is saved survives a crash
 * of the process; a power cut may take the last moments), or a better-sqlite3 connection of your own, whose settings
 * stay as they are and which `close()` leaves open.
 * @throws SessionUsageError for a bad option, or if better-sqlite3 is not installed; SessionStoreError if the file
 * cannot be opened.
 */
export function sqliteStore(
  database: string | SqliteConnection,
  options: SqliteStoreOptions = {},
): SqliteStore {
  assertDatabase(
    'sqliteStore',
    database,
    'the name of a file, or a connection of better-sqlite3',
    (file) => file !== '' && !/^[a-z]{2,}:\/\//i.test(file),
    ['prepare', 'exec'],
  )
  assertOptions('sqliteStore', options, {
    table: tableName,
    busyTimeout: rules.rule('a number of milliseconds from 0 on', rules.fromZero.holds),
    now: rules.clock,
  })
  const { table = DEFAULT_TABLE, busyTimeout = 5000, now = systemClock } = options
  const own = typeof database === 'string' ? open(database, busyTimeout) : undefined
  const connection = own ?? (database as SqliteConnection)

  let prepared: ReturnType<typeof prepare> | undefined
  const statements = () => (prepared ??= prepare(connection, table))

  /** Runs a query, and turns SQLite's errors into the library's. */
  function query<T>(action: string, run: (sql: ReturnType<typeof prepare>) => T): T {
    try {
      return run(statements())
    } catch (error) {
      throw sqliteError(action, error)
    }
  }

  function sqliteError(action: string, error: unknown): SessionError {
    const missing = error instanceof Error && error.message.startsWith('no such table')
    return failed({ database: 'SQLite', action, table }, missing, error)
  }

  const load = (key: string): SessionRecord | undefined => {
    if (!isSessionKey(key)) return undefined
    return query('load', ({ select }) => {
      const row = select.get(key) as { session_data: string; expire_date: string } | undefined
      if (!row) return undefined
      const expiresAt = parseDate(row.expire_date)
      return expiresAt > now() ? { data: row.session_data, expiresAt } : undefined
    })
  }

  /** Why a save or touch under a condition has changed no row. */
  const refusal = (key: string): SessionError =>
    load(key)?.data ? new SessionConflictError() : new SessionGoneError()

  return {
    traits: { sync: true },

    load,

    create(key, { data, expiresAt }) {
      if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
      const time = formatDate(now())
      const { changes } = query('create', (sql) =>
        sql.insert.run(key, data, formatDate(expiresAt), time),
      )
      if (!changes) throw new KeyExistsError()
      return key
    },

    save(key, { data, expiresAt }, expected) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      // Only a retired key holds this, and that is never saved.
      if (expected === RETIRED) throw refusal(key)
      const moment = now()
      const time = formatDate(moment)
      const { changes } = query('save', (sql) => {
        if (expiresAt <= moment) {
          return expected === undefined
            ? sql.end.run(key, time)
            : sql.endExpected.run(key, time, expected)
        }
        const end = formatDate(expiresAt)
        return expected === undefined
          ? sql.update.run(data, end, key, time)
          : sql.updateExpected.run(data, end, key, time, expected)
      })
      if (changes) return key
      throw expected === undefined ? new SessionGoneError() : refusal(key)
    },

    touch(key, expiresAt, from) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const end = formatDate(expiresAt)
      const time = formatDate(now())
      const { changes } = query('touch', ({ touch, touchFrom }) =>
        from === undefined
          ? touch.run(end, key, time)
          : touchFrom.run(end, key, time, ...datesOf(from)),
      )
      if (changes) return key
      throw from === undefined ? new SessionGoneError() : refusal(key)
    },

    delete(key) {
      if (isSessionKey(key)) query('delete', (sql) => sql.remove.run(key))
    },

    async clearExpired({ batchSize = BATCH_SIZE, signal } = {}) {
      assertBatchSize(batchSize)
      const time = formatDate(now())
      let removed = 0
      for (;;) {
        if (signal?.aborted) return removed
        const start = performance.now()
        const { changes } = query('clearExpired', (sql) => sql.sweep.run(time, batchSize))
        removed += Number(changes)
        if (Number(changes) < batchSize) return removed
        // Writers in other processes look for the lock from time to time, so it stays free for long enough to be found.
        await setTimeout((performance.now() - start) / 2)
      }
    },

    close() {
      own?.close()
    },

    migrate() {
      try {
        connection.exec(`
          CREATE TABLE IF NOT EXISTS "${table}" (
            "session_key" varchar(64) NOT NULL PRIMARY KEY,
            "session_data" text NOT NULL,
            "expire_date" datetime NOT NULL
          );
          CREATE INDEX IF NOT EXISTS "${table}_expire_date" ON "${table}" ("expire_date");`)
      } catch (error) {
        throw sqliteError('migrate', error)
      }
    },
  }
}

/** A live record, and one that is not a retired key's. */
const LIVE = 'session_key = ? AND expire_date > ?'
const OPEN = `${LIVE} AND session_data <> ''`

function prepare(connection: SqliteConnection, table: string) {
  const sql = (text: string) => connection.prepare(text.replaceAll('@', `"${table}"`))
  return {
    select: sql('SELECT session_data, expire_date FROM @ WHERE session_key = ?'),
    insert: sql(
      `INSERT INTO @ (session_key, session_data, expire_date) VALUES (?, ?, ?)
       ON CONFLICT (session_key) DO UPDATE
       SET session_data = excluded.session_data, expire_date = excluded.expire_date
       WHERE expire_date <= ?`,
    ),
    update: sql(`UPDATE @ SET session_data = ?, expire_date = ? WHERE ${OPEN}`),
    // What is expected is not empty, so that the key is not a retired one.
    updateExpected: sql(
      `UPDATE @ SET session_data = ?, expire_date = ? WHERE ${LIVE} AND session_data = ?`,
    ),
    end: sql(`DELETE FROM @ WHERE ${OPEN}`),
    endExpected: sql(`DELETE FROM @ WHERE ${LIVE} AND session_data = ?`),
    touch: sql(`UPDATE @ SET expire_date = ? WHERE ${OPEN}`),
    touchFrom: sql(
      `UPDATE @ SET expire_date = ? WHERE ${OPEN} AND expire_date > ? AND expire_date <= ?`,
    ),
    remove: sql('DELETE FROM @ WHERE session_key = ?'),
    sweep: sql(
      `DELETE FROM @ WHERE rowid IN
       (SELECT rowid FROM @ WHERE expire_date <= ? LIMIT ?)`,
    ),
  }
}

/** What the engine uses of the connection it opened itself. */
interface OwnConnection extends SqliteConnection {
  pragma(source: string): unknown
  close(): void
}

type Driver = new (filename: string, options: { timeout: number }) => OwnConnection

function open(filename: string, busyTimeout: number): OwnConnection {
  const Database = loadDriver({
    by: 'sqliteStore',
    driver: 'better-sqlite3',
    from: import.meta.url,
    pass: 'sqliteStore(new Database(file))',
  }) as Driver
  try {
    const connection = new Database(filename, { timeout: busyTimeout })
    enterWal(connection, performance.now() + busyTimeout)
    connection.pragma('synchronous = NORMAL')
    connection.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`)
    return connection
  } catch (error) {
    throw new SessionStoreError(
      isBusy(error)
        ? `The session database '${filename}' stayed locked by another process for ${busyTimeout} ms.`
        : `The session database '${filename}' cannot be opened. Is its folder there and writable?`,
      error,
    )
  }
}

/** Where several processes open a new file at once, SQLite answers "locked" here without waiting its busy timeout. */
function enterWal(connection: OwnConnection, deadline: number): void {
  for (;;) {
    try {
      connection.pragma('journal_mode = WAL')
      return
    } catch (error) {
      if (!isBusy(error) || performance.now() >= deadline) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}

function isBusy(error: unknown): boolean {
  return String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY')
}
