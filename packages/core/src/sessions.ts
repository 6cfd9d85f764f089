// The manager: opens a session before the handler, and after it writes what changed, once.
import { after, isPromise, type Awaitable } from './awaitable.ts'
import type { Merging } from './changes.ts'
import { systemClock } from './clock.ts'
import { assertSiteData, type SiteData } from './clear-site-data.ts'
import { jsonCodec, type Codec } from './codec.ts'
import type { Concurrency } from './content.ts'
import { MAX_COOKIE_AGE, sessionCookie, type CookieOptions, type SessionCookie } from './cookie.ts'
import { Draft } from './draft.ts'
import { SessionUsageError } from './errors.ts'
import { warnDeveloper } from './events.ts'
import type { ExpirySettings } from './expiry.ts'
import { guard } from './guard.ts'
import type { SessionHeaders } from './headers.ts'
import { load, refuseCookie, type LoadOptions } from './load.ts'
import { assertOptions, assertStore, refuseOption, type OptionRules } from './options.ts'
import {
  anything,
  clock,
  dictionary,
  flag,
  inWords,
  isPlain,
  oneOf,
  positive,
  rule,
  seconds,
  secondsFromZero,
  texts,
} from './rules.ts'
import { Session, stateOf, type Fields, type SessionData } from './session.ts'
import {
  NEW,
  NO_KEYS,
  NONE,
  standingOf,
  type CookieInfo,
  type Manager,
  type SessionState,
} from './standing.ts'
import type { SessionStore } from './store.ts'
import { sessionStrategies, type MergeRules } from './strategies.ts'
import { assertSendable, headersOf, type TellOptions } from './told.ts'
import { createWriter, type WriterOptions } from './writer.ts'

export type { CookieInfo } from './standing.ts'

/** What {@link createSessions} takes; everything but the store has a default. */
export interface SessionsOptions<D extends object = SessionData> {
  /** The engine that keeps the sessions. */
  readonly store: SessionStore
  /**
   * How long a session lives after its last change, in seconds. Default 1,209,600: two weeks. Browsers keep a cookie for 400 days
   * (34,560,000) at the most, whatever they are told.
   */
  readonly maxAge?: number
  /** The cookie ends with the browser; the stored session still lives for `maxAge`. Default false. */
  readonly expireAtBrowserClose?: boolean
  /**
   * Every request that has a session renews it, even unchanged: a rolling expiry. But for one that did not look at it, and whose
   * response shared caches may keep, as a public file. Default false.
   */
  readonly saveEveryRequest?: boolean
  /** With `saveEveryRequest`, renew an unchanged session at most once in so many seconds. Default 0: every time. */
  readonly touchAfter?: number
  /** How long a session lives after its creation, in seconds, however often it is renewed. Default: no limit. */
  readonly absoluteMaxAge?: number
  /**
   * What happens when two requests change one session: `merge` (default) keeps both changes, also within one object or list;
   * `merge-keys` keeps changes of different keys, and of one key the later; `overwrite` lets the last save win; `reject` fails
   * the later one with SessionConflictError.
   */
  readonly concurrency?: Concurrency
  /**
   * How keys are merged that two requests have changed, where it is otherwise: `{ visits: 'sum', lines: byId('sku') }`. A
   * strategy, the name of one, or a function of your own. Default: `atomic` for `user`, `auth` and `passport`, so that nobody
   * gets rights from two requests; for all others {@link merge}. It holds for every change by `set` or in place; `update` needs none.
   */
  readonly merge?: MergeRules<Fields<D>>
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
  /**
   * What browsers are told to throw away when `flush()` has ended a session (the header Clear-Site-Data), as
   * `['cache', 'storage']`: pages that they keep, and what scripts have stored. They obey over HTTPS and on localhost only. It is
   * for the whole origin, and `cookies` for all cookies of the domain and its subdomains; where a new session follows in the same
   * response cookies are left out, as its own would be thrown away too. Default: nothing.
   */
  readonly clearSiteData?: readonly SiteData[]
  /** How the data becomes text. Default: JSON. */
  readonly codec?: Codec
  /**
   * Names of the session's bookkeeping that `get`, `has` and `keys` show, though nothing can change them: Django shows
   * `_session_expiry`. Default: none.
   */
  readonly shownBookkeeping?: readonly string[]
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** What an adapter tells of the response it is about to start. */
export interface ResponseInfo extends CookieInfo {
  /** The HTTP status: nothing is saved from 500 on. Default 200. */
  readonly status?: number
  /**
   * Whether shared caches may keep this response, by its headers so far: `isSharedResponse` tells. If so, and nobody looked at the
   * session, it is not renewed. Asked at most once, and only if it matters. Default: they may not.
   */
  readonly isShared?: () => boolean
}

/** What a session is opened by: the text of a request's Cookie header, or a session's key. */
export type OpenFrom = string | null | undefined | { readonly key: string | null | undefined }

/** The manager that {@link createSessions} returns. An adapter calls `open`, runs the handler, calls `commit`. */
export interface Sessions<D extends object = SessionData> {
  /** The engine that keeps the sessions. */
  readonly store: SessionStore
  /** The name, path and domain of the cookie, as the manager was given them: what tells one cookie from another. */
  readonly cookie: SessionCookie['identity']
  /**
   * The session that a request's Cookie header stands for: of several cookies of the name the first that opens one; an empty one if
   * there is no cookie, or the store does not know its key. Forged and malformed cookies are empty sessions too, never errors.
   *
   * Or, where there are no cookies (a WebSocket's messages, a job, a native client), the session of a key: `open({ key })`, with what
   * `session.key` was after a save. It is written by `session.save()`, which answers no cookie; whoever holds the key is told the new one
   * after `cycleKey()`, and for a session in a signed cookie after each save. A key that is missing, malformed, ended or unknown gives an
   * empty session.
   * @param from The header's text, undefined or null where a request has none; or the key.
   * @param cookieInfo Asked for the cookie's attributes by `session.save()`, which must know before it writes whether the
   * client can be given the cookie. Default: the manager's own.
   * @throws SessionStoreError if the backend fails; SessionUsageError for anything else, a request for one.
   */
  open(from: OpenFrom, cookieInfo?: () => CookieInfo): Awaitable<Session<D>>
  /** Whether a session is loaded only when the handler asks for it. */
  readonly lazy: boolean
  /** Loads a session that `lazy` has left unloaded. @throws SessionStoreError if the backend fails. */
  load(session: Session<D>): Awaitable<Session<D>>
  /**
   * Writes what the request changed, and returns the headers to send. The response must wait for it. With a status of 500
   * and above it writes nothing; what `save()` stored before is still told to the client.
   * @throws SessionGoneError if the session ended meanwhile, SessionConflictError with `concurrency: 'reject'`,
   * SessionTooLargeError, SessionEncodeError, and SessionStoreError if the backend fails.
   */
  commit(session: Session<D>, response?: ResponseInfo): Awaitable<SessionHeaders>
  /**
   * The headers for what has been stored so far, without a write: for the answer to a commit that failed, as the client
   * must have the key of what `save()` stored before.
   */
  headers(session: Session<D>, cookieInfo?: CookieInfo): SessionHeaders
  /** Closes the store. */
  close(): Promise<void>
}

/**
 * Makes the manager of an application's sessions. A manager is given back as it is, so that adapters can take either.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for an option that cannot work.
 */
export function createSessions<D extends object = SessionData>(
  options: SessionsOptions<D> | Sessions<D>,
): Sessions<D> {
  if (isSessions<D>(options)) return options
  assertManager(options)
  const manager = createManager(options)
  const { store } = options
  return {
    store,
    cookie: manager.cookie.identity,
    lazy: manager.lazy,
    open: (from, cookieInfo) => open<D>(manager, from, cookieInfo),
    load: (session) => load(manager, stateOf(session), session),
    commit(session, response = {}) {
      const state = stateOf(session)
      if (typeof response !== 'object' || response === null) refuseResponse('commit', response)
      return commit(manager, state, response)
    },
    headers(session, info = {}) {
      const state = stateOf(session)
      if (typeof info !== 'object' || info === null) refuseResponse('headers', info)
      return send(manager, state, info)
    },
    async close() {
      await store.close?.()
    },
  }
}

/** A manager's options, complete, and what it does by them. */
type OwnManager = Manager &
  WriterOptions &
  LoadOptions &
  TellOptions & {
    readonly lazy: boolean
    readonly write: (state: SessionState) => Awaitable<void>
  }

function createManager(options: SessionsOptions<any>): OwnManager {
  const { codec = jsonCodec, now = systemClock, cookie: cookieOptions } = options
  const store = guard(options.store)
  const settings: ExpirySettings = {
    maxAge: options.maxAge ?? 1_209_600,
    expireAtBrowserClose: options.expireAtBrowserClose ?? false,
    absoluteMaxAge: options.absoluteMaxAge,
  }
  const cookie = sessionCookie(cookieOptions)
  warnOfAge(settings)
  const { ifUnavailable = 'error', concurrency = 'merge', maxBytes = Infinity } = options
  const { saveEveryRequest = false, touchAfter = 0, shownBookkeeping: shown = [] } = options
  const strategies = sessionStrategies(options.merge)
  const merging: Merging = { strategies, wholeKeys: concurrency === 'merge-keys' }
  const loading = { store, codec, merging, settings, ifUnavailable, now }
  const { clearSiteData } = options
  const telling = { cookie, cookieOptions, clearSiteData, now }
  const writing = { ...loading, concurrency, maxBytes, saveEveryRequest, touchAfter }
  const writer = createWriter({
    ...writing,
    assertSendable: (state, told) => assertSendable(telling, state, told),
  })
  const manager: OwnManager = {
    ...writing,
    ...telling,
    shown,
    lazy: options.lazy ?? false,
    write: writer,
    assertSendable: (state, told) => assertSendable(telling, state, told),
    load: (state) => loadNow(manager, state),
    save: (state) => save(manager, state),
  }
  return manager
}

function open<D extends object>(
  manager: OwnManager,
  from: OpenFrom,
  cookieInfo: (() => CookieInfo) | undefined,
): Awaitable<Session<D>> {
  if (cookieInfo !== undefined && typeof cookieInfo !== 'function') refuseInfo(cookieInfo)
  const isKey = typeof from === 'object' && from !== null
  const values = isKey ? keysIn(from) : manager.cookie.read(headerIn(from))
  const state: SessionState = {
    manager,
    standing: NEW,
    draft: new Draft(manager.codec, manager.merging),
    condemned: NONE,
    cycled: false,
    moving: undefined,
    doubt: undefined,
    unsure: false,
    accessed: false,
    tookUnknown: false,
    modified: undefined,
    untold: undefined,
    owed: undefined,
    cookieInfo,
    response: undefined,
    isShared: false,
    flushed: false,
    clientKey: undefined,
    goneKeys: NO_KEYS,
    sent: false,
    line: undefined,
    loading: undefined,
  }
  const session = new Session<D>(state)
  if (values.length === 0) return session
  const { sync = false, stateless = false } = manager.store.traits ?? {}
  const standing = standingOf(values, stateless)
  if (!standing) {
    if (!isKey) refuseCookie(state)
    return session
  }
  state.standing = standing
  return sync || manager.lazy ? session : load(manager, state, session)
}

function headerIn(from: unknown): string | undefined {
  if (typeof from === 'string') return from
  if (from === undefined || from === null) return undefined
  return refuseFrom(from)
}

/** A client may have sent anything for a key: what is no text opens nothing. */
function keysIn(from: object): readonly string[] {
  if (!isPlain(from) || !('key' in from)) refuseFrom(from)
  if (isPromise(from.key as Awaitable<unknown>)) refuseFrom(from.key)
  return typeof from.key === 'string' ? [from.key] : []
}

function refuseFrom(from: unknown): never {
  throw new SessionUsageError(
    `sessions.open() takes the text of a Cookie header, request.headers.cookie, or { key }, and got ${inWords(from)}.`,
  )
}

function refuseInfo(info: unknown): never {
  throw new SessionUsageError(
    `sessions.open() takes a function as its second argument, which answers { secure, cookie }, and got ${inWords(info)}.`,
  )
}

function refuseResponse(by: string, response: unknown): never {
  throw new SessionUsageError(
    `sessions.${by}() takes what there is to tell of the response, as { secure: true }, and got ${inWords(response)}.`,
  )
}

/** Asks a synchronous store; of any other, says why it cannot be asked now. */
function loadNow(manager: OwnManager, state: SessionState): void {
  if (manager.store.traits?.sync) return void load(manager, state, state)
  throw new SessionUsageError(
    'The session is not loaded yet: with `lazy: true`, call `await getSession(request)` before you use it.',
    'ERR_SESSION_NOT_LOADED',
  )
}

function commit(
  manager: OwnManager,
  state: SessionState,
  response: ResponseInfo,
): Awaitable<SessionHeaders> {
  state.response = response
  state.isShared = isShared(manager, state, response)
  const { status = 200 } = response
  const written = status >= 500 ? state.line : inLine(state, () => write(manager, state))
  return after(written, () => send(manager, state, response))
}

/** Whether the response must carry no cookie: nobody looked at the session, and shared caches may keep what they get. */
function isShared(
  { saveEveryRequest }: OwnManager,
  { accessed, standing, untold, owed }: SessionState,
  response: ResponseInfo,
): boolean {
  if (accessed || owed !== undefined || typeof untold === 'object') return false
  const mayCarryCookie = untold === 'delete' || (saveEveryRequest && standing.is !== 'new')
  return mayCarryCookie && (response.isShared?.() ?? false)
}

/** What the response is to carry. From here on the client can be told nothing more. */
function send(manager: OwnManager, state: SessionState, info: CookieInfo): SessionHeaders {
  const headers = headersOf(manager, state, info)
  if (typeof state.untold === 'object') state.clientKey = state.untold.key
  state.sent = true
  // A state that outlives its request by a while must not keep that alive: it is asked for no cookie any more.
  state.cookieInfo = undefined
  return headers
}

/** What it resolves to may be left alone: whoever does not wait for it is told of a failure by the commit. */
function save(manager: OwnManager, state: SessionState): Promise<void> {
  const saved = (async () => inLine(state, () => write(manager, state)))()
  saved.catch(() => {})
  return saved
}

/** Writes after the writes that are under way, whether they fail or not. */
function inLine(state: SessionState, task: () => Awaitable<void>): Awaitable<void> {
  const running = state.line ? state.line.then(task) : task()
  if (!isPromise(running)) return
  const leave = () => {
    if (state.line === line) state.line = undefined
  }
  const line: Promise<void> = running.then(leave, leave)
  state.line = line
  return running
}

function write(manager: OwnManager, state: SessionState): Awaitable<void> {
  if (state.standing.is !== 'unloaded') return manager.write(state)
  // Nobody looked at it: only a rolling expiry gives a reason to.
  return manager.saveEveryRequest && !state.isShared
    ? after(load(manager, state, state), manager.write)
    : undefined
}

function isSessions<D extends object>(
  options: SessionsOptions<D> | Sessions<D>,
): options is Sessions<D> {
  return typeof (options as Sessions<D> | undefined)?.commit === 'function'
}

const OPTIONS: OptionRules<SessionsOptions<any>> = {
  store: anything,
  maxAge: seconds,
  expireAtBrowserClose: flag,
  saveEveryRequest: flag,
  touchAfter: secondsFromZero,
  absoluteMaxAge: seconds,
  concurrency: oneOf('merge', 'merge-keys', 'overwrite', 'reject'),
  merge: anything,
  maxBytes: rule('a positive number of bytes', positive.holds),
  lazy: flag,
  ifUnavailable: oneOf('error', 'anonymous'),
  cookie: dictionary,
  clearSiteData: anything,
  codec: rule('a codec, an object with encode() and decode()', isCodec),
  shownBookkeeping: texts,
  now: clock,
}

/** Options of express-session and of others, and what there is here instead. */
const ELSEWHERE = {
  secret: 'keys are random and need no signature; leave it out',
  secrets: 'they belong to signedCookieStore({ secrets })',
  resave: 'only what was changed is saved; leave it out',
  saveUninitialized: 'a session that holds nothing is not saved; leave it out',
  rolling: 'it is called `saveEveryRequest` here',
  unset: 'call flush() to end a session',
  genid: 'keys are made by the library; leave it out',
  name: "the cookie's name is `cookie: { name }`",
  proxy: 'the framework decides whether a request came over HTTPS (`trust proxy`); leave it out',
  ttl: 'it is called `maxAge` here, in seconds',
  property: 'it belongs to the adapter: session(options, { property })',
  cookieFor: 'it belongs to the adapter: session(options, { cookieFor })',
}

/** A codec that seals must open too. */
function isCodec(codec: Codec): boolean {
  const has = (name: keyof Codec) => typeof codec?.[name] === 'function'
  return has('encode') && has('decode') && has('seal') === has('open')
}

function assertManager(options: SessionsOptions<any>): void {
  if (options !== null && typeof options === 'object' && !('store' in options)) {
    if ('headers' in options) {
      refuse(
        'it was given a request in place of options: call the middleware, `app.use(session({ store }))`',
      )
    }
    if ('load' in options && 'save' in options) {
      refuse('it was given a store in place of options: write `{ store }`')
    }
  }
  assertStore('createSessions: `store`', options?.store)
  assertOptions('createSessions', options, OPTIONS, ELSEWHERE)
  assertSiteData(options.clearSiteData, refuse)
  const { concurrency, merge } = options
  if (merge !== undefined && (concurrency === 'overwrite' || concurrency === 'reject')) {
    refuse(`\`merge\` has no meaning with \`concurrency: '${concurrency}'\`: leave one of them out`)
  }
}

/** The stored session lives as long as it was told; its cookie does not. */
function warnOfAge({
  maxAge,
  absoluteMaxAge = Infinity,
  expireAtBrowserClose,
}: ExpirySettings): void {
  if (expireAtBrowserClose || Math.min(maxAge, absoluteMaxAge) <= MAX_COOKIE_AGE) return
  warnDeveloper(
    'COOKIE_AGE',
    `createSessions: \`maxAge\` is ${maxAge} seconds (not milliseconds), and browsers keep a cookie for ${MAX_COOKIE_AGE} (400 days) at the most: who has not had a new one by then is logged out, though the stored session lives on. Take a shorter \`maxAge\`, with \`saveEveryRequest\` to renew it.`,
  )
}

function refuse(what: string): never {
  refuseOption(`createSessions: ${what}`)
}
