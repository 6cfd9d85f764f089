// Django's db and cached_db engines: the django_session table, by any of the db engines.
import type { RedisClient } from '@coatcheck/cache/redis-connection'
import {
  after,
  assertStore,
  isSessionKey,
  RETIRED,
  SessionConflictError,
  SessionGoneError,
  SessionStoreError,
  type Awaitable,
  type SessionStore,
} from '@coatcheck/core/store'
import { assertCache, cacheKey, createForget, type DjangoCacheOptions } from './cache.ts'
import { sealing, type DjangoEngine } from './site.ts'

/** The table that Django's migration makes. */
export const DJANGO_TABLE = 'django_session'

/**
 * Django's `backends.db`. Django's own `migrate` makes the table.
 * @param store A store of @coatcheck/db on that table: `sqliteStore('db.sqlite3', { table: DJANGO_TABLE })`.
 */
export function djangoDb(store: SessionStore): DjangoEngine {
  assertStore('djangoDb: `store`', store)
  return (site) => ({ store: leaveNothing(store), codec: sealing(site, site.keySalt).codec })
}

/**
 * Django's `backends.cached_db`. It reads the database and writes it, and then removes the cache's copy, so that Django reads
 * the database too; so whichever way Django writes to its cache, this engine works.
 * @param store As for {@link djangoDb}.
 * @param redis A client of the cache's Redis, of any library that `redisStore` takes; a call waits for it for 5 seconds at the most.
 */
export function djangoCachedDb(
  store: SessionStore,
  redis: RedisClient,
  options: DjangoCacheOptions = {},
): DjangoEngine {
  assertStore('djangoCachedDb: `store`', store)
  assertCache('djangoCachedDb', redis, options)
  const remove = createForget(redis)
  const forget = async (key: string): Promise<void> => {
    try {
      await remove(cacheKey(options, 'cached_db', key))
    } catch (error) {
      throw new SessionStoreError(
        "The session is stored, but Django's cached copy could not be removed, so Django may still see the old one.",
        error,
      )
    }
  }
  /** Changes the database, and then removes the copy. */
  const change = async <T>(key: string, call: () => Awaitable<T>): Promise<T> => {
    let result
    try {
      result = await call()
    } catch (error) {
      // The last try may have changed the database, and the copy is still there.
      const refused = error instanceof SessionGoneError || error instanceof SessionConflictError
      if (refused && isSessionKey(key)) await forget(key)
      throw error
    }
    await forget(key)
    return result
  }
  const database = leaveNothing(store)
  const fresh: SessionStore = {
    ...database,
    traits: { ...database.traits, sync: false },
    load: async (key, latest) => database.load(key, latest),
    save: (key, record, expected) => change(key, () => database.save(key, record, expected)),
    touch: (key, expiresAt, from) => change(key, () => database.touch(key, expiresAt, from)),
    delete: (key) => change(key, () => database.delete(key)),
  }
  return (site) => ({ store: fresh, codec: sealing(site, site.keySalt).codec })
}

/**
 * A store that ends the session of a key which it is to retire: Django could not read what a retired key holds, and itself
 * removes a session that it gives another key. So empty text in Django's table is corrupt data, and no session.
 */
export function leaveNothing(store: SessionStore): SessionStore {
  return {
    ...store,
    traits: { ...store.traits, removesRetired: true },
    load: (key, latest) =>
      after(store.load(key, latest), (record) => (record?.data === RETIRED ? undefined : record)),
    save: (key, record, expected) =>
      store.save(key, record.data === RETIRED ? { ...record, expiresAt: 0 } : record, expected),
  }
}
