// The in-memory engine: one process's sessions, bounded by number and by bytes, the least recently used one goes first.
import { Buffer } from 'node:buffer'
import { setImmediate } from 'node:timers/promises'
import {
  assertOptions,
  isSessionKey,
  KeyExistsError,
  loadDriver,
  RETIRED,
  SessionConflictError,
  SessionGoneError,
  SessionTooLargeError,
  SessionUsageError,
  rules,
  systemClock,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'

/** Options of {@link lruStore}. */
export interface LruStoreOptions {
  /** How many sessions are kept at the most. Default 100,000. */
  readonly max?: number
  /** How many bytes of data are kept at the most, in UTF-8. Default 100 MiB. */
  readonly maxBytes?: number
  /** lru-cache's `LRUCache`, where the engine cannot load it by itself: in a bundle, or on workerd. */
  readonly LRUCache?: LruCacheConstructor
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** As much of an lru-cache `LRUCache` as the engine uses. */
export interface LruCache {
  get(key: string): SessionRecord | undefined
  set(key: string, record: SessionRecord): unknown
  delete(key: string): boolean
  keys(): Iterable<string>
  peek(key: string): SessionRecord | undefined
}

/** lru-cache's class, as far as the engine uses it. */
export type LruCacheConstructor = new (options: {
  max: number
  maxSize: number
  sizeCalculation: (record: SessionRecord) => number
}) => LruCache

/** Records that one batch of `clearExpired` looks at: well under a millisecond. */
const BATCH_SIZE = 1000

/**
 * Keeps sessions in this process's memory, by lru-cache. They are gone when it ends, and other processes do not see them;
 * when it is full, the session that was not used for longest is forgotten.
 * @throws SessionUsageError if lru-cache is not installed, or for a bad option.
 */
export function lruStore(options: LruStoreOptions = {}): SessionStore {
  assertOptions('lruStore', options, {
    max: rules.count,
    maxBytes: rules.count,
    LRUCache: rules.rule('the class LRUCache of lru-cache', rules.callable.holds),
    now: rules.clock,
  })
  const { max = 100_000, maxBytes = 104_857_600, now = systemClock } = options
  const LRUCache = options.LRUCache ?? loadLruCache()
  const cache = new LRUCache({
    max,
    maxSize: maxBytes,
    // lru-cache wants a size of at least 1, and an empty record takes memory too.
    sizeCalculation: ({ data }) => Buffer.byteLength(data) + 1,
  })

  const open = (key: string, time: number): SessionRecord => {
    // A write makes it the last one used.
    const record = cache.peek(key)
    const isOpen = record && record.expiresAt > time && record.data !== RETIRED
    if (!isOpen) throw new SessionGoneError()
    return record
  }
  const put = (key: string, data: string, expiresAt: number): string => {
    // lru-cache forgets the old value and keeps no new one that is larger than everything: that would be a loss.
    if (data.length * 3 >= maxBytes && Buffer.byteLength(data) >= maxBytes) {
      const advice = 'Keep less in the session, or raise maxBytes.'
      throw new SessionTooLargeError(
        "The session's data",
        Buffer.byteLength(data),
        maxBytes - 1,
        advice,
      )
    }
    cache.set(key, { data, expiresAt })
    return key
  }

  return {
    traits: { sync: true, evicts: true, ephemeral: true, unshared: true },

    load(key) {
      const record = cache.get(key)
      if (!record || record.expiresAt <= now()) return undefined
      // A copy: what the caller does to it is nothing of the store's.
      const { data, expiresAt } = record
      return { data, expiresAt }
    },

    create(key, { data, expiresAt }) {
      if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
      if ((cache.peek(key)?.expiresAt ?? 0) > now()) throw new KeyExistsError()
      return put(key, data, expiresAt)
    },

    save(key, { data, expiresAt }, expected) {
      const time = now()
      const stored = open(key, time)
      if (expected !== undefined && stored.data !== expected) throw new SessionConflictError()
      if (expiresAt > time) return put(key, data, expiresAt)
      cache.delete(key)
      return key
    },

    touch(key, expiresAt, from) {
      const stored = open(key, now())
      if (from !== undefined && stored.expiresAt !== from) throw new SessionConflictError()
      return put(key, stored.data, expiresAt)
    },

    delete: (key) => void cache.delete(key),

    async clearExpired({ batchSize = BATCH_SIZE, signal } = {}) {
      const time = now()
      let removed = 0
      let looked = 0
      for (const key of Array.from(cache.keys())) {
        if (looked % batchSize === 0) {
          if (looked > 0) await setImmediate()
          if (signal?.aborted) return removed
        }
        looked++
        const record = cache.peek(key)
        if (record && record.expiresAt <= time && cache.delete(key)) removed++
      }
      return removed
    },
  }
}

function loadLruCache(): LruCacheConstructor {
  const loaded = loadDriver({
    by: 'lruStore',
    driver: 'lru-cache',
    from: import.meta.url,
    pass: 'lruStore({ LRUCache })',
  })
  return (loaded as { LRUCache: LruCacheConstructor }).LRUCache
}
