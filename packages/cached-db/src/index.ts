// The write-through engine: reads from a cache, writes to a durable store and the cache. The durable store decides.
import { setTimeout } from 'node:timers/promises'
import {
  assertOptions,
  assertStore,
  createUnderWay,
  refuseOption,
  rules,
  systemClock,
  type SessionStore,
} from '@coatcheck/core/store'
import { createAsk } from './cache.ts'
import { createCopies } from './copies.ts'

/** Options of {@link cachedDbStore}. */
export interface CachedDbStoreOptions {
  /** Answers most loads: Redis, for several processes; lru for one alone. */
  readonly cache: SessionStore
  /** Keeps the sessions: a database, or files. */
  readonly db: SessionStore
  /**
   * How long a copy in the cache is believed after the database has confirmed it, in seconds. So long a process that can't reach
   * the cache waits before it acknowledges an end, and so long others may see what was before its changes. Default 5.
   */
  readonly freshFor?: number
  /** The clock, in ms since the Unix epoch; the same as the two stores'. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** What is under way when it is closed has ended after so long, in ms, beyond `freshFor`: the database's and the cache's own bounds. */
const MOST_WAIT = 10_000

/** No end may have to wait longer than this, in seconds, because the cache is away. */
const MOST_FRESH = 60

/**
 * Django's cached_db: any cache store in front of any durable one. Every change is made in `db`, whose compare-and-swap
 * decides, and then in the cache. A cache that is down or empty costs speed and never data; what has ended is acknowledged when
 * no process believes its copy any more: when the cache has removed it or, where it cannot be reached, after `freshFor`.
 *
 * With a cache in this process's memory (lru), other processes' changes and ends are seen up to `freshFor` late: use it for one
 * process alone.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for an option that cannot work.
 */
export function cachedDbStore(options: CachedDbStoreOptions): SessionStore {
  assertOptions('cachedDbStore', options, {
    cache: rules.anything,
    db: rules.anything,
    freshFor: rules.rule(
      `a number of seconds up to ${MOST_FRESH}`,
      (value) => rules.positive.holds(value) && value <= MOST_FRESH,
    ),
    now: rules.clock,
  })
  const { cache, db, freshFor = 5, now = systemClock } = options
  if (cache && cache === db) refuse('`cache` and `db` are one and the same store')
  for (const [name, store] of Object.entries({ cache, db })) {
    assertStore(`cachedDbStore: \`${name}\``, store)
    if (name === 'db' && store.traits?.evicts) {
      refuse('`db` may forget sessions: it must be a database or files, and `cache` the other one')
    }
    if (store.traits?.stateless) refuse(`\`${name}\` keeps nothing on the server`)
  }

  /** What the database has acknowledged, the cache is to hear of before it is closed. */
  const underWay = createUnderWay()
  const goesOn = underWay.track
  const copies = createCopies({
    cache,
    ask: createAsk(cache),
    db,
    // Stores take whole milliseconds.
    freshFor: Math.ceil(freshFor * 1000),
    now,
    wait: setTimeout,
    goesOn,
  })

  return {
    traits: {
      ...db.traits,
      sync: false,
      ...(cache.traits?.unshared && { unshared: true }),
    },
    load: (key, latest) => goesOn(copies.load(key, latest)),
    create: (key, record) => goesOn(copies.create(key, record)),
    save: (key, record, expected) => goesOn(copies.save(key, record, expected)),
    touch: (key, expiresAt, from) => goesOn(copies.touch(key, expiresAt, from)),
    delete: (key) => goesOn(copies.delete(key)),
    ...(db.clearExpired && { clearExpired: (sweep) => db.clearExpired!(sweep) }),
    ...(db.migrate && { migrate: () => db.migrate!() }),
    async close() {
      await underWay.idle(freshFor * 1000 + MOST_WAIT)
      // One that fails, at once or later, does not leave the other one open.
      const closed = await Promise.allSettled([cache, db].map(async (store) => store.close?.()))
      const failed = closed.find(({ status }) => status === 'rejected')
      if (failed) throw (failed as PromiseRejectedResult).reason
    },
  }
}

function refuse(what: string): never {
  refuseOption(`cachedDbStore: ${what}`)
}
