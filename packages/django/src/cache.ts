// Django's cache engine on Redis, for a site whose cache writes JSON: a string a session, under Django's own keys.
import {
  assertOptions,
  inWords,
  isSessionKey,
  KeyExistsError,
  MAX_EXPIRES_AT,
  refuseOption,
  RETIRED,
  rules,
  SessionConflictError,
  SessionGoneError,
  SessionStoreError,
  SessionUsageError,
  type SessionStore,
} from '@coatcheck/core/store'
import { dataCodec, type DjangoEngine } from './site.ts'

/** As much of an ioredis `Redis` or `Cluster` as the engines use. */
export interface RedisClient {
  del(key: string): Promise<number>
  defineCommand(name: string, definition: { numberOfKeys: number; lua: string }): void
}

/** How the Django site's cache names its keys. */
export interface DjangoCacheOptions {
  /** `KEY_PREFIX` of the cache in `CACHES`. Default empty. */
  readonly keyPrefix?: string
  /** `VERSION` of the cache in `CACHES`. Default 1. */
  readonly version?: number
}

/** @throws SessionUsageError for what is no client of Redis, or an option that cannot work. */
export function assertCache(
  by: string,
  redis: Partial<RedisClient>,
  methods: readonly (keyof RedisClient)[],
  options: DjangoCacheOptions,
): void {
  if (methods.some((name) => typeof redis?.[name] !== 'function')) {
    refuseOption(`${by} needs a client of ioredis, and got ${inWords(redis)}`)
  }
  assertOptions(by, options, { keyPrefix: rules.text, version: rules.count })
}

/** The key of a session in Django's cache. */
export function cacheKey(
  { keyPrefix = '', version = 1 }: DjangoCacheOptions,
  engine: 'cache' | 'cached_db',
  key: string,
): string {
  return `${keyPrefix}:${version}:django.contrib.sessions.${engine}${key}`
}

/**
 * The scripts answer in words, which no option of a client turns into something else, as `stringNumbers` does numbers. Their names end in 2, as
 * an earlier version of this package on the same client answered in numbers.
 */

/** The value and how long it is still kept, in ms, in one call. */
const LOAD = `return { redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]) }`

const put = `
  if tonumber(ARGV[2]) > 0 then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  else redis.call('DEL', KEYS[1]) end
  return 'done'`

const CREATE = `if redis.call('EXISTS', KEYS[1]) == 1 then return 'exists' end${put}`

const SAVE = `
  local value = redis.call('GET', KEYS[1])
  if not value then return 'gone' end
  if ARGV[3] and value ~= ARGV[3] then return 'conflict' end${put}`

/**
 * How far apart two readings of when a session ends may be, in ms: Redis keeps what is left of its life, and the time that a
 * call is under way counts for that or not.
 */
const TOLERANCE = 1000

/** Compares what is left of the session's life with ARGV[2]; ARGV[3] is what is left of one that Redis keeps for ever. */
const TOUCH = `
  if ARGV[2] then
    local left = redis.call('PTTL', KEYS[1])
    if left == -2 then return 'gone' end
    if left == -1 then left = tonumber(ARGV[3]) end
    if math.abs(left - tonumber(ARGV[2])) > ${TOLERANCE} then return 'conflict' end
  end
  if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then return 'gone' end
  return 'done'`

interface Scripts extends RedisClient {
  coatcheckDjangoLoad2(key: string): Promise<[string | null, number | string]>
  coatcheckDjangoCreate2(key: string, value: string, ttl: number): Promise<unknown>
  coatcheckDjangoSave2(
    ...args: [key: string, value: string, ttl: number, expected?: string]
  ): Promise<unknown>
  coatcheckDjangoTouch2(
    ...args: [key: string, ttl: number, left?: number, leftOfAll?: number]
  ): Promise<unknown>
}

/**
 * Django's `backends.cache` on Redis, where the cache's serializer writes JSON (`OPTIONS: {'serializer': …}` with Django's
 * own RedisCache, `SERIALIZER` with django-redis). Django's default is pickle, which only Python reads: a pickled session is
 * a SessionStoreError that says so. Sessions end by Redis' clock, as they do for Django.
 * @param redis An ioredis client of the cache's Redis and its database number.
 */
export function djangoCache(redis: RedisClient, options: DjangoCacheOptions = {}): DjangoEngine {
  assertCache('djangoCache', redis, ['del', 'defineCommand'], options)
  const client = redis as Scripts
  for (const [name, lua] of [
    ['coatcheckDjangoLoad2', LOAD],
    ['coatcheckDjangoCreate2', CREATE],
    ['coatcheckDjangoSave2', SAVE],
    ['coatcheckDjangoTouch2', TOUCH],
  ] as const) {
    if (!(name in client)) redis.defineCommand(name, { numberOfKeys: 1, lua })
  }
  const at = (key: string) => cacheKey(options, 'cache', key)

  return ({ now }) => {
    const store: SessionStore = {
      traits: { removesRetired: true },

      async load(key) {
        if (!isSessionKey(key)) return undefined
        const [data, left] = await send('load', () => client.coatcheckDjangoLoad2(at(key)))
        const ttl = Number(left)
        if (data === null) return undefined
        assertJson(data)
        return { data, expiresAt: ttl < 0 ? MAX_EXPIRES_AT : now() + ttl }
      },

      async create(key, { data, expiresAt }) {
        if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
        const ttl = expiresAt - now()
        const created = await send('create', () =>
          client.coatcheckDjangoCreate2(at(key), data, ttl),
        )
        return done(created, key)
      },

      async save(key, { data, expiresAt }, expected) {
        if (!isSessionKey(key)) throw new SessionGoneError()
        // Django knows no retired keys: it removes a session that it gives another key.
        const ttl = data === RETIRED ? 0 : expiresAt - now()
        const args = expected === undefined ? [] : ([expected] as const)
        const saved = await send('save', () =>
          client.coatcheckDjangoSave2(at(key), data, ttl, ...args),
        )
        return done(saved, key)
      },

      async touch(key, expiresAt, from) {
        if (!isSessionKey(key)) throw new SessionGoneError()
        const time = now()
        const args = from === undefined ? [] : ([from - time, MAX_EXPIRES_AT - time] as const)
        const touched = await send('touch', () =>
          client.coatcheckDjangoTouch2(at(key), expiresAt - time, ...args),
        )
        return done(touched, key)
      },

      async delete(key) {
        if (isSessionKey(key)) await send('delete', () => client.del(at(key)))
      },
    }
    return { store, codec: dataCodec }
  }
}

/** Sends a command, and turns the driver's errors into the library's. */
async function send<T>(what: string, command: () => Promise<T>): Promise<T> {
  try {
    return await command()
  } catch (error) {
    throw new SessionStoreError(`Redis failed to ${what} a session of Django's.`, error)
  }
}

/** The key, if a script has done what it is for; what it found instead is thrown, and never taken for success. */
function done(answer: unknown, key: string): string {
  if (answer === 'done') return key
  if (answer === 'exists') throw new KeyExistsError()
  if (answer === 'gone') throw new SessionGoneError()
  if (answer === 'conflict') throw new SessionConflictError()
  throw new SessionStoreError(
    "Redis' answer cannot be understood. Does something transform the client's replies?",
  )
}

/** @throws SessionStoreError for a value that is not a JSON object. */
function assertJson(value: string): void {
  if (value.startsWith('{')) return
  throw new SessionStoreError(
    "The session in Django's cache is not JSON: Django pickles what it caches, and only Python reads that. Give the cache in CACHES a serializer that writes JSON, or use SESSION_ENGINE cached_db, which works with any.",
    undefined,
  )
}
