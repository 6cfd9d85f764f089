// What the engine uses of a SQLite connection: better-sqlite3's, node:sqlite's or bun:sqlite's.

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
  all(...parameters: unknown[]): unknown[]
  run(...parameters: unknown[]): { changes: number | bigint }
}
