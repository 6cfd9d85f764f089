// The manager: opens a session before the handler, and after it writes what changed, once.
import { after, attempt, type Awaitable } from './awaitable.ts'
import { jsonCodec, type Codec } from './codec.ts'
import { sessionCookie, type CookieOptions } from './cookie.ts'
import { Draft } from './draft.ts'
import { SessionGoneError, SessionStoreError, SessionUsageError } from './errors.ts'
import { warn } from './events.ts'
import { endsWithBrowser, EXPIRY_KEY, type ExpirySettings } from './expiry.ts'
import type { SessionHeaders } from './headers.ts'
import { isSessionKey } from './key.ts'
import { Session, stateOf, type SessionData } from './session.ts'
import type { SessionRecord, SessionStore } from './store.ts'
import { createWriter, MOVED, type ManagedState } from './writer.ts'

/** What {@link createSessions} takes; everything but the store has a default. */
export interface SessionsOptions {
  /** The engine that keeps the sessions. */
  readonly store: SessionStore
  /** How long a session lives after its last change, in seconds. Default 1,209,600: two weeks. */
  readonly maxAge?: number
  /** The cookie ends with the browser; the stored session still lives for `maxAge`. Default false. */
  readonly expireAtBrowserClose?: boolean
  /** Every request that has a session renews it, even unchanged: a rolling expiry. Default false. */
  readonly saveEveryRequest?: boolean
  /** With `saveEveryRequest`, renew an unchanged session at most once in so many seconds. Default 0: every time. */
  readonly touchAfter?: number
  /** How long a session lives after its creation, in seconds, however often it is renewed. Default: no limit. */
  readonly absoluteMaxAge?: number
  /**
   * What happens when two requests change one session: `merge` (default) applies both changes, key by key;
   * `overwrite` lets the last save win; `reject` fails the later one with SessionConflictError.
   */
  readonly concurrency?: 'merge' | 'overwrite' | 'reject'
  /** How large a session's encoded data may be, in bytes of UTF-8. Default: as the store takes it. */
  readonly maxBytes?: number
  /** Load from an asynchronous store only when the handler first awaits `getSession()`. Default false. */
  readonly lazy?: boolean
  /**
   * What a request gets whose session cannot be loaded because the backend fails: the SessionStoreError (default), or an
   * empty session that can be read and not saved, so that pages which need none still work.
   */
  readonly ifUnavailable?: 'error' | 'anonymous'
  /** The session cookie's name and attributes. */
  readonly cookie?: CookieOptions
  /** How the data becomes text. Default: JSON. */
  readonly codec?: Codec
  /** The clock, in ms since the Unix epoch. Default `Date.now`. */
  readonly now?: () => number
}

/** What an adapter tells of the response it is about to start. */
export interface ResponseInfo {
  /** The HTTP status: nothing is saved from 500 on. Default 200. */
  readonly status?: number
  /** Whether the request came over HTTPS, for `secure: 'auto'`. Default false. */
  readonly secure?: boolean
  /** The cookie's attributes, where this response's differ from the manager's. */
  readonly cookie?: Omit<CookieOptions, 'name'> | undefined
}

/** The manager that {@link createSessions} returns. An adapter calls `open`, runs the handler, calls `commit`. */
export interface Sessions<D extends object = SessionData> {
  /** The engine that keeps the sessions. */
  readonly store: SessionStore
  /**
   * The session that a request's Cookie header stands for: an empty one if there is no cookie, or the store does not
   * know its key. Forged and malformed cookies are empty sessions too, never errors.
   * @throws SessionStoreError if the backend fails.
   */
  open(cookieHeader: string | undefined): Awaitable<Session<D>>
  /** Loads a session that `lazy` has left unloaded. @throws SessionStoreError if the backend fails. */
  load(session: Session<D>): Awaitable<Session<D>>
  /**
   * Writes what the request changed, and returns the headers to send. The response must wait for it.
   * @throws SessionGoneError if the session ended meanwhile, SessionConflictError with `concurrency: 'reject'`,
   * SessionTooLargeError, SessionEncodeError, and SessionStoreError if the backend fails.
   */
  commit(session: Session<D>, response?: ResponseInfo): Awaitable<SessionHeaders>
  /** Closes the store. */
  close(): Promise<void>
}

/**
 * Makes the manager of an application's sessions. A manager is given back as it is, so that adapters can take either.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for an option that cannot work.
 */
export function createSessions<D extends object = SessionData>(
  options: SessionsOptions | Sessions<D>,
): Sessions<D> {
  if (isSessions<D>(options)) return options
  assertOptions(options)
  const { store, codec = jsonCodec, now = Date.now } = options
  const { saveEveryRequest = false, lazy = false, ifUnavailable = 'error' } = options
  const { sync = false, stateless = false } = store.traits ?? {}
  const settings: ExpirySettings = {
    maxAge: options.maxAge ?? 1_209_600,
    expireAtBrowserClose: options.expireAtBrowserClose ?? false,
    absoluteMaxAge: options.absoluteMaxAge,
  }
  const cookieOptions = options.cookie
  const cookie = sessionCookie(cookieOptions)
  const writeLoaded = createWriter({
    store,
    settings,
    concurrency: options.concurrency ?? 'merge',
    maxBytes: options.maxBytes ?? Infinity,
    saveEveryRequest,
    touchAfter: options.touchAfter ?? 0,
    now,
  })
  const blank = () => new Draft(codec)

  function open(cookieHeader: string | undefined): Awaitable<Session<D>> {
    const state: ManagedState = {
      settings,
      now,
      blank,
      save: () => enqueue(session),
      pending: undefined,
      draft: blank(),
      key: undefined,
      expiresAt: undefined,
      flushed: undefined,
      cycled: false,
      accessed: false,
      modified: undefined,
      sent: false,
      cookie: undefined,
      refusal: undefined,
      newKey: undefined,
      queue: undefined,
    }
    const session: Session<D> = new Session<D>(state)
    const key = cookie.read(cookieHeader)
    if (key === undefined) return session
    if (!stateless && !isSessionKey(key)) {
      refuseCookie(state)
      return session
    }
    state.key = key
    state.pending = sync
      ? () =>
          void attempt(
            () => adopt(state, store.load(key) as SessionRecord | undefined),
            (error) => giveUp(state, error),
          )
      : () => {
          throw new SessionUsageError(
            'The session is not loaded yet: with `lazy: true`, call `await getSession(request)` before you use it.',
            'ERR_SESSION_NOT_LOADED',
          )
        }
    return sync || lazy ? session : load(session)
  }

  function load(session: Session<D>): Awaitable<Session<D>> {
    const state = stateOf(session) as ManagedState
    if (!state.pending) return session
    if (sync) {
      state.pending()
      return session
    }
    return (async () => {
      try {
        const record = await store.load(state.key!)
        if (state.pending) adopt(state, record)
      } catch (error) {
        giveUp(state, error)
      }
      return session
    })()
  }

  /** The backend failed to load the session: the request hears of it, or goes on without. */
  function giveUp(state: ManagedState, error: unknown): void {
    if (!(error instanceof SessionStoreError) || ifUnavailable !== 'anonymous') throw error
    warn('STORE_UNAVAILABLE', `${error.message} The request got an empty session.`)
    state.pending = state.key = undefined
    // A session of its own would replace the client's, which is still there.
    state.refusal = error
  }

  /** Takes what the store answered for the client's key. A key that it does not know is never adopted. */
  function adopt(state: ManagedState, record: SessionRecord | undefined): void {
    state.pending = undefined
    const key = state.key
    state.key = undefined
    if (!record) {
      if (stateless) refuseCookie(state)
      return
    }
    if (record.data === MOVED) {
      // The owner has a new cookie on the way; one of another session would replace it.
      state.refusal = new SessionGoneError()
      return
    }
    let draft
    try {
      draft = new Draft(codec, record.data)
    } catch {
      warn(
        'CORRUPT_DATA',
        'A stored session could not be decoded, so the request got an empty one. Was it written with another codec?',
      )
      return
    }
    const { absoluteMaxAge } = settings
    if (absoluteMaxAge !== undefined && draft.created !== undefined) {
      if (draft.created + absoluteMaxAge * 1000 <= now()) return
    }
    state.draft = draft
    state.key = key
    state.expiresAt = record.expiresAt
  }

  function commit(
    session: Session<D>,
    { status = 200, secure = false, cookie: overrides }: ResponseInfo = {},
  ): Awaitable<SessionHeaders> {
    const state = stateOf(session) as ManagedState
    if (status >= 500) {
      state.sent = true
      return { vary: state.accessed }
    }
    const written = state.queue ? enqueue(session) : write(session)
    return after(written, () => {
      const headers = cookieHeaders(state, secure, overrides)
      state.sent = true
      return headers
    })
  }

  function cookieHeaders(
    state: ManagedState,
    secure: boolean,
    overrides: ResponseInfo['cookie'],
  ): SessionHeaders {
    const headers: SessionHeaders = { vary: state.accessed || state.cookie !== undefined }
    if (state.cookie === undefined) return headers
    const line = overrides ? sessionCookie({ ...cookieOptions, ...overrides }) : cookie
    if (state.cookie === 'delete') headers.setCookie = line.remove(secure)
    if (state.cookie === 'set') {
      const browserLength = endsWithBrowser(state.draft.get(EXPIRY_KEY), settings)
      const maxAge = browserLength ? undefined : Math.ceil((state.expiresAt! - now()) / 1000)
      headers.setCookie = line.write(state.key!, maxAge, secure)
    }
    return headers
  }

  function write(session: Session<D>): Awaitable<void> {
    const state = stateOf(session) as ManagedState
    if (!state.pending) return writeLoaded(state)
    // Nobody looked at it: only a rolling expiry gives a reason to.
    return saveEveryRequest ? after(load(session), () => writeLoaded(state)) : undefined
  }

  /** Writes after the writes that are under way, whether they fail or not. */
  function enqueue(session: Session<D>): Promise<void> {
    const state = stateOf(session) as ManagedState
    const next = () => write(session)
    const queued = (state.queue ?? Promise.resolve()).then(next, next).finally(() => {
      if (state.queue === queued) state.queue = undefined
    })
    state.queue = queued
    return queued
  }

  return {
    store,
    open,
    load,
    commit,
    async close() {
      await store.close?.()
    },
  }
}

/** A value that cannot be a session of ours is deleted from the browser, so that it is not sent for ever. */
function refuseCookie(state: ManagedState): void {
  state.cookie = 'delete'
  warn(
    'MALFORMED_COOKIE',
    'A session cookie was malformed, forged or expired, so the request got an empty session and the cookie is deleted.',
  )
}

function isSessions<D extends object>(
  options: SessionsOptions | Sessions<D>,
): options is Sessions<D> {
  return typeof (options as Sessions<D> | undefined)?.commit === 'function'
}

function assertOptions(options: SessionsOptions): void {
  if (typeof options?.store?.load !== 'function') {
    refuse("`store` is missing: pass an engine, such as sqliteStore('sessions.sqlite')")
  }
  for (const name of ['maxAge', 'absoluteMaxAge', 'maxBytes'] as const) {
    const value = options[name]
    if (value !== undefined && !(value > 0 && value < Infinity)) {
      refuse(`\`${name}\` must be a positive number, and is ${String(value)}`)
    }
  }
  const { touchAfter, concurrency, ifUnavailable } = options
  if (touchAfter !== undefined && !(touchAfter >= 0 && touchAfter < Infinity)) {
    refuse(`\`touchAfter\` must be a number of seconds from 0 on, and is ${String(touchAfter)}`)
  }
  if (concurrency !== undefined && !['merge', 'overwrite', 'reject'].includes(concurrency)) {
    refuse(`\`concurrency\` must be merge, overwrite or reject, and is ${String(concurrency)}`)
  }
  if (ifUnavailable !== undefined && !['error', 'anonymous'].includes(ifUnavailable)) {
    refuse(`\`ifUnavailable\` must be error or anonymous, and is ${String(ifUnavailable)}`)
  }
}

function refuse(what: string): never {
  throw new SessionUsageError(`createSessions: ${what}.`, 'ERR_SESSION_OPTIONS')
}
