// The contract between the manager and an engine, and the entry for store authors. A store moves opaque records and knows
// nothing of sessions.
import type { Awaitable } from './awaitable.ts'

export { after, attempt, type Awaitable } from './awaitable.ts'
export { systemClock } from './clock.ts'
export {
  isRefusal,
  KeyExistsError,
  SessionConflictError,
  SessionError,
  SessionGoneError,
  SessionStoreError,
  SessionTooLargeError,
  SessionUsageError,
  StoreClosedError,
} from './errors.ts'
export { loadDriver, type DriverRequest } from './driver.ts'
export { warnDeveloper } from './events.ts'
export { createKey, isSessionKey } from './key.ts'
export { createLock, type Lock } from './lock.ts'
export { createWaitingLines, LOCKED, type WaitingLines } from './waiting-line.ts'

export {
  assertOptions,
  assertStore,
  probablyMeant,
  refuseOption,
  type OptionRules,
} from './options.ts'
export { reasonIn, reasonOf } from './reason.ts'
export * as rules from './rules.ts'
export { addressInWords, inWords, type OptionRule } from './rules.ts'
export { createUnderWay, type UnderWay } from './under-way.ts'
export { isCutShort, readUrl, refuseUrl, wrongText } from './url.ts'

/** What a store keeps for one key. */
export interface SessionRecord {
  /**
   * The session's data, encoded: well-formed text without NUL, as JSON is. A store never looks inside, and gives it
   * back byte for byte. Empty text ({@link RETIRED}) is no session's data: the key is retired.
   */
  readonly data: string
  /**
   * When the session ends: a whole number of milliseconds since the Unix epoch, from 0 to {@link MAX_EXPIRES_AT}.
   * The record is dead from that millisecond on.
   */
  readonly expiresAt: number
}

/**
 * The data of a retired key: one that another key has replaced. Its record stays for a minute and opens nothing; it tells a
 * request that was sent with the old key from one with a key that nobody ever had.
 */
export const RETIRED = ''

/** The last millisecond of the year 9999: as far ahead as every database's dates reach. */
export const MAX_EXPIRES_AT = 253_402_300_799_999

/** What a store is, where it matters to the manager or the conformance suite. Unset means: it does not apply. */
export interface StoreTraits {
  /**
   * `load` answers without a promise, so the manager asks it on first use instead of before the handler. The other methods answer in whichever way:
   * a store that finds itself locked by another process does not make the thread wait (`createWaitingLines` is for that). A wrapper that answers
   * later must not copy it from the store it wraps: that is refused at the first `load`.
   */
  readonly sync?: boolean
  /** Keeps nothing on the server: the key *is* the record, signed. It cannot conflict, and cannot be revoked. */
  readonly stateless?: boolean
  /** May forget a live record, to make room for another. */
  readonly evicts?: boolean
  /** Forgets everything when its process ends. */
  readonly ephemeral?: boolean
  /** Keeps copies in its process's memory, so that what another process changes or deletes is seen late or not at all. */
  readonly unshared?: boolean
  /**
   * Durable, and in the hands of one process at a time, as an embedded database that locks its files: while a store has it open, another
   * process is refused by a SessionStoreError, when it opens the store or at its first call.
   */
  readonly exclusive?: boolean
  /** Compares and swaps within its own process alone: between processes the last save wins. */
  readonly nonAtomic?: boolean
  /** Keeps no retired keys: retiring one removes its record, so that a late request with it is taken for a stranger's. */
  readonly removesRetired?: boolean
  /** Keeps expiry in whole seconds, so that a record may end up to a second early or late. */
  readonly wholeSeconds?: boolean
}

/**
 * An engine: a place that keeps records by key.
 *
 * The smallest complete store, in memory:
 * ```ts
 * import {
 *   isSessionKey,
 *   KeyExistsError,
 *   RETIRED,
 *   SessionConflictError,
 *   SessionGoneError,
 *   SessionUsageError,
 *   systemClock,
 *   type SessionRecord,
 *   type SessionStore,
 * } from '@coatcheck/core/store'
 *
 * export function mapStore({ now = systemClock } = {}): SessionStore {
 *   const records = new Map<string, SessionRecord>()
 *   // Records go in and out as copies: nobody who holds one can change what is kept.
 *   const load = (key: string) => {
 *     const record = records.get(key)
 *     return record && record.expiresAt > now() ? { ...record } : undefined
 *   }
 *   const put = (key: string, { data, expiresAt }: SessionRecord) => {
 *     records.set(key, { data, expiresAt })
 *     return key
 *   }
 *   const found = (key: string) => {
 *     const record = load(key)
 *     if (!record || record.data === RETIRED) throw new SessionGoneError()
 *     return record
 *   }
 *   return {
 *     traits: { sync: true, ephemeral: true, unshared: true },
 *     load,
 *     create(key, record) {
 *       if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
 *       if (load(key)) throw new KeyExistsError()
 *       return put(key, record)
 *     },
 *     save(key, record, expected) {
 *       const { data } = found(key)
 *       if (expected !== undefined && data !== expected) throw new SessionConflictError()
 *       return put(key, record)
 *     },
 *     touch(key, expiresAt, from) {
 *       const { data, expiresAt: ends } = found(key)
 *       if (from !== undefined && ends !== from) throw new SessionConflictError()
 *       return put(key, { data, expiresAt })
 *     },
 *     delete: (key) => void records.delete(key),
 *     async clearExpired({ batchSize = 1000, signal } = {}) {
 *       let looked = 0
 *       let removed = 0
 *       for (const key of records.keys()) {
 *         if (signal?.aborted) break
 *         if (!load(key) && records.delete(key)) removed++
 *         // Others have their turn after each batch.
 *         if (++looked % batchSize === 0) await new Promise((resolve) => setTimeout(resolve))
 *       }
 *       return removed
 *     },
 *   }
 * }
 * ```
 *
 * Rules for every method: a retired key (a live record whose data is empty) can be loaded and deleted, and nothing else:
 * no call brings it back to life. A malformed key (see `isSessionKey`) behaves as one that is not there. A backend that
 * fails is a SessionStoreError with the backend's own error as its `cause`, and never an empty answer. Time is the
 * application's clock, taken once a call; a `now: () => number` option, by default {@link systemClock}, makes expiry testable without waiting.
 */
export interface SessionStore {
  readonly traits?: StoreTraits

  /**
   * The live record under `key`, a retired key's too; undefined if there is none, it has expired, or the key is malformed.
   *
   * `latest` is for a store that answers from copies: it then asks the place that decides and, where the
   * record has ended or its key is retired, answers only when no copy of it is believed any more. Every other store's answers
   * are of that kind anyway.
   */
  load(key: string, latest?: boolean): Awaitable<SessionRecord | undefined>

  /**
   * Stores a new record and resolves to the key to hand to the client (the same one, unless the store is stateless).
   * Throws KeyExistsError if a live record has the key, retired or not; an expired one is replaced. Two creates of one key at the
   * same time: exactly one succeeds. Throws SessionUsageError if the key is malformed.
   */
  create(key: string, record: SessionRecord): Awaitable<string>

  /**
   * Replaces a live record, data and expiry, and resolves to the key to hand to the client. With `expected`, only
   * while its data is still exactly that, compared and replaced in one atomic step: throws SessionConflictError
   * otherwise. Throws SessionGoneError if there is no live record or the key is retired, whatever is expected; never
   * creates one.
   *
   * Two saves are special in what they store: empty data retires the key, and an `expiresAt` that is not after now ends
   * the session, so the store may remove it in the same step.
   */
  save(key: string, record: SessionRecord, expected?: string): Awaitable<string>

  /**
   * Moves the expiry of a live record, earlier or later, and leaves its data alone, whatever another writer does to
   * it at the same time. Resolves to the key to hand to the client. With `from`, only while the record still ends then,
   * as `load` told it, compared and moved in one atomic step: throws SessionConflictError otherwise. Throws
   * SessionGoneError if there is no live record or the key is retired; never creates one.
   */
  touch(key: string, expiresAt: number, from?: number): Awaitable<string>

  /** Removes the record, a retired key's too. No error where there is none, or the key is malformed. */
  delete(key: string): Awaitable<void>

  /**
   * Removes expired records, and no live one, in batches of `batchSize` with room for other writers in between;
   * resolves to how many it removed. An aborted `signal` ends it after the batch under way. A store whose backend
   * expires by itself leaves this out.
   */
  clearExpired?(options?: ClearExpiredOptions): Awaitable<number>

  /**
   * Makes what the store needs where it is missing, as a table; to be called once at the start, or in a deploy step. A store that needs
   * nothing made leaves it out, so an application that may be given any calls `await store.migrate?.()`.
   */
  migrate?(): Awaitable<void>

  /** Lets go of what the store itself opened; a connection it was given stays open. Safe to call twice. */
  close?(): Awaitable<void>
}

/** How {@link SessionStore.clearExpired} goes about it. */
export interface ClearExpiredOptions {
  /** How many records one batch removes at the most: more is faster, fewer lets others in sooner. */
  readonly batchSize?: number
  /** Ends the sweep after the batch under way. */
  readonly signal?: AbortSignal
}
