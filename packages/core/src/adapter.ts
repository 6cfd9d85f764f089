// The entry for adapter authors: what adapters' users may choose, and how a request's session is found again.
import type { CookieOptions } from './cookie.ts'
import { SessionUsageError } from './errors.ts'
import type { SessionHeaders } from './headers.ts'
import type { Session, SessionData } from './session.ts'
import type { CookieInfo, Sessions } from './sessions.ts'

export { after, type Awaitable } from './awaitable.ts'
export { assertCookieRules, MAX_COOKIE_BYTES } from './cookie.ts'
export { reportClash } from './events.ts'
export { toExpiresAt } from './expiry.ts'
export { addSessionHeaders, type HeaderTarget, type SessionHeaders } from './headers.ts'
export { mergeFields, sessionStrategies, type Clash, type Strategies } from './strategies.ts'

/** What every adapter takes besides the options of `createSessions()`. */
export interface AdapterOptions<R> {
  /** The name by which the request has its session. Default `session`; a second manager on one request needs another. */
  readonly property?: string
  /** The cookie's attributes for the response to this request, where they differ: a domain by tenant, for one. */
  readonly cookieFor?: (request: R) => Omit<CookieOptions, 'name'> | undefined
}

/** The sessions that were opened for one request, the latest first. */
interface Opened {
  readonly property: string
  readonly sessions: Sessions<any>
  readonly session: Session<any>
  readonly before: Opened | undefined
}

const opened = Symbol('coatcheck.opened')
type Keeper = object & { [opened]?: Opened }

/** An adapter's part of {@link getSession}: notes which session was opened for a request. */
export function keepSession<D extends object>(
  request: object,
  property: string,
  sessions: Sessions<D>,
  session: Session<D>,
): void {
  const keeper = request as Keeper
  keeper[opened] = { property, sessions, session, before: keeper[opened] }
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
  for (let one = (request as Keeper)[opened]; one; one = one.before) {
    if (one.property === property) return one.sessions.load(one.session)
  }
  throw new SessionUsageError(
    `getSession: this request has no '${property}'. Put the session middleware before the handler.`,
  )
}
