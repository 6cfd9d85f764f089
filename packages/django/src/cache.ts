// Django's cache engine on Redis, for a site whose cache writes JSON: a string a session, under Django's own keys.
import {
  assertRedisClient,
  connectionOf,
  type RedisClient,
} from '@coatcheck/cache/redis-connection'
import { defineScripts, READ } from '@coatcheck/cache/redis-scripts'
import {
  assertOptions,
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
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { dataCodec, type DjangoEngine } from './site.ts'

/** How the Django site's cache names its keys. */
export interface DjangoCacheOptions {
  /** `KEY_PREFIX` of the cache in `CACHES`. Default empty. */
  readonly keyPrefix?: string
  /** `VERSION` of the cache in `CACHES`. Default 1. */
  readonly version?: number
  /**
   * `KEY_FUNCTION` of the cache in `CACHES`: the key in Redis of a key of the cache. Default Django's own: `keyPrefix:version:key`.
   * @see https://docs.djangoproject.com/en/stable/topics/cache/#cache-key-transformation
   */
  readonly keyFunction?: (key: string, keyPrefix: string, version: number) => string
  /**
   * `cache_key_prefix` of a site's own `SessionStore`. Default Django's own: `django.contrib.sessions.cache`, or `….cached_db`.
   * @see https://docs.djangoproject.com/en/stable/topics/http/sessions/#extending-database-backed-session-engines
   */
  readonly cacheKeyPrefix?: string
}

/** Django's engines that keep sessions in a cache. */
type CacheEngine = 'cache' | 'cached_db'

/** @throws SessionUsageError for what is no client of Redis, or an option that cannot work. */
export function assertCache(by: string, redis: RedisClient, options: DjangoCacheOptions): void {
  assertRedisClient(by, redis)
  assertOptions(by, options, {
    keyPrefix: rules.text,
    version: rules.count,
    keyFunction: rules.callable,
    cacheKeyPrefix: rules.text,
  })
  const [one, other] = ['a', 'b'].map((key): unknown => cacheKey(options, 'cache', key))
  if (typeof one === 'string' && one !== other) return
  refuseOption(
    `${by}: \`keyFunction\` must return a text that is another for each key, as KEY_FUNCTION in CACHES does`,
  )
}

/** The key of a session in Django's cache. */
export function cacheKey(options: DjangoCacheOptions, engine: CacheEngine, key: string): string {
  const { keyPrefix = '', version = 1, keyFunction = defaultKey } = options
  const { cacheKeyPrefix = `django.contrib.sessions.${engine}` } = options
  return keyFunction(cacheKeyPrefix + key, keyPrefix, version)
}

/** `django.core.cache.backends.base.default_key_func`. */
function defaultKey(key: string, keyPrefix: string, version: number): string {
  return `${keyPrefix}:${version}:${key}`
}

const PUT = `
  if tonumber(ARGV[2]) > 0 then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  else redis.call('DEL', KEYS[1]) end
  return 'done'`

/** Removes what is there, if anything. */
const DELETE = `
  redis.call('DEL', KEYS[1])
  return 'done'`

/**
 * How far apart two readings of when a session ends may be, in ms: Redis keeps what is left of its life, and the time that a
 * call is under way counts for that or not.
 */
const TOLERANCE = 1000

/** They answer in words, which no option of a client turns into something else, as `stringNumbers` does numbers. */
const SCRIPTS = {
  /** How long the value is still kept, in ms, a colon, and the value: no JSON, which a client may make something else of. */
  Load: `${READ}
  if not value then return tell('none') end
  return tell(string.format('%.0f:', redis.call('PTTL', KEYS[1])) .. value)`,

  Create: `${READ}
  if value then return tell('exists') end${PUT}`,

  Save: `${READ}
  if not value then return tell('gone') end
  if ARGV[3] and value ~= ARGV[3] then return tell('conflict') end${PUT}`,

  /** Compares what is left of the session's life with ARGV[2]; ARGV[3] is what is left of one that Redis keeps for ever. */
  Touch: `${READ}
  if not value then return tell('gone') end
  if ARGV[2] then
    local left = redis.call('PTTL', KEYS[1])
    if left == -1 then left = tonumber(ARGV[3]) end
    if math.abs(left - tonumber(ARGV[2])) > ${TOLERANCE} then return tell('conflict') end
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  return 'done'`,

  Delete: DELETE,
}

/**
 * Django's `backends.cache` on Redis, where the cache's serializer writes JSON (`OPTIONS: {'serializer': …}` with Django's
 * own RedisCache, `SERIALIZER` with django-redis). Django's default is pickle, which only Python reads: a pickled session is
 * a SessionStoreError that says so. Sessions end by Redis' clock, as they do for Django.
 * A call has its answer within 5 seconds, or is a SessionStoreError; the client connects anew as it does for `redisStore`.
 * @param redis A client of the cache's Redis and its database number, of any library that `redisStore` takes.
 */
export function djangoCache(redis: RedisClient, options: DjangoCacheOptions = {}): DjangoEngine {
  assertCache('djangoCache', redis, options)
  const scripts = defineScripts(redis, SCRIPTS)
  const { send } = connectionOf(redis)
  const at = (key: string) => cacheKey(options, 'cache', key)

  return ({ now }) => {
    const store: SessionStore = {
      traits: { removesRetired: true },

      async load(key) {
        if (!isSessionKey(key)) return undefined
        return send(
          'load',
          () => scripts.Load(at(key)),
          (answer) => toRecord(answer, now()),
        )
      },

      async create(key, { data, expiresAt }) {
        if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
        const ttl = expiresAt - now()
        return send(
          'create',
          () => scripts.Create(at(key), data, ttl),
          (answer) => done(answer, key),
        )
      },

      async save(key, { data, expiresAt }, expected) {
        if (!isSessionKey(key)) throw new SessionGoneError()
        // Django knows no retired keys: it removes a session that it gives another key.
        const ttl = data === RETIRED ? 0 : expiresAt - now()
        const args = expected === undefined ? [] : ([expected] as const)
        return send(
          'save',
          () => scripts.Save(at(key), data, ttl, ...args),
          (answer) => done(answer, key),
        )
      },

      async touch(key, expiresAt, from) {
        if (!isSessionKey(key)) throw new SessionGoneError()
        const time = now()
        const args = from === undefined ? [] : ([from - time, MAX_EXPIRES_AT - time] as const)
        return send(
          'touch',
          () => scripts.Touch(at(key), expiresAt - time, ...args),
          (answer) => done(answer, key),
        )
      },

      async delete(key) {
        if (!isSessionKey(key)) return
        await send(
          'delete',
          () => scripts.Delete(at(key)),
          (answer) => done(answer, key),
        )
      },
    }
    return { store, codec: dataCodec }
  }
}

/** Has the client remove a key of Django's cache, as {@link djangoCache} calls Redis. */
export function createForget(redis: RedisClient): (name: string) => Promise<unknown> {
  const scripts = defineScripts(redis, { Delete: DELETE })
  const { send } = connectionOf(redis)
  return (name) =>
    send(
      'delete',
      () => scripts.Delete(name),
      (answer) => done(answer, name),
    )
}

/** The record that an answer is at this time; undefined if there is none. */
function toRecord(answer: unknown, time: number): SessionRecord | undefined {
  if (answer === 'none') return undefined
  const [head, left] = (typeof answer === 'string' && /^(-?\d+):/.exec(answer)) || []
  if (head === undefined) throw notUnderstood()
  const data = (answer as string).slice(head.length)
  // Django retires no key: what is empty is corrupt, and no session.
  if (data === RETIRED) return undefined
  assertText(data)
  const ttl = Number(left)
  return { data, expiresAt: ttl < 0 ? MAX_EXPIRES_AT : time + ttl }
}

/** The key, if a script has done what it is for; what it found instead is thrown, and never taken for success. */
function done(answer: unknown, key: string): string {
  if (answer === 'done') return key
  if (answer === 'exists') throw new KeyExistsError()
  if (answer === 'gone') throw new SessionGoneError()
  if (answer === 'conflict') throw new SessionConflictError()
  throw notUnderstood()
}

function notUnderstood(): SessionStoreError {
  return new SessionStoreError(
    "Redis' answer cannot be understood. Does something transform the client's replies?",
  )
}

/** What a client makes of the bytes that a pickle or compressed data begins with; no JSON holds such a character unescaped. */
const BINARY = /^.{0,3}(?!\s)[\p{Cc}\uFFFD]/su

/** What is text and no session is for the codec to refuse. @throws SessionStoreError for what Django did not write as text. */
function assertText(value: string): void {
  if (value.startsWith('{') || !BINARY.test(value)) return
  throw new SessionStoreError(
    "The session in Django's cache is not JSON: Django pickles what it caches, and only Python reads that. Give the cache in CACHES a serializer that writes JSON, and no compressor, or use SESSION_ENGINE cached_db, which works with any.",
    undefined,
  )
}
