// The MySQL and MariaDB engine: one row a session, in Django's table shape, by mysql2.
import {
  assertOptions,
  isSessionKey,
  KeyExistsError,
  loadDriver,
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
import { datesOf, formatDate, parseDate } from './date.ts'
import {
  assertBatchSize,
  assertDatabase,
  BATCH_SIZE,
  DEFAULT_TABLE,
  failed,
  tableName,
} from './table.ts'

/** As much of a mysql2/promise `Pool` or `Connection` as the engine uses. */
export interface MysqlConnection {
  execute(sql: { sql: string; timeout?: number }, values?: any[]): Promise<[any, ...unknown[]]>
  query(sql: string): Promise<[any, ...unknown[]]>
}

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

/** A request waits this long for a connection of the engine's own, in ms, and then hears of the failure. */
const QUERY_TIMEOUT = 10_000

/**
 * InnoDB keeps rows in the order of their keys, so a sweep reads so many expired keys (some 10 MB) and deletes them in that
 * order: each page is then changed by one batch or two, instead of by most of them.
 */
const CHUNK_SIZE = 100_000

/** How often a statement is run again after a deadlock, which the server resolves by failing one of those that wait. */
const MAX_DEADLOCKS = 10

/**
 * Keeps sessions in a table `(session_key, session_data, expire_date)`, as Django's database engine does, on MySQL 8 or
 * MariaDB 10.6 and newer.
 *
 * @param database A URL (`mysql://…`), for which a pool is made, or a mysql2/promise pool or connection of your own,
 * whose settings hold (its charset must be utf8mb4) and which `close()` leaves open.
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
  assertOptions('mysqlStore', options, { table: tableName, now: rules.clock })
  const { table = DEFAULT_TABLE, now = systemClock } = options
  const own = typeof database === 'string' ? open(database) : undefined
  const connection = own ?? (database as MysqlConnection)
  const sql = prepare(table)

  async function execute(text: string, values: unknown[]): Promise<any> {
    const statement = own ? { sql: text, timeout: QUERY_TIMEOUT } : { sql: text }
    for (let deadlocks = 0; ; deadlocks++) {
      try {
        const [result] = await connection.execute(statement, values)
        return result
      } catch (error) {
        const { code } = error as { code?: string }
        if (code !== 'ER_LOCK_DEADLOCK' || deadlocks >= MAX_DEADLOCKS) throw error
      }
    }
  }

  async function run(action: string, text: string, values: unknown[]): Promise<any> {
    try {
      return await execute(text, values)
    } catch (error) {
      throw mysqlError(action, error)
    }
  }

  function mysqlError(action: string, error: unknown): SessionError {
    const missing = (error as { code?: string }).code === 'ER_NO_SUCH_TABLE'
    return failed({ database: 'MySQL', action, table }, missing, error)
  }

  let closing: Promise<void> | undefined

  const load = async (key: string): Promise<SessionRecord | undefined> => {
    if (!isSessionKey(key)) return undefined
    const [row] = await run('load', sql.select, [key])
    if (!row) return undefined
    const expiresAt = parseDate(row.expire_date)
    return expiresAt > now() ? { data: row.session_data, expiresAt } : undefined
  }

  return {
    load,

    async create(key, { data, expiresAt }) {
      if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
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
    },

    async save(key, { data, expiresAt }, expected) {
      if (!isSessionKey(key)) throw new SessionGoneError()
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
    },

    async touch(key, expiresAt, from) {
      if (!isSessionKey(key)) throw new SessionGoneError()
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
    },

    async delete(key) {
      if (isSessionKey(key)) await run('delete', sql.remove, [key])
    },

    async clearExpired({ batchSize = BATCH_SIZE, signal } = {}) {
      assertBatchSize(batchSize)
      // A statement has 65,535 places at the most.
      const size = Math.min(batchSize, 10_000)
      const time = formatDate(now())
      let removed = 0
      for (;;) {
        if (signal?.aborted) return removed
        const rows: { session_key: string }[] = await run('clearExpired', sql.expired, [time])
        const keys = rows.map((row) => row.session_key).toSorted()
        for (let at = 0; at < keys.length; at += size) {
          if (signal?.aborted) return removed
          const batch = keys.slice(at, at + size)
          const statement = sql.sweep(batch.map(() => '?').join())
          removed += (await run('clearExpired', statement, [time, ...batch])).affectedRows
        }
        if (keys.length < CHUNK_SIZE) return removed
      }
    },

    async close() {
      await (closing ??= own?.end())
    },

    async migrate() {
      try {
        await connection.query(sql.migrate)
      } catch (error) {
        throw mysqlError('migrate', error)
      }
    },
  }
}

/** Why nothing was changed under a condition, or without one, where this is what is there. */
function refusal(condition: unknown, found: SessionRecord | undefined): SessionError {
  return condition !== undefined && found?.data
    ? new SessionConflictError()
    : new SessionGoneError()
}

/** A live record; one that is not a retired key's; one with this data. Even the _bin collations ignore trailing blanks. */
const LIVE = 'session_key = ? AND expire_date > ?'
const OPEN = `${LIVE} AND OCTET_LENGTH(session_data) > 0`
const EXPECTED = `${LIVE} AND BINARY session_data = BINARY ?`

function prepare(table: string) {
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
    sweep: (places: string) =>
      sql(`DELETE FROM @ WHERE expire_date <= ? AND session_key IN (${places})`),
    migrate: sql(
      `CREATE TABLE IF NOT EXISTS @ (
         session_key varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
         session_data longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
         expire_date datetime(6) NOT NULL,
         KEY ${table}_expire_date (expire_date)
       ) ENGINE=InnoDB`,
    ),
  }
}

/** What the engine uses of the pool it made itself. */
interface OwnPool extends MysqlConnection {
  end(): Promise<void>
}

type Driver = { createPool(options: object): OwnPool }

function open(uri: string): OwnPool {
  const { createPool } = loadDriver({
    by: 'mysqlStore',
    driver: 'mysql2/promise',
    from: import.meta.url,
    pass: 'mysqlStore(createPool(url))',
  }) as Driver
  return createPool({ uri, charset: 'utf8mb4', connectTimeout: 5000, connectionLimit: 10 })
}
