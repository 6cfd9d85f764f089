// SQLite's statements, what a table there must look like, and what its errors mean.
import { errorsIn } from './causes.ts'
import { RECORD, statementsOn, type Column, type Dialect, type Statements } from './dialect.ts'
import { columnsOf, noTable, unfit, type Shape } from './shape.ts'
import { codeOf, isLocked, meaningOf } from './sqlite-errors.ts'
import { BATCH_SIZE } from './table.ts'

/** A key and data byte for byte, whatever the columns' collations. */
const KEY = 'session_key = ? COLLATE BINARY'

/** A live record, one that is not a retired key's, and one with this data. */
const LIVE = `${KEY} AND expire_date > ?`
const OPEN = `${LIVE} AND session_data <> '' COLLATE BINARY`
const EXPECTED = `${LIVE} AND session_data = ? COLLATE BINARY`

function statementsOf(table: string): Statements {
  const sql = statementsOn(table, '"')
  const sweep = sql(
    // By the key: a table WITHOUT ROWID has no other name for a row.
    `DELETE FROM @ WHERE session_key COLLATE BINARY IN
     (SELECT session_key FROM @ WHERE expire_date <= ? AND session_key IS NOT NULL LIMIT ?)`,
  )
  return {
    // Cast, as some clients make dates of columns that are declared as such.
    select: sql(
      `SELECT session_data AS data, CAST(expire_date AS TEXT) AS expires FROM @ WHERE ${KEY}`,
      RECORD,
    ),
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
    sweep: () => sweep,
    // Of tables of one name the first is meant: a temporary one, the database's, that of one that is attached.
    look: sql(
      `SELECT c.name AS name, c.type AS type, t.type AS kind, t.strict AS strict,
         EXISTS (
           SELECT 1 FROM pragma_index_list('${table}') AS i
           WHERE i."unique" = 1 AND i.partial = 0 AND c.name || ' BINARY' = (
             SELECT group_concat(coalesce(x.name, '') || ' ' || upper(x.coll))
             FROM pragma_index_xinfo(i.name) AS x WHERE x.key = 1)
         ) AS "unique",
         EXISTS (
           SELECT 1 FROM pragma_index_list('${table}') AS i, pragma_index_info(i.name) AS x
           WHERE i.partial = 0 AND x.seqno = 0 AND x.name = c.name
         ) AS leads
       FROM pragma_table_info('${table}') AS c, (
         SELECT type, strict FROM pragma_table_list('${table}')
         ORDER BY schema <> 'temp', schema <> 'main' LIMIT 1) AS t`,
      ['name', 'type', 'kind', 'strict', 'unique', 'leads'],
    ),
  }
}

type SqliteColumn = Column<
  | 'name'
  | 'type'
  | 'kind'
  | 'strict'
  | 'unique'
  /** Whether there is an index of all rows that begins with this column. */
  | 'leads'
>

const nameOf = ({ name }: SqliteColumn) => name!.toLowerCase()

/** What SQLite keeps of text goes by a column's type, and it has no widths. */
function shapeOf(table: string, columns: readonly SqliteColumn[]): Shape {
  const [key, data] = columnsOf(table, columns, nameOf)
  if (key.kind === 'view') throw noTable(table, 'a view')
  const anew = `ALTER TABLE "${table}" RENAME TO "${table}_old"; DROP INDEX IF EXISTS "${table}_expire_date"; and then store.migrate()`
  const refuse = ({ name, type }: SqliteColumn, problem: string, mend: string) =>
    unfit(table, name!.toLowerCase(), type || 'of no type', problem, mend)
  if (!keepsText(key)) throw refuse(key, 'which does not keep keys as they are', anew)
  if (key.unique !== '1') {
    const problem =
      'and has no unique index of its own in the collation BINARY, so that a key might not stand for one session'
    const mend = `CREATE UNIQUE INDEX "${table}_session_key" ON "${table}" (session_key COLLATE BINARY)`
    throw refuse(key, problem, mend)
  }
  if (!keepsText(data)) throw refuse(data, 'which does not keep text as it is', anew)
  return {
    table,
    key: { type: key.type!, width: Infinity, ignoresCase: false, mend: '' },
    data: { type: data.type!, characters: Infinity, bytes: Infinity, repertoire: 'all', mend: '' },
  }
}

/**
 * Whether text stays text in a column of this type (https://sqlite.org/datatype3.html#determination_of_column_affinity); in a strict
 * table also in one of ANY.
 */
function keepsText({ type, strict }: SqliteColumn): boolean {
  if (strict === '1' && /^ANY$/i.test(type!)) return true
  return !/INT/i.test(type!) && /CHAR|CLOB|TEXT|BLOB|^$/i.test(type!)
}

const says = (error: unknown, what: RegExp): boolean => {
  for (const { message } of errorsIn(error)) {
    if (typeof message === 'string' && what.test(message)) return true
  }
  return false
}

/** As a message begins or, by Knex, ends: what is between may be parameters. */
const NO_TABLE = /^(\w+: )*no such table: | - no such table: [\w.]+$/

/** SQLite has no code of its own for that. */
function isMissing(error: unknown): boolean {
  const code = codeOf(error)
  return (code === undefined || code === 'ERROR') && says(error, NO_TABLE)
}

const schemaOf = (table: string) =>
  [
    `CREATE TABLE IF NOT EXISTS "${table}" (
  "session_key" varchar(64) NOT NULL PRIMARY KEY,
  "session_data" text NOT NULL,
  "expire_date" datetime NOT NULL
)`,
    `CREATE INDEX IF NOT EXISTS "${table}_expire_date" ON "${table}" ("expire_date")`,
  ] as const

/** SQLite. */
export const sqliteDialect: Dialect = {
  name: 'SQLite',
  batchSize: BATCH_SIZE,
  // Writers in other processes look for the lock from time to time, so it stays free for long enough to be found.
  rest: 0.5,
  countsFound: true,
  statementsOf,
  schemaOf,
  migrationOf(table, columns: readonly SqliteColumn[]) {
    const [createTable, createIndex] = schemaOf(table)
    if (columns.length === 0) return [createTable, createIndex]
    return columnsOf(table, columns, nameOf)[2].leads === '1' ? [] : [createIndex]
  },
  shapeOf,
  isMissing,
  isDenied: (error) => says(error, /not authorized|SQLITE_AUTH/),
  isFull: (error) => codeOf(error) === 'FULL',
  meaningOf,
  isBroken: () => false,
  isLostRace: isLocked,
}
