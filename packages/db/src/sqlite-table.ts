// What the engine uses of a SQLite connection, and its statements.

/** As much of a better-sqlite3 `Database` as the engine uses. */
export interface SqliteConnection {
  prepare(sql: string): SqliteStatement
  exec(sql: string): unknown
  /** Whether a transaction is open, as better-sqlite3 and bun:sqlite say it. */
  readonly inTransaction?: boolean
  /** The same, as node:sqlite says it. */
  readonly isTransaction?: boolean
}

/** As much of a better-sqlite3 `Statement` as the engine uses. */
export interface SqliteStatement {
  get(...parameters: unknown[]): unknown
  run(...parameters: unknown[]): { changes: number | bigint }
}

/** A live record, and one that is not a retired key's. */
const LIVE = 'session_key = ? AND expire_date > ?'
const OPEN = `${LIVE} AND session_data <> ''`

/** The engine's statements on a table, prepared. */
export function prepare(connection: SqliteConnection, table: string) {
  const sql = (text: string) => connection.prepare(text.replaceAll('@', `"${table}"`))
  return {
    // Named, as a connection may be set to name columns otherwise.
    select: sql('SELECT session_data AS data, expire_date AS "end" FROM @ WHERE session_key = ?'),
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

/** The engine's statements. */
export type Statements = ReturnType<typeof prepare>
