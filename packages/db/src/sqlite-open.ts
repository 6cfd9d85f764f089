// A database that the engine opens itself: its settings, its file and reserve watched, and why it cannot be opened.
import { performance } from 'node:perf_hooks'
import { loadDriver, reasonIn, SessionStoreError, SessionUsageError } from '@coatcheck/core/store'
import { codeOf, isLocked, isNotBuilt } from './sqlite-errors.ts'
import { enterWal, isOnDisk, openingReason, reserveBeside, watch } from './sqlite-file.ts'
import type { SqliteConnection } from './sqlite-connection.ts'

/**
 * The log grows to so many pages of 4 KB before it is copied into the database, which costs two waits for the disk. A
 * session's pages are in it many times over by then, and are copied once.
 */
const CHECKPOINT_PAGES = 4000

/** SQLite's own limit of a database's size, in pages. */
const MOST_PAGES = 4_294_967_294

/** What the engine uses of the connection it opened itself. */
interface OwnConnection extends SqliteConnection {
  pragma(source: string): unknown
  close(): void
}

type Driver = new (filename: string, options: { timeout: number }) => OwnConnection

/** A database that the engine has opened itself. */
export interface Opened {
  readonly connection: OwnConnection
  /**
   * Looks after the file and its reserve, from time to time, or at once.
   * @throws SessionStoreError if the file was removed or replaced.
   */
  look(atOnce?: boolean): void
  /** Gives the room that is kept on the disk back to it; whether there was any. The database does not grow until it is there again. */
  giveReserve(): boolean
}

/** Opens a file, and then leaves it to the engine to wait for locks. */
export function openSqlite(filename: string, timeout: number): Opened {
  const Database = loadDriver({
    by: 'sqliteStore',
    driver: 'better-sqlite3',
    from: import.meta.url,
    pass: 'sqliteStore(new Database(file))',
  }) as Driver
  const reserve = isOnDisk(filename) ? reserveBeside(filename) : undefined
  let isLimited = false
  const connect = () => {
    const connection = new Database(filename, { timeout: Math.ceil(timeout) })
    try {
      enterWal(connection, performance.now() + timeout)
      connection.pragma('synchronous = NORMAL')
      connection.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`)
      connection.pragma('busy_timeout = 0')
      return connection
    } catch (error) {
      connection.close()
      throw error
    }
  }
  try {
    let connection: OwnConnection
    try {
      connection = connect()
    } catch (error) {
      // On a full disk there is no room for the log either.
      if (!/FULL|IOERR|CANTOPEN/.test(codeOf(error) ?? '') || !reserve?.give()) throw error
      connection = connect()
    }
    const limit = (limited: boolean) => {
      if (limited === isLimited) return
      connection.pragma(`max_page_count = ${limited ? 1 : MOST_PAGES}`)
      isLimited = limited
    }
    const look = isOnDisk(filename) ? watch(filename) : () => false
    return {
      connection,
      look(atOnce) {
        if (look(atOnce)) limit(!reserve!.keep())
      },
      giveReserve() {
        const hadRoom = reserve?.give() ?? false
        if (hadRoom) limit(true)
        return hadRoom
      },
    }
  } catch (error) {
    if (isNotBuilt(error)) {
      throw new SessionUsageError(
        `sqliteStore: better-sqlite3 is installed, and not built for this Node (${process.version}, NODE_MODULE_VERSION ${process.versions.modules}, ${process.platform}-${process.arch}). Run: npm rebuild better-sqlite3`,
        'ERR_SESSION_DRIVER_MISSING',
      )
    }
    throw new SessionStoreError(
      isLocked(error)
        ? `The session database '${filename}' stayed locked by another process for ${timeout} ms.`
        : `The session database '${filename}' cannot be opened: ${openingReason(filename, error)}${reasonIn(error)}.`,
      error,
    )
  }
}
