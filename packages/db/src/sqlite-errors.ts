// What SQLite's errors say: that somebody has what is needed, or what is wrong with the file.
import { SessionStoreError } from '@coatcheck/core/store'
import { errorsIn } from './causes.ts'

/** SQLite's result codes by their numbers, as node:sqlite has them. */
const CODES: Record<number, string> = {
  1: 'ERROR',
  5: 'BUSY',
  6: 'LOCKED',
  8: 'READONLY',
  10: 'IOERR',
  11: 'CORRUPT',
  13: 'FULL',
  14: 'CANTOPEN',
  26: 'NOTADB',
}

/** What the codes mean for the file. */
const REASONS: Record<string, string> = {
  CANTOPEN: 'its files cannot be opened, or no more files can',
  CORRUPT: 'the file is damaged',
  FULL: 'the disk is full',
  IOERR: 'the disk failed, or is full',
  NOTADB: 'the file is no SQLite database',
  READONLY: 'the database is read-only for this process',
}

/** The result code of an error, without what extends it; undefined if it is no error of SQLite's. */
export function codeOf(error: unknown): string | undefined {
  for (const { code, errcode } of errorsIn(error)) {
    if (typeof errcode === 'number') return CODES[errcode & 0xff]
    const [, name] = /^SQLITE_([A-Z]+)/.exec(String(code)) ?? []
    if (name) return name
  }
  return undefined
}

/** What an error means; undefined if SQLite's words say it. */
export const meaningOf = (error: unknown): string | undefined => REASONS[codeOf(error) ?? '']

const BUSY = 'This database connection is busy executing a query'

/** Whether somebody else has what a statement needs; on the application's connection also a query of its own whose rows are read. */
export function isLocked(error: unknown): boolean {
  const code = codeOf(error)
  if (code === 'BUSY' || code === 'LOCKED') return true
  const { name, message } = Object(error) as Error
  // Knex puts parameters before it.
  return name === 'TypeError' && String(message).endsWith(BUSY)
}

export function isNotBuilt(error: unknown): boolean {
  const { code, message } = error as NodeJS.ErrnoException
  return code === 'ERR_DLOPEN_FAILED' || /locate the bindings file/.test(message)
}

export function stayedLocked(table: string, ms: number, cause?: unknown): SessionStoreError {
  return new SessionStoreError(
    `The database of '${table}' stayed locked by another program for ${ms} ms.`,
    cause,
  )
}

export function stayedInTransaction(ms: number): SessionStoreError {
  return new SessionStoreError(
    `The application's transaction on this connection stayed open for ${ms} ms, so the session was not stored in it. Give sqliteStore a connection of its own.`,
  )
}
