// The PostgreSQL engine: one row a session, in Django's table shape, by pg.
import {
  assertOptions,
  isSessionKey,
  KeyExistsError,
  RETIRED,
  rules,
  SessionConflictError,
  SessionGoneError,
  SessionUsageError,
  systemClock,
  warnDeveloper,
  type SessionError,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { createCalls, LONG_TIME, type CallOptions } from './connections.ts'
import {
  connectionsOf,
  openPostgres,
  sqlState,
  verdicts,
  type PostgresConnection,
} from './postgres-connections.ts'
import { shapeOf, statementsOf, type Column, type Statement } from './postgres-table.ts'
import { assertData, assertKey, createLook, holdsKey, unknownShape } from './shape.ts'
import {
  assertBatchSize,
  assertDatabase,
  DEFAULT_TABLE,
  failed,
  placeOf,
  tableName,
  type Action,
} from './table.ts'

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

/** Rows that one batch of `clearExpired` removes. It locks no live row, so what counts is how often it waits for the disk. */
const BATCH_SIZE = 10_000

const READING: CallOptions = { isReading: true }

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
  database: string | PostgresConnection,
  options: PostgresStoreOptions = {},
): PostgresStore {
  assertDatabase(
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
  const calls = createCalls(
    typeof database === 'string' ? openPostgres(database) : connectionsOf(database),
    verdicts,
  )
  const place = placeOf(database)
  const statements = statementsOf(table)
  const send = createSender(prepare)

  async function query(
    action: Action,
    statement: Statement,
    values: unknown[] = [],
    how?: CallOptions,
  ) {
    try {
      return await calls.run((connection) => send(connection, statement, values), {
        name: String(values[0]),
        ...how,
      })
    } catch (error) {
      throw failure(action, error)
    }
  }

  function failure(action: Action, error: unknown, missing = sqlState(error) === '42P01') {
    return failed({ database: `PostgreSQL${place}`, action, table }, missing, error)
  }

  const look = createLook(async () => {
    let columns: Column[]
    try {
      columns = (await calls.run((connection) => send(connection, statements.look, []), READING))
        .rows
    } catch (error) {
      // Whoever may not read the catalogue never may; anything else may be over at the next call.
      if (sqlState(error) === '42501') return unknownShape(table, error)
      throw failure('look', error)
    }
    if (columns.length === 0) throw failure('look', undefined, true)
    return shapeOf(table, columns)
  })

  const load = async (key: string): Promise<SessionRecord | undefined> => {
    if (!isSessionKey(key) || !holdsKey(await look(), key)) return undefined
    const { rows } = await query('load', statements.select, [key], READING)
    if (rows.length === 0) return undefined
    const expiresAt = Number(rows[0].expires_at)
    return expiresAt > now() ? { data: rows[0].data, expiresAt } : undefined
  }

  /** Why a save or touch under a condition has changed no row. */
  const refusal = async (key: string): Promise<SessionError> =>
    (await load(key))?.data ? new SessionConflictError() : new SessionGoneError()

  return {
    load: calls.method(load),

    create: calls.method(async (key, { data, expiresAt }) => {
      if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
      const shape = await look()
      assertKey(shape, key)
      assertData(shape, data)
      const values = [key, data, date(expiresAt), date(now())]
      const { rowCount } = await query('create', statements.insert, values)
      if (!rowCount) throw new KeyExistsError()
      return key
    }),

    save: calls.method(async (key, { data, expiresAt }, expected) => {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const shape = await look()
      if (!holdsKey(shape, key)) throw new SessionGoneError()
      // Only a retired key holds this, and that is never saved.
      if (expected === RETIRED) throw await refusal(key)
      assertData(shape, data)
      const time = now()
      const where = expected === undefined ? [key, date(time)] : [key, date(time), expected]
      const how = expected === undefined ? 'any' : 'expected'
      const { rowCount } =
        expiresAt <= time
          ? await query('save', statements.end[how], where)
          : await query('save', statements.update[how], [...where, data, date(expiresAt)])
      if (rowCount) return key
      throw expected === undefined ? new SessionGoneError() : await refusal(key)
    }),

    touch: calls.method(async (key, expiresAt, from) => {
      if (!isSessionKey(key) || !holdsKey(await look(), key)) throw new SessionGoneError()
      const values = [key, date(now()), date(expiresAt)]
      const { rowCount } =
        from === undefined
          ? await query('touch', statements.touch.any, values)
          : await query('touch', statements.touch.from, [...values, date(from)])
      if (rowCount) return key
      throw from === undefined ? new SessionGoneError() : await refusal(key)
    }),

    delete: calls.method(async (key) => {
      if (!isSessionKey(key) || !holdsKey(await look(), key)) return
      await query('delete', statements.remove, [key])
    }),

    clearExpired: calls.method(async ({ batchSize = BATCH_SIZE, signal } = {}) => {
      assertBatchSize(batchSize)
      await look()
      const time = date(now())
      let removed = 0
      for (;;) {
        if (signal?.aborted || calls.isClosed) return removed
        const { rowCount } = await query('clearExpired', statements.sweep, [time, batchSize], {
          time: LONG_TIME,
        })
        removed += rowCount ?? 0
        if ((rowCount ?? 0) < batchSize) return removed
      }
    }),

    async close() {
      await calls.close()
    },

    migrate: calls.method(async () => {
      await query('migrate', statements.migrate, [], { time: LONG_TIME })
      await look(true)
    }),
  }
}

/** A moment as PostgreSQL reads it, whatever its time zone. */
function date(ms: number): string {
  return new Date(ms).toISOString()
}

/** Gives what PostgreSQL sends as text, whatever parsers the application has set; and no types of parameters, for which pg takes it too. */
const AS_TEXT = Object.assign([], { getTypeParser: () => String })

/** Sends statements, prepared under their names for as long as that works. */
function createSender(prepare: boolean) {
  let isPrepared = prepare
  return async (connection: PostgresConnection, { name, text }: Statement, values: unknown[]) => {
    const query = { text, values, types: AS_TEXT }
    if (!name || !isPrepared) return connection.query(query)
    try {
      return await connection.query({ ...query, name })
    } catch (error) {
      // The name is taken, or means nothing: in both cases nothing was executed.
      const state = sqlState(error)
      if (state !== '42P05' && state !== '26000') throw error
      if (isPrepared) {
        warnDeveloper(
          'PREPARED_STATEMENTS',
          'The connections of postgresStore do not keep prepared statements apart, as PgBouncer in transaction mode does not, so from now on it prepares none. Set its option `prepare: false`.',
        )
        isPrepared = false
      }
      return connection.query(query)
    }
  }
}
