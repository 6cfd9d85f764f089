// The statements of MySQL and MariaDB, what a table there must look like, and what their errors mean.
import { SessionStoreError, warnDeveloper } from '@coatcheck/core/store'
import { errorsIn } from './causes.ts'
import {
  CHUNK_SIZE,
  RECORD,
  statementsOn,
  type Column,
  type Dialect,
  type Statements,
} from './dialect.ts'
import { columnsOf, noTable, unfit, type Shape } from './shape.ts'
import { BATCH_SIZE } from './table.ts'

/** A live record; one that is not a retired key's; one with this data. Even the _bin collations ignore trailing blanks. */
const LIVE = 'session_key = ? AND expire_date > ?'
const OPEN = `${LIVE} AND OCTET_LENGTH(session_data) > 0`
const EXPECTED = `${LIVE} AND BINARY session_data = BINARY ?`

/** Two names of tables are the same: MariaDB compares them without case, by which it finds them fast, and has both where case matters. */
const same = (one: string, other: string) =>
  `${one} = ${other} AND (@@lower_case_table_names > 0 OR BINARY ${one} = BINARY ${other})`

function statementsOf(table: string): Statements {
  const sql = statementsOn(table, '`')
  return {
    // As text, so that neither the server's time zone nor the driver's reading of dates matters.
    select: sql(
      `SELECT session_data AS data, DATE_FORMAT(expire_date, '%Y-%m-%d %H:%i:%s.%f') AS expires
       FROM @ WHERE session_key = ?`,
      RECORD,
    ),
    insert: sql('INSERT INTO @ (session_key, session_data, expire_date) VALUES (?, ?, ?)'),
    replaceExpired: sql(
      'UPDATE @ SET session_data = ?, expire_date = ? WHERE session_key = ? AND expire_date <= ?',
    ),
    update: sql(`UPDATE @ SET session_data = ?, expire_date = ? WHERE ${OPEN}`),
    updateExpected: sql(`UPDATE @ SET session_data = ?, expire_date = ? WHERE ${EXPECTED}`),
    end: sql(`DELETE FROM @ WHERE ${OPEN}`),
    endExpected: sql(`DELETE FROM @ WHERE ${EXPECTED}`),
    touch: sql(`UPDATE @ SET expire_date = ? WHERE ${OPEN}`),
    touchFrom: sql(
      `UPDATE @ SET expire_date = ? WHERE ${OPEN} AND expire_date > ? AND expire_date <= ?`,
    ),
    remove: sql('DELETE FROM @ WHERE session_key = ?'),
    // InnoDB keeps rows in the order of their keys: in that order each page is changed by one batch or two, instead of by most.
    expired: sql(
      `SELECT session_key AS \`key\` FROM @ WHERE expire_date <= ? AND session_key IS NOT NULL
       ORDER BY expire_date LIMIT ${CHUNK_SIZE}`,
      ['key'],
    ),
    /** Of one text for each size: the server keeps every text that was prepared, and not endlessly many. */
    sweep: (size) =>
      sql(
        `DELETE FROM @ WHERE expire_date <= ? AND session_key IN (${Array(size).fill('?').join()})`,
      ),
    // A temporary table is not in it.
    look: sql(
      `SELECT column_name AS name, column_type AS type, data_type AS base,
         CAST(character_maximum_length AS CHAR) AS characters,
         CAST(character_octet_length AS CHAR) AS bytes, character_set_name AS charset,
         collation_name AS collation, CAST(datetime_precision AS CHAR) AS \`precision\`,
         column_key AS \`index\`, engine AS engine,
         CONCAT_WS(',', @@character_set_client, @@character_set_connection, @@character_set_results)
           AS connection,
         @@sql_mode AS mode, table_type AS kind,
         CAST(EXISTS (
           SELECT 1 FROM information_schema.statistics AS s
           WHERE s.table_schema = c.table_schema AND ${same('s.table_name', 'c.table_name')}
             AND non_unique = 0
           GROUP BY index_name
           HAVING COUNT(*) = 1 AND MAX(s.column_name) = c.column_name AND MAX(sub_part) IS NULL
         ) AS CHAR) AS \`unique\`,
         CAST(EXISTS (
           SELECT 1 FROM information_schema.statistics AS s
           WHERE s.table_schema = c.table_schema AND ${same('s.table_name', 'c.table_name')}
             AND (s.column_name = c.column_name AND seq_in_index = 1
               OR index_name = '${table}_expire_date')
         ) AS CHAR) AS leads
       FROM information_schema.columns AS c LEFT JOIN information_schema.tables AS t
         ON t.table_schema = c.table_schema AND ${same('t.table_name', 'c.table_name')}
       WHERE c.table_schema = DATABASE() AND ${same('c.table_name', `'${table}'`)}`,
      LOOKED_AT,
    ),
  }
}

/** What `look` tells of a column. */
const LOOKED_AT = [
  'name',
  'type',
  'base',
  'characters',
  'bytes',
  'charset',
  'collation',
  'precision',
  'index',
  'engine',
  // The character sets of the connection.
  'connection',
  // The SQL modes of the connection.
  'mode',
  'kind',
  // Whether there is a unique index of the whole of this column alone: '1' or '0'.
  'unique',
  // Whether there is an index that begins with this column, or has the name of migrate()'s, which could not be made: '1' or '0'.
  'leads',
] as const

type MysqlColumn = Column<(typeof LOOKED_AT)[number]>

/** What there is of other characters in a character set that has those of ASCII as they are. */
const REPERTOIRES: Record<string, Shape['data']['repertoire']> = {
  utf8mb4: 'all',
  utf8mb3: 'utf8mb3',
  utf8: 'utf8mb3',
  latin1: 'ascii',
  ascii: 'ascii',
}

const nameOf = ({ name }: MysqlColumn) => name!.toLowerCase()

function shapeOf(table: string, columns: readonly MysqlColumn[]): Shape {
  const [key, data, date] = columnsOf(table, columns, nameOf)
  if (key.kind === 'VIEW') throw noTable(table, 'a view')
  const charsets = key.connection!.split(',')
  if (charsets.some((charset) => charset !== 'utf8mb4')) {
    throw new SessionStoreError(
      `The connection's character sets are ${charsets.join(', ')}, and text would be garbled. Give it the option charset: 'utf8mb4'.`,
    )
  }
  const modify = (column: string) => `ALTER TABLE \`${table}\` MODIFY ${column} NOT NULL`
  const keyMend = modify('session_key varchar(64) CHARACTER SET ascii COLLATE ascii_bin')
  const dataMend = modify('session_data longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin')
  const refuse = (column: MysqlColumn, problem: string, mend: string) =>
    unfit(table, column.name!.toLowerCase(), describe(column), problem, mend)

  if (!/^(var)?(char|binary)$/.test(key.base!)) {
    throw refuse(key, 'which does not keep keys as they are', keyMend)
  }
  if (key.unique !== '1') {
    const index = key.index === 'PRI' ? 'UNIQUE' : 'PRIMARY KEY'
    const mend = `ALTER TABLE \`${table}\` ADD ${index} (session_key)`
    throw refuse(key, 'and not unique by itself, so that two sessions could have one key', mend)
  }
  const repertoire = REPERTOIRES[data.charset ?? '']
  if (!repertoire || !/^(tiny|medium|long)?text$|^varchar$/.test(data.base!)) {
    throw refuse(data, 'which does not keep text as it is', dataMend)
  }
  if (date.base! !== 'datetime' || Number(date.precision) < 3) {
    throw refuse(date, 'which is no moment to the millisecond', modify('expire_date datetime(6)'))
  }
  if (key.engine && /^(MyISAM|MEMORY|Aria)$/i.test(key.engine)) {
    warnDeveloper(
      'TABLE_ENGINE',
      `The session table '${table}' is of the engine ${key.engine}, which may lose acknowledged sessions in a crash. Run: ALTER TABLE \`${table}\` ENGINE=InnoDB`,
    )
  }
  return {
    table,
    key: {
      type: describe(key),
      width: Number(key.characters),
      ignoresCase: key.collation !== null && !/_(bin|cs)$/.test(key.collation),
      mend: keyMend,
    },
    data: {
      type: describe(data),
      characters: Number(data.characters),
      bytes: Number(data.bytes),
      repertoire,
      mend: dataMend,
    },
  }
}

const schemaOf = (table: string) => [
  `CREATE TABLE IF NOT EXISTS \`${table}\` (
  session_key varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  session_data longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  expire_date datetime(6) NOT NULL,
  KEY ${table}_expire_date (expire_date)
) ENGINE=InnoDB`,
]

function migrationOf(table: string, columns: readonly MysqlColumn[]): string[] {
  if (columns.length === 0) return schemaOf(table)
  if (columnsOf(table, columns, nameOf)[2].leads === '1') return []
  return [`CREATE INDEX ${table}_expire_date ON \`${table}\` (expire_date)`]
}

function describe({ type, charset, collation }: MysqlColumn): string {
  return charset === null ? type! : `${type} of ${charset} (${collation})`
}

/** Errors by number: the user may not read a database, a table, a column. */
const DENIED = new Set([1044, 1142, 1143])

/** A standby's (read-only), a Galera node that is out, a server that is going down, statements that it has forgotten. */
const BROKEN = new Set([1290, 1792, 1836, 1047, 1053, 1152, 1243, 1615])

/** A deadlock (or Galera's certification), MariaDB's "record has changed since last read", an index that another process has made. */
const LOST_RACE = new Set([1213, 1020, 1061])

/** What the server has sent: its number, its SQLSTATE; or nothing. */
function sentIn(error: unknown): { errno?: number; sqlState?: string } {
  for (const { errno, sqlState } of errorsIn(error)) {
    if (typeof errno === 'number' && typeof sqlState === 'string') return { errno, sqlState }
  }
  return {}
}

const is = (error: unknown, numbers: ReadonlySet<number>) => numbers.has(sentIn(error).errno ?? 0)

/** MySQL and MariaDB. */
export const mysqlDialect: Dialect = {
  name: 'MySQL',
  batchSize: BATCH_SIZE,
  statementsOf,
  schemaOf,
  migrationOf,
  shapeOf,
  isMissing: (error) => sentIn(error).errno === 1146,
  isDenied: (error) => is(error, DENIED),
  isDuplicate: (error) => sentIn(error).errno === 1062,
  // What is not the server's is the connection's.
  isBroken: (error) =>
    (error as { fatal?: boolean }).fatal === true ||
    sentIn(error).sqlState === undefined ||
    is(error, BROKEN),
  isLostRace: (error) => is(error, LOST_RACE),
}

/**
 * The same by a client that may write parameters into the text of a statement itself, as mysql2 does in `query()`: it marks a quote by a
 * backslash, which is no mark in one of the modes, so that what follows the quote would be run.
 */
export const mysqlTextDialect: Dialect = {
  ...mysqlDialect,
  shapeOf(table, columns: readonly MysqlColumn[]) {
    if (columns.some(({ mode }) => mode!.split(',').includes('NO_BACKSLASH_ESCAPES'))) {
      throw new SessionStoreError(
        `The connection's sql_mode has NO_BACKSLASH_ESCAPES, in which a client that writes parameters into the statement lets the data of a session change it. Take that mode out of sql_mode, on every connection of the client, or use mysqlStore.`,
      )
    }
    return mysqlDialect.shapeOf(table, columns)
  },
}
