// PostgreSQL's statements, what a table there must look like, and what its errors mean.
import { SessionStoreError } from '@coatcheck/core/store'
import { errorsIn } from './causes.ts'
import { RECORD, statementsOn, type Column, type Dialect, type Statements } from './dialect.ts'
import { columnsOf, noTable, unfit, type Shape } from './shape.ts'

/** A moment: from text, as a client may make something of its own of a date, and in UTC, whatever the time zone. */
const MOMENT = `(?::text::timestamp AT TIME ZONE 'UTC')`

/** A live record; one that is not a retired key's, by a length that is known without the data; one with this data. */
const LIVE = `session_key = ? AND expire_date > ${MOMENT}`
const OPEN = `${LIVE} AND octet_length(session_data) > 0`
const EXPECTED = `${LIVE} AND session_data = ? COLLATE "C"`

function statementsOf(table: string): Statements {
  const on = statementsOn(table, '"')
  const sql = (text: string, columns?: readonly string[]) => on(numbered(text), columns)
  const sweep = sql(
    // By the key: a ctid is one row's in one partition, and another's in the next.
    `DELETE FROM @ WHERE session_key = ANY (ARRAY(
       SELECT session_key FROM @ WHERE expire_date <= ${MOMENT} AND session_key IS NOT NULL
       ORDER BY expire_date LIMIT ? FOR UPDATE SKIP LOCKED))`,
  )
  return {
    // All as text, so that no setting of the connection's, and no parser of the application's, matters.
    select: sql(
      `SELECT session_data::text AS data,
         to_char(expire_date AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') AS expires
       FROM @ WHERE session_key = ?`,
      RECORD,
    ),
    insert: sql(
      `INSERT INTO @ AS old (session_key, session_data, expire_date) VALUES (?, ?, ${MOMENT})
       ON CONFLICT (session_key) DO UPDATE
       SET session_data = excluded.session_data, expire_date = excluded.expire_date
       WHERE old.expire_date <= ${MOMENT}`,
    ),
    update: sql(`UPDATE @ SET session_data = ?, expire_date = ${MOMENT} WHERE ${OPEN}`),
    updateExpected: sql(`UPDATE @ SET session_data = ?, expire_date = ${MOMENT} WHERE ${EXPECTED}`),
    end: sql(`DELETE FROM @ WHERE ${OPEN}`),
    endExpected: sql(`DELETE FROM @ WHERE ${EXPECTED}`),
    touch: sql(`UPDATE @ SET expire_date = ${MOMENT} WHERE ${OPEN}`),
    touchFrom: sql(
      `UPDATE @ SET expire_date = ${MOMENT}
       WHERE ${OPEN} AND expire_date > ${MOMENT} AND expire_date <= ${MOMENT}`,
    ),
    remove: sql('DELETE FROM @ WHERE session_key = ?'),
    sweep: () => sweep,
    look: sql(
      `SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type,
         coalesce(collisdeterministic, true)::text AS exact,
         current_setting('client_encoding') AS encoding,
         relkind::text AS kind,
         EXISTS (
           SELECT FROM pg_index
           WHERE indrelid = attrelid AND indkey[0] = attnum AND indnkeyatts = 1
             AND indisunique AND indisvalid AND indimmediate AND indpred IS NULL
         )::text AS "unique"
       FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
         LEFT JOIN pg_collation ON pg_collation.oid = attcollation
       WHERE attrelid = to_regclass('"${table}"')
         AND attname IN ('session_key', 'session_data', 'expire_date')`,
      ['name', 'type', 'exact', 'encoding', 'kind', 'unique'],
    ),
  }
}

/** Numbers the places of a statement from $1 on, in the order in which they stand. */
function numbered(text: string): string {
  let last = 0
  return text.replaceAll('?', () => `$${++last}`)
}

const schemaOf = (table: string) =>
  [
    `CREATE TABLE IF NOT EXISTS "${table}" (
  "session_key" varchar(64) COLLATE "C" NOT NULL PRIMARY KEY,
  "session_data" text NOT NULL,
  "expire_date" timestamp with time zone NOT NULL
)`,
    `CREATE INDEX IF NOT EXISTS "${table}_expire_date" ON "${table}" ("expire_date")`,
  ] as const

/**
 * One statement, so that it is one transaction; the lock keeps two processes that start together apart. IF NOT EXISTS alone would look in
 * the first schema of the search path alone, and make a table there that hides the one in use, and the server would send a notice of what it skips, which
 * postgres.js prints; and to_regclass alone may not know yet of a table that was made while it waited for the lock.
 */
function migrationOf(table: string) {
  const [createTable, createIndex] = schemaOf(table)
  return [
    `DO $$ BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('coatcheck ${table}'));
  IF to_regclass('"${table}"') IS NULL THEN
    ${createTable};
  END IF;
  IF EXISTS (
    SELECT FROM pg_class WHERE oid = to_regclass('"${table}"') AND relkind IN ('r', 'p')
  ) AND NOT EXISTS (
    SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
      JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
    WHERE amname = 'btree' AND indrelid = to_regclass('"${table}"') AND attname = 'expire_date'
      AND indisvalid AND indpred IS NULL
  ) THEN
    ${createIndex};
  END IF;
END $$`,
  ]
}

/** A column as `look` tells of it. */
type PostgresColumn = Column<
  | 'name'
  | 'type'
  | 'exact'
  | 'encoding'
  /** What it is a column of, as `pg_class.relkind` says it. */
  | 'kind'
  /** Whether there is a unique index of this column alone. */
  | 'unique'
>

/** What a relation is that is no table. */
const NO_TABLES: Readonly<Record<string, string>> = {
  v: 'a view',
  m: 'a materialized view',
  f: 'a foreign table',
}

function shapeOf(table: string, columns: readonly PostgresColumn[]): Shape {
  const [key, data, date] = columnsOf(table, columns, (column) => column.name!)
  const other = NO_TABLES[key.kind!]
  if (other) throw noTable(table, other)
  if (key.encoding !== 'UTF8') {
    throw new SessionStoreError(
      `The connection's client_encoding is ${key.encoding}, in which pg does not write. Leave it UTF8.`,
    )
  }
  const alter = (column: string, type: string) =>
    `ALTER TABLE "${table}" ALTER ${column} TYPE ${type}`
  if (key.unique !== 'true') {
    const problem = 'and has no unique index of its own, so that two sessions could have one key'
    const mend = `ALTER TABLE "${table}" ADD UNIQUE (session_key)`
    throw unfit(table, 'session_key', key.type!, problem, mend)
  }
  const keepsText = /^(text|character varying(\(\d+\))?)$/.test(data.type!)
  if (!keepsText || data.exact !== 'true') {
    const type =
      data.exact === 'true' ? data.type! : `${data.type} in a collation that ignores differences`
    const problem = 'which does not keep text as it is'
    throw unfit(table, 'session_data', type, problem, alter('session_data', 'text COLLATE "C"'))
  }
  if (!/^timestamp(\([3-6]\))? with time zone$/.test(date.type!)) {
    const mend = alter('expire_date', `timestamptz USING expire_date AT TIME ZONE 'UTC'`)
    const problem = 'which is no moment to the millisecond'
    throw unfit(table, 'expire_date', date.type!, problem, mend)
  }
  return {
    table,
    key: {
      type: key.type!,
      width: widthOf(key.type!),
      ignoresCase: key.type === 'citext' || key.exact !== 'true',
      mend: alter('session_key', 'varchar(64) COLLATE "C"'),
    },
    data: {
      type: data.type!,
      characters: widthOf(data.type!),
      bytes: Infinity,
      repertoire: 'all',
      mend: alter('session_data', 'text'),
    },
  }
}

function widthOf(type: string): number {
  return Number(/\((\d+)\)/.exec(type)?.[1] ?? Infinity)
}

/** SQLSTATE of an error that the server has sent. */
export function sqlState(error: unknown): string | undefined {
  for (const { code, severity } of errorsIn(error)) {
    if (typeof code !== 'string') continue
    // Node's errors have codes too, and so have ORMs': EPIPE, P2010. Some clients leave out what else the server says.
    if (severity !== undefined || /^\d[\dA-Z]{4}$/.test(code)) return code
  }
  return undefined
}

/** PostgreSQL. */
export const postgresDialect: Dialect = {
  name: 'PostgreSQL',
  // A batch locks no live row, so what counts is how often it waits for the disk.
  batchSize: 10_000,
  countsFound: true,
  statementsOf,
  schemaOf,
  migrationOf,
  shapeOf,
  isMissing: (error) => sqlState(error) === '42P01',
  isDenied: (error) => sqlState(error) === '42501',
  isBroken(error) {
    const state = sqlState(error)
    // Not the server's; or it is shutting down, cannot go on, has become a standby's (25006), is in a transaction that has failed.
    return state === undefined || /^(08|25|53|57P|58|XX)/.test(state)
  },
  /** By the application's `query_timeout`. */
  isUnanswered: (error) => (error as Error).message === 'Query read timeout',
  /** To another transaction, under a stricter isolation than the default; or to one that waits for this one. */
  isLostRace: (error) => /^(40001|40P01)$/.test(sqlState(error) ?? ''),
}
