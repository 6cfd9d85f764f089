// PostgreSQL's statements, and what a table there must look like.
import { createHash } from 'node:crypto'
import { SessionStoreError } from '@coatcheck/core/store'
import { columnsOf, noTable, unfit, type Shape } from './shape.ts'

/** A statement; one without a name is not prepared. */
export interface Statement {
  /** Made of the text, so that a name means one text, whichever version of this engine has prepared it. */
  readonly name?: string
  readonly text: string
}

/** A live record; one that is not a retired key's, by a length that is known without the data; one with this data. */
const LIVE = 'session_key = $1 AND expire_date > $2'
const OPEN = `${LIVE} AND octet_length(session_data) > 0`
const EXPECTED = `${LIVE} AND session_data = $3 COLLATE "C"`

/** The engine's statements on a table. */
export function statementsOf(table: string) {
  const sql = (template: string): Statement => {
    const text = template.replaceAll('@', `"${table}"`)
    return {
      name: `coatcheck_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`,
      text,
    }
  }
  return {
    // All as text, so that no setting of the connection's, and no parser of the application's, matters.
    select: sql(
      `SELECT session_data::text AS data,
         round(date_part('epoch', expire_date) * 1000)::bigint::text AS expires_at
       FROM @ WHERE session_key = $1`,
    ),
    insert: sql(
      `INSERT INTO @ AS old (session_key, session_data, expire_date) VALUES ($1, $2, $3)
       ON CONFLICT (session_key) DO UPDATE
       SET session_data = excluded.session_data, expire_date = excluded.expire_date
       WHERE old.expire_date <= $4`,
    ),
    update: {
      any: sql(`UPDATE @ SET session_data = $3, expire_date = $4 WHERE ${OPEN}`),
      expected: sql(`UPDATE @ SET session_data = $4, expire_date = $5 WHERE ${EXPECTED}`),
    },
    end: {
      any: sql(`DELETE FROM @ WHERE ${OPEN}`),
      expected: sql(`DELETE FROM @ WHERE ${EXPECTED}`),
    },
    touch: {
      any: sql(`UPDATE @ SET expire_date = $3 WHERE ${OPEN}`),
      // As load rounds it: Django writes microseconds.
      from: sql(
        `UPDATE @ SET expire_date = $3 WHERE ${OPEN}
         AND expire_date > $4::timestamptz - interval '1 ms'
         AND expire_date < $4::timestamptz + interval '1 ms'`,
      ),
    },
    remove: sql('DELETE FROM @ WHERE session_key = $1'),
    // By the key: a ctid is one row's in one partition, and another's in the next.
    sweep: sql(
      `DELETE FROM @ WHERE expire_date <= $1 AND session_key = ANY (ARRAY(
         SELECT session_key FROM @ WHERE expire_date <= $1
         ORDER BY expire_date LIMIT $2 FOR UPDATE SKIP LOCKED))`,
    ),
    // Several statements sent as one run in one transaction; the lock keeps two processes that start together apart. IF NOT EXISTS would
    // look in the first schema of the search path alone, and make a table there that hides the one in use.
    migrate: {
      text: `
        SELECT pg_advisory_xact_lock(hashtext('coatcheck ${table}'));
        DO $$ BEGIN
          IF to_regclass('"${table}"') IS NULL THEN
            CREATE TABLE "${table}" (
              "session_key" varchar(64) COLLATE "C" NOT NULL PRIMARY KEY,
              "session_data" text NOT NULL,
              "expire_date" timestamp with time zone NOT NULL
            );
          END IF;
          IF EXISTS (
            SELECT FROM pg_class WHERE oid = to_regclass('"${table}"') AND relkind IN ('r', 'p')
          ) THEN
            CREATE INDEX IF NOT EXISTS "${table}_expire_date" ON "${table}" ("expire_date");
          END IF;
        END $$;`,
    },
    look: {
      text: `
        SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type,
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
    },
  }
}

/** A column as `look` tells of it. */
export interface Column {
  readonly name: string
  readonly type: string
  readonly exact: string
  readonly encoding: string
  /** What it is a column of, as `pg_class.relkind` says it. */
  readonly kind: string
  /** Whether there is a unique index of this column alone. */
  readonly unique: string
}

/** What a relation is that is no table. */
const NO_TABLES: Readonly<Record<string, string>> = {
  v: 'a view',
  m: 'a materialized view',
  f: 'a foreign table',
}

/**
 * What a table can hold.
 * @param columns Those that there are.
 * @throws SessionStoreError where something would be stored wrongly; what PostgreSQL refuses itself is left to it.
 */
export function shapeOf(table: string, columns: readonly Column[]): Shape {
  const [key, data, date] = columnsOf(table, columns, (column) => column.name)
  const other = NO_TABLES[key.kind]
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
    throw unfit(table, 'session_key', key.type, problem, mend)
  }
  const keepsText = /^(text|character varying(\(\d+\))?)$/.test(data.type)
  if (!keepsText || data.exact !== 'true') {
    const type =
      data.exact === 'true' ? data.type : `${data.type} in a collation that ignores differences`
    const problem = 'which does not keep text as it is'
    throw unfit(table, 'session_data', type, problem, alter('session_data', 'text COLLATE "C"'))
  }
  if (!/^timestamp(\([3-6]\))? with time zone$/.test(date.type)) {
    const mend = alter('expire_date', `timestamptz USING expire_date AT TIME ZONE 'UTC'`)
    const problem = 'which is no moment to the millisecond'
    throw unfit(table, 'expire_date', date.type, problem, mend)
  }
  return {
    table,
    key: {
      type: key.type,
      width: widthOf(key.type),
      ignoresCase: key.type === 'citext' || key.exact !== 'true',
      mend: alter('session_key', 'varchar(64) COLLATE "C"'),
    },
    data: {
      type: data.type,
      characters: widthOf(data.type),
      bytes: Infinity,
      repertoire: 'all',
      mend: alter('session_data', 'text'),
    },
  }
}

function widthOf(type: string): number {
  return Number(/\((\d+)\)/.exec(type)?.[1] ?? Infinity)
}
