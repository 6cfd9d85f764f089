// Any of our stores under express-session or @fastify/session: one line changed, and no update is lost any more.
import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { performance } from 'node:perf_hooks'
import { setImmediate } from 'node:timers'
import { jsonCodec, type Fields, type MergeRules, type SessionData } from '@coatcheck/core'
import {
  mergeFields,
  reportClash,
  sessionStrategies,
  type Clash,
  type Strategies,
} from '@coatcheck/core/adapter'
import {
  after,
  assertOptions,
  assertStore,
  attempt,
  isRefusal,
  isSessionKey,
  KeyExistsError,
  loadDriver,
  RETIRED,
  rules,
  SessionConflictError,
  SessionGoneError,
  SessionStoreError,
  SessionUsageError,
  systemClock,
  warnDeveloper,
  type Awaitable,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { BROWSER_LENGTH_TTL, endOf, storedEnd, type StoredSession } from './session-data.ts'

/** Options of {@link toExpressStore}. */
export interface ToExpressStoreOptions<D extends object = SessionData> {
  /**
   * How fields are merged that two requests have changed, as the option `merge` of `createSessions`: `{ views: 'sum' }`. Default:
   * lists and objects by what was changed in them; `user`, `auth` and `passport` as one value.
   */
  readonly merge?: MergeRules<Fields<D>>
  /** express-session's `Store`, where it cannot be found by itself, as in a bundle: `session.Store`. */
  readonly Store?: BaseClass
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
  /** Saves whose answers were lost. They are looked for before anything is saved again, and may still arrive after that. */
  readonly doubts: readonly { readonly mine: string; readonly saved: string }[]
}

const NONE: Base['doubts'] = []

/** A write that has waited longer than this, in ms, for one that then failed fails with it: else each of many would wait for a store that is away. */
const PATIENCE = 1000

type Callback<T = void> = (error?: unknown, result?: T) => void

/** What express-session calls of its own base class. */
interface ExpressBase {
  createSession(request: any, session: any): any
  regenerate(request: any, callback: (error?: any) => any): void
  load(sid: string, callback: (error: any, session?: any) => any): void
}

/** What {@link toExpressStore} returns: express-session's `Store`, whichever types of it and of Node are installed. */
export interface CoatcheckExpressStore extends EventEmitter, ExpressBase {
  get(sid: string, callback: Callback<any>): void
  set(sid: string, session: any, callback?: Callback): void
  touch(sid: string, session: any, callback?: Callback): void
  destroy(sid: string, callback?: Callback): void
}

type BaseClass = abstract new () => EventEmitter & ExpressBase

/** express-session's own base class. */
function baseClass(): BaseClass {
  try {
    const loaded = loadDriver({
      by: 'toExpressStore',
      driver: 'express-session',
      from: import.meta.url,
      pass: 'toExpressStore(store, { Store: session.Store })',
    })
    return (loaded as { Store: BaseClass }).Store
  } catch (error) {
    return standIn(error)
  }
}

/** Enough for @fastify/session, beside which express-session is not installed; express-session hears of it when it needs more. */
function standIn(error: unknown): BaseClass {
  const fail = (): never => {
    throw error
  }
  return class extends EventEmitter {
    createSession() {
      return fail()
    }
    regenerate() {
      fail()
    }
    load() {
      fail()
    }
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
  options: ToExpressStoreOptions<D> = {},
): CoatcheckExpressStore {
  assertStore('toExpressStore: `store`', store)
  assertOptions('toExpressStore', options, {
    merge: rules.dictionary,
    ttl: rules.seconds,
    Store: rules.rule("express-session's class Store", rules.callable.holds),
    now: rules.clock,
  })
  const { ttl = BROWSER_LENGTH_TTL, now = systemClock } = options
  const strategies = strategiesOf(options.merge)
  const bases = new WeakMap<object, Base>()
  /** The writes of one key follow one another in this process, so that the tries are bounded by the number of processes. */
  const lines = new Map<string, Promise<void>>()
  const inLine = (key: string, write: () => Awaitable<void>): Awaitable<void> => {
    const before = lines.get(key)
    const since = performance.now()
    const afterFailure = (error: unknown) => {
      if (isRefusal(error) || performance.now() - since < PATIENCE) return write()
      throw error
    }
    const written = before ? before.then(write, afterFailure) : write()
    if (!(written instanceof Promise)) return
    const leave = () => {
      if (lines.get(key) === written) lines.delete(key)
    }
    lines.set(key, written)
    written.then(leave, leave)
    return written
  }
  const record = (session: StoredSession, data: string) => ({
    data,
    expiresAt: endOf(session, ttl, now()),
  })
  const mergedRecord = (merged: StoredSession) =>
    // What a strategy of the application's returns may be no JSON.
    record(merged, jsonCodec.encode(merged, strategies.keys()))

  /** A session's record; a retired key is no session's. */
  const loadOpen = (key: string, latest = false) =>
    after(store.load(key, latest), (found) => (found?.data === RETIRED ? undefined : found))

  /** Saves a session that was loaded: what was changed in it, onto what the store has by then. */
  async function saveLoaded(key: string, session: StoredSession, mine: string, base: Base) {
    /** Whether it is done: saved, or the session has ended. */
    const saveOnto = async (newest: SessionRecord | undefined) => {
      if (!newest) return true
      const was = wasOf(base, newest)
      const clashes: Clash[] = []
      const saved =
        was === newest.data
          ? record(session, mine)
          : mergedRecord(mergeTexts(was, mine, newest.data, clashes))
      try {
        await store.save(key, saved, newest.data)
      } catch (error) {
        if (error instanceof SessionGoneError) return true
        if (error instanceof SessionConflictError) return false
        if (!isRefusal(error)) {
          const doubts = [...base.doubts, { mine, saved: saved.data }]
          bases.set(session, { was, stored: newest, doubts })
        }
        throw error
      }
      bases.set(session, { was: mine, stored: saved, doubts: NONE })
      for (const clash of clashes) reportClash(clash)
      return true
    }
    let newest = base.doubts === NONE ? base.stored : await loadOpen(key, true)
    while (!(await saveOnto(newest))) newest = await loadOpen(key, true)
  }

  function mergeTexts(base: string, mine: string, newest: string, clashes: Clash[]) {
    const [from, to, by] = [base, mine, newest].map((text) => JSON.parse(text) as unknown)
    const merged = mergeFields(strategies, from, to, by, (clash) => clashes.push(clash))
    return merged as StoredSession
  }

  /**
   * Saves a session that was not loaded here. Under express-session it is a new one; what @fastify/session hands over may be any.
   * What is there by then is another request's, or a retired key: then the session has ended.
   */
  function saveAny(key: string, session: StoredSession, mine: string, isNew: boolean) {
    const saved = record(session, mine)
    const keep = () => void bases.set(session, { was: saved.data, stored: saved, doubts: NONE })
    const save = () => after(store.save(key, saved), keep)
    // A create that arrives late finds the session there; a save would write over what others have made of it.
    const create = () =>
      attempt(
        () => after(store.create(key, saved), keep),
        (error) => {
          if (!(error instanceof KeyExistsError)) throw error
          return attempt(save, unlessGone)
        },
      )
    if (isNew) return create()
    return attempt(save, (error) => {
      if (!(error instanceof SessionGoneError)) throw error
      return create()
    })
  }

  /** Moves a session's end: on from where another request has renewed it; where another has changed the session, that stands. */
  function moveEnd(
    key: string,
    session: object,
    expiresAt: number,
    base: Base | undefined,
    from = base?.stored.expiresAt,
  ): Awaitable<void> {
    const touch = () =>
      after(store.touch(key, expiresAt, from), () => {
        if (base) bases.set(session, { ...base, stored: { ...base.stored, expiresAt } })
      })
    return attempt(touch, (error) => {
      if (!(error instanceof SessionConflictError)) return unlessGone(error)
      // A renewal that was refused is worth no wait and no error.
      const looked = attempt(
        () => loadOpen(key),
        () => undefined,
      )
      return after(looked, (newest) => {
        if (!newest || newest.data !== base?.stored.data) return undefined
        const isRenewed = newest.expiresAt > from! && newest.expiresAt < expiresAt
        return isRenewed ? moveEnd(key, session, expiresAt, base, newest.expiresAt) : undefined
      })
    })
  }

  class CoatcheckStore extends (options.Store ?? baseClass()) {
    get(sid: string, callback: Callback<any>): void {
      answer(callback, () =>
        after(loadOpen(keyOf(sid)), (found) => {
          const session = found && sessionOf(found.data)
          if (!session) return null
          // A touch has moved the record's end, and not the text in it.
          if (storedEnd(session) !== undefined)
            session.cookie.expires = new Date(found.expiresAt).toISOString()
          bases.set(session, { was: found.data, stored: found, doubts: NONE })
          return session
        }),
      )
    }

    set(sid: string, session: any, callback: Callback = () => {}): void {
      answer(callback, () => {
        const key = keyOf(sid)
        const mine = JSON.stringify(session)
        return inLine(key, () => {
          const base = bases.get(session)
          // express-session puts `generate` on its store.
          const isNew = 'generate' in this
          return base ? saveLoaded(key, session, mine, base) : saveAny(key, session, mine, isNew)
        })
      })
    }

    touch(sid: string, session: any, callback: Callback = () => {}): void {
      answer(callback, () => {
        const key = keyOf(sid)
        const expiresAt = endOf(session, ttl, now())
        return inLine(key, () => {
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
      answer(callback, () => {
        const key = keyOf(sid)
        // After the writes that are under way, or one of them would bring it back.
        return inLine(key, () => store.delete(key))
      })
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

/**
 * The cookie is one value. Each request gives it a new end: one that has changed nothing else of it does not undo what another
 * has, such as a longer life.
 */
function mergeCookies(base: unknown, mine: unknown, newest: unknown): unknown {
  const [from, to, by] = [base, mine, newest].map((cookie) => ({ cookie }) as StoredSession)
  return sameButForEnd(from!, to!) && !sameButForEnd(to!, by!) ? newest : mine
}

/** The strategies of a session's fields. */
function strategiesOf(declaration: object | undefined): Strategies {
  const declared = sessionStrategies(declaration)
  if (!declared.has('cookie')) return new Map([...declared, ['cookie', mergeCookies] as const])
  throw new SessionUsageError(
    "toExpressStore: `merge.cookie`: the cookie is express-session's own.",
    'ERR_SESSION_OPTIONS',
  )
}

/** What a record holds; nothing, with a warning, where that is no session of express-session's: one that Coatcheck has stored has no cookie. */
function sessionOf(data: string): StoredSession | undefined {
  try {
    const session = JSON.parse(data) as StoredSession | null
    const cookie: unknown = session?.cookie
    if (typeof cookie === 'object' && cookie !== null && 'originalMaxAge' in cookie) return session!
  } catch {
    // No JSON.
  }
  warnDeveloper(
    'CORRUPT_DATA',
    'toExpressStore: a stored session is none of express-session’s, so the request got a new one.',
  )
  return undefined
}

/** The key of a session. An id of the application's own (`genid`) that could be no key is kept under its SHA-256. */
function keyOf(sid: unknown): string {
  if (typeof sid === 'string' && sid !== '')
    return isSessionKey(sid) ? sid : createHash('sha256').update(sid).digest('hex')
  throw new SessionUsageError(
    `toExpressStore: a session's id must be text, and is ${sid === '' ? 'empty' : `of type ${typeof sid}`}. Have \`genid\` (@fastify/session: \`idGenerator\`) return a string.`,
  )
}

/** In ms. */
const DRIFT = 10

/** Whether two sessions' cookies say the same but for when they end, which a touch can tell the store. */
function sameButForEnd(...sessions: [StoredSession, StoredSession]): boolean {
  const [one, other] = sessions.map(({ cookie }) => {
    // As JSON has it: express-session's own cookie says more by other names.
    const { originalMaxAge, expires, ...attributes } = JSON.parse(JSON.stringify(cookie ?? {}))
    return { age: originalMaxAge ?? -1, rest: JSON.stringify([Boolean(expires), attributes]) }
  })
  // express-session takes the age from the clock, and the clock may have gone on meanwhile.
  return one!.rest === other!.rest && Math.abs(one!.age - other!.age) <= DRIFT
}

/**
 * The request's session as it was when it, or others after it, made what the store has now: what it has changed since is to be saved.
 * @throws SessionStoreError if that cannot be told.
 */
function wasOf({ was, stored, doubts }: Base, newest: SessionRecord): string {
  if (doubts === NONE || newest.data === stored.data) return was
  const arrived = doubts.find(({ saved }) => saved === newest.data)
  if (arrived) return arrived.mine
  throw new SessionStoreError(
    "A save's answer was lost, and another request has saved since: whether this one's changes are in that cannot be told, so they are not made again.",
  )
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
