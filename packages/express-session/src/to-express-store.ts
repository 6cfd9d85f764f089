// Any of our stores under express-session or @fastify/session: one line changed, and no update is lost any more.
import { EventEmitter } from 'node:events'
import { createRequire } from 'node:module'
import {
  after,
  attempt,
  createLock,
  KeyExistsError,
  RETIRED,
  SessionConflictError,
  SessionGoneError,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { BROWSER_LENGTH_TTL, endOf, type StoredSession } from './session-data.ts'

/** Options of {@link toExpressStore}. */
export interface ToExpressStoreOptions {
  /** How long a session lives whose cookie ends with the browser, in seconds. Default 86,400: a day. */
  readonly ttl?: number
  /** The clock, in ms since the Unix epoch. Default `Date.now`. */
  readonly now?: () => number
}

type Callback<T = void> = (error?: unknown, result?: T) => void

/** What express-session calls of its own base class. */
interface Base {
  createSession(request: object, session: StoredSession): object
}

/** express-session's own base class; where only @fastify/session is installed, an EventEmitter is all that is asked for. */
function baseClass(): new () => EventEmitter & Base {
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
 * Under express-session a save brings only what the request has changed onto the newest data, key by key, so that of two
 * requests at once no change to another key is lost; and a session that ended meanwhile is not brought back. (The interface
 * has no way to say so; such a save is no error.) @fastify/session does not tell which session a save belongs to: there the
 * last save wins.
 *
 * It has `get`, `set`, `touch` and `destroy`. The stores have no list of their sessions, so `all`, `length` and `clear` are
 * left out.
 */
export function toExpressStore(
  store: SessionStore,
  { ttl = BROWSER_LENGTH_TTL, now = Date.now }: ToExpressStoreOptions = {},
) {
  /** What the store held when a session was loaded or last saved: what tells the request's own changes. */
  const bases = new WeakMap<object, SessionRecord>()
  const lock = createLock()
  const record = (session: StoredSession, data: string) => ({
    data,
    expiresAt: endOf(session, ttl, now()),
  })

  /** A session's record; a retired key is no session's. */
  const loadOpen = (sid: string) =>
    after(store.load(sid), (found) => (found?.data === RETIRED ? undefined : found))

  /** Saves a session that was loaded from `base`. */
  async function saveLoaded(sid: string, session: StoredSession, base: string): Promise<void> {
    const mine = JSON.stringify(session)
    /** Whether it is done: saved, or the session has ended. */
    const trySave = async (data: string, expected: string) => {
      const saved = record(session, data)
      try {
        await store.save(sid, saved, expected)
        bases.set(session, saved)
        return true
      } catch (error) {
        if (error instanceof SessionGoneError) return true
        if (error instanceof SessionConflictError) return false
        throw error
      }
    }
    if (await trySave(mine, base)) return
    // One after the other within this process, so that the tries are bounded by the number of processes.
    await lock(sid, async () => {
      for (;;) {
        const newest = await loadOpen(sid)
        if (!newest || (await trySave(merge(base, mine, newest.data), newest.data))) return
      }
    })
  }

  /** Saves a session that may be new. */
  function saveAny(sid: string, session: StoredSession) {
    const saved = record(session, JSON.stringify(session))
    const save = () => after(store.save(sid, saved), () => void bases.set(session, saved))
    const create = () => after(store.create(sid, saved), () => void bases.set(session, saved))
    return attempt(save, (error) => {
      if (!(error instanceof SessionGoneError)) throw error
      // What is there by now is another request's, or a retired key: then the session has ended.
      return attempt(create, (exists) => {
        if (!(exists instanceof KeyExistsError)) throw exists
        return attempt(save, unlessGone)
      })
    })
  }

  class CoatcheckStore extends baseClass() {
    get(sid: string, callback: Callback<StoredSession | null>): void {
      answer(callback, () =>
        after(loadOpen(sid), (found) => {
          if (!found) return null
          const session = JSON.parse(found.data) as StoredSession
          bases.set(session, found)
          return session
        }),
      )
    }

    set(sid: string, session: StoredSession, callback: Callback = () => {}): void {
      const base = bases.get(session)
      answer(callback, () => (base ? saveLoaded(sid, session, base.data) : saveAny(sid, session)))
    }

    touch(sid: string, session: StoredSession, callback: Callback = () => {}): void {
      const base = bases.get(session)
      const expiresAt = endOf(session, ttl, now())
      answer(callback, () =>
        attempt(
          () =>
            after(store.touch(sid, expiresAt, base?.expiresAt), () => {
              if (base) bases.set(session, { data: base.data, expiresAt })
            }),
          (error) => {
            // When another request has moved it meanwhile, that stands.
            if (!(error instanceof SessionConflictError)) unlessGone(error)
          },
        ),
      )
    }

    destroy(sid: string, callback: Callback = () => {}): void {
      answer(callback, () => store.delete(sid))
    }

    /** express-session makes its session object of what `get` gave: the two are the same session. */
    override createSession(request: object, session: StoredSession): object {
      const base = bases.get(session)
      const made = super.createSession(request, session)
      if (base) bases.set(made, base)
      return made
    }
  }
  return new CoatcheckStore()
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

/** What a request changed from `base` to `mine`, on top of `newest`: each of them JSON of an object. */
function merge(base: string, mine: string, newest: string): string {
  const [from, to, result] = [base, mine, newest].map(
    (text) => new Map(Object.entries(JSON.parse(text))),
  )
  for (const key of new Set([...from!.keys(), ...to!.keys()])) {
    if (JSON.stringify(from!.get(key)) === JSON.stringify(to!.get(key))) continue
    if (to!.has(key)) result!.set(key, to!.get(key))
    else result!.delete(key)
  }
  return JSON.stringify(Object.fromEntries(result!))
}
