// The adapter for Hono: opens before the next handler, commits before the response is returned.
import {
  createSessions,
  SessionError,
  type Session,
  type SessionData,
  type Sessions,
  type SessionsOptions,
} from '@coatcheck/core'
import { addSessionHeaders, keepSession, type AdapterOptions } from '@coatcheck/core/adapter'
import type { Context, MiddlewareHandler } from 'hono'

export { getSession } from '@coatcheck/core'

declare module 'hono' {
  interface ContextVariableMap {
    /** The visitor's session. */
    session: Session
  }
}

/**
 * Gives every context a session, `c.get('session')` or `c.var.session`; the response is returned when it is saved.
 *
 * What opening or saving throws goes to `app.onError`; without one Hono answers with its `status`: 400 for a session that
 * ended meanwhile, 503 for a failing backend.
 *
 * @param options What `createSessions()` takes, or what it returned.
 * @throws SessionUsageError for an option that cannot work.
 */
export function session<D extends object = SessionData>(
  options: SessionsOptions | Sessions<D>,
  { property = 'session', cookieFor }: AdapterOptions<Context> = {},
): MiddlewareHandler {
  const sessions = createSessions<D>(options)

  return async (c, next) => {
    const opened = await answered(() => sessions.open(c.req.header('Cookie')))
    c.set(property as 'session', opened as Session)
    keepSession(c, property, sessions, opened)
    await next()
    const headers = await answered(() =>
      sessions.commit(opened, {
        status: c.res.status,
        secure: isSecure(c),
        cookie: cookieFor?.(c),
      }),
    )
    addSessionHeaders(
      {
        get: (name) => c.res.headers.get(name),
        set: (name, value) => c.header(name, value),
        append: (name, value) => c.header(name, value, { append: true }),
      },
      headers,
    )
  }
}

/** Whether the request came over HTTPS, by its URL; behind a proxy set `secure: true`. */
function isSecure(c: Context): boolean {
  return c.req.url.startsWith('https:')
}

/** What `call` resolves to; a session's error gets what Hono's own error handler looks for, as HTTPException has it. */
async function answered<T>(call: () => T | Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    if (!(error instanceof SessionError)) throw error
    const { message, status } = error
    throw Object.assign(error, { getResponse: () => new Response(message, { status }) })
  }
}
