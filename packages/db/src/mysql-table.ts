// The statements of MySQL and MariaDB, and what a table there must look like.
import { SessionStoreError, warnDeveloper } from '@coatcheck/core/store'
import { columnsOf, noTable, unfit, type Shape } from './shape.ts'

/**
 * InnoDB keeps rows in the order of their keys, so a sweep reads so many expired keys (some 10 MB) and deletes them in that
 * order: each page is then changed by one batch or two, instead of by most of them.
 */
export const CHUNK_SIZE = 100_000

/** A live record; one that is not a retired key's; one with this data. Even the _bin collations ignore trailing blanks. */
const LIVE = 'session_key = ? AND expire_date > ?'
const OPEN = `${LIVE} AND OCTET_LENGTH(session_data) > 0`
const EXPECTED = `${LIVE} AND BINARY session_data = BINARY ?`

/** The engine's statements on a table. */
export function statementsOf(table: string) {
  const sql = (text: string) => text.replaceAll('@', `\`${table}\``)
  return {
    // As text, so that neither the server's time zone nor the driver's reading of dates matters.
    select: sql(
      `SELECT session_data, DATE_FORMAT(expire_date, '%Y-%m-%d %H:%i:%s.%f') AS expire_date
       FROM @ WHERE session_key = ?`,
    ),
    insert: sql('INSERT INTO @ (session_key, session_data, expire_date) VALUES (?, ?, ?)'),
    replaceExpired: sql(
      'UPDATE @ SET session_data = ?, expire_date = ? WHERE session_key = ? AND expire_date <= ?',
    ),
    update: {
      any: sql(`UPDATE @ SET session_data = ?, expire_date = ? WHERE ${OPEN}`),
      expected: sql(`UPDATE @ SET session_data = ?, expire_date = ? WHERE ${EXPECTED}`),
    },
    end: {
      any: sql(`DELETE FROM @ WHERE ${OPEN}`),
      expected: sql(`DELETE FROM @ WHERE ${EXPECTED}`),
    },
    touch: {
      any: sql(`UPDATE @ SET expire_date = ? WHERE ${OPEN}`),
      from: sql(
        `UPDATE @ SET expire_date = ? WHERE ${OPEN} AND expire_date > ? AND expire_date <= ?`,
      ),
    },
    remove: sql('DELETE FROM @ WHERE session_key = ?'),
    expired: sql(
      `SELECT session_key FROM @ WHERE expire_date <= ? ORDER BY expire_date LIMIT ${CHUNK_SIZE}`,
    ),
    /** Of one text for each size: the server keeps every text that was prepared, and not endlessly many. */
    sweep: (size: number) =>
      sql(
        `DELETE FROM @ WHERE expire_date <= ? AND session_key IN (${Array(size).fill('?').join()})`,
      ),
    migrate: sql(
      `CREATE TABLE IF NOT EXISTS @ (
         session_key varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
         session_data longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
         expire_date datetime(6) NOT NULL,
         KEY ${table}_expire_date (expire_date)
       ) ENGINE=InnoDB`,
    ),
    /** The columns in the order of {@link Column}. A temporary table is not in it. */
    look: `
      SELECT column_name, column_type, data_type, CAST(character_maximum_length AS CHAR),
        CAST(character_octet_length AS CHAR), character_set_name, collation_name,
        CAST(datetime_precision AS CHAR), column_key, engine,
        CONCAT_WS(',', @@character_set_client, @@character_set_connection, @@character_set_results),
        table_type,
        CAST(EXISTS (
          SELECT 1 FROM information_schema.statistics AS s
          WHERE s.table_schema = c.table_schema AND s.table_name = c.table_name AND non_unique = 0
          GROUP BY index_name
          HAVING COUNT(*) = 1 AND MAX(s.column_name) = c.column_name AND MAX(sub_part) IS NULL
        ) AS CHAR)
      FROM information_schema.columns AS c LEFT JOIN information_schema.tables AS t
        ON t.table_schema = c.table_schema AND t.table_name = c.table_name
      WHERE c.table_schema = DATABASE() AND c.table_name = '${table}'`,
  }
}

/** A column as `look` tells of it, all as text. */
export type Column = readonly [
  name: string,
  type: string,
  dataType: string,
  characters: string | null,
  bytes: string | null,
  charset: string | null,
  collation: string | null,
  precision: string | null,
  index: string,
  engine: string | null,
  connection: string,
  kind: string | null,
  /** Whether there is a unique index of the whole of this column alone: '1' or '0'. */
  unique: string,
]

/** What there is of other characters in a character set that has those of ASCII as they are. */
const REPERTOIRES: Record<string, Shape['data']['repertoire']> = {
  utf8mb4: 'all',
  utf8mb3: 'utf8mb3',
  utf8: 'utf8mb3',
  latin1: 'ascii',
  ascii: 'ascii',
}

/**
 * What a table can hold.
 * @param columns Those that there are.
 * @throws SessionStoreError where something would be stored wrongly.
 */
export function shapeOf(table: string, columns: readonly Column[]): Shape {
  const [key, data, date] = columnsOf(table, columns, (column) => column[0].toLowerCase())
  if (key[11] === 'VIEW') throw noTable(table, 'a view')
  const charsets = key[10].split(',')
  if (charsets.some((charset) => charset !== 'utf8mb4')) {
    throw new SessionStoreError(
      `The connection's character sets are ${charsets.join(', ')}, and text would be garbled. Give it the option charset: 'utf8mb4'.`,
    )
  }
  const modify = (column: string) => `ALTER TABLE \`${table}\` MODIFY ${column} NOT NULL`
  const keyMend = modify('session_key varchar(64) CHARACTER SET ascii COLLATE ascii_bin')
  const dataMend = modify('session_data longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin')
  const refuse = (column: Column, problem: string, mend: string) =>
    unfit(table, column[0].toLowerCase(), describe(column), problem, mend)

  if (!/^(var)?(char|binary)$/.test(key[2])) {
    throw refuse(key, 'which does not keep keys as they are', keyMend)
  }
  if (key[12] !== '1') {
    const index = key[8] === 'PRI' ? 'UNIQUE' : 'PRIMARY KEY'
    const mend = `ALTER TABLE \`${table}\` ADD ${index} (session_key)`
    throw refuse(key, 'and not unique by itself, so that two sessions could have one key', mend)
  }
  const repertoire = REPERTOIRES[data[5] ?? '']
  if (!repertoire || !/^(tiny|medium|long)?text$|^varchar$/.test(data[2])) {
    throw refuse(data, 'which does not keep text as it is', dataMend)
  }
  if (date[2] !== 'datetime' || Number(date[7]) < 3) {
    throw refuse(date, 'which is no moment to the millisecond', modify('expire_date datetime(6)'))
  }
  if (key[9] && /^(MyISAM|MEMORY|Aria)$/i.test(key[9])) {
    warnDeveloper(
      'TABLE_ENGINE',
      `The session table '${table}' is of the engine ${key[9]}, which may lose acknowledged sessions in a crash. Run: ALTER TABLE \`${table}\` ENGINE=InnoDB`,
    )
  }
  return {
    table,
    key: {
      type: describe(key),
      width: Number(key[3]),
      ignoresCase: key[6] !== null && !/_(bin|cs)$/.test(key[6]),
      mend: keyMend,
    },
    data: {
      type: describe(data),
      characters: Number(data[3]),
      bytes: Number(data[4]),
      repertoire,
      mend: dataMend,
    },
  }
}

function describe([, type, , , , charset, collation]: Column): string {
  return charset === null ? type : `${type} of ${charset} (${collation})`
}
