// The Redis engine: one string a session, by any client. Single-key scripts only, one round trip a call.
import {
  assertOptions,
  inWords,
  isSessionKey,
  KeyExistsError,
  loadDriver,
  readUrl,
  refuseOption,
  rules,
  SessionConflictError,
  SessionGoneError,
  SessionStoreError,
  SessionUsageError,
  systemClock,
  wrongText,
  type OptionRule,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import type { IoredisClient } from './redis-clients/ioredis.ts'
import { TIMEOUT } from './redis-clients/link.ts'
import { CLIENTS } from './redis-clients/pick.ts'
import { assertRedisClient, connectionOf, type RedisClient } from './redis-connection.ts'
import { isRefusedSelect } from './redis-failure.ts'
import { defineScripts, loadBy, SCRIPTS } from './redis-scripts.ts'

export type { RedisClient } from './redis-connection.ts'

/** Options of {@link redisStore}. */
export interface RedisStoreOptions {
  /** Stands before every key, after the client's own `keyPrefix`. Default `session:`. */
  readonly prefix?: string
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/**
 * How much longer than the session Redis keeps its record, in ms. The session ends by the application's clock; Redis' own
 * only reclaims memory, so it may be off by this much.
 */
const MARGIN = 60_000

/**
 * Keeps sessions in Redis 5 or newer, by any client; Cluster and Sentinel too, as every call uses a single key.
 *
 * The connection is made anew when its server is not the master any more, or has not answered for 5 seconds: of a client of your own,
 * too, where its library lets the engine do so.
 *
 * @param redis A URL (`redis://…`, `rediss://…`, with no parameters but `db` and `family`), for which ioredis is loaded; or a client of your own, which `close()`
 * leaves open: of ioredis, iovalkey, redis (node-redis) 5 or newer, @valkey/valkey-glide, Bun or @upstash/redis. What a client sends again after
 * its request was told of the failure may be done when nobody waits any more: give one of ioredis `maxRetriesPerRequest: 0` as the engine's own has it, its Cluster
 * `retryDelayOnFailover: 0`, and one of Upstash `retry: { retries: 0 }`.
 * @throws SessionUsageError for a URL that is not understood, if one is given and ioredis is not installed, for what is no client of these, or a client that is for replicas.
 */
export function redisStore(
  redis: string | undefined | RedisClient,
  options: RedisStoreOptions = {},
): SessionStore {
  assertRedis(redis)
  assertOptions('redisStore', options, { prefix: rules.text, now: rules.clock })
  const { prefix = 'session:', now = systemClock } = options
  const own = typeof redis === 'string' ? connect(redis) : undefined
  /** Why the server has refused the database, on this connection. ioredis goes on in the first one, which is another's. */
  let noDatabase: unknown
  own?.on('connect', () => (noDatabase = undefined))
  own?.on('error', (error: unknown) => {
    if (isRefusedSelect(error)) noDatabase = error
  })
  const client = own ?? (redis as RedisClient)
  const scripts = defineScripts(client, SCRIPTS)
  const getValue = loadBy(client, scripts.Load)
  const connection = connectionOf(client)
  let isClosed = false

  function call<R>(
    what: string,
    command: () => Promise<unknown>,
    read: (answer: unknown) => R,
  ): Promise<R> {
    if (!isClosed)
      return connection.send(
        what,
        () => (noDatabase ? Promise.reject(noDatabase) : command()),
        read,
      )
    return Promise.reject(
      new SessionStoreError(`It is too late to ${what} a session: close() was called.`),
    )
  }

  return {
    load(key) {
      if (!isSessionKey(key)) return Promise.resolve(undefined)
      return call(
        'load',
        () => getValue(prefix + key),
        (answer) => {
          const record = toRecord(answer)
          return record && record.expiresAt > now() ? record : undefined
        },
      )
    },

    create(key, { data, expiresAt }) {
      if (!isSessionKey(key)) {
        return Promise.reject(new SessionUsageError('create() was given a malformed key.'))
      }
      const time = now()
      const ttl = timeToLive(expiresAt, time)
      return call(
        'create',
        () => scripts.Create(prefix + key, `${expiresAt}:${data}`, ttl, time),
        (answer) => done(answer, key),
      )
    },

    save(key, { data, expiresAt }, expected) {
      if (!isSessionKey(key)) return Promise.reject(new SessionGoneError())
      const time = now()
      const ttl = timeToLive(expiresAt, time)
      const value = `${expiresAt}:${data}`
      return call(
        'save',
        () =>
          expected === undefined
            ? scripts.Save(prefix + key, value, ttl, time)
            : scripts.Save(prefix + key, value, ttl, time, expected),
        (answer) => done(answer, key),
      )
    },

    touch(key, expiresAt, from) {
      if (!isSessionKey(key)) return Promise.reject(new SessionGoneError())
      const time = now()
      const ttl = timeToLive(expiresAt, time)
      return call(
        'touch',
        () =>
          from === undefined
            ? scripts.Touch(prefix + key, expiresAt, ttl, time)
            : scripts.Touch(prefix + key, expiresAt, ttl, time, from),
        (answer) => done(answer, key),
      )
    },

    delete(key) {
      if (!isSessionKey(key)) return Promise.resolve()
      return call(
        'delete',
        () => scripts.Delete(prefix + key),
        (answer) => void done(answer, key),
      )
    },

    async close() {
      isClosed = own !== undefined
      await connection.settled()
      own?.disconnect()
    },
  }
}

/** @throws SessionUsageError for what is neither a URL of Redis' nor a client. */
function assertRedis(
  redis: string | undefined | RedisClient,
): asserts redis is string | RedisClient {
  const needs = `a URL such as redis://localhost:6379, or ${CLIENTS}`
  if (typeof redis !== 'string') assertRedisClient('redisStore', redis, needs)
  else if (!/^(rediss?:\/)?\//i.test(redis))
    refuseOption(`redisStore needs ${needs}, and got ${wrongText(redis, 'redis://')}`)
}

/** What a URL's parameters may be. ioredis would put any other one, as text, over the options that it is given. */
const PARAMETERS: Readonly<Record<string, OptionRule>> = {
  db: rules.rule('a whole number from 0 on', (value) => /^\d{1,9}$/.test(value)),
  family: rules.rule('0, 4 or 6', (value) => /^[046]$/.test(value)),
}

/**
 * Takes the parameters off a URL, or off the path of a socket.
 * @throws SessionUsageError for a URL that cannot be read, and for a parameter that is not understood.
 */
function parseUrl(text: string): { address: string; parameters: Record<string, number> } {
  if (!/^\/(?!\/)/.test(text)) assertUrl(text)
  const [address = '', query] = text.split(/\?(.*)/s)
  const parameters: Record<string, number> = {}
  for (const [name, value] of new URLSearchParams(query?.replace(/#.*/s, ''))) {
    // A query with an @ in it may be the rest of a password that is not escaped.
    assertParameter(name, value, !query!.includes('@'))
    parameters[name] = Number(value)
  }
  // Of REDISS:// ioredis would make a connection in the clear.
  return { address: address.replace(/^rediss?:/i, (scheme) => scheme.toLowerCase()), parameters }
}

function assertUrl(text: string): void {
  const { pathname } = readUrl('redisStore', text.startsWith('//') ? `redis:${text}` : text)
  if (/^\/?\d*$/.test(pathname)) return
  refuseOption("redisStore: the URL's path must be the number of a database, or be left out")
}

function assertParameter(name: string, value: string, isShown: boolean): void {
  const rule = Object.hasOwn(PARAMETERS, name) ? PARAMETERS[name] : undefined
  if (rule?.holds(value)) return
  if (rule) refuseOption(`redisStore: the URL's parameter \`${name}\` must be ${rule.be}`)
  const which = isShown && /^[a-z]{1,30}$/i.test(name) ? ` \`${name}\`` : ''
  refuseOption(
    `redisStore: a URL has no parameter${which} but db and family. Pass a client of your own: redisStore(new Redis(url, { … }))`,
  )
}

type Driver = new (url: string, options: object) => IoredisClient

function connect(url: string): IoredisClient {
  const { address, parameters } = parseUrl(url)
  const { Redis } = loadDriver({
    by: 'redisStore',
    driver: 'ioredis',
    from: import.meta.url,
    pass: 'redisStore(new Redis(url))',
  }) as { Redis: Driver }
  const client = new Redis(address, {
    ...parameters,
    // What is under way when the connection breaks fails at once and is never sent twice.
    maxRetriesPerRequest: 0,
    retryStrategy: (attempt: number) => Math.min(attempt * 50, 1000),
    // A server that is away answers nobody, also not a goodbye; one that is loading is asked often when it is done.
    connectTimeout: TIMEOUT,
    disconnectTimeout: 100,
    maxLoadingRetryTime: 500,
  })
  // Every failing call rejects, and is heard of there; without a listener ioredis would print each retry.
  client.on('error', () => {})
  return client
}

/** The record that an answer is; undefined if there is none. */
function toRecord(answer: unknown): SessionRecord | undefined {
  if (answer === 'none') return undefined
  const [head, expiresAt] = (typeof answer === 'string' && /^(\d+):/.exec(answer)) || []
  if (head === undefined) throw notUnderstood(answer)
  return { data: (answer as string).slice(head.length), expiresAt: Number(expiresAt) }
}

/** The key, if a script has done what it is for; what it found instead is thrown. */
function done(answer: unknown, key: string): string {
  if (answer === 'done') return key
  if (answer === 'gone') throw new SessionGoneError()
  if (answer === 'conflict') throw new SessionConflictError()
  if (answer === 'exists') throw new KeyExistsError()
  throw notUnderstood(answer)
}

/** Never taken for success, nor for a session that is not there. */
function notUnderstood(answer: unknown): SessionStoreError {
  if (answer === 'QUEUED')
    return new SessionStoreError(
      "The client has a transaction of the application's open (MULTI), in which Redis keeps the call, and does it at its EXEC. Give the store a client of its own.",
    )
  return new SessionStoreError(
    typeof answer === 'string'
      ? "Redis keeps something under the session's key that is no session. Is the prefix another application's too?"
      : `Redis' answer cannot be understood: it is ${inWords(answer)}. Does something transform the client's replies?`,
  )
}

/** How long Redis keeps a record that ends at `expiresAt`, in ms; 0 if it has ended. */
function timeToLive(expiresAt: number, time: number): number {
  return expiresAt > time ? expiresAt - time + MARGIN : 0
}
