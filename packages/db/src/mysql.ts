// The MySQL and MariaDB engine: one row a session, in Django's table shape, by mysql2.
import {
  assertOptions,
  isSessionKey,
  KeyExistsError,
  refuseOption,
  RETIRED,
  rules,
  SessionConflictError,
  SessionGoneError,
  SessionUsageError,
  systemClock,
  type SessionError,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { createCalls, LONG_TIME, type CallOptions, type Connections } from './connections.ts'
import { datesOf, formatDate, parseDate } from './date.ts'
import { connectionsOf, openMysql, verdicts, type MysqlConnection } from './mysql-connections.ts'
import { CHUNK_SIZE, shapeOf, statementsOf, type Column } from './mysql-table.ts'
import { assertData, assertKey, createLook, holdsKey, unknownShape } from './shape.ts'
import {
  assertBatchSize,
  assertDatabase,
  BATCH_SIZE,
  DEFAULT_TABLE,
  failed,
  placeOf,
  tableName,
  type Action,
} from './table.ts'

export type { MysqlConnection, MysqlQuery } from './mysql-connections.ts'

/** Options of {@link mysqlStore}. */
export interface MysqlStoreOptions {
  /** The table's name. Default `coatcheck_session`. */
  readonly table?: string
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

const READING: CallOptions = { isReading: true }

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
  database: string | MysqlConnection,
  options: MysqlStoreOptions = {},
): MysqlStore {
  assertDatabase(
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
  const calls = createCalls<MysqlConnection>(
    typeof database === 'string'
      ? (openMysql(database) as Connections<MysqlConnection>)
      : connectionsOf(database),
    verdicts,
  )
  const place = placeOf(database)
  const sql = statementsOf(table)

  /** Rows as lists of texts, or what a write tells of itself. */
  function execute(text: string, values: unknown[], how?: CallOptions): Promise<any> {
    return calls.run(
      async (connection) => (await connection.execute({ sql: text, ...AS_TEXT }, values))[0],
      how,
    )
  }

  async function run(
    action: Action,
    text: string,
    values: unknown[],
    how?: CallOptions,
  ): Promise<any> {
    try {
      return await execute(text, values, how)
    } catch (error) {
      throw mysqlError(action, error)
    }
  }

  function mysqlError(action: Action, error: unknown): SessionError {
    const missing = (error as { code?: string }).code === 'ER_NO_SUCH_TABLE'
    return failed({ database: `MySQL${place}`, action, table }, missing, error)
  }

  const look = createLook(async () => {
    let columns: Column[]
    try {
      columns = await execute(sql.look, [], READING)
    } catch (error) {
      // Whoever may not see the schema never may; anything else may be over at the next call.
      if (NOT_ALLOWED.has((error as { errno?: number }).errno ?? 0))
        return unknownShape(table, error)
      throw mysqlError('look', error)
    }
    if (columns.length > 0) return shapeOf(table, columns)
    // It is not there; or it is a temporary one, of which the server tells nothing; or it was made a moment ago.
    await run('look', sql.select, [''], READING)
    columns = await run('look', sql.look, [], READING)
    return columns.length > 0 ? shapeOf(table, columns) : unknownShape(table)
  })

  const load = async (key: string): Promise<SessionRecord | undefined> => {
    if (!isSessionKey(key) || !holdsKey(await look(), key)) return undefined
    const [row] = await run('load', sql.select, [key], READING)
    if (!row) return undefined
    const [data, date] = row
    const expiresAt = parseDate(date)
    return expiresAt > now() ? { data, expiresAt } : undefined
  }

  return {
    load: calls.method(load),

    create: calls.method(async (key, { data, expiresAt }) => {
      if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
      const shape = await look()
      assertKey(shape, key)
      assertData(shape, data)
      const end = formatDate(expiresAt)
      try {
        await execute(sql.insert, [key, data, end])
        return key
      } catch (error) {
        if ((error as { code?: string }).code !== 'ER_DUP_ENTRY') throw mysqlError('create', error)
      }
      const values = [data, end, key, formatDate(now())]
      const { affectedRows } = await run('create', sql.replaceExpired, values)
      if (!affectedRows) throw new KeyExistsError()
      return key
    }),

    save: calls.method(async (key, { data, expiresAt }, expected) => {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const shape = await look()
      if (!holdsKey(shape, key)) throw new SessionGoneError()
      assertData(shape, data)
      const moment = now()
      const live = [key, formatDate(moment)]
      const condition = expected === undefined ? live : [...live, expected]
      const which = expected === undefined ? 'any' : 'expected'
      // Only a retired key holds empty data, and that is never saved.
      if (expected !== RETIRED) {
        const ends = expiresAt <= moment
        const { affectedRows } = ends
          ? await run('save', sql.end[which], condition)
          : await run('save', sql.update[which], [data, formatDate(expiresAt), ...condition])
        if (affectedRows) return key
      }
      const found = await load(key)
      // A connection without FOUND_ROWS counts a row that is left as it was as none. If other data was expected, what
      // is there now is another writer's, however alike.
      const asItWas = found?.data === data && found.expiresAt === expiresAt && data !== RETIRED
      if (asItWas && (expected === undefined || expected === data)) return key
      throw refusal(expected, found)
    }),

    touch: calls.method(async (key, expiresAt, from) => {
      if (!isSessionKey(key) || !holdsKey(await look(), key)) throw new SessionGoneError()
      const values = [formatDate(expiresAt), key, formatDate(now())]
      const { affectedRows } =
        from === undefined
          ? await run('touch', sql.touch.any, values)
          : await run('touch', sql.touch.from, [...values, ...datesOf(from)])
      if (affectedRows) return key
      const found = await load(key)
      const asItWas = found?.expiresAt === expiresAt && found.data !== RETIRED
      if (asItWas && (from === undefined || from === expiresAt)) return key
      throw refusal(from, found)
    }),

    delete: calls.method(async (key) => {
      if (!isSessionKey(key) || !holdsKey(await look(), key)) return
      await run('delete', sql.remove, [key])
    }),

    clearExpired: calls.method(async ({ batchSize = BATCH_SIZE, signal } = {}) => {
      assertBatchSize(batchSize)
      await look()
      // A statement has 65,535 places at the most.
      const size = Math.min(batchSize, 10_000)
      const sweep = sql.sweep(size)
      const time = formatDate(now())
      const how = { time: LONG_TIME }
      let removed = 0
      for (;;) {
        if (signal?.aborted || calls.isClosed) return removed
        const rows: [string][] = await run('clearExpired', sql.expired, [time], how)
        const keys = rows.map(([key]) => key).toSorted()
        for (let at = 0; at < keys.length; at += size) {
          if (signal?.aborted || calls.isClosed) return removed
          const batch = keys.slice(at, at + size)
          const last = batch.at(-1)
          while (batch.length < size) batch.push(last!)
          removed += (await run('clearExpired', sweep, [time, ...batch], how)).affectedRows
        }
        if (keys.length < CHUNK_SIZE) return removed
      }
    }),

    async close() {
      await calls.close()
    },

    migrate: calls.method(async () => {
      try {
        await calls.run((connection) => connection.query(sql.migrate), { time: LONG_TIME })
      } catch (error) {
        throw mysqlError('migrate', error)
      }
      await look(true)
    }),
  }
}

/** Errors by number: the user may not read a database, a table, a column. */
const NOT_ALLOWED = new Set([1044, 1142, 1143])

/** Why nothing was changed under a condition, or without one, where this is what is there. */
function refusal(condition: unknown, found: SessionRecord | undefined): SessionError {
  return condition !== undefined && found?.data
    ? new SessionConflictError()
    : new SessionGoneError()
}

/** How answers are read, whatever the application has set: no column by its name, nothing but text. */
const AS_TEXT = {
  rowsAsArray: true,
  nestTables: false,
  typeCast: (column: { string(encoding: string): string | null }) => column.string('utf8'),
}
