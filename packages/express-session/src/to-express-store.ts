// Any of our stores under express-session or @fastify/session: one line changed, and no update is lost any more.
import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { createRequire } from 'node:module'
import { setImmediate } from 'node:timers'
import {
  jsonCodec,
  last,
  type Dictionary,
  type Fields,
  type MergeRules,
  type SessionData,
} from '@coatcheck/core'
import {
  mergeFields,
  reportClash,
  sessionStrategies,
  type Clash,
  type Strategies,
} from '@coatcheck/core/adapter'
import {
  after,
  attempt,
  createLock,
  isRefusal,
  isSessionKey,
  KeyExistsError,
  RETIRED,
  SessionConflictError,
  SessionGoneError,
  SessionStoreError,
  SessionUsageError,
  systemClock,
  type Awaitable,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import {
  assertTtl,
  BROWSER_LENGTH_TTL,
  endOf,
  storedEnd,
  type StoredSession,
} from './session-data.ts'

/** Options of {@link toExpressStore}. */
export interface ToExpressStoreOptions<D extends object = SessionData> {
  /**
   * How fields are merged that two requests have changed, as the option `merge` of `createSessions`: `{ views: 'sum' }`. Default:
   * lists and objects by what was changed in them; `user`, `auth` and `passport` as one value.
   */
  readonly merge?: MergeRules<Fields<D>>
  /** How long a session lives whose cookie ends with the browser, in seconds. Default 86,400: a day. */
  readonly ttl?: number
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** What a session object of express-session's stands on. */
interface Base {
  /** The object as it was when it was loaded or last saved: what tells the request's own changes. Its cookie's end is the record's. */
  readonly was: string
  /** What the store had then: the same, with what others had changed. */
  readonly stored: SessionRecord
  /** A save whose answer was lost: it is looked for before anything is saved again. */
  readonly doubt?: { readonly mine: string; readonly saved: SessionRecord }
}

type Callback<T = void> = (error?: unknown, result?: T) => void

/** What express-session calls of its own base class. */
interface ExpressBase {
  createSession(request: any, session: any): any
  regenerate(request: any, callback: (error?: any) => any): void
  load(sid: string, callback: (error: any, session?: any) => any): void
}

/** express-session's own base class; where only @fastify/session is installed, an EventEmitter is all that is asked for. */
function baseClass(): new () => EventEmitter & ExpressBase {
  try {
    return (
      createRequire(import.meta.url)('express-session') as { Store: ReturnType<typeof baseClass> }
    ).Store
  } catch {
    return EventEmitter as unknown as ReturnType<typeof baseClass>
  }
}

/**
 * A store for express-session's `store` option, and for @fastify/session's.
 *
 * Under express-session a save brings only what the request has changed onto the newest data, so that two requests that push to
 * one list at once both keep their elements; and a session that ended meanwhile is not brought back. (The interface has no way to
 * say so; such a save is no error.) @fastify/session does not tell which session a save belongs to: there the last save wins.
 *
 * It has `get`, `set`, `touch` and `destroy`. The stores have no list of their sessions, so `all`, `length` and `clear` are
 * left out.
 */
export function toExpressStore<D extends object = SessionData>(
  store: SessionStore,
  { ttl = BROWSER_LENGTH_TTL, now = systemClock, merge: rules }: ToExpressStoreOptions<D> = {},
) {
  assertTtl(ttl, 'toExpressStore')
  const strategies = strategiesOf(rules)
  const bases = new WeakMap<object, Base>()
  /** The writes of one session object follow one another. */
  const lines = new WeakMap<object, Promise<void>>()
  const inLine = (session: object, write: () => Awaitable<void>): Awaitable<void> => {
    const before = lines.get(session)
    const written = before ? before.then(write, write) : write()
    if (written instanceof Promise) lines.set(session, written)
    return written
  }
  const lock = createLock()
  const record = (session: StoredSession, data: string) => ({
    data,
    expiresAt: endOf(session, ttl, now()),
  })

  /** A session's record; a retired key is no session's. */
  const loadOpen = (key: string, latest = false) =>
    after(store.load(key, latest), (found) => (found?.data === RETIRED ? undefined : found))

  /** Saves a session that was loaded: what was changed in it, onto what the store has by then. */
  async function saveLoaded(key: string, session: StoredSession, mine: string, base: Base) {
    const { was, stored } = base.doubt ? await lookFor(key, base) : base
    /** Whether it is done: saved, or the session has ended. */
    const trySave = async (newest: string) => {
      const clashes: Clash[] = []
      const merged = was === newest ? mine : mergeTexts(was, mine, newest, clashes)
      const saved = record(session, merged)
      try {
        await store.save(key, saved, newest)
      } catch (error) {
        if (error instanceof SessionGoneError) return true
        if (error instanceof SessionConflictError) return false
        if (!isRefusal(error)) bases.set(session, { was, stored, doubt: { mine, saved } })
        throw error
      }
      bases.set(session, { was: mine, stored: saved })
      for (const clash of clashes) reportClash(clash)
      return true
    }
    if (await trySave(stored.data)) return
    // One after the other within this process, so that the tries are bounded by the number of processes.
    await lock(key, async () => {
      for (;;) {
        const newest = await loadOpen(key, true)
        if (!newest || (await trySave(newest.data))) return
      }
    })
  }

  /** What a session stands on whose last save got no answer. @throws SessionStoreError if that cannot be told. */
  async function lookFor(key: string, { was, stored, doubt }: Base): Promise<Base> {
    const { mine, saved } = doubt!
    const found = await loadOpen(key, true)
    if (found?.data === saved.data) return { was: mine, stored: found }
    if (!found || found.data === stored.data) return { was, stored }
    throw new SessionStoreError(
      "A save's answer was lost, and another request has saved since: whether this one's changes are in that cannot be told, so they are not made again.",
    )
  }

  function mergeTexts(base: string, mine: string, newest: string, clashes: Clash[]): string {
    const [from, to, by] = [base, mine, newest].map((text) => JSON.parse(text) as unknown)
    const merged = mergeFields(strategies, from, to, by, (clash) => clashes.push(clash))
    // What a strategy of the application's returns may be no JSON.
    return jsonCodec.encode(merged as Dictionary, strategies.keys())
  }

  /** Saves a session that may be new. */
  function saveAny(key: string, session: StoredSession, mine: string) {
    const saved = record(session, mine)
    const keep = () => void bases.set(session, { was: saved.data, stored: saved })
    const save = () => after(store.save(key, saved), keep)
    const create = () => after(store.create(key, saved), keep)
    return attempt(save, (error) => {
      if (!(error instanceof SessionGoneError)) throw error
      // What is there by now is another request's, or a retired key: then the session has ended.
      return attempt(create, (exists) => {
        if (!(exists instanceof KeyExistsError)) throw exists
        return attempt(save, unlessGone)
      })
    })
  }

  /** Moves a session's end. When another request has moved it meanwhile, that stands. */
  function moveEnd(key: string, session: object, expiresAt: number, base: Base | undefined) {
    const touch = () =>
      after(store.touch(key, expiresAt, base?.stored.expiresAt), () => {
        if (base) bases.set(session, { ...base, stored: { ...base.stored, expiresAt } })
      })
    return attempt(touch, (error) => {
      if (!(error instanceof SessionConflictError)) unlessGone(error)
    })
  }

  class CoatcheckStore extends baseClass() {
    get(sid: string, callback: Callback<any>): void {
      answer(callback, () =>
        after(loadOpen(keyOf(sid)), (found) => {
          if (!found) return null
          const session = JSON.parse(found.data) as StoredSession
          // A touch has moved the record's end, and not the text in it.
          if (storedEnd(session) !== undefined)
            session.cookie.expires = new Date(found.expiresAt).toISOString()
          bases.set(session, { was: found.data, stored: found })
          return session
        }),
      )
    }

    set(sid: string, session: any, callback: Callback = () => {}): void {
      answer(callback, () => {
        const key = keyOf(sid)
        const mine = JSON.stringify(session)
        return inLine(session, () => {
          const base = bases.get(session)
          return base ? saveLoaded(key, session, mine, base) : saveAny(key, session, mine)
        })
      })
    }

    touch(sid: string, session: any, callback: Callback = () => {}): void {
      answer(callback, () => {
        const key = keyOf(sid)
        const expiresAt = endOf(session, ttl, now())
        return inLine(session, () => {
          const base = bases.get(session)
          const was = base && (JSON.parse(base.was) as StoredSession)
          if (base && was && !sameButForEnd(session, was)) {
            const mine = JSON.stringify({ ...was, cookie: session.cookie })
            return saveLoaded(key, session, mine, base)
          }
          return moveEnd(key, session, expiresAt, base)
        })
      })
    }

    destroy(sid: string, callback: Callback = () => {}): void {
      answer(callback, () => store.delete(keyOf(sid)))
    }

    /** express-session makes its session object of what `get` gave: the two are the same session. */
    override createSession(request: any, session: any): any {
      const base = bases.get(session)
      const made = super.createSession(request, session) as object
      if (base) bases.set(made, base)
      return made
    }
  }
  return new CoatcheckStore()
}

/** The strategies of a session's fields. Each request gives the cookie a new end, and the last one's is the newest. */
function strategiesOf(rules: object | undefined): Strategies {
  const declared = sessionStrategies(rules)
  if (!declared.has('cookie')) return new Map([...declared, ['cookie', last] as const])
  throw new SessionUsageError(
    "toExpressStore: `merge.cookie`: the cookie is express-session's own.",
    'ERR_SESSION_OPTIONS',
  )
}

/** The key of a session. An id of the application's own (`genid`) that could be no key is kept under its SHA-256. */
function keyOf(sid: unknown): string {
  if (typeof sid === 'string' && sid !== '')
    return isSessionKey(sid) ? sid : createHash('sha256').update(sid).digest('hex')
  throw new SessionUsageError(
    `toExpressStore: a session's id must be text, and is ${sid === '' ? 'empty' : `of type ${typeof sid}`}. Have \`genid\` (@fastify/session: \`idGenerator\`) return a string.`,
  )
}

/** Whether two sessions' cookies say the same but for when they end, which a touch can tell the store. */
function sameButForEnd(...sessions: [StoredSession, StoredSession]): boolean {
  const [one, other] = sessions.map(({ cookie }) =>
    JSON.stringify(cookie, (name, value) => (name === 'expires' ? Boolean(value) : value)),
  )
  return one === other
}

/** A session that has ended is no error: the interface has no way to say so. */
function unlessGone(error: unknown): void {
  if (!(error instanceof SessionGoneError)) throw error
}

/** Calls back with what a task resolves to, in a turn of its own as callers of the interface expect. */
function answer<T>(callback: Callback<T>, task: () => T | Promise<T>): void {
  void (async () => task())().then(
    (result) => setImmediate(callback, null, result),
    (error) => setImmediate(callback, error),
  )
}
