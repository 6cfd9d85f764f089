// Connections to MySQL and MariaDB: a pool of the engine's own by mysql2, or what the application has; and what their errors mean.
import { loadDriver, readUrl, refuseOption, warnDeveloper } from '@coatcheck/core/store'
import { agesIn, CALL_TIME, failure, madeOf, POOL_SIZE, type Connections } from './connections.ts'
import { createSockets } from './sockets.ts'

/** A statement as mysql2 takes it, with how its answer is to be read. */
export interface MysqlQuery {
  sql: string
  rowsAsArray?: boolean
  nestTables?: any
  typeCast?: any
}

/** As much of a mysql2/promise `Pool` or `Connection` as the engine uses. */
export interface MysqlConnection {
  execute(sql: MysqlQuery, values?: any[]): Promise<[any, ...unknown[]]>
  query(sql: string): Promise<[any, ...unknown[]]>
}

/** A connection of a mysql2/promise pool. */
interface PoolConnection extends MysqlConnection {
  release(): void
  destroy(): void
  /** What the promises are made around, which stays the same from loan to loan. */
  readonly connection?: Core
}

/** As much of mysql2's connection without promises as the engine uses. */
interface Core {
  handlePacket?(packet?: Packet): unknown
  readonly stream?: { destroy?(): void }
  on(event: 'error', listener: () => void): unknown
  query(sql: string, onAnswer: () => void): unknown
}

/** What mysql2 hands on of what it gets. */
interface Packet {
  isEOF(): boolean
  eofStatusFlags(): number
}

/** As much of what lends connections as the engine uses. */
interface Pool {
  getConnection(): Promise<PoolConnection>
  /** What the promises of a pool are made around: it tells of new connections, which a cluster does not. */
  readonly pool?: unknown
  on?(event: 'connection', listener: (core: Core) => void): unknown
}

interface OwnPool extends Pool {
  on(event: 'connection', listener: (core: Core) => void): unknown
  end(): Promise<void>
}

type Driver = { createPool(options: object): OwnPool }

/** Where mysql2 is to connect a socket that it is given. */
interface Place {
  readonly config: { socketPath?: string; host: string; port: number }
}

/**
 * A statement waits so many seconds for a lock, and fails before the call is over: the server does not see that nobody waits any more, would
 * still do it in the end, and those that wait would fill its connections.
 */
const LOCK_WAIT = Math.floor(CALL_TIME / 1000) - 1

/** The connections of a pool that the engine makes. */
export function openMysql(uri: string): Connections<PoolConnection> {
  const { createPool } = loadDriver({
    by: 'mysqlStore',
    driver: 'mysql2/promise',
    from: import.meta.url,
    pass: 'mysqlStore(createPool(url)), with createPool of mysql2/promise',
  }) as Driver
  assertUrl(uri)
  const sockets = createSockets()
  const options = {
    uri,
    charset: 'utf8mb4',
    connectTimeout: CALL_TIME,
    connectionLimit: POOL_SIZE,
    stream: ({ config: { socketPath, host, port } }: Place) =>
      socketPath ? sockets.open().connect(socketPath) : sockets.open().connect(port, host),
  }
  const pool = madeOf('mysqlStore', () => createPool(options))
  pool.on('connection', (core) => {
    // The pool has dropped it by then; a second error would have no listener, and end the process.
    core.on('error', () => {})
    core.query(
      `SET SESSION autocommit = 1, innodb_lock_wait_timeout = ${LOCK_WAIT}, lock_wait_timeout = ${LOCK_WAIT}`,
      () => {},
    )
  })
  return { ...fromPool(pool), most: POOL_SIZE, end: () => pool.end(), destroy: sockets.destroy }
}

/** What mysql2 calls, or takes for an object, and a URL has as text. */
const NO_PARAMETERS = [
  'Promise',
  'authPlugins',
  'authSwitchHandler',
  'infileStreamFactory',
  'isServer',
  'pool',
  'queryFormat',
  'stream',
]

function assertUrl(uri: string): void {
  const { searchParams } = readUrl('mysqlStore', uri)
  const wrong = NO_PARAMETERS.find((name) => searchParams.has(name))
  if (wrong === undefined) return
  refuseOption(
    `mysqlStore: a URL has no parameter \`${wrong}\`. Pass a pool of your own: mysqlStore(createPool({ uri: url, ${wrong}: … })), with createPool of mysql2/promise`,
  )
}

/** The connections that the application has. */
export function connectionsOf(database: MysqlConnection): Connections<MysqlConnection> {
  if (isPool(database)) return fromPool(database) as Connections<MysqlConnection>
  // A connection runs one statement at a time; other objects may be in front of a pool.
  const most = 'beginTransaction' in database ? 1 : Infinity
  let isTold = false
  const isInTransaction = watch((database as { connection?: Core }).connection)
  const told: MysqlConnection = {
    query: (sql) => database.query(sql),
    async execute(sql, values) {
      const answer = await database.execute(sql, values)
      if (isInTransaction(answer[0]) && !isTold) {
        isTold = true
        warnDeveloper(
          'IN_TRANSACTION',
          "mysqlStore was given a connection that is inside a transaction of the application's, or without autocommit: until its COMMIT no other process sees what a session stores, nor it what others store, and its ROLLBACK takes that back, a logout too. Give the store a pool.",
        )
      }
      return answer
    },
  }
  // A deadlock ends the application's transaction as a whole, and nothing tells beforehand whether there is one.
  return { most, take: () => Promise.resolve(told), free() {}, mayRunAgain: () => most > 1 }
}

function isPool(database: unknown): database is Pool {
  return typeof (database as Partial<Pool>).getConnection === 'function'
}

function fromPool(pool: Pool): Connections<PoolConnection> {
  const loans = new WeakMap<object, PoolConnection>()
  const coreMadeAt = agesIn(pool, pool.pool ? (onNew) => pool.on?.('connection', onNew) : undefined)
  return {
    // An application's pool has its own bound.
    most: Infinity,
    madeAt: (connection) => coreMadeAt(connection.connection ?? connection),
    async take() {
      const loan = await pool.getConnection()
      const core = loan.connection ?? loan
      const known = loans.get(core)
      if (known) return known
      const isInTransaction = watch(loan.connection)
      const connection: PoolConnection = {
        query: (sql) => loan.query(sql),
        async execute(sql, values) {
          const answer = await loan.execute(sql, values)
          // Nobody would ever commit it, and a load sees what was stored when it began. Closing the connection rolls it back.
          if (isInTransaction(answer[0])) {
            throw failure(
              'The pool’s connection is in a transaction, or without autocommit',
              NO_COMMIT,
            )
          }
          return answer
        },
        ...(loan.connection && { connection: loan.connection }),
        release: () => loan.release(),
        destroy() {
          loan.destroy()
          // mysql2 says goodbye and waits for the server's.
          loan.connection?.stream?.destroy?.()
        },
      }
      loans.set(core, connection)
      return connection
    },
    free: (connection) => connection.release(),
    drop: (connection) => connection.destroy(),
  }
}

/** The code of a call inside a transaction that nobody would end. */
export const NO_COMMIT = 'NOT_COMMITTED'

type InTransaction = (answer: { serverStatus?: number }) => boolean

const watched = new WeakMap<object, InTransaction>()

/** Makes what tells, right after an answer, whether the connection is inside a transaction: mysql2 tells it of writes, and of rows to itself alone. */
function watch(core: Core = {} as Core): InTransaction {
  const known = watched.get(core)
  if (known) return known
  let afterRows = 0
  const { handlePacket } = core
  if (handlePacket) {
    core.handlePacket = (packet) => {
      if (packet?.isEOF()) afterRows = packet.eofStatusFlags()
      return handlePacket.call(core, packet)
    }
  }
  // SERVER_STATUS_IN_TRANS.
  const isInTransaction: InTransaction = ({ serverStatus = afterRows }) => (serverStatus & 1) === 1
  watched.set(core, isInTransaction)
  return isInTransaction
}
