// The SQLite engine: one row a session, in Django's table shape, by better-sqlite3.
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import {
  assertOptions,
  createWaitingLines,
  isSessionKey,
  KeyExistsError,
  LOCKED,
  reasonIn,
  RETIRED,
  rules,
  SessionConflictError,
  SessionError,
  SessionGoneError,
  SessionStoreError,
  SessionUsageError,
  StoreClosedError,
  systemClock,
  type Awaitable,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { datesOf, formatDate, parseDate } from './date.ts'
import { codeOf, isLocked, meaningOf, stayedInTransaction, stayedLocked } from './sqlite-errors.ts'
import { isFilename, restartLog } from './sqlite-file.ts'
import { openSqlite } from './sqlite-open.ts'
import { assertShape, prepare, type SqliteConnection, type Statements } from './sqlite-table.ts'
import {
  ACTIONS,
  assertBatchSize,
  assertDatabase,
  BATCH_SIZE,
  DEFAULT_TABLE,
  failed,
  tableName,
  type Action,
} from './table.ts'

export type { SqliteConnection, SqliteStatement } from './sqlite-table.ts'

/** Options of {@link sqliteStore}. */
export interface SqliteStoreOptions {
  /** The table's name. Default `coatcheck_session`. */
  readonly table?: string
  /**
   * How long a write waits for another program's lock, or for a transaction of the application's on its own connection, in ms. It
   * waits off the thread. Default 5000.
   */
  readonly busyTimeout?: number
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** No busy timeout of SQLite's is longer, in ms. */
const LONGEST = 2_147_483_647

/** So long, in ms, a load waits in the thread for a lock that stops even readers. */
const LOAD_TIMEOUT = 40

/** For so long, in ms, after a load has waited in vain none waits: the next ones fail at once. */
const REST = 1000

/**
 * A session store on SQLite. `load` answers without a promise; so do `create`, `save`, `touch` and `delete`, unless somebody else
 * has the database locked.
 */
export interface SqliteStore extends SessionStore {
  /**
   * Makes the table and its index where they are missing. Waits in the thread for a lock, up to `busyTimeout`, as at the
   * opening. Throws SessionStoreError if SQLite refuses.
   */
  migrate(): void
}

/**
 * Keeps sessions in a table `(session_key, session_data, expire_date)`, as Django's database engine does.
 *
 * @param database A filename, which is opened in WAL mode with `synchronous = NORMAL` (what is saved survives a crash
 * of the process; a power cut may take the last moments), or a connection of your own (better-sqlite3, node:sqlite, bun:sqlite), whose settings
 * stay as they are and which `close()` leaves open. While it has a transaction of yours open, writes wait.
 * @throws SessionUsageError for a bad option, or if better-sqlite3 is not installed or not built for this Node;
 * SessionStoreError if the file cannot be opened.
 */
export function sqliteStore(
  database: string | SqliteConnection,
  options: SqliteStoreOptions = {},
): SqliteStore {
  assertDatabase(
    'sqliteStore',
    database,
    'the name of a file, or a connection of better-sqlite3',
    isFilename,
    ['prepare', 'exec'],
  )
  assertOptions('sqliteStore', options, {
    table: tableName,
    busyTimeout: rules.rule(
      'a number of milliseconds from 0 to 2,147,483,647',
      (value) => rules.fromZero.holds(value) && value <= LONGEST,
    ),
    now: rules.clock,
  })
  const { table = DEFAULT_TABLE, busyTimeout = 5000, now = systemClock } = options
  const own = typeof database === 'string' ? openSqlite(database, busyTimeout) : undefined
  const connection = own?.connection ?? (database as SqliteConnection)
  /** How long a connection of the application's waits by itself: in the thread, so not for us. */
  let itsTimeout = own ? 0 : undefined
  const lines = createWaitingLines(busyTimeout)
  const sleeper = new Int32Array(new SharedArrayBuffer(4))
  let isClosed = false
  let gaveUp = -Infinity

  let prepared: Statements | undefined

  /** Runs statements that do not wait for a lock. */
  function query<T>(run: (sql: Statements) => T): T {
    own?.look()
    return withoutWaiting(() => run((prepared ??= lookAndPrepare())))
  }

  function lookAndPrepare(): Statements {
    assertShape(connection, table)
    return prepare(connection, table)
  }

  /** Does what is not to wait for a lock in the thread, as a connection of the application's may by itself. */
  function withoutWaiting<T>(run: () => T): T {
    itsTimeout ??= timeoutOf(connection)
    if (itsTimeout <= 0 || !setTimeoutTo(0)) return run()
    try {
      return run()
    } finally {
      setTimeoutTo(itsTimeout)
    }
  }

  /** Whether it can be set: not while the application reads the rows of a query, which then has the lock that a load needs. */
  function setTimeoutTo(ms: number): boolean {
    try {
      connection.exec(`PRAGMA busy_timeout = ${ms}`)
      return true
    } catch (error) {
      if (isLocked(error)) return false
      throw error
    }
  }

  /**
   * Writes now, or off the thread when it can. What is written in a transaction of the application's would go with it.
   * @param ends Whether it makes room, so that it may have what was kept for that.
   */
  function write<T>(action: Action, run: (sql: Statements) => T, ends = false): Awaitable<T> {
    if (isClosed) throw new StoreClosedError()
    let isInTransaction = false
    const attempt = () => {
      try {
        isInTransaction = !own && (connection.inTransaction ?? connection.isTransaction ?? false)
        if (isInTransaction) return LOCKED
        return withRoom(() => query(run), ends)
      } catch (error) {
        if (isLocked(error)) return LOCKED
        throw sqliteError(action, error)
      }
    }
    return lines.enter('', attempt, () =>
      isInTransaction ? stayedInTransaction(busyTimeout) : stayedLocked(table, busyTimeout),
    )
  }

  /** On a full disk the log is copied into the database, and begins anew in the room that it has. */
  function withRoom<T>(run: () => T, ends: boolean): T {
    try {
      return run()
    } catch (error) {
      if (codeOf(error) !== 'FULL') throw error
    }
    withoutWaiting(() => restartLog(connection))
    try {
      return run()
    } catch (error) {
      // The database could not grow by what is new in the log.
      if (codeOf(error) !== 'FULL' || !ends || !own?.giveReserve()) throw error
    }
    withoutWaiting(() => restartLog(connection))
    return run()
  }

  /** Reads in this turn. A log that is read needs no lock, but for moments in which another program has the whole file. */
  function read<T>(run: (sql: Statements) => T): T {
    if (isClosed) throw new StoreClosedError()
    const start = performance.now()
    const patience = start - gaveUp < REST ? 0 : LOAD_TIMEOUT
    for (;;) {
      try {
        return query(run)
      } catch (error) {
        if (!isLocked(error)) throw sqliteError('load', error)
        const waited = performance.now() - start
        if (waited >= patience) {
          gaveUp = performance.now()
          throw stayedLocked(table, Math.round(waited), error)
        }
        Atomics.wait(sleeper, 0, 0, 2)
      }
    }
  }

  function sqliteError(action: Action, error: unknown): SessionError {
    const missing = error instanceof Error && error.message.startsWith('no such table')
    const reason = meaningOf(error)
    return missing || reason === undefined
      ? failed({ database: 'SQLite', action, table }, missing, error)
      : new SessionStoreError(
          `SQLite failed to ${ACTIONS[action]} '${table}': ${reason}${reasonIn(error)}.`,
          error,
        )
  }

  function recordIn(sql: Statements, key: string): SessionRecord | undefined {
    const row = sql.select.get(key) as readonly unknown[] | { data: unknown; end: unknown } | null
    if (!row) return undefined
    // A connection may be set to answer with arrays.
    const [data, end] = 'data' in row ? [row.data, row.end] : row
    if (typeof data !== 'string' || typeof end !== 'string') {
      throw new SessionStoreError(`A row in '${table}' does not hold text, so it is no session.`)
    }
    const expiresAt = parseDate(end)
    return expiresAt > now() ? { data, expiresAt } : undefined
  }

  /** Why a save or touch under a condition has changed no row. */
  const refusal = (sql: Statements, key: string): SessionError =>
    recordIn(sql, key)?.data ? new SessionConflictError() : new SessionGoneError()

  return {
    traits: { sync: true },

    load(key) {
      return isSessionKey(key) ? read((sql) => recordIn(sql, key)) : undefined
    },

    create(key, { data, expiresAt }) {
      if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
      return write('create', (sql) => {
        const { changes } = sql.insert.run(key, data, formatDate(expiresAt), formatDate(now()))
        if (!changes) throw new KeyExistsError()
        return key
      })
    },

    save(key, { data, expiresAt }, expected) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      return write(
        'save',
        (sql) => {
          // Only a retired key holds this, and that is never saved.
          if (expected === RETIRED) throw refusal(sql, key)
          const moment = now()
          const isEnd = expiresAt <= moment
          const what = isEnd ? [key] : [data, formatDate(expiresAt), key]
          const time = formatDate(moment)
          const { changes } =
            expected === undefined
              ? (isEnd ? sql.end : sql.update).run(...what, time)
              : (isEnd ? sql.endExpected : sql.updateExpected).run(...what, time, expected)
          if (changes) return key
          throw expected === undefined ? new SessionGoneError() : refusal(sql, key)
        },
        data === RETIRED,
      )
    },

    touch(key, expiresAt, from) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const end = formatDate(expiresAt)
      return write('touch', (sql) => {
        const time = formatDate(now())
        const { changes } =
          from === undefined
            ? sql.touch.run(end, key, time)
            : sql.touchFrom.run(end, key, time, ...datesOf(from))
        if (changes) return key
        throw from === undefined ? new SessionGoneError() : refusal(sql, key)
      })
    },

    delete(key) {
      if (isSessionKey(key)) return write('delete', (sql) => void sql.remove.run(key), true)
    },

    async clearExpired({ batchSize = BATCH_SIZE, signal } = {}) {
      assertBatchSize(batchSize)
      if (isClosed) throw new StoreClosedError()
      const time = formatDate(now())
      let size = batchSize
      let removed = 0
      for (;;) {
        if (signal?.aborted || isClosed) return removed
        const start = performance.now()
        let changes = size
        try {
          const sweep = (sql: Statements) => sql.sweep.run(time, size).changes
          changes = Number(await write('clearExpired', sweep, true))
          removed += changes
        } catch (error) {
          if (size === 1 || codeOf((error as Error).cause) !== 'FULL') throw error
          // A full disk may have room for less.
          size = Math.ceil(size / 10)
        }
        if (changes < size) return removed
        // Writers in other processes look for the lock from time to time, so it stays free for long enough to be found.
        await setTimeout((performance.now() - start) / 2)
      }
    },

    close() {
      isClosed = own !== undefined
      const close = () => own?.connection.close()
      const waited = lines.empty()
      return waited ? waited.then(close) : close()
    },

    migrate() {
      if (isClosed) throw new StoreClosedError()
      try {
        own?.look(true)
        if (own) setTimeoutTo(busyTimeout)
        try {
          assertShape(connection, table)
          connection.exec(`
            CREATE TABLE IF NOT EXISTS "${table}" (
              "session_key" varchar(64) NOT NULL PRIMARY KEY,
              "session_data" text NOT NULL,
              "expire_date" datetime NOT NULL
            );
            CREATE INDEX IF NOT EXISTS "${table}_expire_date" ON "${table}" ("expire_date");`)
        } finally {
          if (own) setTimeoutTo(0)
        }
      } catch (error) {
        throw isLocked(error)
          ? stayedLocked(table, busyTimeout, error)
          : sqliteError('migrate', error)
      }
    },
  }
}

/** How long a connection waits for a lock by itself, in ms. */
function timeoutOf(connection: SqliteConnection): number {
  const row = connection.prepare('PRAGMA busy_timeout').get()
  return Number(Object.values(row as object)[0])
}
