// The adapter for Koa 3 and 2: opens before the next middleware, commits before the headers.
import {
  createSessions,
  type Session,
  type SessionData,
  type Sessions,
  type SessionsOptions,
} from '@coatcheck/core'
import {
  assertAdapterOptions,
  keepSession,
  sessionBefore,
  type AdapterOptions,
} from '@coatcheck/core/adapter'
import { commitBeforeHeaders } from '@coatcheck/core/node'
import type { BaseContext, Context, Middleware } from 'koa'

export * from '@coatcheck/core'

declare module 'koa' {
  interface DefaultContext extends WithSession {}
}

/** A context with a session. Where the types of koa-session are installed too, they say what it is: `getSession(ctx)` has ours. */
interface WithSession {
  /** The visitor's session. */
  session: 'sessionOptions' extends keyof BaseContext ? any : Session
}

/**
 * Gives every context a `ctx.session`, and holds the response's headers back until the session is saved: that of an error
 * (`ctx.throw(404)`) and of `ctx.respond = false` too.
 *
 * What opening throws is thrown; what saving throws goes to `ctx.onerror`. Its `status` is 400 for a session that ended
 * meanwhile, 503 for a failing backend.
 *
 * @param options What `createSessions()` takes, or what it returned.
 * @throws SessionUsageError for an option that cannot work.
 */
export function session<D extends object = SessionData>(
  options: SessionsOptions<D> | Sessions<D>,
  adapterOptions: AdapterOptions<Context> = {},
): Middleware {
  const sessions = createSessions<D>(options)
  assertAdapterOptions('session', adapterOptions, {})
  const { property = 'session', cookieFor } = adapterOptions

  return async (ctx, next) => {
    const info = () => ({ secure: ctx.secure, cookie: cookieFor?.(ctx) })
    const before = sessionBefore([ctx, ctx.req], property, sessions)
    const opened = await (before ?? sessions.open(ctx.headers.cookie, info))
    ctx[property] = opened
    if (before) return next()
    keepSession([ctx, ctx.req], property, sessions, opened)
    commitBeforeHeaders(sessions, opened, ctx.res, info, (error) => ctx.onerror(error as Error))
    return next()
  }
}
