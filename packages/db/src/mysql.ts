// The MySQL and MariaDB engine: one row a session, in Django's table shape, by mysql2.
import {
  assertOptions,
  refuseOption,
  rules,
  systemClock,
  type SessionStore,
} from '@coatcheck/core/store'
import type { Connections } from './connections.ts'
import type { Answer, Parameter, Statement } from './dialect.ts'
import { createEngine } from './engine.ts'
import { executorOver } from './executor.ts'
import { connectionsOf, openMysql, type MysqlConnection } from './mysql-connections.ts'
import { mysqlDialect } from './mysql-dialect.ts'
import { assertDatabase, DEFAULT_TABLE, placeOf, tableName } from './table.ts'

export type { MysqlConnection, MysqlQuery } from './mysql-connections.ts'

/** Options of {@link mysqlStore}. */
export interface MysqlStoreOptions {
  /** The table's name. Default `coatcheck_session`. */
  readonly table?: string
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** A session store on MySQL or MariaDB. */
export interface MysqlStore extends SessionStore {
  /** Makes the table and its index where they are missing. Throws SessionStoreError if the server refuses. */
  migrate(): Promise<void>
}

/**
 * Keeps sessions in a table `(session_key, session_data, expire_date)`, as Django's database engine does, on MySQL 8 or
 * MariaDB 10.6 and newer.
 *
 * @param database A URL (`mysql://…`), for which a pool is made, or a mysql2/promise pool or connection of your own,
 * whose settings hold (its charset must be utf8mb4; no call waits longer than 5 s) and which `close()` leaves open.
 * @throws SessionUsageError for a bad option, or if a URL is given and mysql2 is not installed.
 */
export function mysqlStore(
  database: string | undefined | MysqlConnection,
  options: MysqlStoreOptions = {},
): MysqlStore {
  assertDatabase<string | MysqlConnection>(
    'mysqlStore',
    database,
    'a URL such as mysql://user@localhost/app, or a pool or connection of mysql2/promise',
    (url) => /^(mysql|mariadb):\/\//i.test(url),
    ['execute', 'query'],
  )
  if (typeof database !== 'string' && 'promise' in database) {
    refuseOption(
      'mysqlStore was given a pool or connection of mysql2 with callbacks: pass its promise()',
    )
  }
  assertOptions('mysqlStore', options, { table: tableName, now: rules.clock })
  const { table = DEFAULT_TABLE, now = systemClock } = options
  const executor = executorOver<MysqlConnection>(
    typeof database === 'string'
      ? (openMysql(database) as Connections<MysqlConnection>)
      : connectionsOf(database),
    mysqlDialect,
    send,
  )
  const engine = createEngine({
    dialect: mysqlDialect,
    database: `MySQL${placeOf(database)}`,
    executor,
    table,
    now,
  })
  return engine as MysqlStore
}

/** How answers are read, whatever the application has set: no column by its name, nothing but text. */
const AS_TEXT = {
  rowsAsArray: true,
  nestTables: false,
  typeCast: true,
}

/** Prepares what is worth it: the driver keeps prepared statements by their text. */
async function send(
  connection: MysqlConnection,
  { text, columns, isDefinition }: Statement,
  parameters: readonly Parameter[],
): Promise<Answer> {
  const [result] = isDefinition
    ? await connection.query(text)
    : await connection.execute({ sql: text, ...AS_TEXT }, parameters as Parameter[])
  return columns ? { rows: result } : { changes: result.affectedRows }
}
