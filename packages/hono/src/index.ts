// The adapter for Hono: opens before the next handler, commits before the response is returned.
import {
  createSessions,
  SessionError,
  type Session,
  type SessionData,
  type Sessions,
  type SessionsOptions,
} from '@coatcheck/core'
import {
  addSessionHeaders,
  headersAfterFailure,
  keepSession,
  type AdapterOptions,
} from '@coatcheck/core/adapter'
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
  options: SessionsOptions<D> | Sessions<D>,
  { property = 'session', cookieFor }: AdapterOptions<Context> = {},
): MiddlewareHandler {
  const sessions = createSessions<D>(options)

  return async (c, next) => {
    const info = () => ({ secure: isSecure(c), cookie: cookieFor?.(c) })
    const target = {
      get: (name: string) => c.res.headers.get(name),
      set: (name: string, value: string) => c.header(name, value),
      append: (name: string, value: string) => c.header(name, value, { append: true }),
    }
    const opened = await answered(() => sessions.open(c.req.header('Cookie'), info))
    c.set(property as 'session', opened as Session)
    keepSession(c, property, sessions, opened)
    await next()
    let headers
    try {
      headers = await sessions.commit(opened, { ...info(), status: c.res.status })
    } catch (error) {
      // What is set here Hono takes over into the error's answer.
      addSessionHeaders(target, headersAfterFailure(sessions, opened, info))
      throw answerable(error)
    }
    addSessionHeaders(target, headers)
  }
}

/** Whether the request came over HTTPS, by its URL; behind a proxy set `secure: true`. */
function isSecure(c: Context): boolean {
  return c.req.url.startsWith('https:')
}

/** What `call` resolves to. */
async function answered<T>(call: () => T | Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw answerable(error)
  }
}

/** A session's error with what Hono's own error handler looks for, as HTTPException has it. */
function answerable(error: unknown): unknown {
  if (!(error instanceof SessionError)) return error
  const { message, status } = error
  return Object.assign(error, { getResponse: () => new Response(message, { status }) })
}
