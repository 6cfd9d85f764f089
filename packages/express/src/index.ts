// The adapter for Express 5 and 4, Connect and bare node:http: opens before the handler, commits before the headers.
import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  createSessions,
  type CookieInfo,
  type Session,
  type SessionData,
  type Sessions,
  type SessionsOptions,
} from '@coatcheck/core'
import {
  assertAdapterOptions,
  keepSession,
  placeSession,
  plainAnswer,
  sessionBefore,
  type AdapterOptions,
} from '@coatcheck/core/adapter'
import { commitBeforeHeaders } from '@coatcheck/core/node'
import { refuseOption } from '@coatcheck/core/store'

export * from '@coatcheck/core'

declare global {
  namespace Express {
    interface Request extends RequestWithSession {}
  }
  /** Of the types of cookie-session: empty where they are not installed. */
  namespace CookieSessionInterfaces {
    // oxlint-disable-next-line typescript/no-empty-object-type -- theirs to fill
    interface CookieSessionRequest {}
  }
}

/** What a request has. Where the types of cookie-session are installed too, they say what its session is. */
type RequestWithSession = [keyof CookieSessionInterfaces.CookieSessionRequest] extends [never]
  ? WithSession
  : object

interface WithSession {
  /** The visitor's session. Where the types of express-session are installed too, they say what it is: `getSession(request)` has ours. */
  session: 'sessionStore' extends keyof Express.Request ? any : Session
}

/** Middleware for Express, Connect, and `node:http` with a `next` of your own. */
export type Middleware = (
  request: IncomingMessage,
  response: ServerResponse,
  next: (error?: unknown) => void,
) => void

type SessionRequest = IncomingMessage & {
  /** Express: whether the request came over HTTPS, by its `trust proxy` setting. */
  secure?: boolean
}

/**
 * Gives every request a `request.session`, and holds the response's headers back until the session is saved.
 *
 * What the save throws goes to `next(error)`, as anything a handler throws; its `status` is 400 for a session that
 * ended meanwhile, 503 for a failing backend. What is assigned in the session's place (`request.session = null`) throws
 * SessionUsageError at once: `flush()` ends a session.
 *
 * @param options What `createSessions()` takes, or what it returned.
 * @throws SessionUsageError for an option that cannot work.
 */
export function session<D extends object = SessionData>(
  options: SessionsOptions<D> | Sessions<D>,
  adapterOptions: AdapterOptions<IncomingMessage> = {},
): Middleware {
  const sessions = createSessions<D>(options)
  assertAdapterOptions('session', adapterOptions, {})
  const { property = 'session', cookieFor } = adapterOptions

  const infoOf = (request: SessionRequest): CookieInfo => ({
    secure: request.secure ?? 'encrypted' in request.socket,
    cookie: cookieFor?.(request),
  })
  /** Gives the request its session; one that it has already is another middleware's to commit. */
  const attach = (
    request: SessionRequest,
    response: ServerResponse,
    opened: Session<D>,
    info: (() => CookieInfo) | undefined,
    next: (error?: unknown) => void,
  ) => {
    if (info) keepSession([request], property, sessions, opened)
    placeSession(request, property)
    if (!info) return
    commitBeforeHeaders(sessions, opened, response, info, next)
  }

  return (message, response, next) => {
    if (typeof next !== 'function') {
      refuseOption(
        'session: the middleware takes a function that goes on: open(request, response, (error) => { … })',
      )
    }
    const request = message as SessionRequest
    /** An error handler that says no status answers by the error's. */
    const fail = (error: unknown) => {
      response.statusCode = plainAnswer(error).status
      next(error)
    }
    try {
      const before = sessionBefore([request], property, sessions)
      const info = before ? undefined : () => infoOf(request)
      const opened = before ?? sessions.open(request.headers.cookie, info)
      if (opened instanceof Promise) {
        return void opened
          .then((one) => attach(request, response, one, info, next))
          .then(() => next(), fail)
      }
      attach(request, response, opened, info, next)
    } catch (error) {
      return fail(error)
    }
    next()
  }
}
