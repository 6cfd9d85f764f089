// What the engine uses of a SQLite connection, its statements, and what a table there must look like.
import { columnsOf, noTable, unfit } from './shape.ts'

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

/** A key and data byte for byte, whatever the columns' collations. */
const KEY = 'session_key = ? COLLATE BINARY'

/** A live record, one that is not a retired key's, and one with this data. */
const LIVE = `${KEY} AND expire_date > ?`
const OPEN = `${LIVE} AND session_data <> '' COLLATE BINARY`
const EXPECTED = `${LIVE} AND session_data = ? COLLATE BINARY`

/** The engine's statements on a table, prepared. */
export function prepare(connection: SqliteConnection, table: string) {
  const sql = (text: string) => connection.prepare(text.replaceAll('@', `"${table}"`))
  return {
    // Named, as a connection may be set to name columns otherwise.
    select: sql(`SELECT session_data AS data, expire_date AS "end" FROM @ WHERE ${KEY}`),
    insert: sql(
      `INSERT INTO @ (session_key, session_data, expire_date) VALUES (?, ?, ?)
       ON CONFLICT (session_key COLLATE BINARY) DO UPDATE
       SET session_data = excluded.session_data, expire_date = excluded.expire_date
       WHERE expire_date <= ?`,
    ),
    update: sql(`UPDATE @ SET session_data = ?, expire_date = ? WHERE ${OPEN}`),
    // What is expected is not empty, so that the key is not a retired one.
    updateExpected: sql(`UPDATE @ SET session_data = ?, expire_date = ? WHERE ${EXPECTED}`),
    end: sql(`DELETE FROM @ WHERE ${OPEN}`),
    endExpected: sql(`DELETE FROM @ WHERE ${EXPECTED}`),
    touch: sql(`UPDATE @ SET expire_date = ? WHERE ${OPEN}`),
    touchFrom: sql(
      `UPDATE @ SET expire_date = ? WHERE ${OPEN} AND expire_date > ? AND expire_date <= ?`,
    ),
    remove: sql(`DELETE FROM @ WHERE ${KEY}`),
    sweep: sql(
      // By the key: a table WITHOUT ROWID has no other name for a row.
      `DELETE FROM @ WHERE session_key COLLATE BINARY IN
       (SELECT session_key FROM @ WHERE expire_date <= ? AND session_key IS NOT NULL LIMIT ?)`,
    ),
  }
}

/** The engine's statements. */
export type Statements = ReturnType<typeof prepare>

/** A column as SQLite tells of it, all as text. */
type Column = readonly [
  name: string,
  type: string,
  /** What it is a column of: `table`, `view`. */
  kind: string,
  /** Whether there is a unique index of this column alone, byte for byte: '1' or '0'. */
  unique: string,
]

/**
 * Looks at the table, if it is there.
 * @throws SessionStoreError where something would be stored wrongly; what SQLite refuses itself is left to it.
 */
export function assertShape(connection: SqliteConnection, table: string): void {
  if (!isThere(connection, table)) return
  const columns = columnsIn(connection, table)
  const [key, data] = columnsOf(table, columns, ([name]) => name.toLowerCase())
  if (key[2] === 'view') throw noTable(table, 'a view')
  const anew = `ALTER TABLE "${table}" RENAME TO "${table}_old"; DROP INDEX IF EXISTS "${table}_expire_date"; and then store.migrate()`
  const refuse = ([name, type]: Column, problem: string, mend: string) =>
    unfit(table, name.toLowerCase(), type || 'of no type', problem, mend)
  if (!keepsText(key)) throw refuse(key, 'which does not keep keys as they are', anew)
  if (key[3] !== '1') {
    const problem =
      'and has no unique index of its own in the collation BINARY, so that a key might not stand for one session'
    const mend = `CREATE UNIQUE INDEX "${table}_session_key" ON "${table}" (session_key COLLATE BINARY)`
    throw refuse(key, problem, mend)
  }
  if (!keepsText(data)) throw refuse(data, 'which does not keep text as it is', anew)
}

function isThere(connection: SqliteConnection, table: string): boolean {
  return Boolean(connection.prepare(`SELECT 1 FROM pragma_table_info('${table}')`).get())
}

function columnsIn(connection: SqliteConnection, table: string): Column[] {
  const typeIn = (schema: string) =>
    `SELECT type FROM ${schema} WHERE lower(name) = lower('${table}')`
  const sql = `
    SELECT name, type,
      (${typeIn('sqlite_temp_master')} UNION ALL ${typeIn('sqlite_master')} LIMIT 1),
      CAST(EXISTS (
        SELECT 1 FROM pragma_index_list('${table}') AS i
        WHERE i."unique" = 1 AND i.partial = 0 AND c.name || ' BINARY' = (
          SELECT group_concat(coalesce(x.name, '') || ' ' || upper(x.coll))
          FROM pragma_index_xinfo(i.name) AS x WHERE x.key = 1)
      ) AS TEXT)
    FROM pragma_table_info('${table}') AS c WHERE lower(name) = ?`
  const statement = connection.prepare(sql)
  return ['session_key', 'session_data', 'expire_date'].flatMap((name) => {
    const row = statement.get(name)
    // A connection may be set to answer with lists.
    return row ? [Object.values(row) as unknown as Column] : []
  })
}

/** Whether text stays text in a column of this type (https://sqlite.org/datatype3.html#determination_of_column_affinity). */
function keepsText([, type]: Column): boolean {
  return !/INT/i.test(type) && /CHAR|CLOB|TEXT|BLOB|^$/i.test(type)
}
