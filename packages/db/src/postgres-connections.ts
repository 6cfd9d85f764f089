// Connections to PostgreSQL: a pool of the engine's own by pg, or what the application has; and what its errors mean.
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { isCutShort, loadDriver, refuseUrl, warnDeveloper } from '@coatcheck/core/store'
import { agesIn, CALL_TIME, madeOf, POOL_SIZE, type Connections } from './connections.ts'
import { createSockets, guardReading } from './sockets.ts'

/** A query as pg takes it. */
export interface PostgresQuery {
  name?: string
  text: string
  values?: unknown[]
}

/** As much of a pg `Pool` or `Client` as the engine uses. */
export interface PostgresConnection {
  query(query: PostgresQuery): Promise<{ rows: any[]; rowCount: number | null }>
}

/** As much of a pg `Client` as the engine uses where it is there; a pool's has `release`. */
interface Client extends PostgresConnection {
  on?(event: 'error', listener: () => void): unknown
  removeListener?(event: 'error', listener: () => void): unknown
  release?(error?: boolean): void
  /** I: idle; T: in a transaction; E: in one that has failed; undefined in a pg that does not tell. */
  getTransactionStatus?(): string | null
  readonly host?: string
  readonly port?: number
  readonly processID?: unknown
  readonly secretKey?: unknown
  /** The query that is under way; older versions of pg have it as `activeQuery`. */
  readonly _activeQuery?: PostgresQuery | null
  readonly activeQuery?: PostgresQuery | null
}

/** As much of a pg `Pool` as the engine uses. */
interface Pool {
  connect(taken: (error: Error | undefined, client: Client) => void): void
  end(): Promise<void>
  on(event: 'error', listener: () => void): unknown
  on(event: 'connect', listener: (client: object) => void): unknown
}

/** A pg `Client` before it is connected: of its connection, which pg-native has not, the stream becomes another one by TLS. */
interface NewClient {
  readonly connection?: {
    readonly stream: Duplex
    once(event: 'sslconnect', listener: () => void): unknown
  }
}

interface Driver {
  Pool: new (options: object) => Pool
  Client: new (options: object) => NewClient
}

/** A connection that breaks is dropped by who uses it, or by its pool; without a listener the error would end the process. */
const ignore = () => {}

/** The connections of a pool that the engine makes. */
export function openPostgres(connectionString: string): Connections<Client> {
  const { Pool, Client } = loadDriver({
    by: 'postgresStore',
    driver: 'pg',
    from: import.meta.url,
    pass: 'postgresStore(new Pool({ connectionString }))',
  }) as Driver
  // A pool reads it for each connection anew. What pg takes is more than a URL: a socket's path, for one.
  if (isCutShort(connectionString)) refuseUrl('postgresStore')
  madeOf('postgresStore', () => new Client({ connectionString }))
  const sockets = createSockets()
  class GuardedClient extends Client {
    constructor(options: object) {
      super(options)
      const { connection } = this
      connection?.once('sslconnect', () => guardReading(connection.stream))
    }
  }
  const pool = new Pool({
    Client: GuardedClient,
    connectionString,
    max: POOL_SIZE,
    connectionTimeoutMillis: CALL_TIME,
    stream: sockets.open,
  })
  pool.on('error', ignore)
  return { ...fromPool(pool), most: POOL_SIZE, end: () => pool.end(), destroy: sockets.destroy }
}

/** The connections that the application has. */
export function connectionsOf(database: PostgresConnection): Connections<Client> {
  if (isPool(database)) return fromPool(database)
  const only = database as Client
  // A client runs one query at a time; pg means to refuse a second one. Other objects may be in front of a pool.
  const most = 'getTypeParser' in only ? 1 : Infinity
  let isTold = false
  /** Of the engine's last query: no other has this very list. */
  let values: unknown[] | undefined
  const timed: PostgresConnection = {
    async query(query) {
      values = query.values
      // With a time-out of its own, pg takes a query back that waits behind one of the application's.
      const result = await only.query({ ...query, query_timeout: CALL_TIME } as PostgresQuery)
      if (only.getTransactionStatus?.() === 'T' && !isTold) {
        isTold = true
        warnDeveloper(
          'IN_TRANSACTION',
          "postgresStore was given a client that is inside a transaction of the application's: until its COMMIT no other process sees what a session stores, and its ROLLBACK takes that back, a logout too. Give the store a pool.",
        )
      }
      return result
    },
  }
  return {
    most,
    take: () => Promise.resolve(timed),
    free() {},
    cancel() {
      const { _activeQuery: active = only.activeQuery } = only
      // Not one of the application's; and within a transaction of its own the server would end that.
      const isOwn = values !== undefined && active?.values === values
      if (isOwn && (only.getTransactionStatus?.() ?? 'I') === 'I') cancel(only)
    },
    // A deadlock ends the application's transaction as a whole; of a client that is not pg's, or does not tell, nothing is known.
    mayRunAgain: () => most > 1 || only.getTransactionStatus?.() === 'I',
  }
}

function isPool(database: unknown): database is Pool {
  return typeof (database as { totalCount?: unknown }).totalCount === 'number'
}

function fromPool(pool: Pool): Connections<Client> {
  return {
    // An application's pool has its own bound.
    most: Infinity,
    madeAt: agesIn(pool, (onNew) => pool.on('connect', onNew)),
    async take() {
      for (;;) {
        const client = await lend(pool)
        const status = client.getTransactionStatus?.() ?? 'I'
        if (status === 'I') return client
        // Somebody has given it back within a transaction, whose end nobody knows.
        client.release!(true)
        client.removeListener?.('error', ignore)
      }
    },
    free(client) {
      client.removeListener?.('error', ignore)
      client.release!()
    },
    drop(client, isRunning) {
      if (isRunning) cancel(client)
      client.release!(true)
      client.removeListener?.('error', ignore)
    },
  }
}

/**
 * A client of a pool, listened to from the moment it is lent: what the server sends with its welcome, such as that it is going down,
 * comes before a promise resolves.
 */
function lend(pool: Pool): Promise<Client> {
  return new Promise((resolve, reject) => {
    pool.connect((error, client) => {
      if (error) {
        reject(error)
        return
      }
      client.on?.('error', ignore)
      resolve(client)
    })
  })
}

/** What a request to cancel begins with, in place of a version. */
const CANCEL_REQUEST = 80_877_102

/**
 * Asks the server to end what it does for a connection: it does not see that nobody waits, and what waits for a lock would fill its
 * connections, and be done in the end. As libpq and pg do it: on a connection of its own, in the clear.
 */
function cancel({ host, port, processID, secretKey }: Client): void {
  if (!host || !port || typeof processID !== 'number' || typeof secretKey !== 'number') return
  const request = Buffer.alloc(16)
  for (const [at, value] of [16, CANCEL_REQUEST, processID, secretKey].entries()) {
    request.writeInt32BE(value, at * 4)
  }
  const socket = host.startsWith('/')
    ? connect(`${host}/.s.PGSQL.${port}`)
    : connect({ host, port })
  socket.on('error', ignore)
  socket.setTimeout(1000, () => socket.destroy())
  socket.unref()
  socket.end(request)
}
