// The SQLite engine: one row a session, in Django's table shape, by better-sqlite3.
import { assertOptions, rules, systemClock, type SessionStore } from '@coatcheck/core/store'
import { createEngine } from './engine.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import { sqliteDialect } from './sqlite-dialect.ts'
import { LONGEST, sqliteExecutor } from './sqlite-executor.ts'
import { isFilename } from './sqlite-file.ts'
import { openSqlite } from './sqlite-open.ts'
import { assertDatabase, DEFAULT_TABLE, tableName } from './table.ts'

export type { SqliteConnection, SqliteStatement } from './sqlite-connection.ts'

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
  database: string | undefined | SqliteConnection,
  options: SqliteStoreOptions = {},
): SqliteStore {
  assertDatabase<string | SqliteConnection>(
    'sqliteStore',
    database,
    'the name of a file, or a connection of better-sqlite3',
    isFilename,
    ['prepare', 'exec'],
  )
  // SQLite itself waits no longer at the opening; on a connection of the application's the wait is the engine's own.
  const longest = typeof database === 'string' ? LONGEST : Infinity
  assertOptions('sqliteStore', options, {
    table: tableName,
    busyTimeout: rules.rule(
      `a number of milliseconds from 0${typeof database === 'string' ? ' to 2,147,483,647' : ' on'}`,
      (value) => rules.fromZero.holds(value) && value <= longest,
    ),
    now: rules.clock,
  })
  const { table = DEFAULT_TABLE, busyTimeout = 5000, now = systemClock } = options
  const own = typeof database === 'string' ? openSqlite(database, busyTimeout) : undefined
  const connection = own?.connection ?? (database as SqliteConnection)
  const executor = sqliteExecutor(connection, own, table, busyTimeout)
  const engine = createEngine({ dialect: sqliteDialect, executor, table, now })
  // Nothing of it waits but in the thread.
  return { traits: { sync: true }, ...engine, migrate: engine.migrate as () => void }
}
