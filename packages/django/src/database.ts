// Django's db and cached_db engines: the django_session table, by any of the db engines.
import { after, SessionStoreError, type SessionStore, RETIRED } from '@coatcheck/core/store'
import { cacheKey, type DjangoCacheOptions, type RedisClient } from './cache.ts'
import { sealing, type DjangoEngine } from './site.ts'

/** The table that Django's migration makes. */
export const DJANGO_TABLE = 'django_session'

/**
 * Django's `backends.db`. Django's own `migrate` makes the table.
 * @param store A store of @coatcheck/db on that table: `sqliteStore('db.sqlite3', { table: DJANGO_TABLE })`.
 */
export function djangoDb(store: SessionStore): DjangoEngine {
  return (site) => ({ store: leaveNothing(store), codec: sealing(site, site.keySalt).codec })
}

/**
 * Django's `backends.cached_db`. It reads the database and writes it, and then removes the cache's copy, so that Django reads
 * the database too; so whichever way Django writes to its cache, this engine works.
 * @param store As for {@link djangoDb}.
 * @param redis An ioredis client of the cache's Redis.
 */
export function djangoCachedDb(
  store: SessionStore,
  redis: Pick<RedisClient, 'del'>,
  options: DjangoCacheOptions = {},
): DjangoEngine {
  const forget = async (key: string): Promise<void> => {
    try {
      await redis.del(cacheKey(options, 'cached_db', key))
    } catch (error) {
      throw new SessionStoreError(
        "The session is stored, but Django's cached copy could not be removed, so Django may still see the old one.",
        error,
      )
    }
  }
  const database = leaveNothing(store)
  const fresh: SessionStore = {
    ...database,
    traits: { ...database.traits, sync: false },
    async save(key, record, expected) {
      await database.save(key, record, expected)
      await forget(key)
      return key
    },
    async touch(key, expiresAt) {
      await database.touch(key, expiresAt)
      await forget(key)
      return key
    },
    async delete(key) {
      await database.delete(key)
      await forget(key)
    },
  }
  return (site) => ({ store: fresh, codec: sealing(site, site.keySalt).codec })
}

/**
 * A store that removes the record of a session which has moved to another key, instead of leaving word of that: Django could
 * not read it, and itself removes the record when it cycles a key.
 */
export function leaveNothing(store: SessionStore): SessionStore {
  return {
    ...store,
    save: (key, record, expected) =>
      record.data === RETIRED
        ? after(store.save(key, { ...record, expiresAt: 0 }, expected), () =>
            after(store.delete(key), () => key),
          )
        : store.save(key, record, expected),
  }
}
