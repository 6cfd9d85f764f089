// The Redis engine: one string a session, by ioredis. Single-key commands only, one round trip a call.
import { setTimeout } from 'node:timers'
import {
  assertOptions,
  inWords,
  isSessionKey,
  KeyExistsError,
  loadDriver,
  refuseOption,
  rules,
  SessionConflictError,
  SessionGoneError,
  SessionStoreError,
  SessionUsageError,
  systemClock,
  type SessionStore,
} from '@coatcheck/core/store'

/** As much of an ioredis `Redis` or `Cluster` as the engine uses. */
export interface RedisClient {
  get(key: string): Promise<string | null>
  del(key: string): Promise<number>
  defineCommand(name: string, definition: { numberOfKeys: number; lua: string }): void
}

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
 * A request waits this long for Redis, in ms, and then hears of the failure. A client that is not connected would keep the
 * command in its queue for as long as the server is away.
 */
const TIMEOUT = 5000

/** How often it is looked for calls that have waited too long, in ms. */
const TIMER = 250

/**
 * A record is `<expiresAt>:<data>`, of a retired key nothing after the colon. `value` is what is there, `colon` where the data
 * begins; `missing` unless it is live now (ARGV[3], ms). A record whose time to live (ARGV[2], ms) is over is removed.
 */
const FIND = `
  local value = redis.call('GET', KEYS[1])
  local colon = value and string.find(value, ':', 1, true)
  local missing = not value or tonumber(string.sub(value, 1, colon - 1)) <= tonumber(ARGV[3])`
const put = (record: string) => `
  if tonumber(ARGV[2]) > 0 then redis.call('SET', KEYS[1], ${record}, 'PX', ARGV[2])
  else redis.call('DEL', KEYS[1]) end
  return 1`

const CREATE = `${FIND}
  if not missing then return 0 end${put('ARGV[1]')}`

/** What a save and a touch find nothing of: a record that is missing, or of a retired key. */
const OPEN = `${FIND}
  if missing or #value == colon then return 0 end`

/** The data is compared where it stands, without a copy of it. */
const SAVE = `${OPEN}
  local expected = ARGV[4]
  if expected then
    if #value ~= colon + #expected then return -1 end
    if string.find(value, expected, colon + 1, true) ~= colon + 1 then return -1 end
  end${put('ARGV[1]')}`

const TOUCH = `${OPEN}
  if ARGV[4] and string.sub(value, 1, colon - 1) ~= ARGV[4] then return -1 end${put('ARGV[1] .. string.sub(value, colon)')}`

/** The scripts as methods of the client: ioredis sends their hash, and the text only where the server lacks it. */
interface Scripts extends RedisClient {
  coatcheckCreate(key: string, value: string, ttl: number, now: number): Promise<number>
  coatcheckSave(
    ...args: [key: string, value: string, ttl: number, now: number, expected?: string]
  ): Promise<number>
  coatcheckTouch(
    ...args: [key: string, expiresAt: number, ttl: number, now: number, from?: number]
  ): Promise<number>
}

/**
 * Keeps sessions in Redis 5 or newer, by ioredis; Cluster and Sentinel too, as every call uses a single key.
 *
 * @param redis A URL (`redis://…`, `rediss://…`), or an ioredis client of your own (`Redis` or `Cluster`), whose options
 * hold and which `close()` leaves open. Give it `maxRetriesPerRequest: 0` as the engine's own has it, and a Cluster
 * `enableOfflineQueue: false`: a save that is sent twice, because the connection broke before its answer came, would take
 * its own first try for a conflict; and what waits in a queue for a server that is away is sent when nobody waits any more.
 * @throws SessionUsageError if a URL is given and ioredis is not installed.
 */
export function redisStore(
  redis: string | RedisClient,
  options: RedisStoreOptions = {},
): SessionStore {
  assertRedis(redis)
  assertOptions('redisStore', options, { prefix: rules.text, now: rules.clock })
  const { prefix = 'session:', now = systemClock } = options
  const own = typeof redis === 'string' ? connect(redis) : undefined
  const client = (own ?? redis) as Scripts
  for (const [name, lua] of [
    ['coatcheckCreate', CREATE],
    ['coatcheckSave', SAVE],
    ['coatcheckTouch', TOUCH],
  ] as const) {
    if (!(name in client)) (client as RedisClient).defineCommand(name, { numberOfKeys: 1, lua })
  }
  const send = createSender()
  return {
    load(key) {
      if (!isSessionKey(key)) return Promise.resolve(undefined)
      return send(
        'load',
        () => client.get(prefix + key),
        (value) => {
          if (value === null) return undefined
          const colon = value.indexOf(':')
          const expiresAt = Number(value.slice(0, colon))
          return expiresAt > now() ? { data: value.slice(colon + 1), expiresAt } : undefined
        },
      )
    },

    create(key, { data, expiresAt }) {
      if (!isSessionKey(key)) {
        return Promise.reject(new SessionUsageError('create() was given a malformed key.'))
      }
      const time = now()
      const ttl = timeToLive(expiresAt, time)
      return send(
        'create',
        () => client.coatcheckCreate(prefix + key, `${expiresAt}:${data}`, ttl, time),
        (created) => {
          if (!created) throw new KeyExistsError()
          return key
        },
      )
    },

    save(key, { data, expiresAt }, expected) {
      if (!isSessionKey(key)) return Promise.reject(new SessionGoneError())
      const time = now()
      const ttl = timeToLive(expiresAt, time)
      const value = `${expiresAt}:${data}`
      return send(
        'save',
        () =>
          expected === undefined
            ? client.coatcheckSave(prefix + key, value, ttl, time)
            : client.coatcheckSave(prefix + key, value, ttl, time, expected),
        (saved) => changed(saved, key),
      )
    },

    touch(key, expiresAt, from) {
      if (!isSessionKey(key)) return Promise.reject(new SessionGoneError())
      const time = now()
      const ttl = timeToLive(expiresAt, time)
      return send(
        'touch',
        () =>
          from === undefined
            ? client.coatcheckTouch(prefix + key, expiresAt, ttl, time)
            : client.coatcheckTouch(prefix + key, expiresAt, ttl, time, from),
        (touched) => changed(touched, key),
      )
    },

    delete(key) {
      if (!isSessionKey(key)) return Promise.resolve()
      return send(
        'delete',
        () => client.del(prefix + key),
        () => {},
      )
    },

    async close() {
      try {
        // Waits for the answers that are still to come.
        await own?.quit()
      } catch {
        own?.disconnect()
      }
    },
  }
}

/** @throws SessionUsageError for what is neither a URL of Redis' nor a client of ioredis. */
function assertRedis(redis: string | RedisClient): void {
  const methods = ['get', 'del', 'defineCommand'] as const
  const isRedis =
    typeof redis === 'string'
      ? /^(rediss?:\/\/|\/)/i.test(redis)
      : methods.every((name) => typeof redis?.[name] === 'function')
  if (isRedis) return
  refuseOption(
    `redisStore needs a URL such as redis://localhost:6379, or a client of ioredis, and got ${inWords(redis)}`,
  )
}

/** What the engine uses of the client it made itself. */
interface OwnClient extends RedisClient {
  on(event: 'error', listener: () => void): unknown
  quit(): Promise<unknown>
  disconnect(): void
}

type Driver = new (url: string, options: object) => OwnClient

function connect(url: string): OwnClient {
  const { Redis } = loadDriver({
    by: 'redisStore',
    driver: 'ioredis',
    from: import.meta.url,
    pass: 'redisStore(new Redis(url))',
  }) as { Redis: Driver }
  const client = new Redis(url, {
    // What is under way when the connection breaks fails at once and is never sent twice; what comes meanwhile waits for
    // one reconnection.
    maxRetriesPerRequest: 0,
    retryStrategy: (attempt: number) => Math.min(attempt * 50, 1000),
  })
  // Every failing call rejects, and is heard of there; without a listener ioredis would print each retry.
  client.on('error', () => {})
  return client
}

/** The key, if a script has changed its record; what it found instead is thrown. */
function changed(result: number, key: string): string {
  if (result === 0) throw new SessionGoneError()
  if (result === -1) throw new SessionConflictError()
  return key
}

/** How long Redis keeps a record that ends at `expiresAt`, in ms; 0 if it has ended. */
function timeToLive(expiresAt: number, time: number): number {
  return expiresAt > time ? expiresAt - time + MARGIN : 0
}

/** Sends a command, turns the driver's errors into the library's, and makes of the answer what `read` returns or throws. */
type Send = <T, R>(what: string, command: () => Promise<T>, read: (answer: T) => R) => Promise<R>

/** A call that waits for Redis: since which tick, and how it fails. */
interface Call {
  readonly since: number
  fail(error: unknown): void
}

/**
 * All calls may take equally long, so the one that waits longest is the first: one timer serves them all. It also is the
 * clock, as asking the time for each call would cost more than the rest of this.
 */
function createSender(): Send {
  const calls = new Set<Call>()
  let timer: NodeJS.Timeout | undefined
  let tick = 0

  function failLate(): void {
    tick++
    for (const call of calls) {
      if (tick - call.since <= TIMEOUT / TIMER) break
      call.fail(new Error(`No answer within ${TIMEOUT} ms`))
    }
    timer = calls.size > 0 ? setTimeout(failLate, TIMER).unref() : undefined
  }

  return (what, command, read) =>
    new Promise((resolve, reject) => {
      const call: Call = {
        since: tick,
        fail(cause) {
          calls.delete(call)
          reject(new SessionStoreError(`Redis failed to ${what} a session.`, cause))
        },
      }
      calls.add(call)
      timer ??= setTimeout(failLate, TIMER).unref()
      try {
        command().then((answer) => {
          if (!calls.delete(call)) return
          try {
            resolve(read(answer))
          } catch (error) {
            reject(error as Error)
          }
        }, call.fail)
      } catch (error) {
        call.fail(error)
      }
    })
}
