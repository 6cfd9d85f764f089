// A store of one's own, written from CONTRIBUTING.md: a table in Node's built-in SQLite.
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import {
  isSessionKey,
  KeyExistsError,
  RETIRED,
  SessionConflictError,
  SessionGoneError,
  SessionStoreError,
  SessionUsageError,
  systemClock,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'

/** A live record that is not a retired key's; and what a save may expect of it. */
const OPEN = "key = ? AND ends > ? AND data <> ''"
const SAME_DATA = 'data = coalesce(?, data)'

/** Keeps sessions in the table `session` of a file, which is made where it is missing. */
export function builtinStore(filename: string, { now = systemClock } = {}): SessionStore {
  const database = new DatabaseSync(filename, { timeout: 5000 })
  database.exec(`
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS session (key TEXT PRIMARY KEY, data TEXT NOT NULL, ends INTEGER NOT NULL);
    CREATE INDEX IF NOT EXISTS session_ends ON session (ends);`)

  /** The backend's errors become a SessionStoreError, and never an empty answer. */
  function run(sql: string, ...values: SQLInputValue[]): number {
    try {
      return Number(database.prepare(sql).run(...values).changes)
    } catch (error) {
      throw new SessionStoreError('The session file failed.', error)
    }
  }
  function load(key: string): SessionRecord | undefined {
    if (!isSessionKey(key)) return undefined
    try {
      const select = database.prepare('SELECT data, ends AS expiresAt FROM session WHERE key = ?')
      const record = select.get(key) as SessionRecord | undefined
      return record && record.expiresAt > now() ? { ...record } : undefined
    } catch (error) {
      throw new SessionStoreError('The session file failed.', error)
    }
  }

  /** Why a statement has changed nothing. */
  function refusal(key: string): Error {
    const record = load(key)
    return record && record.data !== RETIRED ? new SessionConflictError() : new SessionGoneError()
  }

  return {
    traits: { sync: true },
    load,
    create(key, { data, expiresAt }) {
      if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
      const created = run(
        `INSERT INTO session (key, data, ends) VALUES (?, ?, ?)
         ON CONFLICT (key) DO UPDATE SET data = excluded.data, ends = excluded.ends WHERE ends <= ?`,
        key,
        data,
        expiresAt,
        now(),
      )
      if (!created) throw new KeyExistsError()
      return key
    },
    save(key, { data, expiresAt }, expected) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const time = now()
      const condition = [key, time, expected ?? null]
      // One statement compares and replaces, or removes: nobody can get in between.
      const saved =
        expiresAt > time
          ? run(
              `UPDATE session SET data = ?, ends = ? WHERE ${OPEN} AND ${SAME_DATA}`,
              data,
              expiresAt,
              ...condition,
            )
          : run(`DELETE FROM session WHERE ${OPEN} AND ${SAME_DATA}`, ...condition)
      if (saved) return key
      throw refusal(key)
    },
    touch(key, expiresAt, from) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const touched = run(
        `UPDATE session SET ends = ? WHERE ${OPEN} AND ends = coalesce(?, ends)`,
        expiresAt,
        key,
        now(),
        from ?? null,
      )
      if (touched) return key
      throw refusal(key)
    },
    delete(key) {
      if (isSessionKey(key)) run('DELETE FROM session WHERE key = ?', key)
    },
    async clearExpired({ batchSize = 1000, signal } = {}) {
      const time = now()
      for (let removed = 0; ;) {
        if (signal?.aborted) return removed
        const batch = run(
          'DELETE FROM session WHERE key IN (SELECT key FROM session WHERE ends <= ? LIMIT ?)',
          time,
          batchSize,
        )
        removed += batch
        if (batch < batchSize) return removed
        await new Promise(setImmediate)
      }
    },
    close() {
      if (database.isOpen) database.close()
    },
  }
}
