// The PostgreSQL engine: one row a session, in Django's table shape, by pg.
import { assertOptions, rules, systemClock, type SessionStore } from '@coatcheck/core/store'
import { createEngine } from './engine.ts'
import { executorOver } from './executor.ts'
import { connectionsOf, openPostgres, type PostgresConnection } from './postgres-connections.ts'
import { postgresDialect } from './postgres-dialect.ts'
import { createSender } from './postgres-sender.ts'
import { assertDatabase, DEFAULT_TABLE, placeOf, tableName } from './table.ts'

export type { PostgresConnection, PostgresQuery } from './postgres-connections.ts'

/** Options of {@link postgresStore}. */
export interface PostgresStoreOptions {
  /** The table's name. Default `coatcheck_session`. */
  readonly table?: string
  /**
   * Whether statements are prepared under names, once a connection. Default true. Set it to false where a connection is another one for
   * each statement: behind PgBouncer in transaction mode (before 1.21), Supavisor, or RDS Proxy, which would pin it.
   */
  readonly prepare?: boolean
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** A session store on PostgreSQL. */
export interface PostgresStore extends SessionStore {
  /** Makes the table and its index where they are missing. Throws SessionStoreError if PostgreSQL refuses. */
  migrate(): Promise<void>
}

/**
 * Keeps sessions in a table `(session_key, session_data, expire_date)`, as Django's database engine does, on PostgreSQL
 * 12 or newer.
 *
 * @param database A URL (`postgres://…`), for which a pool is made, or a pg pool or client of your own, whose settings
 * hold and which `close()` leaves open.
 * @throws SessionUsageError for a bad option, or if a URL is given and pg is not installed.
 */
export function postgresStore(
  database: string | undefined | PostgresConnection,
  options: PostgresStoreOptions = {},
): PostgresStore {
  assertDatabase<string | PostgresConnection>(
    'postgresStore',
    database,
    'a URL such as postgres://user@localhost/app, or a pool or client of pg',
    (url) => /^(postgres(ql)?:\/\/|socket:|\/)/i.test(url),
    ['query'],
  )
  assertOptions('postgresStore', options, {
    table: tableName,
    prepare: rules.flag,
    now: rules.clock,
  })
  const { table = DEFAULT_TABLE, prepare = true, now = systemClock } = options
  const executor = executorOver(
    typeof database === 'string' ? openPostgres(database) : connectionsOf(database),
    postgresDialect,
    createSender(prepare),
  )
  const engine = createEngine({
    dialect: postgresDialect,
    database: `PostgreSQL${placeOf(database)}`,
    executor,
    table,
    now,
  })
  return engine as PostgresStore
}
