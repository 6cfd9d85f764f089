// What the three databases share: the table's name, and the words for what can go wrong.
import { createRequire } from 'node:module'
import { SessionError, SessionStoreError, SessionUsageError } from '@coatcheck/core/store'

/** The table's default name. */
export const DEFAULT_TABLE = 'coatcheck_session'

/** Rows that one batch of `clearExpired` removes: some 10 ms of locks on an ordinary disk. */
export const BATCH_SIZE = 1000

/** @throws SessionUsageError for a name that is not letters, digits and underscores. */
export function assertTableName(engine: string, table: string): void {
  if (/^[A-Za-z_]\w{0,47}$/.test(table)) return
  throw new SessionUsageError(
    `${engine}: the table name '${table}' must be letters, digits and underscores, 48 at the most.`,
    'ERR_SESSION_OPTIONS',
  )
}

/** @throws SessionUsageError for a batch size that is not a whole number from 1 on. */
export function assertBatchSize(batchSize: number): void {
  if (Number.isSafeInteger(batchSize) && batchSize > 0) return
  throw new SessionUsageError(
    `clearExpired: \`batchSize\` must be a whole number from 1 on, and is ${String(batchSize)}.`,
  )
}

/** Loads a driver, which is an optional peer dependency. @throws SessionUsageError if it is not installed. */
export function loadDriver(engine: string, driver: string): unknown {
  try {
    return createRequire(import.meta.url)(driver)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error
    const name = driver.split('/', 1)[0]!
    throw new SessionUsageError(
      `${engine} needs the package ${name}, which is not installed. Run: npm install ${name}`,
      'ERR_SESSION_DRIVER_MISSING',
    )
  }
}

/**
 * A backend's error as the library's.
 * @param missing Whether the backend says that the table does not exist.
 */
export function failed(
  what: { database: string; action: string; table: string },
  missing: boolean,
  cause: unknown,
): SessionError {
  if (cause instanceof SessionError) return cause
  const { database, action, table } = what
  return new SessionStoreError(
    missing
      ? `The session table '${table}' does not exist. Call store.migrate() once, at start-up or in a deploy step.`
      : `${database} failed to ${action} a session in '${table}'.`,
    cause,
  )
}
