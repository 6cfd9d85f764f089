// The write-through engine: reads from a cache, writes to a durable store and the cache. The durable store decides.
import {
  isSessionKey,
  SessionConflictError,
  SessionGoneError,
  type SessionRecord,
  type SessionStore,
  type StoreTraits,
} from '@coatcheck/core/store'

/** Options of {@link cachedDbStore}. */
export interface CachedDbStoreOptions {
  /** Answers most loads: Redis, for several processes; lru for one alone. */
  readonly cache: SessionStore
  /** Keeps the sessions: a database, or files. */
  readonly db: SessionStore
  /** The clock, in ms since the Unix epoch; the same as the two stores'. Default `Date.now`. */
  readonly now?: () => number
}

/**
 * What stands in the cache for a key whose session has just changed or ended: not to be believed, and not to be filled in,
 * since a request that read the database before the change may still be about to put there what it read.
 */
const UNCERTAIN = '{"_session_uncertain":true}'

/** How long that stands, in ms. */
const UNCERTAIN_FOR = 10_000

/** A request that took longer than this, in ms, to read the database does not put the result into the cache. */
const FILL_WITHIN = UNCERTAIN_FOR / 2

/** A cache that failed is left alone for this long, in ms, so that its time-outs do not slow every request. */
const REST = 1000

/**
 * Django's cached_db: any cache store in front of any durable one. Every change is made in `db` first, whose
 * compare-and-swap decides; then the cache follows, by compare-and-swap too. A cache that is down or empty costs speed and
 * never data. A change that the cache could not be told of is told as soon as it is back, and until then this process does
 * not believe the cache for that key.
 *
 * With a cache in this process's memory (lru), other processes' changes are seen late: use it for one process alone.
 */
export function cachedDbStore({ cache, db, now = Date.now }: CachedDbStoreOptions): SessionStore {
  /** Keys whose change the cache has not heard of. */
  const untold = new Set<string>()
  let restsUntil = 0
  let retrying: NodeJS.Timeout | undefined

  /** Asks the cache; undefined if it is down. What the contract throws is thrown. */
  async function ask<T>(question: () => T | Promise<T>): Promise<{ answer: T } | undefined> {
    if (performance.now() < restsUntil) return undefined
    try {
      return { answer: await question() }
    } catch (error) {
      const { code } = error as { code?: string }
      if (code === 'ERR_SESSION_GONE' || code === 'ERR_SESSION_CONFLICT') throw error
      if (code === 'ERR_SESSION_KEY_EXISTS' || code === 'ERR_SESSION_TOO_LARGE') throw error
      restsUntil = performance.now() + REST
      return undefined
    }
  }

  /** Takes away what the cache holds, for long enough that nothing older can be put there. */
  async function distrust(key: string): Promise<void> {
    untold.add(key)
    const uncertain = { data: UNCERTAIN, expiresAt: now() + UNCERTAIN_FOR }
    const { save, create } = cache
    const replace = async () => {
      await cache.delete(key)
      return create.call(cache, key, uncertain)
    }
    for (const attempt of [save, create, replace, save, create, replace]) {
      try {
        const told = await ask(() => attempt.call(cache, key, uncertain))
        if (told) untold.delete(key)
        else retryLater()
        return
      } catch {
        // Not there for a save, or there for a create: another request got in between, or it is a retired key.
      }
    }
    retryLater()
  }

  /** What a request knew that the database has refused was out of date, and may have come from the cache. */
  async function distrustIfRefused(key: string, error: unknown): Promise<void> {
    const refused = error instanceof SessionConflictError || error instanceof SessionGoneError
    if (refused && isSessionKey(key)) await distrust(key)
  }

  function retryLater(): void {
    retrying ??= setTimeout(async () => {
      retrying = undefined
      for (const key of untold) {
        await distrust(key)
        if (untold.has(key)) return retryLater()
      }
    }, REST).unref()
  }

  /**
   * Brings the cache from `expected` to `record`, if it holds that; otherwise it is not believed for a while. Nor is it if the
   * record ends so soon that another request could then put there what it read before.
   */
  async function follow(key: string, record: SessionRecord, expected?: string): Promise<void> {
    const lasts = record.expiresAt > now() + UNCERTAIN_FOR
    if (expected !== undefined && lasts && !untold.has(key)) {
      try {
        if (await ask(() => cache.save(key, record, expected))) return
      } catch {
        // It holds something else, or nothing.
      }
    }
    await distrust(key)
  }

  /** Calls under way: what the database has acknowledged, the cache is to hear of before it is closed. */
  const underWay = new Set<Promise<unknown>>()
  function tracked<A extends unknown[], R>(method: (...args: A) => Promise<R>) {
    return (...args: A): Promise<R> => {
      const call = method(...args)
      const done = () => underWay.delete(call)
      underWay.add(call)
      call.then(done, done)
      return call
    }
  }

  const traits: StoreTraits = {
    ...db.traits,
    sync: false,
    ...(cache.traits?.ephemeral && { unshared: true }),
  }

  return {
    traits,

    load: tracked(async (key: string) => {
      if (!isSessionKey(key)) return undefined
      if (untold.has(key)) await distrust(key)
      const believed = untold.has(key) ? undefined : await ask(() => cache.load(key))
      if (believed?.answer && believed.answer.data !== UNCERTAIN) return believed.answer
      const start = performance.now()
      const record = await db.load(key)
      if (record && believed && !believed.answer && performance.now() - start < FILL_WITHIN) {
        try {
          await ask(() => cache.create(key, record))
        } catch {
          // Another request was first, or it does not fit: the database has it.
        }
      }
      return record
    }),

    create: tracked(async (key: string, record: SessionRecord) => {
      const created = await db.create(key, record)
      try {
        await ask(() => cache.create(key, record))
      } catch {
        await distrust(key)
      }
      return created
    }),

    save: tracked(async (key: string, record: SessionRecord, expected?: string) => {
      // A record that ends now is a delete.
      if (record.expiresAt <= now() && isSessionKey(key)) await distrust(key)
      try {
        await db.save(key, record, expected)
      } catch (error) {
        await distrustIfRefused(key, error)
        throw error
      }
      await follow(key, record, expected)
      return key
    }),

    touch: tracked(async (key: string, expiresAt: number, from?: number) => {
      try {
        await db.touch(key, expiresAt, from)
      } catch (error) {
        await distrustIfRefused(key, error)
        throw error
      }
      const found = untold.has(key) ? undefined : await ask(() => cache.load(key))
      if (!found) await distrust(key)
      else if (found.answer && found.answer.data !== UNCERTAIN) {
        const { data } = found.answer
        await follow(key, { data, expiresAt }, data)
      }
      return key
    }),

    delete: tracked(async (key: string) => {
      if (!isSessionKey(key)) return
      // Before it too: if this process dies in between, the cache must not go on showing what the database has deleted.
      await distrust(key)
      await db.delete(key)
      await distrust(key)
    }),

    ...(db.clearExpired && { clearExpired: (options) => db.clearExpired!(options) }),

    async close() {
      await Promise.allSettled(underWay)
      clearTimeout(retrying)
      await Promise.all([cache.close?.(), db.close?.()])
    },
  }
}
