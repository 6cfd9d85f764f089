// Any store of express-session as a store of ours: its sessions, as they are, under our manager and our suite.
import { performance } from 'node:perf_hooks'
import { clearTimeout, setTimeout } from 'node:timers'
import {
  assertOptions,
  createLock,
  inWords,
  isSessionKey,
  KeyExistsError,
  RETIRED,
  rules,
  SessionConflictError,
  SessionGoneError,
  refuseOption,
  SessionStoreError,
  SessionUsageError,
  systemClock,
  type SessionRecord,
  type SessionStore,
  type StoreTraits,
} from '@coatcheck/core/store'
import { BROWSER_LENGTH_TTL, endOf, storedEnd, type StoredSession } from './session-data.ts'
import { StoreCookie } from './store-cookie.ts'

/** As much of an express-session store as is used. */
export interface ExpressStore {
  get(sid: string, callback: (error: unknown, session?: any) => void): unknown
  set(sid: string, session: any, callback: (error?: unknown) => void): unknown
  destroy(sid: string, callback: (error?: unknown) => void): unknown
}

/** Options of {@link fromExpressStore}. */
export interface FromExpressStoreOptions {
  /** What the store cannot promise besides `nonAtomic`: `ephemeral`, for one. */
  readonly traits?: Omit<StoreTraits, 'sync'>
  /** How long a session lives whose cookie ends with the browser, in seconds. Default 86,400: a day. */
  readonly ttl?: number
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** A call has failed that has no answer by then, in ms: its wait for others of its key counted, and all that it asks of the store. */
const TIMEOUT = 5000

const deadline = () => performance.now() + TIMEOUT

/** Where data stands that is no JSON object, or not written as JSON.stringify would. */
const TEXT = '_coatcheck'

/** What session-file-store adds to every session. */
const LAST_ACCESS = '__lastAccess'

/**
 * Keeps sessions in a store of express-session, in its own format: sessions that express-session has written are read, and
 * those that are written here it can read.
 *
 * Its interface can neither compare and swap nor create without overwriting. Within one process that is made up for by a
 * lock; between processes the last save wins, which the trait `nonAtomic` says. A session's expiry stands in its cookie,
 * to the millisecond; the store's own only reclaims room.
 */
export function fromExpressStore(
  store: ExpressStore,
  options: FromExpressStoreOptions = {},
): SessionStore {
  assertExpressStore(store)
  assertOptions('fromExpressStore', options, {
    traits: rules.dictionary,
    ttl: rules.seconds,
    now: rules.clock,
  })
  const { traits, ttl = BROWSER_LENGTH_TTL, now = systemClock } = options
  const lock = createLock()

  async function find(
    key: string,
    until: number,
  ): Promise<{ session: StoredSession; record: SessionRecord } | undefined> {
    const session = await call<StoredSession | null | undefined>(
      'load',
      until,
      (done) => store.get(key, done),
      true,
    )
    if (!session) return undefined
    if (typeof session !== 'object' || Array.isArray(session)) {
      throw new SessionStoreError('The express-session store gave what is no object for a session.')
    }
    const expiresAt = endOf(session, ttl, now())
    if (expiresAt <= now()) return undefined
    return { session, record: { data: toText(session), expiresAt } }
  }

  /** What a save or touch builds on. */
  async function open(key: string, until: number) {
    const found = await find(key, until)
    if (!found || found.record.data === RETIRED) throw new SessionGoneError()
    return found
  }

  async function put(
    what: string,
    until: number,
    key: string,
    { data, expiresAt }: SessionRecord,
    before?: StoredSession,
  ) {
    const maxAge = expiresAt - now()
    // To most of these stores a session that has ended is no session.
    if (maxAge <= 0) await call(what, until, (done) => store.destroy(key, done))
    else {
      const cookie = new StoreCookie(before?.cookie, expiresAt, maxAge)
      await call(what, until, (done) => store.set(key, { ...toFields(data), cookie }, done))
    }
    return key
  }

  return {
    traits: { nonAtomic: true, ...traits },

    async load(key) {
      return isSessionKey(key) ? (await find(key, deadline()))?.record : undefined
    },

    async create(key, record) {
      if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
      const until = deadline()
      return lock(key, async () => {
        if (await find(key, until)) throw new KeyExistsError()
        return put('create', until, key, record)
      })
    },

    async save(key, record, expected) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const until = deadline()
      return lock(key, async () => {
        const { session, record: stored } = await open(key, until)
        if (expected !== undefined && stored.data !== expected) throw new SessionConflictError()
        return put('save', until, key, record, session)
      })
    },

    async touch(key, expiresAt, from) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const until = deadline()
      return lock(key, async () => {
        const { session, record } = await open(key, until)
        // One that ends with the browser ends later with each look at it.
        const end = storedEnd(session)
        if (from !== undefined && end !== undefined && end !== from)
          throw new SessionConflictError()
        return put('touch', until, key, { data: record.data, expiresAt }, session)
      })
    },

    async delete(key) {
      if (!isSessionKey(key)) return
      const until = deadline()
      await lock(key, () => call('delete', until, (done) => store.destroy(key, done)))
    },
  }
}

/** The fields of a session as data. */
function toText({
  cookie: _cookie,
  [LAST_ACCESS]: _access,
  [TEXT]: text,
  ...fields
}: StoredSession): string {
  return typeof text === 'string' ? text : JSON.stringify(fields)
}

/** Data as the fields of a session: those of a JSON object, or the text as it is where it would come back changed. */
function toFields(data: string): object {
  try {
    const fields: unknown = JSON.parse(data)
    if (typeof fields === 'object' && fields !== null && !Array.isArray(fields)) {
      const taken = ['cookie', TEXT, LAST_ACCESS].some((name) => Object.hasOwn(fields, name))
      if (!taken && JSON.stringify(fields) === data) return fields
    }
  } catch {
    // No JSON.
  }
  return { [TEXT]: data }
}

/** Calls a method that calls back, unless it is too late for that. A file that is not there is how some stores say that there is no session. */
function call<T>(
  what: string,
  until: number,
  method: (done: (error?: unknown, result?: T) => void) => unknown,
  missingIsEmpty = false,
): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) => {
      clearTimeout(timer)
      if (missingIsEmpty && (cause as { code?: string } | null)?.code === 'ENOENT')
        resolve(undefined)
      else
        reject(
          new SessionStoreError(`The express-session store failed to ${what} a session.`, cause),
        )
    }
    const left = until - performance.now()
    const late = new Error(`It did not call back within ${TIMEOUT} ms`)
    const timer = setTimeout(fail, left, late)
    // Nobody waits for it any more.
    if (left <= 0) return fail(late)
    try {
      const returned = method((error, result) => {
        if (error) return fail(error)
        clearTimeout(timer)
        resolve(result)
      })
      // Some are asynchronous functions, whose own failures would go unheard.
      if (returned instanceof Promise) returned.catch(fail)
    } catch (error) {
      fail(error)
    }
  })
}

/** @throws SessionUsageError for what has not the three methods that are called. */
function assertExpressStore(store: ExpressStore): void {
  const names = ['get', 'set', 'destroy'] as const
  const missing = names.filter((name) => typeof store?.[name] !== 'function')
  if (missing.length === names.length) {
    refuseOption(`fromExpressStore needs a store of express-session's, and got ${inWords(store)}`)
  }
  if (missing.length > 0) {
    refuseOption(`fromExpressStore: the store has no method ${missing.join(', ')}`)
  }
}
