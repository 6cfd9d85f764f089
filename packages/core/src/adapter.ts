// The entry for adapter authors: what adapters' users may choose, and how a request's session is found again.
import type { Awaitable } from './awaitable.ts'
import { isSharedResponse } from './cache-control.ts'
import type { CookieOptions } from './cookie.ts'
import { SessionUsageError } from './errors.ts'
import { warnOfEach } from './events.ts'
import { addSessionHeaders, type HeaderTarget, type SessionHeaders } from './headers.ts'
import { assertOptions, type OptionRules } from './options.ts'
import { callable, inWords, rule } from './rules.ts'
import type { Session, SessionData } from './session.ts'
import type { CookieInfo, Sessions } from './sessions.ts'

export { after, type Awaitable } from './awaitable.ts'
export { assertCookieRules, MAX_COOKIE_BYTES, readCookies, type CookieRules } from './cookie.ts'
export { isSharedResponse } from './cache-control.ts'
export { hashForEvents, reportClash } from './events.ts'
export { toExpiresAt } from './expiry.ts'
export { isOfAnswer, plainAnswer, tellVisitor } from './failure.ts'
export { addSessionHeaders, type HeaderTarget, type SessionHeaders } from './headers.ts'
export { mergeFields, sessionStrategies, type Clash, type Strategies } from './strategies.ts'

/** What every adapter takes besides the options of `createSessions()`. */
export interface AdapterOptions<R> {
  /** The name by which the request has its session. Default `session`; a second manager on one request needs another. */
  readonly property?: string
  /** The cookie's attributes for the response to this request, where they differ: a domain by tenant, for one. */
  readonly cookieFor?: (request: R) => Omit<CookieOptions, 'name' | 'format'> | undefined
}

/**
 * Looks at what an adapter was given besides the manager's options.
 * @param by The adapter's function, as an error names it.
 * @param more Rules for options that only this adapter has.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for a name that is none, or a value that cannot work.
 */
export function assertAdapterOptions<O extends AdapterOptions<any>>(
  by: string,
  options: O,
  more: OptionRules<Omit<O, keyof AdapterOptions<any>>>,
): void {
  const own: OptionRules<AdapterOptions<any>> = {
    property: rule("a property's name", (value) => typeof value === 'string' && value !== ''),
    cookieFor: callable,
  }
  assertOptions<AdapterOptions<any>>(by, options, { ...own, ...more }, { sessions: SESSIONS })
}

const SESSIONS = 'a manager is passed in place of its options'

/** The sessions that were opened for one request, the latest first. */
interface Opened {
  readonly property: string
  readonly sessions: Sessions<any>
  readonly session: Session<any>
  readonly before: Opened | undefined
}

const opened = Symbol('coatcheck.opened')
type Keeper = object & { [opened]?: Opened }

/**
 * What stands for a request: the object that its framework's users have, and what is below it (Node's message, the standard Request), so
 * that one framework within another finds what is there.
 */
export type Carriers = readonly (object | undefined)[]

/** An adapter's part of {@link getSession}: notes which session was opened for a request. */
export function keepSession<D extends object>(
  carriers: Carriers,
  property: string,
  sessions: Sessions<D>,
  session: Session<D>,
): void {
  for (const keeper of carriers as readonly (Keeper | undefined)[]) {
    if (keeper) keeper[opened] = { property, sessions, session, before: keeper[opened] }
  }
}

/** The session that was opened for a request under a property's name. */
function sessionAt(request: object, property: string): Session<any> | undefined {
  return openedAt(request, property)?.session
}

function openedAt(request: object, property: string): Opened | undefined {
  let one = (request as Keeper)[opened]
  while (one && one.property !== property) one = one.before
  return one
}

/** The property under which a framework's users find a session, shared by all requests: it reads what {@link keepSession} has noted. */
export interface SessionPlace {
  readonly enumerable: true
  readonly get: (this: object) => Session<any> | undefined
  /** @throws SessionUsageError, but for the very session that is there. */
  readonly set: (this: object, given: unknown) => void
}

const places = new Map<string, SessionPlace>()

/** The property of this name, for a framework's prototype of all requests. */
export function placeOf(property: string): SessionPlace {
  let place = places.get(property)
  if (!place) {
    place = {
      enumerable: true,
      get() {
        return sessionAt(this, property)
      },
      set(given) {
        if (given !== sessionAt(this, property)) refuseReplacement(property, given)
      },
    }
    places.set(property, place)
  }
  return place
}

/**
 * Puts a session, once it is kept, where the framework's users look for it: nothing can be assigned in its place.
 * @throws SessionUsageError (code ERR_SESSION_TWICE) if another library has put something there.
 */
export function placeSession(request: object, property: string): void {
  const place = placeOf(property)
  if (Object.hasOwn(request, property)) {
    const there = Object.getOwnPropertyDescriptor(request, property)!
    if (there.get === place.get) return
    if (there.get || (there.value !== undefined && there.value !== null)) {
      refuseTwice(property, 'something else')
    }
  }
  Object.defineProperty(request, property, place)
}

/** @throws SessionUsageError, always: what was put in a session's place would be kept by nobody. */
export function refuseReplacement(property: string, given: unknown): never {
  const what = given === null || given === undefined || given === false ? String(given) : 'a value'
  throw new SessionUsageError(
    `The session in '${property}' was assigned ${what}, and stays as it was. To end it write ${property}.flush(), to change it ${property}.set('name', …) or ${property}.update({ … }).`,
  )
}

function refuseTwice(property: string, what: string): never {
  throw new SessionUsageError(
    `This request has ${what} in '${property}' already. Give this session a name of its own: session(options, { property: 'other' }).`,
    'ERR_SESSION_TWICE',
  )
}

/**
 * The session that this request has already from a manager of the same store and cookie: where a middleware is mounted on an
 * application and on a part of it, the second has nothing to open and nothing to commit. It is loaded, unless `lazy` was asked for.
 * @param property The name that the adapter was given; under it {@link getSession} finds that session too.
 * @throws SessionUsageError (code ERR_SESSION_TWICE) if the request has a session of another store in the same cookie, which has room
 * for one, or another session under the same name; SessionStoreError if the backend fails.
 */
export function sessionBefore<D extends object>(
  carriers: Carriers,
  property: string,
  sessions: Sessions<D>,
): Awaitable<Session<D>> | undefined {
  for (const keeper of carriers as readonly (Keeper | undefined)[]) {
    for (let one = keeper?.[opened]; one; one = one.before) {
      if (one.sessions !== sessions && !isSameCookie(one.sessions, sessions)) continue
      if (one.sessions.store !== sessions.store) {
        throw new SessionUsageError(
          `This request has a session of another store in the cookie '${sessions.cookie.name}' already. Make one manager with createSessions() and pass it to both, or give the second a cookie name of its own.`,
          'ERR_SESSION_TWICE',
        )
      }
      assertFree(carriers, property, one.session)
      keepSession(carriers, property, one.sessions, one.session)
      const isLoaded = sessions.lazy || !one.sessions.lazy
      return isLoaded ? one.session : one.sessions.load(one.session)
    }
  }
  assertFree(carriers, property, undefined)
  return undefined
}

/** The first carrier is what the framework's users have: what is below it may have a session of the name in another framework. */
function assertFree(
  [request]: Carriers,
  property: string,
  session: Session<any> | undefined,
): void {
  const there = request && sessionAt(request, property)
  if (there && there !== session) refuseTwice(property, "another manager's session")
}

function isSameCookie({ cookie: a }: Sessions<any>, { cookie: b }: Sessions<any>): boolean {
  return a.name === b.name && a.path === b.path && a.domain === b.domain
}

/**
 * Commits a session for a response that is about to start: {@link Sessions.commit}, told of the response what it needs.
 * @param info What the adapter tells of the cookie, asked now.
 * @param status The response's.
 * @param target Its headers, as the handler has set them.
 * @throws what `commit` throws.
 */
export function commitResponse<D extends object>(
  sessions: Sessions<D>,
  session: Session<D>,
  info: () => CookieInfo,
  status: number,
  target: Pick<HeaderTarget, 'get'>,
): Awaitable<SessionHeaders> {
  const isShared = () => isSharedResponse((name) => target.get(name))
  const { secure = false, cookie } = info()
  return sessions.commit(session, { secure, cookie, status, isShared })
}

/** The Set-Cookie lines that sessions have put on a response: of two, the one that was saved keeps its own where the other fails. */
const told = Symbol('coatcheck.told')
type Carrier = object & { [told]?: readonly string[] }

/**
 * Adds a session's headers to a response. One that cannot carry them any more (they are out, or it has none) is reported, not
 * thrown: nobody could catch it.
 * @param carrier The response, or what stands for it: by this {@link cookiesTold} finds the cookie again.
 */
export function tellSession(carrier: object, target: HeaderTarget, headers: SessionHeaders): void {
  const { setCookie } = headers
  try {
    addSessionHeaders(target, headers)
    if (setCookie !== undefined) (carrier as Carrier)[told] = [...cookiesTold(carrier), setCookie]
  } catch {
    if (setCookie !== undefined) cookieNotSent()
  }
}

/** The Set-Cookie lines that {@link tellSession} has put on a response. */
export function cookiesTold(carrier: object): readonly string[] {
  return (carrier as Carrier)[told] ?? []
}

/**
 * Whether something is a standard Response: also of another copy of the standard classes (undici's from npm), with which frameworks answer
 * as they do with the global one.
 */
export function isResponse(value: unknown): value is Response {
  if (typeof value !== 'object' || value === null) return false
  return Object.prototype.toString.call(value) === '[object Response]'
}

/** Reports that a client does not get the cookie of what was stored. */
export function cookieNotSent(): void {
  warnOfEach(
    'COOKIE_NOT_SENT',
    () =>
      "A response could not carry its session's cookie, so the client does not have the key of what was stored: its headers were out, or it has none. Put the session middleware before whatever answers.",
  )
}

/**
 * The headers for the answer to a commit that failed: the client must have the key of what `save()` stored before.
 * @param info What the adapter tells of the cookie; where asking for it fails, the manager's own attributes are taken.
 */
export function headersAfterFailure<D extends object>(
  sessions: Sessions<D>,
  session: Session<D>,
  info: () => CookieInfo,
): SessionHeaders {
  try {
    return sessions.headers(session, info())
  } catch {
    return sessions.headers(session)
  }
}

/**
 * The session of a request, loaded: needed with `lazy: true`, and useful where the framework's type does not have it.
 * @param request What the adapter calls the request: Express' and Fastify's `request`, Koa's `ctx`, Hono's `c`, a `Request`.
 * @param property The name that the adapter was given. Default `session`.
 * @throws SessionUsageError if no adapter has opened one; SessionStoreError if the backend fails.
 */
export async function getSession<D extends object = SessionData>(
  request: object,
  property = 'session',
): Promise<Session<D>> {
  if ((typeof request !== 'object' && typeof request !== 'function') || request === null) {
    throw new SessionUsageError(
      `getSession takes the request that the handler was given, and got ${inWords(request)}.`,
    )
  }
  const one = openedAt(request, property)
  if (one) return one.sessions.load(one.session)
  throw new SessionUsageError(
    `getSession: this request has no '${property}'. Put the session middleware before the handler.`,
  )
}
