// Runs statements on a SQLite connection: at once, or off the thread while somebody else has the database locked.
import { performance } from 'node:perf_hooks'
import {
  after,
  createWaitingLines,
  LOCKED,
  RETIRED,
  StoreClosedError,
  type Awaitable,
} from '@coatcheck/core/store'
import type { Answer, Parameter, Row, Statement } from './dialect.ts'
import type { Executor, Work } from './executor.ts'
import type { SqliteConnection, SqliteStatement } from './sqlite-connection.ts'
import { codeOf, isLocked, stayedInTransaction, stayedLocked } from './sqlite-errors.ts'
import { restartLog } from './sqlite-file.ts'
import type { Opened } from './sqlite-open.ts'
import type { Action } from './table.ts'

/** No busy timeout of SQLite's is longer, in ms. */
export const LONGEST = 2_147_483_647

/** So long, in ms, a load waits in the thread for a lock that stops even readers. */
const LOAD_TIMEOUT = 40

/** For so long, in ms, after a load has waited in vain none waits: the next ones fail at once. */
const REST = 1000

/**
 * @param connection The application's, or that of `own`.
 * @param own The database that the engine has opened itself.
 * @param busyTimeout How long a write waits, in ms.
 */
export function sqliteExecutor(
  connection: SqliteConnection,
  own: Opened | undefined,
  table: string,
  busyTimeout: number,
): Executor {
  /** How long a connection of the application's waits by itself: in the thread, so not for us. */
  let itsTimeout = own ? 0 : undefined
  const lines = createWaitingLines(busyTimeout)
  const sleeper = new Int32Array(new SharedArrayBuffer(4))
  let isClosed = false
  let isInTransaction = false
  let gaveUp = -Infinity

  /** Runs a statement that does not wait for a lock. */
  function query(statement: Statement, parameters: readonly Parameter[]): Answer {
    own?.look()
    return own
      ? execute(statement, parameters)
      : withoutWaiting(() => execute(statement, parameters))
  }

  function execute(statement: Statement, parameters: readonly Parameter[]): Answer {
    const prepared = (statement.prepared ??= connection.prepare(statement.text)) as SqliteStatement
    if (!statement.columns) return prepared.run(...parameters)
    if (!statement.isOne) return { rows: prepared.all(...parameters) as Row[] }
    const row = prepared.get(...parameters) as Row | null | undefined
    return { rows: row ? [row] : [] }
  }

  /** Does what is not to wait for a lock in the thread, as a connection of the application's may by itself. */
  function withoutWaiting<T>(run: () => T): T {
    itsTimeout ??= timeoutOf(connection)
    if (itsTimeout <= 0 || !setTimeoutTo(0)) return run()
    try {
      return run()
    } finally {
      setTimeoutTo(itsTimeout)
    }
  }

  /** Whether it can be set: not while the application reads the rows of a query, which then has the lock that a load needs. */
  function setTimeoutTo(ms: number): boolean {
    try {
      connection.exec(`PRAGMA busy_timeout = ${ms}`)
      return true
    } catch (error) {
      if (isLocked(error)) return false
      throw error
    }
  }

  /** Reads in this turn. A log that is read needs no lock, but for moments in which another program has the whole file. */
  function read<T>(work: Work<T>): Awaitable<T> {
    try {
      return work(query)
    } catch (error) {
      if (!isLocked(error)) throw error
    }
    const start = performance.now()
    const patience = start - gaveUp < REST ? 0 : LOAD_TIMEOUT
    for (;;) {
      try {
        return work(query)
      } catch (error) {
        if (!isLocked(error)) throw error
        const waited = performance.now() - start
        if (waited >= patience) {
          gaveUp = performance.now()
          throw stayedLocked(table, Math.round(waited), error)
        }
        Atomics.wait(sleeper, 0, 0, 2)
      }
    }
  }

  /** Does it, unless it is locked. What is written in a transaction of the application's would go with it. */
  function tryTo<T>(work: Work<T>): Awaitable<T> | typeof LOCKED {
    isInTransaction = !own && (connection.inTransaction ?? connection.isTransaction ?? false)
    if (isInTransaction) return LOCKED
    try {
      return work(queryWithRoom)
    } catch (error) {
      if (isLocked(error)) return LOCKED
      throw error
    }
  }

  /** On a full disk the log is copied into the database, and begins anew in the room that it has. */
  function queryWithRoom(statement: Statement, parameters: readonly Parameter[]): Answer {
    try {
      return query(statement, parameters)
    } catch (error) {
      if (codeOf(error) !== 'FULL') throw error
    }
    withoutWaiting(() => restartLog(connection))
    try {
      return query(statement, parameters)
    } catch (error) {
      // What makes room may have what was kept for that: the database could not grow by what is new in the log.
      const makesRoom = statement.text.startsWith('DELETE') || parameters[0] === RETIRED
      if (codeOf(error) !== 'FULL' || !makesRoom || !own?.giveReserve()) throw error
    }
    withoutWaiting(() => restartLog(connection))
    return query(statement, parameters)
  }

  /** Waits in the thread, as at the opening. */
  function runInThread<T>(work: Work<T>): Awaitable<T> {
    own?.look(true)
    // Not kept: the application may still set another one before the first call.
    const before = own ? 0 : timeoutOf(connection)
    const start = performance.now()
    setTimeoutTo(Math.min(busyTimeout, LONGEST))
    try {
      return work(execute)
    } catch (error) {
      const waited = Math.round(performance.now() - start)
      throw isLocked(error) ? stayedLocked(table, waited, error) : error
    } finally {
      setTimeoutTo(before)
    }
  }

  return {
    isSync: true,
    method: (method) => (a?, b?, c?) => {
      if (isClosed) throw new StoreClosedError()
      return (method as (...args: any[]) => ReturnType<typeof method>)(a, b, c)
    },
    run<T>(action: Action, work: Work<T>) {
      if (action === 'load') return read(work)
      if (action === 'migrate') return runInThread(work)
      return lines.enter(
        '',
        () => tryTo(work),
        () =>
          isInTransaction ? stayedInTransaction(busyTimeout) : stayedLocked(table, busyTimeout),
      ) as Awaitable<T>
    },
    get isClosed() {
      return isClosed
    },
    close() {
      isClosed = true
      return after(lines.empty(), () => own?.connection.close())
    },
  }
}

/** How long a connection waits for a lock by itself, in ms. */
function timeoutOf(connection: SqliteConnection): number {
  const row = connection.prepare('PRAGMA busy_timeout').get()
  return Number(Object.values(row as object)[0])
}
